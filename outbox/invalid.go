package outbox

import (
	"strconv"
	"strings"
)

// Detail is one fault of a refused message.
type Detail struct {
	// Field is the path of the value at fault, such as "lane" or
	// "body.content[2].text"; "envelope" stands for the whole.
	Field string `json:"field"`
	// Message says what is wrong with it.
	Message string `json:"message"`
}

// InvalidError says why something cannot become a message. It names every
// field at fault, as far as the text could be read, and each field once.
type InvalidError struct {
	Details []Detail
}

// Error gives all faults on one line, as "field: reason; field: reason".
func (e *InvalidError) Error() string {
	faults := make([]string, len(e.Details))
	for i, d := range e.Details {
		faults[i] = d.Field + ": " + d.Message
	}
	return strings.Join(faults, "; ")
}

// maxDetails bounds what a hostile text can make us say.
const maxDetails = 20

// add notes a fault; an empty reason means there is none. Only the first
// fault of a field counts, because the others tend to follow from it.
func (e *InvalidError) add(field, reason string) {
	if reason == "" || len(e.Details) == maxDetails {
		return
	}
	for _, d := range e.Details {
		if d.Field == field {
			return
		}
	}
	e.Details = append(e.Details, Detail{Field: field, Message: reason})
}

// err is e, or nil if nothing is at fault.
func (e *InvalidError) err() error {
	if len(e.Details) == 0 {
		return nil
	}
	return e
}

// clip prepares outside text for a message to people: short, on one line,
// without characters that a terminal obeys, and visible also if it is empty.
func clip(s string) string {
	const limit = 64
	quoted := strconv.Quote(s[:min(len(s), limit)])
	switch {
	case s == "":
		return quoted
	case len(s) > limit:
		return quoted[1:len(quoted)-1] + "…"
	}
	return quoted[1 : len(quoted)-1]
}
