// Package grammar reads the text of _filter (R4 search_filter.html) into a tree.
//
// It knows the grammar and its limits. It must not know parameters, types of
// values or stores.
package grammar

import (
	"encoding/json"
	"errors"
	"strings"
)

// Kind says what a Node is.
type Kind uint8

// The kinds.
const (
	Param Kind = iota + 1 // Path Op Value
	And                   // all of Of
	Or                    // one of Of
	Not                   // not the one of Of
)

// Node is an expression.
type Node struct {
	Kind  Kind
	Of    []*Node
	Path  []Step
	Op    string // eq, ne, co …, lower case as written
	Value string // a string without its quotes and escapes
}

// Step is one name of a path: name[Where].
type Step struct {
	Name  string
	Where *Node // nil when none
}

// Limits of a filter.
const (
	MaxLength = 8192 // bytes
	MaxDepth  = 12   // parentheses and brackets inside each other
	MaxTests  = 200  // comparisons
)

// The errors. They do not repeat the text, which may be about a patient.
var (
	ErrSyntax = errors.New("not a filter: use path op value, joined by and, or, not(…) and parentheses")
	ErrLimit  = errors.New("the filter is too long or too deep")
)

// Parse reads a filter. and and or have no precedence: they are read from left
// to right.
func Parse(text string) (*Node, error) {
	if len(text) > MaxLength {
		return nil, ErrLimit
	}
	p := parser{rest: text}
	n, err := p.filter()
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, ErrSyntax
	}
	return n, nil
}

type parser struct {
	rest         string
	depth, tests int
}

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *parser) next(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// word takes a keyword that ends before a space or a parenthesis.
func (p *parser) word(w string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, w)
	if !ok || rest == "" || !strings.ContainsRune(" \t\r\n(", rune(rest[0])) {
		return false
	}
	p.rest = rest
	return true
}

func (p *parser) filter() (*Node, error) {
	if p.depth++; p.depth > MaxDepth {
		return nil, ErrLimit
	}
	defer func() { p.depth-- }()
	left, err := p.single()
	for err == nil {
		kind := Kind(0)
		switch {
		case p.word("and"):
			kind = And
		case p.word("or"):
			kind = Or
		default:
			return left, nil
		}
		var right *Node
		if right, err = p.single(); err == nil {
			left = join(kind, left, right)
		}
	}
	return nil, err
}

// join keeps chains of one operator flat.
func join(kind Kind, left, right *Node) *Node {
	if left.Kind == kind {
		left.Of = append(left.Of, right)
		return left
	}
	return &Node{Kind: kind, Of: []*Node{left, right}}
}

func (p *parser) single() (*Node, error) {
	not := p.word("not")
	if p.next('(') {
		n, err := p.filter()
		switch {
		case err != nil:
			return nil, err
		case !p.next(')'):
			return nil, ErrSyntax
		case not:
			return &Node{Kind: Not, Of: []*Node{n}}, nil
		}
		return &Node{Kind: And, Of: []*Node{n}}, nil
	}
	if not {
		return nil, ErrSyntax
	}
	return p.param()
}

func (p *parser) param() (*Node, error) {
	if p.tests++; p.tests > MaxTests {
		return nil, ErrLimit
	}
	n := &Node{Kind: Param}
	p.space()
	for {
		step, err := p.step()
		if err != nil {
			return nil, err
		}
		n.Path = append(n.Path, step)
		if p.rest == "" || p.rest[0] != '.' {
			break
		}
		p.rest = p.rest[1:]
	}
	if n.Op = p.until(" \t\r\n"); len(n.Op) != 2 {
		return nil, ErrSyntax
	}
	var err error
	n.Value, err = p.value()
	return n, err
}

// step reads name or name[filter].
func (p *parser) step() (s Step, err error) {
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == ':')
	})
	if end <= 0 {
		return s, ErrSyntax
	}
	s.Name, p.rest = p.rest[:end], p.rest[end:]
	if p.rest[0] != '[' {
		return s, nil
	}
	p.rest = p.rest[1:]
	if s.Where, err = p.filter(); err == nil && !p.next(']') {
		err = ErrSyntax
	}
	return s, err
}

// until takes what stands before one of the bytes.
func (p *parser) until(stops string) string {
	p.space()
	end := strings.IndexAny(p.rest, stops)
	if end < 0 {
		end = len(p.rest)
	}
	out := p.rest[:end]
	p.rest = p.rest[end:]
	return out
}

// value reads a JSON string, or a token up to a space or a closing bracket.
func (p *parser) value() (string, error) {
	p.space()
	if p.rest == "" || p.rest[0] != '"' {
		out := p.until(" \t\r\n)]")
		if out == "" {
			return "", ErrSyntax
		}
		return out, nil
	}
	end := 1
	for end < len(p.rest) && p.rest[end] != '"' {
		if p.rest[end] == '\\' {
			end++
		}
		end++
	}
	var out string
	if end >= len(p.rest) || json.Unmarshal([]byte(p.rest[:end+1]), &out) != nil {
		return "", ErrSyntax
	}
	p.rest = p.rest[end+1:]
	return out, nil
}
