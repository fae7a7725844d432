package outbox

import (
	"strconv"

	"github.com/google/uuid"
)

// KeyNamespace is the UUID namespace of the keys that Key makes. It never changes.
const KeyNamespace = "5c1d7a52-0b9e-4f6e-9a3c-7e2f4d8b6a10"

var keyNamespace = uuid.MustParse(KeyNamespace)

// Key makes an idempotency key from what identifies one send request in the
// business, such as ("order", "10023", "shipped"): the same parts give the
// same key at any time and on any machine, so a request that is made twice is
// sent once.
//
// The key is a UUID version 5 (RFC 9562) in KeyNamespace. Its name is the parts
// one after another, each as its length in bytes in decimal, a colon and the
// part itself ("5:order5:10023"), so ("a", "bc") and ("ab", "c") differ. Any
// language can compute it.
func Key(parts ...string) string {
	var name []byte
	for _, part := range parts {
		name = strconv.AppendInt(name, int64(len(part)), 10)
		name = append(name, ':')
		name = append(name, part...)
	}
	return uuid.NewSHA1(keyNamespace, name).String()
}
