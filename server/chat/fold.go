package chat

import (
	"unicode"
	"unicode/utf8"
)

// Fold maps s to a form that is equal for strings which Unicode simple case folding makes equal:
// each rune becomes the smallest of those that unicode.SimpleFold connects it with. So 'k' and the
// Kelvin sign become 'K', the three small and capital sigmas one sigma, and the dotless i stays.
// Byte search in folded text is rune search without case.
func Fold(s string) string {
	i := 0
	for i < len(s) && s[i] < utf8.RuneSelf && (s[i] < 'a' || s[i] > 'z') {
		i++
	}
	if i == len(s) {
		return s
	}
	dst := make([]byte, i, len(s)+utf8.UTFMax)
	copy(dst, s)
	for _, r := range s[i:] {
		dst = utf8.AppendRune(dst, foldRune(r))
	}
	return string(dst)
}

// The scripts between these two have no case: most of Chinese, Japanese and their punctuation.
const caselessFrom, caselessTo = 0x2E80, 0xA63F

func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r // of each orbit that holds ASCII, the ASCII capital is the smallest
	}
	if caselessFrom <= r && r <= caselessTo {
		return r
	}
	smallest := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		smallest = min(smallest, next)
	}
	return smallest
}
