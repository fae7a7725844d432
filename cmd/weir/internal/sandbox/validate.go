package sandbox

import (
	"regexp"
	"slices"
	"strings"
)

var (
	e164     = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	duration = regexp.MustCompile(`^[1-9][0-9]{0,8}(s|m|h)$`)

	rcsTypes     = oneOf("MESSAGE", "CONVERSATION", "NEWSLETTER")
	emailTypes   = oneOf("MESSAGE", "NEWSLETTER")
	trafficTypes = oneOf("AUTHENTICATION", "TRANSACTION", "PROMOTION", "SERVICEREQUEST", "ACKNOWLEDGEMENT")
)

// choice is a set of names with the text that refuses any other.
type choice struct {
	names   []string
	refusal string
}

func oneOf(names ...string) choice {
	return choice{names, "must be one of " + strings.Join(names, ", ")}
}

// detail tells what is wrong with one field.
type detail struct{ field, message string }

// validate names every field that is missing or wrong.
func (f *form) validate() []detail {
	var wrong []detail
	check := func(ok bool, field, message string) {
		if !ok {
			wrong = append(wrong, detail{field, message})
		}
	}
	str := func(name string) string {
		s, _ := text(f.get(name))
		return s
	}
	choose := func(c choice, name string) { check(slices.Contains(c.names, str(name)), name, c.refusal) }
	agent, mail := f.get("agent_id") != nil, f.get("channel_id") != nil
	switch {
	case agent && mail:
		check(false, "channel_id", "must not stand beside agent_id")
	case agent:
		check(hasID(str("agent_id"), "ag_"), "agent_id", "must be an agent's id, ag_...")
		check(e164.MatchString(str("to")), "to", "must be a phone number in E.164 form")
		choose(rcsTypes, "message_type")
		choose(trafficTypes, "traffic_type")
		check(isObject(f.get("content")), "content", "must be an object with at least one member")
	case mail:
		check(hasID(str("channel_id"), "ch_"), "channel_id", "must be a channel's id, ch_...")
		check(isAddress(str("to")), "to", "must be an e-mail address")
		check(str("subject") != "", "subject", "must be a text")
		choose(emailTypes, "message_type")
		check(isObject(f.get("content")) || str("template_id") != "", "content", "must be there, or a template_id")
	default:
		check(false, "agent_id", "must be there, or a channel_id")
	}
	if f.get("ttl") != nil {
		check(duration.MatchString(str("ttl")), "ttl", "must be a duration, as 3600s or 24h")
	}
	return wrong
}

// messageType gives the type for billing; a lenient server may meet any.
func (f *form) messageType() string {
	said, _ := text(f.get("message_type"))
	if i := slices.Index(rcsTypes.names, said); i >= 0 {
		return rcsTypes.names[i]
	}
	return rcsTypes.names[0]
}

func hasID(id, prefix string) bool {
	return strings.HasPrefix(id, prefix) && len(id) > len(prefix)
}

func isAddress(s string) bool {
	local, domain, found := strings.Cut(s, "@")
	return found && local != "" && domain != "" && !strings.ContainsAny(s, " \t\r\n,<>") && !strings.Contains(domain, "@")
}
