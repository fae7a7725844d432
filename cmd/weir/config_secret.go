package main

import (
	"errors"
	"fmt"
	"strings"
)

// Secret is a text that is not printed by oversight: every verb of fmt, slog and
// encoding/json show a placeholder, unless it is an unexported field of what
// they print. Convert it to string where it is used.
type Secret string

const redacted = "[redacted]"

// Format implements fmt.Formatter. A String method would not do: %d passes it by.
func (s Secret) Format(state fmt.State, _ rune) {
	if s != "" {
		fmt.Fprint(state, redacted)
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) {
	return fmt.Append(nil, s), nil
}

// errNotVisible is returned for a key or token that cannot stand in an HTTP
// header. It does not repeat the text.
var errNotVisible = errors.New("must be visible ASCII characters without spaces")

func asSecret(to *Secret) textParser {
	return textParser{kindSecret, to, func(text string) error {
		s, err := parseSecret(text)
		*to = s
		return err
	}}
}

// parseSecret takes away the white space that files and shells leave around a
// key, and refuses what is left if it could not be sent.
func parseSecret(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errNotVisible
	}
	return Secret(text), nil
}
