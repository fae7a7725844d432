package store

import (
	"fmt"
	"time"
)

// millis binds a time as integer Unix milliseconds, the zero time as NULL.
func millis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// nullMillis scans a column of integer Unix milliseconds, NULL as the zero time.
type nullMillis struct{ time.Time }

// Scan implements sql.Scanner.
func (m *nullMillis) Scan(column any) error {
	switch ms := column.(type) {
	case nil:
		m.Time = time.Time{}
	case int64:
		m.Time = time.UnixMilli(ms)
	default:
		return fmt.Errorf("store: a time is %T, not integer milliseconds", column)
	}
	return nil
}

// text binds a string, the empty one as NULL.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// number binds an int, zero as NULL.
func number(n int) any {
	if n == 0 {
		return nil
	}
	return n
}
