package outbox_test

import (
	"errors"
	"testing"

	"weir/outbox"
)

func TestAnObjectIsReadByItsMembersOrRefusedByName(t *testing.T) {
	got := make(map[string]string)
	err := outbox.ParseObject([]byte(` {"a": [1, 2] ,"b":null}`), "call", func(name string, value []byte) { got[name] = string(value) })
	if err != nil || len(got) != 2 || got["a"] != "[1, 2]" || got["b"] != "null" {
		t.Errorf("it has %v, %v", got, err)
	}
	for text, field := range map[string]string{
		``: "call", `[]`: "call", `{} {}`: "call", `{"a":1,"a":2}`: "a", `{"a":{"b":1,"b":2}}`: "a.b", `{"a":"\ud800"}`: "a", "{\"a\":\"\xff\"}": "a",
	} {
		err := outbox.ParseObject([]byte(text), "call", func(string, []byte) {})
		bad, ok := errors.AsType[*outbox.InvalidError](err)
		if !ok || bad.Details[0].Field != field {
			t.Errorf("%q is refused with %v", text, err)
		}
	}
}
