// Package ucum reads unit codes of the Unified Code for Units of Measure and
// reduces them to base units, so that 4 g and 4000 mg can be seen to be equal.
//
// It knows the case-sensitive codes that occur in health data, exactly. Units
// on scales with an own zero or a logarithm (Cel, [degF], [pH], B) and arbitrary
// units ([IU]) stand for themselves: they are comparable with themselves only.
// It must not know FHIR.
package ucum

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Unit is a unit in base units: Factor times the product of base^exponent.
type Unit struct {
	Factor apd.Decimal
	base   map[string]int
}

// maxCode bounds the length of a unit's code, in bytes.
const maxCode = 128

// Parse reads a code like "mg/dL" or "10*3/uL"; ok is false when a part of it is
// unknown. Annotations in braces count as 1.
func Parse(code string) (u Unit, ok bool) {
	if code == "" || len(code) > maxCode {
		return Unit{}, false
	}
	p := parser{rest: code}
	u, ok = p.term()
	return u, ok && p.rest == ""
}

// SameBase says whether quantities of u and o can be compared.
func (u Unit) SameBase(o Unit) bool { return maps.Equal(u.base, o.base) }

// Base names the base units with exponents ("g.m-3"), sorted; "1" when there is none.
func (u Unit) Base() string {
	var parts []string
	for _, b := range slices.Sorted(maps.Keys(u.base)) {
		part := b
		if n := u.base[b]; n != 1 {
			part += strconv.Itoa(n)
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "1"
	}
	return strings.Join(parts, ".")
}

// Mul is u times o; Div is u by o.
func (u Unit) Mul(o Unit) Unit { return u.times(o, 1) }

// Div is u by o.
func (u Unit) Div(o Unit) Unit { return u.times(o, -1) }

// digits is the precision of factors that do not come out even.
const digits = 40

func (u Unit) times(o Unit, sign int) Unit {
	out := Unit{base: maps.Clone(u.base)}
	if out.base == nil {
		out.base = map[string]int{}
	}
	ctx := apd.BaseContext.WithPrecision(digits)
	do := ctx.Mul
	if sign < 0 {
		do = ctx.Quo
	}
	// Factors are finite and not zero, so neither operation can fail.
	_, _ = do(&out.Factor, &u.Factor, &o.Factor)
	out.Factor.Reduce(&out.Factor)
	for b, n := range o.base {
		if out.base[b] += sign * n; out.base[b] == 0 {
			delete(out.base, b)
		}
	}
	return out
}

// maxPower bounds exponents; 10*30 is the largest that occurs.
const maxPower = 30

// power is u multiplied with itself n times.
func (u Unit) power(n int) Unit {
	out := number("1")
	for range max(n, -n) {
		if n > 0 {
			out = out.Mul(u)
		} else {
			out = out.Div(u)
		}
	}
	return out
}

func number(text string) Unit {
	var u Unit
	_, _, _ = u.Factor.SetString(text) // callers give digits or table entries
	return u
}

type parser struct {
	rest  string
	depth int
}

func (p *parser) next(c byte) bool {
	if p.rest != "" && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

// term reads components joined by . and /.
func (p *parser) term() (Unit, bool) {
	if p.depth++; p.depth > 8 {
		return Unit{}, false
	}
	defer func() { p.depth-- }()
	out, ok := number("1"), true
	if !p.next('/') {
		out, ok = p.component()
	} else {
		p.rest = "/" + p.rest
	}
	for ok && p.rest != "" {
		var right Unit
		switch {
		case p.next('.'):
			right, ok = p.component()
			out = out.Mul(right)
		case p.next('/'):
			if right, ok = p.component(); ok {
				out = out.Div(right)
			}
		default:
			return out, true
		}
	}
	return out, ok
}

// component reads (term), a number, an annotation or an atom with exponent.
func (p *parser) component() (Unit, bool) {
	if p.next('(') {
		u, ok := p.term()
		return u, ok && p.next(')')
	}
	if p.rest != "" && p.rest[0] == '{' {
		return number("1"), p.annotation()
	}
	n := strings.IndexAny(p.rest, "./(){")
	n = endOfAtom(p.rest, n)
	atom := p.rest[:n]
	p.rest = p.rest[n:]
	u, ok := symbol(atom)
	if ok && p.rest != "" && p.rest[0] == '{' {
		ok = p.annotation()
	}
	return u, ok
}

// endOfAtom keeps the punctuation inside [brackets] with the atom.
func endOfAtom(s string, n int) int {
	if n < 0 {
		n = len(s)
	}
	if open := strings.IndexByte(s, '['); open >= 0 && open < n {
		if shut := strings.IndexByte(s, ']'); shut > n {
			rest := strings.IndexAny(s[shut:], "./(){")
			if rest < 0 {
				return len(s)
			}
			return shut + rest
		}
	}
	return n
}

func (p *parser) annotation() bool {
	end := strings.IndexByte(p.rest, '}')
	if end < 0 {
		return false
	}
	p.rest = p.rest[end+1:]
	return true
}

// symbol reads 10, m, cm, cm2, m-1, 10*3.
func symbol(s string) (Unit, bool) {
	if s == "" {
		return Unit{}, false
	}
	if strings.Trim(s, "0123456789") == "" {
		u := number(s)
		return u, !u.Factor.IsZero()
	}
	if u, ok := prefixed(s); ok {
		return u, true
	}
	cut := len(strings.TrimRight(s, "0123456789"))
	if cut > 0 && cut < len(s) && (s[cut-1] == '+' || s[cut-1] == '-') {
		cut--
	}
	exponent, err := strconv.Atoi(s[cut:])
	if err != nil || max(exponent, -exponent) > maxPower {
		return Unit{}, false
	}
	u, ok := prefixed(s[:cut])
	return u.power(exponent), ok
}

// prefixed reads an atom, with a metric prefix when it may have one.
func prefixed(s string) (Unit, bool) {
	if u, _, ok := atom(s); ok {
		return u, true
	}
	for _, size := range [...]int{2, 1} {
		if len(s) <= size {
			continue
		}
		factor := prefix(s[:size])
		if factor == "" {
			continue
		}
		if u, metric, ok := atom(s[size:]); ok && metric {
			return number(factor).Mul(u), true
		}
	}
	return Unit{}, false
}

func prefix(s string) string {
	switch s {
	case "Y":
		return "1e24"
	case "Z":
		return "1e21"
	case "E":
		return "1e18"
	case "P":
		return "1e15"
	case "T":
		return "1e12"
	case "G":
		return "1e9"
	case "M":
		return "1e6"
	case "k":
		return "1e3"
	case "h":
		return "1e2"
	case "da":
		return "1e1"
	case "d":
		return "1e-1"
	case "c":
		return "1e-2"
	case "m":
		return "1e-3"
	case "u":
		return "1e-6"
	case "n":
		return "1e-9"
	case "p":
		return "1e-12"
	case "f":
		return "1e-15"
	case "a":
		return "1e-18"
	case "z":
		return "1e-21"
	case "y":
		return "1e-24"
	}
	return ""
}
