package store

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Whose says whose data is meant: that of one message, by its key, or all that
// has to do with a recipient. One of the two is set.
type Whose struct {
	Key       string
	Recipient string // an address, as it stands in bodies
}

// in tells whether text, which may be JSON or a broken part of it, names the
// key, as a whole string, or the recipient, whatever stands around the address
// and in capitals or not. JSON can write each character in several ways.
func (w Whose) in(text []byte) bool {
	if w.isNamed(text) {
		return true
	}
	return bytes.IndexByte(text, '\\') >= 0 && w.isNamed(unescaped(text))
}

func (w Whose) isNamed(text []byte) bool {
	if w.Key != "" {
		return bytes.Contains(text, []byte(`"`+w.Key+`"`))
	}
	address := bytes.ToLower([]byte(w.Recipient))
	for rest := bytes.ToLower(text); ; {
		at := bytes.Index(rest, address)
		if at < 0 {
			return false
		}
		before, _ := utf8.DecodeLastRune(rest[:at])
		after, _ := utf8.DecodeRune(rest[at+len(address):])
		if !continues(before) && !continues(after) {
			return true
		}
		rest = rest[at+1:]
	}
}

// continues tells whether an address beside the character is a longer one: a
// number with more digits, a name with more letters.
func continues(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// unescaped gives text with every escape of JSON replaced by what it stands for.
func unescaped(text []byte) []byte {
	var plain strings.Builder
	for len(text) > 0 {
		at := bytes.IndexByte(text, '\\')
		if at < 0 || at == len(text)-1 {
			plain.Write(text)
			break
		}
		plain.Write(text[:at])
		end := at + 2
		if text[at+1] == 'u' {
			end = min(at+6, len(text))
			if half, err := strconv.ParseUint(string(text[at+2:end]), 16, 16); err == nil && utf16.IsSurrogate(rune(half)) {
				end = min(end+6, len(text)) // its other half
			}
		}
		var chars string
		if err := json.Unmarshal(append(append([]byte{'"'}, text[at:end]...), '"'), &chars); err != nil {
			chars = string(text[at:end])
		}
		plain.WriteString(chars)
		text = text[end:]
	}
	return []byte(plain.String())
}

// keysIn gives the values of what looks like the idempotency key of an envelope,
// in whatever could not be read as one.
func keysIn(payload string) []string {
	const name = `"idempotency_key"`
	var keys []string
	for _, part := range strings.Split(payload, name)[1:] {
		part = strings.TrimLeft(part, ": \t\r\n")
		var key string
		if err := json.NewDecoder(strings.NewReader(part)).Decode(&key); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}
