package dispatcher

import (
	"strings"
	"testing"
)

func TestSanitizedTextIsFitForStoring(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"plain text stays", "no device, größer", "no device, größer"},
		{"control characters go", "a\x00b\r\nc\x1b[0m\u0085d\x7f", "abc[0md"},
		{"invalid UTF-8 goes", "a\xff\xc3", "a"},
		{"long text is cut", strings.Repeat("x", maxStored+1), strings.Repeat("x", maxStored)},
		{"no character is cut in two", "x" + strings.Repeat("é", maxStored), "x" + strings.Repeat("é", maxStored/2-1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sanitize(tt.in); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
