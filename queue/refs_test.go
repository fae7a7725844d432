package queue

import (
	"math"
	"slices"
	"testing"

	"weir/outbox"
)

func FuzzAnyBytesAreReferencesOrAnError(f *testing.F) {
	f.Add(appendRefs(nil, []outbox.Ref{{ID: 1, Generation: 2}, {ID: math.MaxInt64, Generation: 0}, {ID: 3, Generation: 1}}))
	f.Add([]byte(`{"stream":"WEIR_SEND","seq":1}`))
	f.Add([]byte{refsFormat, 0x80})
	f.Add([]byte{refsFormat, 2})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		refs, err := parseRefs(nil, data)
		if err != nil {
			if len(refs) != 0 {
				t.Errorf("%x: references beside an error", data)
			}
			return
		}
		again, err := parseRefs(nil, appendRefs(nil, refs))
		if err != nil || !slices.Equal(again, refs) {
			t.Errorf("%v became %v, %v", refs, again, err)
		}
	})
}

func TestThirtyTwoReferencesTakeLittleMoreThanTwoBytesEach(t *testing.T) {
	var refs []outbox.Ref
	for id := range int64(refsPerMessage) {
		refs = append(refs, outbox.Ref{ID: 1_000_000_000 + id, Generation: 1})
	}
	if n := len(appendRefs(nil, refs)); n > 2*refsPerMessage+8 {
		t.Errorf("%d bytes", n)
	}
}
