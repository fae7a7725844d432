package store

// sumUp brings the daemon's row up to date: its counts are the sums of the
// buckets', and the oldest due message is the oldest of all. Once in a commit is
// enough, and far cheaper than a trigger.
func (t *tx) sumUp() error {
	_, err := t.query(`
		UPDATE status SET
			(pending, scheduled, retrying, in_flight, sent, failed, expired, canceled, unknown, throttled,
			 sent_last_minute, oldest_due_at) =
			(SELECT total(pending), total(scheduled), total(retrying), total(in_flight), total(sent), total(failed),
			        total(expired), total(canceled), total(unknown), total(throttled),
			        total(sent_last_minute), min(oldest_due_at)
			 FROM status WHERE scope LIKE 'bucket:%')
		WHERE scope = 'daemon:' || (SELECT value FROM meta WHERE name = 'instance')`).Exec()
	return err
}

// movedMessages tells whether the transaction changed a message's state.
func (t *tx) movedMessages() bool {
	return len(t.arrived)+len(t.claimed)+len(t.held)+len(t.settled) > 0
}
