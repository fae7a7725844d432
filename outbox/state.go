package outbox

// State is where a message stands.
type State string

const (
	// Pending waits for its time, its turn or a gate.
	Pending State = "pending"
	// Sending is claimed by a running daemon.
	Sending State = "sending"
	// Retrying failed in a way that is safe to repeat, and waits for its next attempt.
	Retrying State = "retrying"
	// Sent was accepted by the API.
	Sent State = "sent"
	// Failed was refused: surely no effect.
	Failed State = "failed"
	// Expired met its deadline: surely not sent.
	Expired State = "expired"
	// Canceled was withdrawn by a person: surely not sent.
	Canceled State = "canceled"
	// Unknown may have been sent and can no longer be repeated safely: for a person.
	Unknown State = "unknown"
)

// States lists every state.
var States = [...]State{Pending, Sending, Retrying, Sent, Failed, Expired, Canceled, Unknown}

// Settled reports whether s is final.
func (s State) Settled() bool {
	switch s {
	case Sent, Failed, Expired, Canceled, Unknown:
		return true
	}
	return false
}
