package outbox

// Lane is the priority class of a message.
type Lane string

// The lanes, first served first.
const (
	High   Lane = "high"
	Normal Lane = "normal"
	Bulk   Lane = "bulk"
)

// Lanes lists every lane, first served first.
var Lanes = [...]Lane{High, Normal, Bulk}

// DefaultAccount is the account of a message that names none.
const DefaultAccount = "default"

// Bucket is one account and channel: what is fed, gated and shown as one.
type Bucket struct {
	Account string
	Channel string
}

// String gives "account/channel".
func (b Bucket) String() string { return b.Account + "/" + b.Channel }

// Scope names the bucket where gates and status rows are kept:
// "bucket:account/channel".
func (b Bucket) Scope() string { return "bucket:" + b.String() }

// AccountScope names all buckets of an account where gates are kept:
// "account:name".
func AccountScope(name string) string { return "account:" + name }

// DaemonScope names all buckets of a daemon where gates and its status row are
// kept: "daemon:instance".
func DaemonScope(instance string) string { return "daemon:" + instance }

// Ref names one generation of a stored message. A reference whose generation
// is no longer the stored one is stale and claims nothing.
type Ref struct {
	ID         int64
	Generation int64
}
