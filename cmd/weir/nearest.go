package main

import "strings"

// nearest returns the known name that a mistyped one was most likely meant to
// be, or "" if none is close.
func nearest(typed string, known []string) string {
	typed = strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(typed), "-", "_"), "weir_")
	best, least := "", 3 // more than two slips is a guess
	for _, name := range known {
		if d := distance(typed, name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two names, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
