package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// printable escapes what a terminal would act on instead of showing: reasons hold
// what other programs wrote. Ends of lines stay.
func printable(text string) string {
	if !strings.ContainsFunc(text, isUnprintable) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if isUnprintable(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func isUnprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// writeText writes a report for a terminal.
func writeText(w io.Writer, text string) error {
	if _, err := io.WriteString(w, printable(text)); err != nil {
		return fmt.Errorf("report: print: %w", err)
	}
	return nil
}
