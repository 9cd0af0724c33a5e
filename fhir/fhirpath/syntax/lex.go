package syntax

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"candela/fhir"
)

// tokenKind says what a token is.
type tokenKind byte

const (
	tokEnd       tokenKind = iota
	tokName                // identifier or word
	tokDelimited           // `identifier`
	tokString              // 'text', unescaped
	tokNumber              // 12 or 12.50, as written
	tokMoment              // @2015-02, @2015T, @T12:30, as written without the @
	tokDollar              // $this, without the $
	tokSign                // operator or bracket
)

// token is one word of an expression; pos is its byte offset.
type token struct {
	kind tokenKind
	text string
	pos  int
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokString:
		return "a string"
	case tokMoment:
		return "@" + t.text
	case tokDollar:
		return "$" + t.text
	default:
		return strconv.Quote(t.text)
	}
}

type lexer struct {
	src string
	at  int
}

// Errorf is a *fhir.Error with status 400 about the expression src at byte
// offset pos, told as a 1-based character.
func Errorf(src string, pos int, code, format string, args ...any) *fhir.Error {
	pos = min(pos, len(src))
	e := fhir.Errorf(400, code, format, args...)
	e.Issues[0].Diagnostics = "FHIRPath at character " + strconv.Itoa(utf8.RuneCountInString(src[:pos])+1) + ": " + e.Issues[0].Diagnostics
	return e
}

func (l *lexer) fail(pos int, format string, args ...any) (token, error) {
	return token{}, Errorf(l.src, pos, fhir.CodeInvalid, format, args...)
}

// next reads one token.
func (l *lexer) next() (token, error) {
	if err := l.skip(); err != nil {
		return token{}, err
	}
	if l.at >= len(l.src) {
		return token{kind: tokEnd, pos: len(l.src)}, nil
	}
	switch c := l.src[l.at]; {
	case isLetter(c):
		return l.word(tokName, l.at), nil
	case isDigit(c):
		return l.number(), nil
	case c == '\'':
		return l.quoted(tokString, '\'')
	case c == '`':
		return l.quoted(tokDelimited, '`')
	case c == '@':
		return l.moment()
	case c == '$':
		l.at++
		return l.word(tokDollar, l.at), nil
	default:
		return l.sign()
	}
}

// skip passes white space and comments.
func (l *lexer) skip() error {
	for l.at < len(l.src) {
		rest := l.src[l.at:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			l.at++
		case strings.HasPrefix(rest, "//"):
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				l.at += end
			} else {
				l.at = len(l.src)
			}
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return Errorf(l.src, l.at, fhir.CodeInvalid, "the comment is not closed, expected */")
			}
			l.at += end + 4
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) word(kind tokenKind, from int) token {
	for l.at < len(l.src) && (isLetter(l.src[l.at]) || isDigit(l.src[l.at])) {
		l.at++
	}
	return token{kind, l.src[from:l.at], from}
}

func (l *lexer) digits() {
	for l.at < len(l.src) && isDigit(l.src[l.at]) {
		l.at++
	}
}

func (l *lexer) number() token {
	from := l.at
	l.digits()
	if l.at+1 < len(l.src) && l.src[l.at] == '.' && isDigit(l.src[l.at+1]) {
		l.at++
		l.digits()
	}
	return token{tokNumber, l.src[from:l.at], from}
}

// moment takes the characters a date, dateTime or time literal can have; the
// parser checks their form. A dot belongs to it only before digits.
func (l *lexer) moment() (token, error) {
	from := l.at
	l.at++
	for l.at < len(l.src) {
		c := l.src[l.at]
		dotted := c == '.' && l.at+1 < len(l.src) && isDigit(l.src[l.at+1]) && strings.Contains(l.src[from:l.at], ":")
		timed := strings.IndexByte(l.src[from:l.at], 'T') >= 0
		zone := (c == '+' || c == '-') && timed && l.zoneAhead()
		if !isDigit(c) && c != ':' && c != 'T' && c != 'Z' && !(c == '-' && !timed && l.digitAhead()) && !zone && !dotted {
			break
		}
		l.at++
	}
	if l.at == from+1 {
		return l.fail(from, "expected a date or time after @")
	}
	return token{tokMoment, l.src[from+1 : l.at], from}, nil
}

func (l *lexer) digitAhead() bool { return l.at+1 < len(l.src) && isDigit(l.src[l.at+1]) }

// zoneAhead tells +10:00 from an addition.
func (l *lexer) zoneAhead() bool {
	r := l.src[l.at:]
	return len(r) >= 6 && isDigit(r[1]) && isDigit(r[2]) && r[3] == ':' && isDigit(r[4]) && isDigit(r[5])
}

// quoted reads a string or delimited identifier and its escapes.
func (l *lexer) quoted(kind tokenKind, end byte) (token, error) {
	from := l.at
	l.at++
	plain := l.at
	var text strings.Builder
	for l.at < len(l.src) {
		switch l.src[l.at] {
		case end:
			text.WriteString(l.src[plain:l.at])
			l.at++
			return token{kind, text.String(), from}, nil
		case '\\':
			text.WriteString(l.src[plain:l.at])
			r, err := l.escape()
			if err != nil {
				return token{}, err
			}
			text.WriteRune(r)
			plain = l.at
		default:
			l.at++
		}
	}
	return l.fail(from, "the string is not closed, expected %c", end)
}

// escape reads one \x, l.at on the backslash.
func (l *lexer) escape() (rune, error) {
	from := l.at
	if l.at+1 >= len(l.src) {
		return 0, Errorf(l.src, from, fhir.CodeInvalid, "the expression ends inside an escape")
	}
	c := l.src[l.at+1]
	l.at += 2
	if i := strings.IndexByte("'\"`\\/rntf", c); i >= 0 {
		return rune("'\"`\\/\r\n\t\f"[i]), nil
	}
	if c == 'u' && l.at+4 <= len(l.src) {
		if n, err := strconv.ParseUint(l.src[l.at:l.at+4], 16, 16); err == nil {
			l.at += 4
			return rune(n), nil
		}
	}
	return 0, Errorf(l.src, from, fhir.CodeInvalid, "unknown escape, expected one of \\' \\\" \\` \\\\ \\/ \\r \\n \\t \\f \\uXXXX")
}

// sign reads an operator or bracket, the longest that fits.
func (l *lexer) sign() (token, error) {
	for _, s := range [...]string{"<=", ">=", "!=", "!~"} {
		if strings.HasPrefix(l.src[l.at:], s) {
			l.at += 2
			return token{tokSign, s, l.at - 2}, nil
		}
	}
	if strings.IndexByte(".,()[]{}+-*/&|<>=~%", l.src[l.at]) < 0 {
		r, _ := utf8.DecodeRuneInString(l.src[l.at:])
		return l.fail(l.at, "unexpected character %q", r)
	}
	l.at++
	return token{tokSign, l.src[l.at-1 : l.at], l.at - 1}, nil
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
