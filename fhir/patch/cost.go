package patch

import "strings"

// The FHIRPath of a patch comes from anybody who may write, and the language can
// say in a line what takes a machine down. A patch names elements: for that, a
// few functions are enough whose cost grows with the resource and no faster.
// What jumps about in the resource or builds values is counted as what it can
// cost in the worst case.

// picks are the functions that a path may use, and the words that may stand
// before a parenthesis.
const picks = " where select all iif exists empty not count allTrue anyTrue allFalse anyFalse" +
	" single first last tail skip take children descendants is as ofType type resolve" +
	" extension hasExtension hasValue getValue toString lower upper trim length" +
	" startsWith endsWith contains indexOf lastIndexOf substring matches matchesFull" +
	" now today timeOfDay and or xor implies in div mod "

const (
	nodeBytes = 32 // bytes of a resource that hold about one element, at least
	treeDepth = 32 // elements that each element lies in, at most, on average
)

// cost estimates, from above, the bytes looked at when a path is evaluated on a
// resource of a size. ok is false when it uses what no path of a patch needs:
// other functions and comments. The path has compiled.
func cost(path string, size int) (bytes int, ok bool) {
	calls, factor := 1, 1
	for at := 0; at < len(path) && factor < maxReread; {
		word, next := scan(path, at)
		switch {
		case word == "/":
			return 0, false
		case word == "%" || word == "|" || word == "&" || word == "+":
			factor *= 1 + size/nodeBytes
		case next < len(path) && path[next] == '(' && word != "":
			calls++
			if word != "(" && !strings.Contains(picks, " "+word+" ") {
				return 0, false
			}
			switch word {
			case "resolve":
				factor *= 1 + size/nodeBytes
			case "descendants":
				factor *= treeDepth
			}
		}
		at = next
	}
	if factor >= maxReread {
		return maxReread + 1, true
	}
	return size * calls * factor, true
}

// scan reads the next word of a path: a name without its back-ticks, or a sign.
// Strings, white space and numbers give "". next is behind it and the white
// space that follows.
func scan(path string, at int) (word string, next int) {
	next = at + 1
	switch c := path[at]; {
	case c == '\'' || c == '`' || c == '"':
		for next < len(path) && path[next] != c {
			if path[next] == '\\' {
				next++
			}
			next++
		}
		next = min(next, len(path))
		if c != '\'' {
			word = path[at+1 : next]
		}
		next = min(next+1, len(path))
	case isLetter(c):
		for next < len(path) && (isLetter(path[next]) || path[next] >= '0' && path[next] <= '9') {
			next++
		}
		word = path[at:next]
	case strings.IndexByte("/%|&+(", c) >= 0:
		word = path[at:next]
	}
	for next < len(path) && strings.IndexByte(" \t\r\n", path[next]) >= 0 {
		next++
	}
	return word, next
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
