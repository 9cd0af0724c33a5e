package ucum

import (
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Scale turns numbers of one unit into numbers of its base units: (n + Offset) ×
// Factor. Numbers of units with the same Base can be compared then.
type Scale struct {
	Base   string // "g.m-3"; "1" for pure numbers
	Factor string // a decimal, of at most 40 digits
	Offset string // a decimal; "" is 0
}

// ScaleOf reads the scale of a code; ok is false when a part of it is unknown.
// Temperatures go to kelvin. Other units on scales of their own ([pH], B) and
// arbitrary units stand for themselves, as in Parse.
func ScaleOf(code string) (s Scale, ok bool) {
	switch code {
	case "Cel":
		return Scale{Base: "K", Factor: "1", Offset: "273.15"}, true
	case "[degF]":
		return Scale{Base: "K", Factor: ninths("5"), Offset: "459.67"}, true
	case "[degR]":
		return Scale{Base: "K", Factor: ninths("5")}, true
	case "[degRe]":
		return Scale{Base: "K", Factor: "1.25", Offset: "218.52"}, true
	}
	u, ok := Parse(code)
	if !ok {
		return Scale{}, false
	}
	f := u.Factor
	if _, err := apd.BaseContext.WithPrecision(digits).Round(&f, &f); err != nil {
		return Scale{}, false
	}
	return Scale{Base: u.Base(), Factor: strings.ToLower(f.Text('G'))}, true
}

// ninths is n/9 in as many digits as factors have.
func ninths(n string) string {
	f := number(n).Div(number("9")).Factor
	return f.Text('f')
}
