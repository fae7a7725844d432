package sandbox

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep a body may nest.
const maxDepth = 64

// member is a name of an object with its value, both as they stand in the
// text; a name with escapes is decoded.
type member struct {
	name, value []byte
}

// parseObject reads data as one JSON object and gives its own members. It is
// stricter than encoding/json where that mends what it is given, and shares no
// code with weir's own parser, which it is there to check.
func parseObject(data []byte) ([]member, violation) {
	if !utf8.Valid(data) {
		return nil, invalidUTF8
	}
	if !json.Valid(data) {
		return nil, notJSONObject
	}
	w := walker{data: data}
	w.space()
	if w.data[w.pos] != '{' {
		return nil, notJSONObject
	}
	w.object(1)
	return w.members, w.found
}

// walker goes through text that is known to be valid JSON, so it needs to look
// only for what valid JSON may still hold.
type walker struct {
	data    []byte
	pos     int
	members []member // of the objects that are open, outermost first
	found   violation
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

func (w *walker) value(depth int) {
	switch w.data[w.pos] {
	case '{':
		first := len(w.members)
		w.object(depth + 1)
		w.members = w.members[:first]
	case '[':
		w.array(depth + 1)
	case '"':
		w.str()
	default:
		for w.pos < len(w.data) && bytes.IndexByte([]byte(",]} \t\r\n"), w.data[w.pos]) < 0 {
			w.pos++
		}
	}
}

// object reads an object and leaves its members on w.members.
func (w *walker) object(depth int) {
	w.deepen(depth)
	first := len(w.members)
	w.pos++
	for w.space(); w.data[w.pos] != '}'; w.space() {
		if w.data[w.pos] == ',' {
			w.pos++
			w.space()
		}
		name := unescape(w.str())
		w.space()
		w.pos++ // the colon
		w.space()
		start := w.pos
		w.value(depth)
		w.members = append(w.members, member{name, w.data[start:w.pos]})
	}
	w.pos++
	own := w.members[first:]
	slices.SortFunc(own, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	for i := 1; i < len(own); i++ {
		if bytes.Equal(own[i-1].name, own[i].name) {
			w.found = duplicateName
		}
	}
}

func (w *walker) array(depth int) {
	w.deepen(depth)
	w.pos++
	for w.space(); w.data[w.pos] != ']'; w.space() {
		if w.data[w.pos] == ',' {
			w.pos++
			w.space()
		}
		w.value(depth)
	}
	w.pos++
}

func (w *walker) deepen(depth int) {
	if depth > maxDepth {
		w.found = tooDeep
	}
}

// str gives what stands between the quotes.
func (w *walker) str() []byte {
	start, escaped := w.pos+1, false
	for w.pos = start; w.data[w.pos] != '"'; w.pos++ {
		if w.data[w.pos] == '\\' {
			escaped = true
			w.pos++
		}
	}
	raw := w.data[start:w.pos]
	w.pos++
	if escaped && hasLoneSurrogate(raw) {
		w.found = loneSurrogate
	}
	return raw
}

// unescape decodes what stands between the quotes of a valid JSON string.
func unescape(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	var text string
	quoted := slices.Concat([]byte{'"'}, raw, []byte{'"'})
	if json.Unmarshal(quoted, &text) != nil {
		return raw
	}
	return []byte(text)
}

// hasLoneSurrogate reports an escaped half of a surrogate pair without its other half.
func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			i++
			continue
		}
		unit, ok := codeUnit(raw[i:])
		if !ok {
			i += 2
			continue
		}
		i += 6
		if !utf16.IsSurrogate(unit) {
			continue
		}
		next, ok := codeUnit(raw[i:])
		if !ok || utf16.DecodeRune(unit, next) == unicode.ReplacementChar {
			return true
		}
		i += 6
	}
	return false
}

// codeUnit reads the \uXXXX that b begins with.
func codeUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
