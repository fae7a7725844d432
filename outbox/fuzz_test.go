package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzEnvelope holds what becomes a message to what was handed over, read by
// encoding/json; and every refusal to naming a field in words fit for a terminal.
func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		`{"idempotency_key":"k","body":{}}`,
		` {"body" : { "b" : 1.0e+00,"a":"\u00e9 \/" } , "idempotency_key":"k","lane":"high","channel":"email","account":"a_1"} `,
		`{"idempotency_key":"k","body":{"ttl":"5m"},"ttl":"90s","send_at":"2026-03-28T14:30:00.0000001+01:00","expires_at":"9999-12-31T23:59:59.9999Z"}`,
		`{"idempotency_key":"k","body":{"idempotency_key":"k"},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`,
		`{"idempotency_key":"k","Body":{},"lane":"","x":1}`, `{"idempotency_key":"a b","body":[],"ttl":5}`,
		`{"idempotency_key":null,"body":{"a":1,"a":2}}`, `{"\u0069dempotency_key":"k","body":null}`, `{"idempotency_key":"k","body":{}}x`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	handedOver := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data)
		var m Message
		if err == nil {
			m, err = e.Message(handedOver, nil)
		}
		if err != nil {
			wantNamed(t, data, err)
			return
		}
		var said map[string]json.RawMessage
		var key string
		if err := errors.Join(json.Unmarshal(data, &said), json.Unmarshal(said["idempotency_key"], &key)); err != nil {
			t.Fatalf("%q was accepted; encoding/json says %v", data, err)
		}
		if m.Key != key || !bytes.Equal(m.Body, said["body"]) {
			t.Fatalf("%q became key %q and body %q", data, m.Key, m.Body)
		}
		for name := range said {
			if !slices.Contains(envelopeFields, name) {
				t.Fatalf("%q was accepted with the name %q", data, name)
			}
		}
		again := e.AppendJSON(nil)
		e2, err := ParseEnvelope(again)
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", data, again, err)
		}
		if m2, err := e2.Message(handedOver, nil); err != nil || !reflect.DeepEqual(m2, m) {
			t.Fatalf("%q is written as %q and reads as %+v, %v; want %+v", data, again, m2, err, m)
		}
	})
}

// wantNamed checks a refusal.
func wantNamed(t *testing.T, data []byte, err error) {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Details) == 0 {
		t.Fatalf("%q is refused without a field: %v", data, err)
	}
	for _, d := range invalid.Details {
		text := d.Field + d.Message
		if d.Field == "" || d.Message == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q is refused with %+q", data, d)
		}
	}
}

// FuzzFingerprint holds the fingerprint to a slow reading of the same rule: equal
// if and only if encoding/json reads the same values, numbers as they are written.
func FuzzFingerprint(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`}, {`{"a":1}`, `{"a":1.0}`}, {`{"a":"\u00e9"}`, `{"a":"é"}`}, {`{"a":[1,2]}`, `{"a":[2,1]}`},
		{`{"a":null}`, `{}`}, {`{"a":{"b":{}}}`, `{"a":{"b":[]}}`}, {`{"a":"\\\"\/\b"}`, `{"a":"\u005c\u0022/\u0008"}`}, {`{"a":-0}`, `{"a":0}`},
		{`{"":"","\ud83d\ude00":"\u2028"}`, `{"😀":"` + "\u2028" + `","":""}`}, {`{"é":1,"z":2,"a":{"y":[{"x":1,"w":2}]}}`, `{"a":1}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), uint64(1))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, seed uint64) {
		ofA, err := Fingerprint("x", a)
		if err != nil {
			return
		}
		if other, err := Fingerprint("y", a); err != nil || other == ofA {
			t.Fatalf("%q has the same fingerprint for another account, %v", a, err)
		}
		value := decode(t, a)
		spelled := spell(nil, value, rand.New(rand.NewPCG(seed, 0)))
		if respelled, err := Fingerprint("x", spelled); len(spelled) <= MaxBody && (err != nil || respelled != ofA) {
			t.Fatalf("%q and its other spelling %q differ, %v", a, spelled, err)
		}
		if ofB, err := Fingerprint("x", b); err == nil {
			if same := reflect.DeepEqual(value, decode(t, b)); same != (ofA == ofB) {
				t.Fatalf("%q and %q are the same: %v; their fingerprints: %v", a, b, same, ofA == ofB)
			}
		}
	})
}

// spell writes a value in another way: members in another order, white space,
// and characters as escapes, by chance.
func spell(dst []byte, value any, r *rand.Rand) []byte {
	space := func() { dst = append(dst, []string{"", "", " ", "\n\t"}[r.IntN(4)]...) }
	list := func(n int, one func(i int)) {
		for i := range n {
			if i > 0 {
				dst = append(dst, ',')
			}
			space()
			one(i)
			space()
		}
	}
	switch v := value.(type) {
	case map[string]any:
		names := slices.Collect(maps.Keys(v))
		dst = append(dst, '{')
		list(len(names), func(i int) {
			dst = append(spellText(dst, names[i], r), ':')
			space()
			dst = spell(dst, v[names[i]], r)
		})
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		list(len(v), func(i int) { dst = spell(dst, v[i], r) })
		return append(dst, ']')
	case string:
		return spellText(dst, v, r)
	case nil:
		return append(dst, "null"...)
	}
	return fmt.Append(dst, value) // json.Number and bool
}

func spellText(dst []byte, text string, r *rand.Rand) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c > 0xffff && r.IntN(2) == 0:
			dst = fmt.Appendf(dst, `\u%04x\u%04X`, 0xd800+(c-0x10000)>>10, 0xdc00+(c-0x10000)&0x3ff)
		case c <= 0xffff && (c < ' ' || c == '"' || c == '\\' || r.IntN(4) == 0):
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = utf8.AppendRune(dst, c)
		}
	}
	return append(dst, '"')
}
