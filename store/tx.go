package store

import (
	"database/sql"

	"weir/outbox"
)

// tx is one transaction. All its rows carry one time.
type tx struct {
	w   *writer
	now int64
	// graves caches whether there are tombstones at all: most databases have
	// none for their first months, and each message would be looked up there.
	graves *bool
	committed
}

func (t *tx) query(query string) statement { return t.w.prepared(query) }

// changed runs a statement and tells how many rows it changed.
func (t *tx) changed(query string, args ...any) (int64, error) {
	result, err := t.query(query).Exec(args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// committed is what the rest of the process must hear of once it is on disk.
type committed struct {
	arrived []place      // rows wait here that nobody has fed
	claimed []placedRef  // references that have been used up
	stale   []outbox.Ref // references that claimed nothing
	held    []placedRef  // claims given back: the dispatcher holds their next generation
	settled []outbox.Outcome
}

// statement is a prepared statement, or why there is none.
type statement struct {
	stmt *sql.Stmt
	err  error
}

func (s statement) Exec(args ...any) (sql.Result, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.stmt.Exec(args...)
}

func (s statement) Query(args ...any) (*sql.Rows, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.stmt.Query(args...)
}

func (s statement) QueryRow(args ...any) row {
	if s.err != nil {
		return row{err: s.err}
	}
	return row{row: s.stmt.QueryRow(args...)}
}

type row struct {
	row *sql.Row
	err error
}

func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.row.Scan(dest...)
}
