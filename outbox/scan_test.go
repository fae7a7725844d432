package outbox

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanWritesTheCanonicalForm(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"an empty object stays empty", ` { } `, `{}`},
		{"white space goes", "{ \"a\" :\t[ 1 ,\r\n2 ] }", `{"a":[1,2]}`},
		{"members are sorted by the bytes of their names", `{"b":1,"ä":2,"a":3,"B":4,"aa":5,"":6}`, `{"":6,"B":4,"a":3,"aa":5,"b":1,"ä":2}`},
		{"members are sorted at every depth", `{"z":[{"b":1,"a":{"d":1,"c":2}}],"a":{"y":1,"x":2}}`, `{"a":{"x":2,"y":1},"z":[{"a":{"c":2,"d":1},"b":1}]}`},
		{"the order of arrays is kept", `{"a":[3,1,2]}`, `{"a":[3,1,2]}`},
		{"escapes become the characters that they mean", `{"\u0061":"\u0041\/\u00e4\ud83d\ude00"}`, `{"a":"A/ä😀"}`},
		{"what must be escaped is escaped in one way", `{"a":"\"\\\b\f\n\r\t\u001F\u0000"}`, `{"a":"\"\\\u0008\u000c\u000a\u000d\u0009\u001f\u0000"}`},
		{"numbers are kept as written", `{"a":[0,-0,1.0,1e5,1E+05,-12.50,123456789012345678901234567890]}`, `{"a":[0,-0,1.0,1e5,1E+05,-12.50,123456789012345678901234567890]}`},
		{"literals are kept", `{"a":[true,false,null]}`, `{"a":[true,false,null]}`},
		{"a replacement character that is really there is text", `{"a":"�\ufffd"}`, `{"a":"��"}`},
	} {
		got, f := scan([]byte("x"), []byte(row.in), maxDepth, nil)
		if f != nil || string(got) != "x"+row.want {
			t.Errorf("%s: scan(%s) = %s, %v, want x%s", row.name, row.in, got, f, row.want)
		}
	}
}

func TestScanNamesTheFlawAndItsPlace(t *testing.T) {
	for _, row := range []struct{ name, in, path, reason string }{
		{"nothing at all", ``, "", "must be a JSON object"},
		{"an array", `[]`, "", "must be a JSON object"},
		{"a byte order mark", "\ufeff{}", "", "must be a JSON object"},
		{"an open object", `{"a":1`, "", "ends where a comma or a closing brace should stand"},
		{"an open array", `{"a":[1`, "a", "ends where a comma or a closing bracket should stand"},
		{"an open string", `{"a":"b`, "a", "ends where the rest of a string should stand"},
		{"a trailing comma", `{"a":1,}`, "", "has '}' instead of a name in double quotes (byte 8)"},
		{"a trailing comma in an array", `{"a":[1,]}`, "a[1]", "has ']' instead of a value (byte 9)"},
		{"something after the object", `{} x`, "", "has 'x' instead of the end (byte 4)"},
		{"a second object", `{}{}`, "", "has '{' instead of the end (byte 3)"},
		{"a missing colon", `{"a" 1}`, "", "has '1' instead of a colon (byte 6)"},
		{"a leading zero", `{"a":01}`, "", "has '1' instead of a comma or a closing brace (byte 7)"},
		{"a plus sign", `{"a":+1}`, "a", "has '+' instead of a value (byte 6)"},
		{"a fraction without digits", `{"a":1.}`, "a", "has '}' instead of a digit (byte 8)"},
		{"a word that JSON lacks", `{"a":NaN}`, "a", "has 'N' instead of a value (byte 6)"},
		{"a word that goes on", `{"a":nullx}`, "", "has 'x' instead of a comma or a closing brace (byte 10)"},
		{"an unknown escape", `{"a":"\x"}`, "a", `has 'x' instead of one of "\/bfnrtu (byte 8)`},
		{"a short escape", `{"a":"\u12"}`, "a", "has '1' instead of four hexadecimal digits (byte 9)"},
		{"a signed escape", `{"a":"\u+123"}`, "a", "has '+' instead of four hexadecimal digits (byte 9)"},
		{"a line feed in a string", "{\"a\":\"b\nc\"}", "a", `has '\n' instead of the rest of a string (byte 8)`},
		{"invalid UTF-8", "{\"a\":{\"b\":\"\xff\"}}", "a.b", "is not valid UTF-8 (byte 12)"},
		{"an overlong form", "{\"a\":\"\xc0\xaf\"}", "a", "is not valid UTF-8 (byte 7)"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "a", "is not valid UTF-8 (byte 7)"},
		{"a high surrogate alone", `{"a":"\ud83d"}`, "a", "has half of a surrogate pair (byte 7)"},
		{"a low surrogate alone", `{"a":"\ude00"}`, "a", "has half of a surrogate pair (byte 7)"},
		{"a pair in the wrong order", `{"a":"\ude00\ud83d"}`, "a", "has half of a surrogate pair (byte 7)"},
		{"half a pair in a name", `{"\ud83dx":1}`, "", "has half of a surrogate pair (byte 3)"},
		{"a name twice", `{"x":{"a":1,"b":2,"a":1}}`, "x.a", "this name stands twice in its object"},
		{"a name twice in two spellings", `{"x":[{"a":1,"\u0061":2}]}`, "x[0].a", "this name stands twice in its object"},
		{"an empty name twice", `{"":1,"":2}`, `""`, "this name stands twice in its object"},
		{"a name that a terminal would obey", "{\"\\u001b[2J\u009b\":NaN}", `\\u001b[2J\u009b`, "has 'N' instead of a value (byte 16)"},
	} {
		_, f := scan(nil, []byte(row.in), maxDepth, nil)
		if f == nil || f.path != row.path || f.reason != row.reason {
			t.Errorf("%s: scan(%s) = %+v, want {path:%s reason:%s}", row.name, row.in, f, row.path, row.reason)
		}
	}
}

func TestScanTakes64LevelsAndNotOneMore(t *testing.T) {
	for _, nest := range []struct{ open, close string }{{`[`, `]`}, {`{"a":`, `}`}} {
		deep := func(n int) []byte {
			return []byte(`{"a":` + strings.Repeat(nest.open, n-1) + `1` + strings.Repeat(nest.close, n-1) + `}`)
		}
		if _, f := scan(nil, deep(maxDepth), maxDepth, nil); f != nil {
			t.Errorf("64 levels of %s were refused: %+v", nest.open, f)
		}
		if _, f := scan(nil, deep(maxDepth+1), maxDepth, nil); f == nil || !strings.HasPrefix(f.reason, "is nested more than 64 levels deep") {
			t.Errorf("65 levels of %s gave %+v", nest.open, f)
		}
	}
}

func TestScanCallsFieldForTheOutermostMembersOnly(t *testing.T) {
	var got []string
	_, f := scan(nil, []byte(` {"b" : {"c":{"d":1}} , "a":[{"e":1}],"\u0066": "x" }`), maxDepth, func(name, value []byte) {
		got = append(got, string(name)+"="+string(value))
	})
	want := []string{`b={"c":{"d":1}}`, `a=[{"e":1}]`, `f="x"`}
	if f != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("scan called field for %q, %v, want %q", got, f, want)
	}
}

// FuzzScan holds the scanner to encoding/json: it takes exactly what that takes
// and our rules allow, reads the same values, and its form is a fixed point.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : [ 1 , -0.5e+7, true, false, null, "x" ] } `, `{"b":{"y":1,"x":2},"a":3}`,
		`{"a":1,"\u0061":2}`, `{"a":"\ud83d\ude00\ufffd"}`, `{"a":"\ud83d"}`, `{"a":"\\ud83d"}`, "{\"a\":\"\xff\"}",
		`{"a":01}`, `{"a":1}x`, `{"a":[1,]}`, `{"a":"\u00zz"}`, `{"a":"` + "\x7f\u2028" + `"}`, `{"a" 1}`, `[1]`, `{"a":.5}`, `{"a":1e}`,
		`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		canonical, flaw := scan(nil, data, maxDepth, nil)
		if allowed := isAllowed(data); allowed != (flaw == nil) {
			t.Fatalf("scan(%q) gave %+v, but allowed is %v", data, flaw, allowed)
		}
		if flaw != nil {
			return
		}
		if got, want := decode(t, canonical), decode(t, data); !reflect.DeepEqual(got, want) {
			t.Fatalf("the canonical form of %q reads as %v, want %v", data, got, want)
		}
		again, flaw := scan(nil, canonical, maxDepth, nil)
		if flaw != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("the canonical form of %s is %s, %+v", canonical, again, flaw)
		}
	})
}

func decode(t *testing.T, data []byte) any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", data, err)
	}
	return v
}

// isAllowed is the slow reading of our rules.
func isAllowed(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if !json.Valid(data) || !utf8.Valid(data) || trimmed[0] != '{' || hasLoneSurrogate(data) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	type container struct {
		names  map[string]bool // nil: an array
		isName bool            // the next token is one
	}
	var open []container
	for {
		token, err := d.Token()
		if err == io.EOF {
			return true
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if n := len(open); n > 0 && open[n-1].names != nil {
			top := &open[n-1]
			if top.isName {
				if top.names[token.(string)] {
					return false
				}
				top.names[token.(string)] = true
			}
			top.isName = !top.isName
		}
		switch token {
		case json.Delim('{'):
			open = append(open, container{names: map[string]bool{}, isName: true})
		case json.Delim('['):
			open = append(open, container{})
		}
		if len(open) > maxDepth {
			return false
		}
	}
}

var (
	escapes = regexp.MustCompile(`\\([^u]|u[0-9a-fA-F]{4})`)
	pairs   = regexp.MustCompile(`(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}`)
	halves  = regexp.MustCompile(`(?i)^\\ud[89a-f]`)
)

func hasLoneSurrogate(data []byte) bool {
	data = bytes.ReplaceAll(data, []byte(`\\`), []byte(`..`))
	data = pairs.ReplaceAll(data, []byte(`..`))
	for _, escape := range escapes.FindAll(data, -1) {
		if halves.Match(escape) {
			return true
		}
	}
	return false
}
