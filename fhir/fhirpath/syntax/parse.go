// Package syntax reads FHIRPath: the whole grammar of FHIRPath N1, into a tree
// of nodes.
//
// It knows the language and nothing of types, functions or evaluation.
package syntax

import (
	"strings"

	"candela/fhir"
)

// Shape says what a Node is.
type Shape byte

// The shapes, and where their parts are.
const (
	Empty    Shape = iota // {}
	Boolean               // Text: true or false
	String                // Text, without quotes and escapes
	Number                // Text: 12 or 12.50
	Quantity              // Text: the number, Unit: a UCUM code or, when Calendar, a word
	Moment                // Text: a date, dateTime or Ttime without the @, form unchecked
	Name                  // Text: an element or a type
	Call                  // Text(Args…)
	Dot                   // Args[0] . Args[1], a Name, a Call or a Dollar
	Index                 // Args[0] [ Args[1] ]
	Sign                  // Text Args[0]: polarity
	Binary                // Args[0] Text Args[1]
	Type                  // Args[0] Text Args[1]: is or as, Args[1] a Name or a Dot of names
	Dollar                // $Text: this, index or total
	Variable              // %Text
)

// Node is one part of a parsed expression; Pos is its byte offset.
type Node struct {
	Shape    Shape
	Text     string
	Unit     string
	Calendar bool
	Pos      int
	Args     []*Node
}

// maxDepth bounds nesting, so that no expression can exhaust the stack.
const maxDepth = 250

type parser struct {
	lex   lexer
	tok   token
	depth int
}

// maxLength bounds an expression's text, in bytes.
const maxLength = 64 << 10

// Parse reads a whole expression. Errors are *fhir.Error with status 400 that
// say where and what was expected.
func Parse(src string) (*Node, error) {
	if len(src) > maxLength {
		return nil, Errorf(src, maxLength, fhir.CodeTooLong, "the expression is longer than %d bytes", maxLength)
	}
	p := &parser{lex: lexer{src: src}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	tree, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.expected("an operator or the end")
	}
	return tree, nil
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

func (p *parser) expected(what string) error {
	return Errorf(p.lex.src, p.tok.pos, fhir.CodeInvalid, "expected %s, found %s", what, p.tok)
}

func (p *parser) isSign(s string) bool { return p.tok.kind == tokSign && p.tok.text == s }

// take passes a sign that must come here.
func (p *parser) take(s string) error {
	if !p.isSign(s) {
		return p.expected("'" + s + "'")
	}
	return p.advance()
}

// binding is how tightly an infix operator binds; 0: no infix operator.
// The order is that of the N1 grammar.
func binding(t token) int {
	if t.kind != tokSign && t.kind != tokName {
		return 0
	}
	switch t.text {
	case "*", "/", "div", "mod":
		return 11
	case "+", "-", "&":
		return 10
	case "is", "as":
		return 9
	case "|":
		return 8
	case "<", "<=", ">", ">=":
		return 7
	case "=", "~", "!=", "!~":
		return 6
	case "in", "contains":
		return 5
	case "and":
		return 4
	case "or", "xor":
		return 3
	case "implies":
		return 2
	default:
		return 0
	}
}

// expression reads operators that bind tighter than floor.
func (p *parser) expression(floor int) (*Node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, Errorf(p.lex.src, p.tok.pos, fhir.CodeTooCostly, "nested deeper than %d levels", maxDepth)
	}
	defer func() { p.depth-- }()
	left, err := p.unary()
	for err == nil {
		op := p.tok
		tight := binding(op)
		if tight <= floor {
			return left, nil
		}
		if err = p.advance(); err == nil {
			left, err = p.infix(left, op, tight)
		}
	}
	return nil, err
}

func (p *parser) infix(left *Node, op token, tight int) (*Node, error) {
	kind := Binary
	read := func() (*Node, error) { return p.expression(tight) }
	if op.text == "is" || op.text == "as" {
		kind, read = Type, p.typeName
	}
	right, err := read()
	if err != nil {
		return nil, err
	}
	return &Node{Shape: kind, Text: op.text, Pos: op.pos, Args: []*Node{left, right}}, nil
}

// typeName reads Quantity or System.Quantity.
func (p *parser) typeName() (*Node, error) {
	name, err := p.identifier("a type name")
	for err == nil && p.isSign(".") {
		if err = p.advance(); err != nil {
			break
		}
		var part *Node
		if part, err = p.identifier("a type name"); err == nil {
			name = &Node{Shape: Dot, Pos: part.Pos, Args: []*Node{name, part}}
		}
	}
	return name, err
}

func (p *parser) identifier(what string) (*Node, error) {
	if p.tok.kind != tokName && p.tok.kind != tokDelimited {
		return nil, p.expected(what)
	}
	a := &Node{Shape: Name, Text: p.tok.text, Pos: p.tok.pos}
	return a, p.advance()
}

// unary reads a polarity, or a term with what follows it.
func (p *parser) unary() (*Node, error) {
	if !p.isSign("+") && !p.isSign("-") {
		return p.postfix()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, Errorf(p.lex.src, p.tok.pos, fhir.CodeTooCostly, "nested deeper than %d levels", maxDepth)
	}
	defer func() { p.depth-- }()
	op := p.tok
	if err := p.advance(); err != nil {
		return nil, err
	}
	of, err := p.unary()
	if err != nil {
		return nil, err
	}
	return &Node{Shape: Sign, Text: op.text, Pos: op.pos, Args: []*Node{of}}, nil
}

// maxChain bounds a.b.c…, which nests in the tree though not in the parser.
const maxChain = 1000

// postfix reads a term and the invocations and indexers behind it.
func (p *parser) postfix() (*Node, error) {
	left, err := p.term()
	for links := 0; err == nil; links++ {
		if links > maxChain {
			return nil, Errorf(p.lex.src, p.tok.pos, fhir.CodeTooCostly, "chain of more than %d invocations", maxChain)
		}
		at := p.tok.pos
		kind, read := Dot, p.invocation
		switch {
		case p.isSign("."):
		case p.isSign("["):
			kind, read = Index, p.index
		default:
			return left, nil
		}
		if err = p.advance(); err != nil {
			break
		}
		var right *Node
		right, err = read()
		left = &Node{Shape: kind, Pos: at, Args: []*Node{left, right}}
	}
	return nil, err
}

func (p *parser) index() (*Node, error) {
	inner, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	return inner, p.take("]")
}

// invocation reads what may stand behind a dot: a name, a call, $this.
func (p *parser) invocation() (*Node, error) {
	if p.tok.kind == tokDollar {
		return p.dollar()
	}
	name, err := p.identifier("an element or function name")
	if err != nil || !p.isSign("(") {
		return name, err
	}
	name.Shape = Call
	if err := p.advance(); err != nil {
		return nil, err
	}
	name.Args, err = p.arguments()
	return name, err
}

func (p *parser) arguments() ([]*Node, error) {
	if p.isSign(")") {
		return nil, p.advance()
	}
	var args []*Node
	for {
		arg, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		if p.isSign(")") {
			return args, p.advance()
		}
		if !p.isSign(",") {
			return nil, p.expected("',' or ')'")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

// term reads a literal, a variable, a parenthesis or a leading invocation.
func (p *parser) term() (*Node, error) {
	switch p.tok.kind {
	case tokString:
		return p.literal(String)
	case tokNumber:
		return p.numberOrQuantity()
	case tokMoment:
		return p.literal(Moment)
	case tokSign:
		return p.bracket()
	case tokName:
		return p.word()
	case tokDollar, tokDelimited:
		return p.invocation()
	default:
		return nil, p.expected("an expression")
	}
}

func (p *parser) literal(shape Shape) (*Node, error) {
	a := &Node{Shape: shape, Text: p.tok.text, Pos: p.tok.pos}
	return a, p.advance()
}

// word reads true, false or a leading name; operators are no names.
func (p *parser) word() (*Node, error) {
	switch p.tok.text {
	case "true", "false":
		return p.literal(Boolean)
	case "and", "or", "xor", "implies", "div", "mod":
		return nil, p.expected("an expression")
	default:
		return p.invocation()
	}
}

func (p *parser) bracket() (*Node, error) {
	pos := p.tok.pos
	switch p.tok.text {
	case "(":
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		return inner, p.take(")")
	case "{":
		if err := p.advance(); err != nil {
			return nil, err
		}
		return &Node{Shape: Empty, Pos: pos}, p.take("}")
	case "%":
		return p.variable()
	default:
		return nil, p.expected("an expression")
	}
}

func (p *parser) dollar() (*Node, error) {
	switch p.tok.text {
	case "this", "index", "total":
		a := &Node{Shape: Dollar, Text: p.tok.text, Pos: p.tok.pos}
		return a, p.advance()
	default:
		return nil, p.expected("$this, $index or $total")
	}
}

func (p *parser) variable() (*Node, error) {
	pos := p.tok.pos
	if err := p.advance(); err != nil {
		return nil, err
	}
	if k := p.tok.kind; k != tokName && k != tokDelimited && k != tokString {
		return nil, p.expected("a variable name after %")
	}
	name := p.tok.text
	// %vs-gender without back quotes is old but common: a name may go on behind dashes.
	if p.tok.kind == tokName && (name == "vs" || name == "ext") {
		name += p.dashed()
	}
	return &Node{Shape: Variable, Text: name, Pos: pos}, p.advance()
}

// dashed takes the rest of an unquoted name that has dashes.
func (p *parser) dashed() string {
	from := p.lex.at
	for p.lex.at+1 < len(p.lex.src) && p.lex.src[p.lex.at] == '-' && isLetter(p.lex.src[p.lex.at+1]) {
		p.lex.at++
		p.lex.word(tokName, p.lex.at)
	}
	return p.lex.src[from:p.lex.at]
}

// numberOrQuantity reads 4, 4.5, 4 days or 4 'mg'.
func (p *parser) numberOrQuantity() (*Node, error) {
	a, err := p.literal(Number)
	if err != nil {
		return nil, err
	}
	switch word, calendar := CalendarWord(p.tok.text); {
	case p.tok.kind == tokString:
		a.Shape, a.Unit = Quantity, p.tok.text
	case p.tok.kind == tokName && calendar:
		a.Shape, a.Unit, a.Calendar = Quantity, word, true
	default:
		return a, nil
	}
	return a, p.advance()
}

// CalendarWord gives the singular of a unit that is a word: day for days.
func CalendarWord(word string) (singular string, ok bool) {
	singular = strings.TrimSuffix(word, "s")
	switch singular {
	case "year", "month", "week", "day", "hour", "minute", "second", "millisecond":
		return singular, true
	}
	return "", false
}
