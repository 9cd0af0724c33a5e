package fhirpath

import (
	"strings"

	"candela/fhir"
)

// shape says what an ast node is.
type shape byte

const (
	shapeLiteral  shape = iota // val
	shapeEmpty                 // {}
	shapeName                  // text: an element or a type
	shapeCall                  // text(args…)
	shapeDot                   // args[0] . args[1] (a name or a call)
	shapeIndex                 // args[0] [ args[1] ]
	shapeSign                  // text args[0]: polarity
	shapeBinary                // args[0] text args[1]
	shapeType                  // args[0] text("is", "as") type args[1]
	shapeDollar                // $text
	shapeVariable              // %text
)

// ast is one node of a parsed expression.
type ast struct {
	shape shape
	text  string
	pos   int
	args  []*ast
	val   *value
}

// maxDepth bounds nesting, so that no expression can exhaust the stack.
const maxDepth = 250

type parser struct {
	lex   lexer
	tok   token
	depth int
}

// parse reads a whole expression.
func parse(src string) (*ast, error) {
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
	return syntaxError(p.lex.src, p.tok.pos, fhir.CodeInvalid, "expected %s, found %s", what, p.tok)
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
func (p *parser) expression(floor int) (*ast, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, syntaxError(p.lex.src, p.tok.pos, fhir.CodeTooCostly, "nested deeper than %d levels", maxDepth)
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

func (p *parser) infix(left *ast, op token, tight int) (*ast, error) {
	kind := shapeBinary
	read := func() (*ast, error) { return p.expression(tight) }
	if op.text == "is" || op.text == "as" {
		kind, read = shapeType, p.typeName
	}
	right, err := read()
	if err != nil {
		return nil, err
	}
	return &ast{shape: kind, text: op.text, pos: op.pos, args: []*ast{left, right}}, nil
}

// typeName reads Quantity or System.Quantity.
func (p *parser) typeName() (*ast, error) {
	name, err := p.identifier("a type name")
	for err == nil && p.isSign(".") {
		if err = p.advance(); err != nil {
			break
		}
		var part *ast
		if part, err = p.identifier("a type name"); err == nil {
			name = &ast{shape: shapeDot, pos: part.pos, args: []*ast{name, part}}
		}
	}
	return name, err
}

func (p *parser) identifier(what string) (*ast, error) {
	if p.tok.kind != tokName && p.tok.kind != tokDelimited {
		return nil, p.expected(what)
	}
	a := &ast{shape: shapeName, text: p.tok.text, pos: p.tok.pos}
	return a, p.advance()
}

// unary reads a polarity, or a term with what follows it.
func (p *parser) unary() (*ast, error) {
	if !p.isSign("+") && !p.isSign("-") {
		return p.postfix()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, syntaxError(p.lex.src, p.tok.pos, fhir.CodeTooCostly, "nested deeper than %d levels", maxDepth)
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
	return &ast{shape: shapeSign, text: op.text, pos: op.pos, args: []*ast{of}}, nil
}

// maxChain bounds a.b.c…, which nests in the tree though not in the parser.
const maxChain = 1000

// postfix reads a term and the invocations and indexers behind it.
func (p *parser) postfix() (*ast, error) {
	left, err := p.term()
	for links := 0; err == nil; links++ {
		if links > maxChain {
			return nil, syntaxError(p.lex.src, p.tok.pos, fhir.CodeTooCostly, "chain of more than %d invocations", maxChain)
		}
		at := p.tok.pos
		kind, read := shapeDot, p.invocation
		switch {
		case p.isSign("."):
		case p.isSign("["):
			kind, read = shapeIndex, p.index
		default:
			return left, nil
		}
		if err = p.advance(); err != nil {
			break
		}
		var right *ast
		right, err = read()
		left = &ast{shape: kind, pos: at, args: []*ast{left, right}}
	}
	return nil, err
}

func (p *parser) index() (*ast, error) {
	inner, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	return inner, p.take("]")
}

// invocation reads what may stand behind a dot: a name, a call, $this.
func (p *parser) invocation() (*ast, error) {
	if p.tok.kind == tokDollar {
		return p.dollar()
	}
	name, err := p.identifier("an element or function name")
	if err != nil || !p.isSign("(") {
		return name, err
	}
	name.shape = shapeCall
	if err := p.advance(); err != nil {
		return nil, err
	}
	name.args, err = p.arguments()
	return name, err
}

func (p *parser) arguments() ([]*ast, error) {
	if p.isSign(")") {
		return nil, p.advance()
	}
	var args []*ast
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
func (p *parser) term() (*ast, error) {
	switch p.tok.kind {
	case tokString:
		return p.literal(stringValue(p.tok.text))
	case tokNumber:
		return p.numberOrQuantity()
	case tokMoment:
		v, err := momentLiteral(p.tok.text)
		if err != nil {
			return nil, syntaxError(p.lex.src, p.tok.pos, fhir.CodeInvalid, "%v", err)
		}
		return p.literal(v)
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

func (p *parser) literal(v *value) (*ast, error) {
	a := &ast{shape: shapeLiteral, pos: p.tok.pos, val: v}
	return a, p.advance()
}

// word reads true, false or a leading name; operators are no names.
func (p *parser) word() (*ast, error) {
	switch p.tok.text {
	case "true":
		return p.literal(boolValue(true))
	case "false":
		return p.literal(boolValue(false))
	case "and", "or", "xor", "implies", "div", "mod":
		return nil, p.expected("an expression")
	default:
		return p.invocation()
	}
}

func (p *parser) bracket() (*ast, error) {
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
		return &ast{shape: shapeEmpty, pos: pos}, p.take("}")
	case "%":
		return p.variable()
	default:
		return nil, p.expected("an expression")
	}
}

func (p *parser) dollar() (*ast, error) {
	switch p.tok.text {
	case "this", "index", "total":
		a := &ast{shape: shapeDollar, text: p.tok.text, pos: p.tok.pos}
		return a, p.advance()
	default:
		return nil, p.expected("$this, $index or $total")
	}
}

func (p *parser) variable() (*ast, error) {
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
	return &ast{shape: shapeVariable, text: name, pos: pos}, p.advance()
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
func (p *parser) numberOrQuantity() (*ast, error) {
	v, err := numberLiteral(p.tok.text)
	if err != nil {
		return nil, syntaxError(p.lex.src, p.tok.pos, fhir.CodeInvalid, "%v", err)
	}
	a, err := p.literal(v)
	if err != nil {
		return nil, err
	}
	switch word, calendar := calendarUnit(p.tok.text); {
	case p.tok.kind == tokString:
		a.val = quantityValue(v, strings.Clone(p.tok.text), false)
	case p.tok.kind == tokName && calendar:
		a.val = quantityValue(v, word, true)
	default:
		return a, nil
	}
	return a, p.advance()
}
