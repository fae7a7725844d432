package chaos

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"

	"weir/cmd/weir/internal/sandbox"
)

// effects checks that what took effect is what was handed over: no effect
// without a key, and none of another body than the producer's.
func (a *audit) effects(stats sandbox.Stats, known map[string]sandbox.Key, bodies map[string]string) {
	effects, arrivals := 0, 0
	for key, at := range known {
		effects += at.Effects
		arrivals += len(at.Arrivals)
		body, made := bodies[key]
		a.check(made, isUntrue, "%s reached the API and was never handed over", key)
		if made && at.Effects > 0 {
			digest := sha256.Sum256([]byte(body))
			a.check(at.Body == hex.EncodeToString(digest[:]), isUntrue, "%s took effect with another body than was handed over", key)
		}
	}
	a.check(stats.WithoutKey == 0, isTwice, "%d messages took effect without a key: nothing would keep the API from sending them again", stats.WithoutKey)
	a.check(stats.Executed == effects, isUntrue, "the API counts %d effects, its keys %d", stats.Executed, effects)
	a.check(stats.Requests == arrivals, isUntrue, "the API saw %d requests, %d of them with a key", stats.Requests, arrivals)
	a.check(stats.Conflicts == 0, isUntrue, "%d requests had another body than one before with their key", stats.Conflicts)
	a.check(stats.Twice == 0, isTwice, "the API counts %d effects of keys that had taken effect", stats.Twice)
	for name, v := range stats.Violations {
		a.check(false, isUntrue, "the API was sent what it must never be sent: %s, %d times", name, v.Count)
	}
}

// tally is what the attempts of one message come to.
type tally struct {
	requests int
	unsure   bool // one of them may not have arrived, or did not
}

// arrivals checks that every request on the wire is told by an attempt, and
// that each attempt tells of no more than there were, as far as it can know.
func (a *audit) arrivals(attempts map[string]tally, known map[string]sandbox.Key) {
	for key, t := range attempts {
		saw := len(known[key].Arrivals)
		a.check(t.requests >= saw, isUnwritten, "of %s the API saw %d requests, the attempts tell of %d", key, saw, t.requests)
		a.check(t.requests <= saw || t.unsure, isUntrue, "of %s the attempts tell of %d requests, the API saw %d", key, t.requests, saw)
	}
}

// readAttempts gives what the attempts tell, by key.
func readAttempts(ctx context.Context, db *sql.DB) (map[string]tally, error) {
	found, err := db.QueryContext(ctx, `
		SELECT idempotency_key, coalesce(sum(requests), 0), count(*) FILTER (WHERE verdict IN ('lost', 'never_left') OR attempts.error_code = 'tls') > 0
		FROM messages LEFT JOIN attempts ON message = id
		GROUP BY id`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	attempts := map[string]tally{}
	for found.Next() {
		var key string
		var t tally
		if err := found.Scan(&key, &t.requests, &t.unsure); err != nil {
			return nil, err
		}
		attempts[key] = t
	}
	return attempts, found.Err()
}
