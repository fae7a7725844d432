package sandbox

import (
	"bytes"
	"crypto/sha256"
	"mime"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

const (
	maxBody = 256 << 10
	maxKey  = 255
)

// violation names something that must never be sent.
type violation string

const (
	wrongPath      violation = "wrong_path"
	wrongMethod    violation = "wrong_method"
	notAcceptable  violation = "not_acceptable"
	contentType    violation = "content_type"
	tooLarge       violation = "body_too_large"
	invalidUTF8    violation = "invalid_utf8"
	notJSONObject  violation = "not_json_object"
	duplicateName  violation = "duplicate_name"
	loneSurrogate  violation = "lone_surrogate"
	tooDeep        violation = "too_deep"
	invalidKey     violation = "invalid_idempotency_key"
	keyMismatch    violation = "idempotency_key_mismatch"
	invalidMessage violation = "validation_error"
)

// statuses are those of violations that are no plain 400.
var statuses = map[violation]int{
	wrongPath:     http.StatusNotFound,
	wrongMethod:   http.StatusMethodNotAllowed,
	notAcceptable: http.StatusNotAcceptable,
	contentType:   http.StatusUnsupportedMediaType,
	tooLarge:      http.StatusRequestEntityTooLarge,
}

// form is what a send says, as far as it can be read.
type form struct {
	members []member
	channel string
	key     string
	digest  [sha256.Size]byte
	found   violation // why it cannot be read, or empty
}

// examine reads a send. It looks at one request only, so it needs no lock.
func examine(h http.Header, body []byte, uuidKeys bool) form {
	f := form{digest: sha256.Sum256(body), channel: "default"}
	switch {
	case !acceptsJSON(h.Values("Accept")):
		f.found = notAcceptable
	case !isJSON(h.Get("Content-Type")) || h.Get("Content-Encoding") != "":
		f.found = contentType
	case len(body) > maxBody:
		f.found = tooLarge
	default:
		f.members, f.found = parseObject(body)
	}
	switch {
	case f.get("agent_id") != nil:
		f.channel = "rcs"
	case f.get("channel_id") != nil && f.get("subject") != nil:
		f.channel = "email"
	}
	f.readKey(h["Idempotency-Key"], uuidKeys)
	return f
}

// readKey takes the key from the header or the body.
func (f *form) readKey(inHeader []string, uuidKeys bool) {
	keys := inHeader
	if raw := f.get("idempotency_key"); raw != nil {
		key, _ := text(raw)
		keys = append(keys[:len(keys):len(keys)], key)
	}
	for i, key := range keys {
		switch {
		case !validKey(key) || uuidKeys && (len(key) != 36 || uuid.Validate(key) != nil):
			f.found = invalidKey
			return
		case i > 0 && key != keys[0]:
			f.found = keyMismatch
			return
		}
	}
	if len(keys) > 0 {
		f.key = keys[0]
	}
}

// get gives a member's value as it stands in the body, or nil.
func (f *form) get(name string) []byte {
	for _, m := range f.members {
		if string(m.name) == name {
			return m.value
		}
	}
	return nil
}

// text decodes a JSON string.
func text(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	return string(unescape(raw[1 : len(raw)-1])), true
}

func validKey(key string) bool {
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(key) >= 1 && len(key) <= maxKey
}

func acceptsJSON(accept []string) bool {
	if len(accept) == 0 {
		return true
	}
	all := strings.Join(accept, ",")
	return strings.Contains(all, "application/json") || strings.Contains(all, "*/*") || strings.Contains(all, "application/*")
}

func isJSON(value string) bool {
	if value == "application/json" {
		return true
	}
	kind, params, err := mime.ParseMediaType(value)
	charset := params["charset"]
	return err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// isObject reports a JSON object with at least one member; raw is valid JSON.
func isObject(raw []byte) bool {
	return len(raw) > 0 && raw[0] == '{' && bytes.IndexByte(raw, '"') > 0
}
