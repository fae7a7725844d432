package chaos

import (
	"weir/cmd/weir/internal/sandbox"
	"weir/internal/point"
)

// role is the process that dies.
type role string

const (
	daemon role = "daemon"
	sender role = "send"
	relay  role = "relay"
)

// stage is how far a request has come at the API when its daemon is killed.
type stage int

const (
	nowhere  stage = iota
	lost           // it arrived and is never executed
	arrived        // it is executed after the daemon's death
	executed       // it was executed, and the answer finds nobody
)

// strike is a way to die.
type strike struct {
	name string
	role role
	// One of these says where; neither means at a random time.
	at    point.Name
	stage stage
	// most bounds the hit, drawn by chance, at which it happens.
	most int
	// fresh means that only an empty data directory gets there.
	fresh bool
	// claims makes a daemon die before with requests under way: only then is
	// there anything to recover.
	claims bool
	// draining sends SIGTERM first.
	draining bool
	// limit and faults bring the API to where the place is reached; zero is as
	// usual, and no faults at all are another thing.
	limit  int
	faults []sandbox.Fault
}

// byHand tells whether nothing kills the process at its place.
func (s strike) byHand() bool { return s.at == "" && s.stage == nowhere }

// fine is an API that executes what reaches it.
var fine = []sandbox.Fault{}

// down is an API that fails until the strike is over.
var down = []sandbox.Fault{{Kind: sandbox.Kind503}}

// crowded is a limit that parks each bucket at once.
const crowded = 4

// atRandom kills at a random time since the start.
var atRandom = strike{name: "at random", role: daemon}

// strikes are all ways to die. Each is a line of the verdict.
var strikes = []strike{
	{name: "migration, before its commit", role: daemon, at: point.MigrationUncommitted, most: 2, fresh: true},
	{name: "migration, after its commit", role: daemon, at: point.MigrationCommitted, most: 2, fresh: true},
	{name: "migration by send, before its commit", role: sender, at: point.MigrationUncommitted, most: 2, fresh: true},
	{name: "start, epoch begun", role: daemon, at: point.EpochBegun, most: 1},
	{name: "recovery, before its commit", role: daemon, at: point.RecoveryUncommitted, most: 1, claims: true},
	{name: "recovery, after its commit", role: daemon, at: point.Recovered, most: 1, claims: true},
	{name: "intake, before its commit", role: daemon, at: point.AcceptUncommitted, most: 2},
	{name: "intake, committed, before it knows", role: daemon, at: point.Accepted, most: 2},
	{name: "intake, committed, before the ack", role: daemon, at: point.IntakeCommitted, most: 2},
	{name: "intake, acked", role: daemon, at: point.IntakeAcked, most: 2},
	{name: "feed, references published", role: daemon, at: point.WorkFed, most: 3},
	{name: "work fetched, before the ack", role: daemon, at: point.WorkFetched, most: 3},
	{name: "claim, before its commit", role: daemon, at: point.ClaimUncommitted, most: 4},
	{name: "claim, after its commit", role: daemon, at: point.Claimed, most: 4},
	{name: "request, not yet written", role: daemon, at: point.Requested, most: 12},
	{name: "request written, never executed", role: daemon, stage: lost, most: 12},
	{name: "request written, executed later", role: daemon, stage: arrived, most: 12, faults: fine},
	{name: "request executed, not answered", role: daemon, stage: executed, most: 12, faults: fine},
	{name: "answer read", role: daemon, at: point.Answered, most: 12},
	{name: "outcome, before its commit", role: daemon, at: point.OutcomeUncommitted, most: 12},
	{name: "outcome, after its commit", role: daemon, at: point.OutcomeCommitted, most: 12},
	{name: "park, before its commit", role: daemon, at: point.ParkUncommitted, most: 2, limit: crowded},
	{name: "park, after its commit", role: daemon, at: point.ParkCommitted, most: 2, limit: crowded},
	{name: "gate, before its commit", role: daemon, at: point.GateUncommitted, most: 1, faults: down},
	{name: "gate, after its commit", role: daemon, at: point.GateCommitted, most: 1, faults: down},
	{name: "stopping", role: daemon, draining: true},
	{name: "send, before its commit", role: sender, at: point.AcceptUncommitted, most: 1},
	{name: "send, committed, not told", role: sender, at: point.Accepted, most: 1},
	{name: "relay, rows read", role: relay, at: point.RelayRead, most: 1},
	{name: "relay, published, not marked", role: relay, at: point.RelayPublished, most: 1},
	{name: "relay, marked", role: relay, at: point.RelayMarked, most: 1},
	atRandom,
}
