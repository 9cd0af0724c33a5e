// Package phonetic gives words that sound alike one key, so that names can be
// found as they are heard (Smith, Smyth, Schmidt; Catherine, Kathryn).
//
// It knows a simplified Metaphone: English spelling with the commonest German,
// French and Slavic ones. It must not know parameters or stores.
package phonetic

import "strings"

// rules rewrite letters to sounds, longest first at each place. ^ stands for the
// start of a word and $ for its end; X is sh and ch, 0 is th.
var rules = strings.NewReplacer(
	"^kn", "n", "^gn", "n", "^pn", "n", "^ps", "s", "^wr", "r", "^x", "s", "^wh", "w", "^mc", "mk", "^mac", "mk", "^chr", "kr",
	"schw", "Xw", "schm", "sm", "sch", "X", "tsch", "X", "tch", "X", "sh", "X", "cz", "X", "ch", "X", "tion", "Xn", "sion", "Xn",
	"dt$", "t", "mb$", "m", "gh$", "", "ght", "t", "gh", "k", "ph", "f", "pf", "f", "th", "t", "ck", "k", "qu", "kw", "q", "k",
	"ce", "s", "ci", "s", "cy", "s", "c", "k", "dge", "j", "dg", "j", "ge", "j", "gi", "j", "gy", "j", "g", "k",
	"x", "ks", "z", "s", "v", "f", "d", "t", "b", "p", "w", "w", "^y", "j", "^j", "j", "$", "", "^", "",
)

// maxWord bounds how much of a word is read.
const maxWord = 64

// Key is the sound of one folded, lower-case word: its consonants, and a first
// vowel as A. "" when nothing is left to hear, as of words without Latin letters.
func Key(word string) string {
	if len(word) > maxWord {
		word = word[:maxWord]
	}
	sounds := rules.Replace("^" + word + "$")
	out := make([]byte, 0, len(sounds))
	for i := range len(sounds) {
		c := sounds[i]
		switch {
		case strings.IndexByte("aeiouy", c) >= 0:
			if c = 'A'; i > 0 {
				continue
			}
		case c == 'h' || c == 'w' && i > 0, c < 'a' && c != 'X', c > 'z':
			continue
		}
		if n := len(out); n == 0 || out[n-1] != c {
			out = append(out, c)
		}
	}
	return string(out)
}
