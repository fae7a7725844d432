package queue

import (
	"encoding/binary"
	"errors"

	"weir/outbox"
)

// refsFormat is the first byte of a queue message. It is no beginning of JSON,
// which a producer can make the server publish anywhere by naming a reply subject.
const refsFormat = 1

var errRefs = errors.New("queue: not a list of references")

// appendRefs encodes refs: refsFormat, then for each the difference of its id to
// the one before as a varint, and its generation as an unsigned varint.
func appendRefs(dst []byte, refs []outbox.Ref) []byte {
	dst = append(dst, refsFormat)
	var before int64
	for _, ref := range refs {
		dst = binary.AppendVarint(dst, ref.ID-before)
		dst = binary.AppendUvarint(dst, uint64(ref.Generation))
		before = ref.ID
	}
	return dst
}

// parseRefs appends what data encodes to refs; after an error refs is as it was.
func parseRefs(refs []outbox.Ref, data []byte) ([]outbox.Ref, error) {
	if len(data) == 0 || data[0] != refsFormat {
		return refs, errRefs
	}
	parsed := refs
	var id int64
	for data = data[1:]; len(data) > 0; {
		step, n := binary.Varint(data)
		if n <= 0 {
			return refs, errRefs
		}
		generation, m := binary.Uvarint(data[n:])
		if m <= 0 {
			return refs, errRefs
		}
		id += step
		parsed = append(parsed, outbox.Ref{ID: id, Generation: int64(generation)})
		data = data[n+m:]
	}
	return parsed, nil
}
