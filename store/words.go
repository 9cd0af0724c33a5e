package store

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// WordStarts yields the byte offsets in folded text at which a word begins; 0
// is always the first, also of an empty text. Words are runs of letters, digits,
// marks and apostrophes, so that o'brien is one.
func WordStarts(text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		if !yield(0) {
			return
		}
		inside := true
		for i := 0; i < len(text); {
			r, size := rune(text[i]), 1
			if r >= utf8.RuneSelf {
				r, size = utf8.DecodeRuneInString(text[i:])
			}
			word := wordRune(r)
			if word && !inside && !yield(i) {
				return
			}
			inside = word
			i += size
		}
	}
}

func wordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || r == '\''
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '’'
}

// startsWord says whether text continues with start at one of its word starts.
func startsWord(text, start string) bool {
	for i := range WordStarts(text) {
		if strings.HasPrefix(text[i:], start) {
			return true
		}
	}
	return false
}

// below says whether uri is root or lies below it by path segments.
func below(uri, root string) bool {
	if !strings.HasPrefix(uri, root) {
		return false
	}
	if len(uri) == len(root) || strings.HasSuffix(root, "/") {
		return root != ""
	}
	return uri[len(root)] == '/'
}
