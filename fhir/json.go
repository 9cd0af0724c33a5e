package fhir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound what one JSON body may cost (security requirement R43). A zero
// field means the default of DefaultLimits.
type Limits struct {
	Bytes  int // whole body
	Depth  int // nested objects and arrays
	Tokens int // JSON tokens, object names included
	String int // bytes of one string literal; attachments (data, div) are exempt
}

// DefaultLimits are the limits of one resource.
func DefaultLimits() Limits {
	return Limits{Bytes: 10 << 20, Depth: 64, Tokens: 1 << 20, String: 1 << 20}
}

// BundleLimits are the limits of a batch or transaction body.
func BundleLimits() Limits {
	return Limits{Bytes: 50 << 20, Depth: 72, Tokens: 8 << 20, String: 1 << 20}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	pick := func(v, def int) int {
		if v == 0 {
			return def
		}
		return v
	}
	return Limits{pick(l.Bytes, d.Bytes), pick(l.Depth, d.Depth), pick(l.Tokens, d.Tokens), pick(l.String, d.String)}
}

// scanner turns JSON text into the flat node list of a Tree in one pass. It
// refuses what RFC 8259 and FHIR's JSON form refuse: bad UTF-8, duplicate and
// case-twin names, empty objects, arrays and strings are left to the structure
// check, which can name the element.
type scanner struct {
	limits Limits
	dec    *jsontext.Decoder
	tree   *Tree
}

// ParseTree reads one JSON value into a Tree. Insignificant white space is
// dropped; every literal and the order of keys stay as they were. Errors are
// *Error with status 400 or 413.
func ParseTree(body []byte, limits Limits) (*Tree, error) {
	l := limits.orDefault()
	if len(body) > l.Bytes {
		return nil, Errorf(413, CodeTooLong, "body has %d bytes; the limit is %d", len(body), l.Bytes)
	}
	if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return nil, Errorf(400, CodeStructure, "body starts with a byte order mark; send plain UTF-8")
	}
	s := &scanner{limits: l, tree: &Tree{raw: make([]byte, 0, len(body))}}
	s.tree.nodes = make([]node, 0, len(body)/24+8)
	s.dec = jsontext.NewDecoder(bytes.NewReader(body))
	if err := s.value(0, false); err != nil {
		return nil, s.explain(err)
	}
	if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, Errorf(400, CodeStructure, "unexpected data after the JSON value at byte %d", s.dec.InputOffset())
	}
	return s.tree, nil
}

func (s *scanner) explain(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Errorf(400, CodeStructure, "body is empty or ends in the middle of a JSON value")
	}
	where := string(s.dec.StackPointer())
	return Errorf(400, CodeStructure, "not well-formed JSON at byte %d (%s): %s", s.dec.InputOffset(), where, reason(err))
}

// reason keeps jsontext's short cause and drops what could echo the content.
func reason(err error) string {
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) && syn.Err != nil {
		msg := syn.Err.Error()
		if i := strings.IndexByte(msg, '"'); i > 0 {
			msg = strings.TrimSpace(msg[:i])
		}
		return msg
	}
	return "syntax error"
}

// value appends the next value and all below it; exempt lifts the string limit.
func (s *scanner) value(depth int, exempt bool) error {
	if depth > s.limits.Depth {
		return Errorf(413, CodeTooCostly, "JSON is nested deeper than %d levels", s.limits.Depth)
	}
	if len(s.tree.nodes) >= s.limits.Tokens {
		return Errorf(413, CodeTooCostly, "JSON has more than %d tokens", s.limits.Tokens)
	}
	switch s.dec.PeekKind() {
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth, exempt)
	default:
		return s.scalar(exempt)
	}
}

func (s *scanner) scalar(exempt bool) error {
	v, err := s.dec.ReadValue()
	if err != nil {
		return err
	}
	kind := kindOf(v[0])
	if kind == String && !exempt && len(v) > s.limits.String {
		return Errorf(413, CodeTooLong, "string at %s is longer than %d bytes", s.dec.StackPointer(), s.limits.String)
	}
	from := len(s.tree.raw)
	s.tree.raw = append(s.tree.raw, v...)
	s.tree.nodes = append(s.tree.nodes, node{kind: kind, from: uint32(from), to: uint32(len(s.tree.raw)), next: uint32(len(s.tree.nodes) + 1)})
	return nil
}

func (s *scanner) open(kind Kind) (int, error) {
	if _, err := s.dec.ReadToken(); err != nil {
		return 0, err
	}
	at := len(s.tree.nodes)
	s.tree.nodes = append(s.tree.nodes, node{kind: kind, from: uint32(len(s.tree.raw))})
	s.tree.raw = append(s.tree.raw, byte(kind))
	return at, nil
}

func (s *scanner) close(at int, end byte) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	s.tree.raw = append(s.tree.raw, end)
	n := &s.tree.nodes[at]
	n.to, n.next = uint32(len(s.tree.raw)), uint32(len(s.tree.nodes))
	return nil
}

func (s *scanner) array(depth int, exempt bool) error {
	at, err := s.open(Array)
	if err != nil {
		return err
	}
	for first := true; s.dec.PeekKind() != ']'; first = false {
		if !first {
			s.tree.raw = append(s.tree.raw, ',')
		}
		if err := s.value(depth+1, exempt); err != nil {
			return err
		}
	}
	return s.close(at, ']')
}

func (s *scanner) object(depth int) error {
	at, err := s.open(Object)
	if err != nil {
		return err
	}
	typed := false
	for first := true; s.dec.PeekKind() != '}'; first = false {
		if !first {
			s.tree.raw = append(s.tree.raw, ',')
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if strings.EqualFold(name, "resourceType") {
			if typed {
				return Errorf(400, CodeStructure, "two spellings of resourceType at %s", s.dec.StackPointer())
			}
			typed = true
		}
		if err := s.value(depth+1, name == "data" || name == "div"); err != nil {
			return err
		}
	}
	return s.close(at, '}')
}

// name appends a member name as a node of its own, directly before its value.
func (s *scanner) name() (string, error) {
	v, err := s.dec.ReadValue()
	if err != nil {
		return "", err
	}
	if v[0] != '"' {
		return "", fmt.Errorf("object name is not a string")
	}
	if len(v) > 1026 {
		return "", Errorf(400, CodeStructure, "object name is longer than 1024 bytes")
	}
	from := len(s.tree.raw)
	s.tree.raw = append(s.tree.raw, v...)
	s.tree.nodes = append(s.tree.nodes, node{kind: name, from: uint32(from), to: uint32(len(s.tree.raw)), next: uint32(len(s.tree.nodes) + 1)})
	s.tree.raw = append(s.tree.raw, ':')
	return unquote(s.tree.raw[from : len(s.tree.raw)-1]), nil
}
