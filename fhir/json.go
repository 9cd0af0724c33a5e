package fhir

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound what one JSON body may cost. A zero field means the default of
// DefaultLimits.
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

// Limits that no FHIR content comes near and that need no setting: they keep a
// hostile body from costing more than its size.
const (
	maxMembers = 1024 // members of one object
	maxName    = 1024 // bytes of a member name
	maxNumber  = 256  // bytes of a number literal
)

// scanner turns JSON text into the flat node list of a Tree in one pass. It
// refuses what RFC 8259 and FHIR's JSON form refuse of the text itself: bad
// UTF-8, lone surrogates, duplicate names, a second spelling of resourceType,
// numbers beyond any use. Empty objects, arrays and strings are left to the
// structure check, which can name the element.
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
	s := &scanner{limits: l, tree: &Tree{raw: make([]byte, 0, len(body)), nodes: make([]node, 0, nodeBound(body, l))}}
	s.dec = jsontext.NewDecoder(bytes.NewBuffer(body)) // read in place, not copied
	if err := s.value(0, false); err != nil {
		return nil, s.explain(err)
	}
	if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, Errorf(400, CodeStructure, "unexpected data after the JSON value at byte %d", s.dec.InputOffset())
	}
	return s.tree, nil
}

// nodeBound is a number of nodes that body cannot exceed: each value but the
// first follows one of these bytes, and takes two bytes with it. Sizing the list
// once keeps the peak near the final size; a growing list would hold two copies.
func nodeBound(body []byte, l Limits) int {
	n := 1
	for _, c := range []byte(",:[{") {
		n += bytes.Count(body, []byte{c})
	}
	return min(n, len(body)/2+1, l.Tokens+1)
}

func (s *scanner) explain(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Errorf(400, CodeStructure, "body is empty or ends in the middle of a JSON value")
	}
	return Errorf(400, CodeStructure, "not well-formed JSON at byte %d: %s", s.dec.InputOffset(), reason(err)).At(s.here())
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
	switch {
	case kind == String && !exempt && len(v) > s.limits.String:
		return Errorf(413, CodeTooLong, "a string is longer than %d bytes", s.limits.String).At(s.here())
	case kind == Number && len(v) > maxNumber:
		return Errorf(413, CodeTooLong, "a number is longer than %d characters", maxNumber).At(s.here())
	case kind == Number && !sizedNumber(v):
		return Errorf(400, CodeValue, "a number is beyond the range of decimals").At(s.here())
	}
	s.append(kind, v)
	return nil
}

// append adds a node of one token.
func (s *scanner) append(kind Kind, v []byte) {
	from := len(s.tree.raw)
	s.tree.raw = append(s.tree.raw, v...)
	at := len(s.tree.nodes)
	s.tree.nodes = append(s.tree.nodes, node{kind: kind, from: uint32(from), to: uint32(len(s.tree.raw)), next: uint32(at + 1)})
}

func (s *scanner) open(kind Kind) (int, error) {
	if _, err := s.dec.ReadToken(); err != nil {
		return 0, err
	}
	at := len(s.tree.nodes)
	s.append(kind, []byte{byte(kind)})
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
	for count := 0; s.dec.PeekKind() != '}'; count++ {
		if count > 0 {
			s.tree.raw = append(s.tree.raw, ',')
		}
		if count == maxMembers {
			return Errorf(413, CodeTooCostly, "an object has more than %d members", maxMembers).At(s.here())
		}
		quoted, err := s.name()
		if err != nil {
			return err
		}
		if spellsResourceType(quoted) {
			if typed {
				return Errorf(400, CodeStructure, "two spellings of resourceType in one object").At(s.here())
			}
			typed = true
		}
		if err := s.value(depth+1, isAttachment(quoted)); err != nil {
			return err
		}
	}
	return s.close(at, '}')
}

// name appends a member name as a node of its own, directly before its value.
// It returns the name as it is written, quoted.
func (s *scanner) name() ([]byte, error) {
	v, err := s.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if len(v) > maxName+2 {
		return nil, Errorf(400, CodeStructure, "a member name is longer than %d bytes", maxName)
	}
	s.append(name, v)
	s.tree.raw = append(s.tree.raw, ':')
	return v, nil
}

// here names the present place by its top member, where that looks like an
// element's name: any other name is a caller's own and may say anything.
func (s *scanner) here() string {
	for token := range s.dec.StackPointer().Tokens() {
		if isTypeName("A" + token) {
			return token
		}
		break
	}
	return ""
}

// spellsResourceType says whether other readers, which fold case, might take
// this name for resourceType.
func spellsResourceType(quoted []byte) bool {
	if bytes.IndexByte(quoted, '\\') >= 0 {
		return strings.EqualFold(unquote(quoted), "resourceType")
	}
	bare := quoted[1 : len(quoted)-1]
	return len(bare) >= 12 && bare[0]|0x20 == 'r' && bytes.EqualFold(bare, []byte("resourceType"))
}

// isAttachment says whether the member holds content (Attachment and Binary
// data, Narrative div), which may be longer than other strings.
func isAttachment(quoted []byte) bool {
	return string(quoted) == `"data"` || string(quoted) == `"div"`
}

// sizedNumber refuses magnitudes that ParseDecimal refuses, so that no exponent
// costs anyone memory later. Without an exponent the literal's length bounds it.
func sizedNumber(literal []byte) bool {
	if bytes.IndexByte(literal, 'e') < 0 && bytes.IndexByte(literal, 'E') < 0 {
		return true
	}
	_, err := ParseDecimal(string(literal))
	return err == nil
}
