package admin

import (
	"encoding/base64"
	"strconv"
)

const (
	// maxPage is how many rows a page of a list has at most.
	maxPage = 200
	// defaultPage is how many it has if nothing is said.
	defaultPage = 50
)

// cutPage makes a page of rows of which one more was read than it may have.
func cutPage[T any](rows []T, limit int, id func(T) int64) (page []T, next *string, more bool) {
	if len(rows) <= limit {
		return rows, nil, false
	}
	cursor := writeCursor(id(rows[limit-1]))
	return rows[:limit], &cursor, true
}

// cursorForm begins each cursor: what stands behind it may change.
const cursorForm = "1:"

// writeCursor gives the opaque text for "before this id".
func writeCursor(id int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorForm + strconv.FormatInt(id, 10)))
}

// readCursor takes only what writeCursor gives.
func readCursor(text string) (id int64, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) <= len(cursorForm) {
		return 0, false
	}
	id, err = strconv.ParseInt(string(data[len(cursorForm):]), 10, 64)
	return id, err == nil && id > 0 && writeCursor(id) == text
}
