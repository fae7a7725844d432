package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"slices"

	"github.com/mattn/go-sqlite3"

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

func (t *tx) query(query string) *statement { return t.w.prepared(query) }

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
	settled []Settled
}

// statement is a prepared statement of the writer's connection, or why there is
// none. It speaks to the driver itself: what database/sql adds to each call, for
// connections that are shared and calls that are canceled, costs half of what
// SQLite does for a small statement.
type statement struct {
	stmt *sqlite3.SQLiteStmt
	err  error
	args []driver.NamedValue // those of the last call, to be used again
	row  []driver.Value      // the current row
}

// bind converts arguments. What is not bound is NULL.
func (s *statement) bind(args []any) ([]driver.NamedValue, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.args = s.args[:0]
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("store: argument %d: %w", i+1, err)
		}
		if value != nil {
			s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: value})
		}
	}
	return s.args, nil
}

func (s *statement) Exec(args ...any) (driver.Result, error) {
	bound, err := s.bind(args)
	if err != nil {
		return nil, err
	}
	return s.stmt.ExecContext(context.Background(), bound)
}

func (s *statement) Query(args ...any) (*rows, error) {
	bound, err := s.bind(args)
	if err != nil {
		return nil, err
	}
	found, err := s.stmt.QueryContext(context.Background(), bound)
	if err != nil {
		return nil, err
	}
	s.row = slices.Grow(s.row[:0], len(found.Columns()))[:len(found.Columns())]
	return &rows{found: found, row: s.row}, nil
}

func (s *statement) QueryRow(args ...any) row {
	found, err := s.Query(args...)
	return row{found, err}
}

// rows are those of sql.Rows, of one statement.
type rows struct {
	found driver.Rows
	row   []driver.Value
	err   error // io.EOF: there are no more
}

func (r *rows) Next() bool {
	if r.err == nil {
		r.err = r.found.Next(r.row)
	}
	return r.err == nil
}

func (r *rows) Err() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

func (r *rows) Scan(dest ...any) error {
	for i := range dest {
		if err := assign(dest[i], r.row[i]); err != nil {
			return fmt.Errorf("store: column %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *rows) Close() error { return r.found.Close() }

// row is the first row of a query, or why there is none.
type row struct {
	*rows
	err error
}

func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer func() { _ = r.Close() }() // it only resets the statement
	if !r.Next() {
		return cmp.Or(r.Err(), sql.ErrNoRows)
	}
	return r.rows.Scan(dest...)
}

// assign puts a column where dest points, if the types agree.
func assign(dest any, column driver.Value) error {
	switch d := dest.(type) {
	case sql.Scanner:
		return d.Scan(column)
	case *int64:
		if n, ok := column.(int64); ok {
			*d = n
			return nil
		}
	case *int:
		if n, ok := column.(int64); ok {
			*d = int(n)
			return nil
		}
	case *bool:
		if n, ok := column.(int64); ok {
			*d = n != 0
			return nil
		}
	case *any:
		*d = column
		return nil
	case *string:
		if s, ok := column.(string); ok {
			*d = s
			return nil
		}
	case *[]byte:
		switch b := column.(type) {
		case string:
			*d = []byte(b)
			return nil
		case []byte:
			*d = b
			return nil
		}
	}
	return fmt.Errorf("%T does not fit into %T", column, dest)
}
