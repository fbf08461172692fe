package main

import (
	"fmt"
	"strings"
	"unicode"
)

// printable escapes what a terminal would act on instead of showing: players
// write the text, and a line of it must not move the cursor or turn the rest of
// the screen around.
func printable(s string) string {
	var out strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		fmt.Fprintf(&out, `\u%04x`, r)
	}
	return out.String()
}
