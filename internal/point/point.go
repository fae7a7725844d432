// Package point names the places in weir at which a crash is to be proven
// harmless, and where the wall clock is read.
//
// With the build tag chaos a process kills itself at such a place when its
// environment says so, and its wall clock can be shifted; that is how the crash
// runs of weir chaos reach the moments that a kill at random hardly ever meets.
// Without the tag, as in every release, Hit is empty, and inlined it leaves
// nothing behind. The packages call it themselves: a hook in each of their
// configurations would be there in releases too, and would have to be carried
// to places that know no configuration, such as a transaction. It imports
// nothing of weir, so that every package may import it.
package point

// Name is a place at which a process may die.
type Name string

// The places of the database, in the daemon or in weir send. What is called
// uncommitted stands inside the transaction, with the statements run that are its own.
const (
	MigrationUncommitted Name = "migration-uncommitted"
	MigrationCommitted   Name = "migration-committed"
	EpochBegun           Name = "epoch-begun"
	RecoveryUncommitted  Name = "recovery-uncommitted"
	Recovered            Name = "recovered"
	AcceptUncommitted    Name = "accept-uncommitted"
	Accepted             Name = "accepted" // committed, and the producer has not heard of it
	ClaimUncommitted     Name = "claim-uncommitted"
	Claimed              Name = "claimed"
	OutcomeUncommitted   Name = "outcome-uncommitted"
	OutcomeCommitted     Name = "outcome-committed"
	GateUncommitted      Name = "gate-uncommitted" // any but a park
	GateCommitted        Name = "gate-committed"
	ParkUncommitted      Name = "park-uncommitted"
	ParkCommitted        Name = "park-committed"
	PruneUncommitted     Name = "prune-uncommitted"
	PruneCommitted       Name = "prune-committed"
	BackupCopied         Name = "backup-copied"  // and not under its name
	RestoreMarked        Name = "restore-marked" // beside the old database
	RestoreAside         Name = "restore-aside"  // the old database has two names
)

// The places of a request. Those between Requested and Answered lie outside the
// process: there weir chaos kills it from the API's side.
const (
	Requested Name = "requested" // all checks passed, nothing written yet
	Answered  Name = "answered"  // nothing drawn from the answer yet
)

// The places of NATS.
const (
	IntakeCommitted Name = "intake-committed" // and not acked
	IntakeAcked     Name = "intake-acked"
	WorkFed         Name = "work-fed"
	WorkFetched     Name = "work-fetched" // and not acked
)

// The places of weir outbox relay.
const (
	RelayRead      Name = "relay-read"
	RelayPublished Name = "relay-published" // and not marked
	RelayMarked    Name = "relay-marked"
)
