package outbox

// Result is what became of a submitted envelope.
type Result string

const (
	// Accepted means stored now.
	Accepted Result = "accepted"
	// AlreadyThere means the same message (key and fingerprint) was stored before.
	AlreadyThere Result = "already_there"
	// Conflict means another message holds the key; that one stays.
	Conflict Result = "conflict"
	// Invalid means the envelope was refused before anything was stored.
	Invalid Result = "invalid"
)

// Rejection is a payload that could not become a message, kept for people to look at.
type Rejection struct {
	Payload []byte
	Reason  string
}
