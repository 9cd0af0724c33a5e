package fhir

import (
	"bytes"
	"iter"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the JSON kind of a Node.
type Kind byte

// The JSON kinds. Missing is the kind of a Node that is not there.
const (
	Missing Kind = 0
	Object  Kind = '{'
	Array   Kind = '['
	String  Kind = '"'
	Number  Kind = '0'
	True    Kind = 't'
	False   Kind = 'f'
	Null    Kind = 'n'
	name    Kind = ':'
)

func kindOf(first byte) Kind {
	switch first {
	case '"', 't', 'f', 'n':
		return Kind(first)
	default:
		return Number
	}
}

// node is one JSON token: its bytes in Tree.raw and the index after its subtree.
type node struct {
	from, to uint32
	next     uint32
	kind     Kind
}

// Tree is a read-only JSON value: compact raw bytes and a flat list of nodes in
// document order. Safe for concurrent use.
type Tree struct {
	raw   []byte
	nodes []node
	late  *late // set where the nodes are made on the first look
}

// late is the parse of a Stored tree, done once.
type late struct {
	once sync.Once
	tree *Tree
}

// Root is the whole value.
func (t *Tree) Root() Node {
	if t.late == nil {
		return Node{t, 0}
	}
	t.late.once.Do(func() {
		// Stored bytes were parsed when they came in; damage shows as a missing root.
		if tree, err := ParseTree(t.raw, storedLimits); err == nil {
			t.late.tree = tree
		}
	})
	return Node{t.late.tree, 0}
}

// Strings walks all string values at and below n in document order, each with
// the raw (quoted) name of the member it stands in; array elements come with
// their array's name.
func (n Node) Strings() iter.Seq2[[]byte, Node] {
	return func(yield func([]byte, Node) bool) {
		if n.tree == nil {
			return
		}
		t := n.tree
		var key []byte
		for i, end := n.at, t.nodes[n.at].next; i < end; i++ {
			switch d := &t.nodes[i]; d.kind {
			case name:
				key = t.raw[d.from:d.to]
			case String:
				if !yield(key, Node{t, i}) {
					return
				}
			default:
			}
		}
	}
}

// detach copies the part of the tree at and below n into a tree of its own;
// the raw bytes are shared.
func (n Node) detach() *Tree {
	t := n.tree
	top := t.nodes[n.at]
	nodes := make([]node, top.next-n.at)
	for i, d := range t.nodes[n.at:top.next] {
		nodes[i] = node{from: d.from - top.from, to: d.to - top.from, next: d.next - n.at, kind: d.kind}
	}
	return &Tree{raw: t.raw[top.from:top.to:top.to], nodes: nodes}
}

// Raw is the whole value as compact JSON. The caller must not change it.
func (t *Tree) Raw() []byte { return t.raw }

// Node is one value inside a Tree. The zero Node is Missing; every method may
// be called on it.
type Node struct {
	tree *Tree
	at   uint32
}

// Kind is the node's JSON kind.
func (n Node) Kind() Kind {
	if n.tree == nil {
		return Missing
	}
	return n.tree.nodes[n.at].kind
}

// Exists says whether the node is there (a JSON null is).
func (n Node) Exists() bool { return n.tree != nil }

// Raw is the node's compact JSON text; nil when missing. Do not change it.
func (n Node) Raw() []byte {
	if n.tree == nil {
		return nil
	}
	d := n.tree.nodes[n.at]
	return n.tree.raw[d.from:d.to]
}

// Span is where the node's text lies in Tree.Raw.
func (n Node) Span() (from, to int) {
	if n.tree == nil {
		return 0, 0
	}
	d := n.tree.nodes[n.at]
	return int(d.from), int(d.to)
}

// member is the text of an object's member, name and value; n is its value.
func (n Node) member() []byte {
	d := n.tree.nodes[n.at]
	return n.tree.raw[n.tree.nodes[n.at-1].from:d.to]
}

// Index is the node's position in document order; it identifies the node
// within its tree.
func (n Node) Index() int { return int(n.at) }

// Text is a string's value without quotes and escapes, or any other scalar's
// literal ("1.00", "true"). Objects, arrays, null and missing nodes give "".
func (n Node) Text() string {
	switch n.Kind() {
	case String:
		return unquote(n.Raw())
	case Number, True, False:
		return string(n.Raw())
	default:
		return ""
	}
}

// Get is the member called key of an object, else a missing node.
func (n Node) Get(key string) Node {
	if n.Kind() != Object {
		return Node{}
	}
	t := n.tree
	for i, end := n.at+1, t.nodes[n.at].next; i < end; {
		if nameIs(t.raw[t.nodes[i].from:t.nodes[i].to], key) {
			return Node{t, i + 1}
		}
		i = t.nodes[i+1].next
	}
	return Node{}
}

// Pick is the first member whose name is one of keys and the index of that key;
// -1 and a missing node when there is none. Keys are compared as they are
// written in the JSON.
func (n Node) Pick(keys []string) (int, Node) {
	if n.Kind() != Object {
		return -1, Node{}
	}
	t := n.tree
	for i, end := n.at+1, t.nodes[n.at].next; i < end; i = t.nodes[i+1].next {
		name := t.raw[t.nodes[i].from+1 : t.nodes[i].to-1]
		for k, key := range keys {
			if string(name) == key {
				return k, Node{t, i + 1}
			}
		}
	}
	return -1, Node{}
}

// Path follows object members; arrays on the way are entered at their first element.
func (n Node) Path(keys ...string) Node {
	for _, k := range keys {
		if n.Kind() == Array {
			n = n.First()
		}
		n = n.Get(k)
	}
	return n
}

// First is an array's first element, else a missing node.
func (n Node) First() Node {
	for e := range n.Elements() {
		return e
	}
	return Node{}
}

// Members walks an object's members in their order.
func (n Node) Members() iter.Seq2[string, Node] {
	return func(yield func(string, Node) bool) {
		if n.Kind() != Object {
			return
		}
		t := n.tree
		for i, end := n.at+1, t.nodes[n.at].next; i < end; i = t.nodes[i+1].next {
			if !yield(unquote(t.raw[t.nodes[i].from:t.nodes[i].to]), Node{t, i + 1}) {
				return
			}
		}
	}
}

// Elements walks an array's elements in their order.
func (n Node) Elements() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		if n.Kind() != Array {
			return
		}
		t := n.tree
		for i, end := n.at+1, t.nodes[n.at].next; i < end; i = t.nodes[i].next {
			if !yield(Node{t, i}) {
				return
			}
		}
	}
}

// Cursor steps through the members of an object or the elements of an array
// without allocating: the fast form of Members and Elements.
type Cursor struct {
	tree            *Tree
	value, nextItem uint32
	end, lead       uint32 // lead: 1 where each value follows its name
}

// Cursor starts before the first member or element; other nodes have none.
func (n Node) Cursor() Cursor {
	k := n.Kind()
	if k != Object && k != Array {
		return Cursor{}
	}
	c := Cursor{tree: n.tree, nextItem: n.at + 1, end: n.tree.nodes[n.at].next}
	if k == Object {
		c.lead = 1
	}
	return c
}

// Next steps to the next member or element and says whether there is one.
func (c *Cursor) Next() bool {
	if c.nextItem >= c.end {
		return false
	}
	c.value = c.nextItem + c.lead
	c.nextItem = c.tree.nodes[c.value].next
	return true
}

// Name is the present member's name as it is written, with quotes; nil in an
// array. Do not change it.
func (c *Cursor) Name() []byte {
	if c.lead == 0 {
		return nil
	}
	d := &c.tree.nodes[c.value-1]
	return c.tree.raw[d.from:d.to]
}

// Value is the present value.
func (c *Cursor) Value() Node { return Node{c.tree, c.value} }

// Each walks an array's elements, or yields any other existing node once:
// FHIR's "one or many" in one loop.
func (n Node) Each() iter.Seq[Node] {
	if n.Kind() == Array {
		return n.Elements()
	}
	return func(yield func(Node) bool) {
		if n.Exists() {
			yield(n)
		}
	}
}

// Len is the number of elements of an array or members of an object.
func (n Node) Len() int {
	count := 0
	for range n.Elements() {
		count++
	}
	for range n.Members() {
		count++
	}
	return count
}

func nameIs(quoted []byte, key string) bool {
	if bytes.IndexByte(quoted, '\\') >= 0 {
		return unquote(quoted) == key
	}
	return string(quoted[1:len(quoted)-1]) == key
}

func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	b, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return ""
	}
	return string(b)
}
