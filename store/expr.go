package store

// Expr is a condition on a resource's entries.
type Expr interface{ expr() }

// And holds when all of its parts hold; the empty And always holds.
type And []Expr

// Or holds when one of its parts holds; the empty Or never holds.
type Or []Expr

// Not holds when Of does not.
type Not struct{ Of Expr }

// Test holds when some entry of Param meets Cond. "_id" (Space: type, Name: id)
// and "_lastUpdated" (a Range in OrderedTime) are parameters every resource has;
// backends supply them, writers do not.
type Test struct {
	Param string
	Role  Role
	Cond  Cond
	// Implied are tests that hold wherever this one does, on indexes that may have
	// fewer hits: ways to find its matches. They are not asked by themselves.
	Implied []Test
}

// Via is a forward chain: some Link entry of Param names a live resource of
// Type for which Of holds.
type Via struct {
	Param, Type string
	Of          Expr
}

// Has is a reverse chain: some live resource of Type has a Link entry of Param
// to this resource, and Of holds for it.
type Has struct {
	Type, Param string
	Of          Expr
}

// Tree is a walk in a hierarchy of resources of Type that Up, a link to the same
// Type, leads upwards in: some Link entry of Param names Type/ID, or a live
// resource below it for which Of holds and from which Up leads there through
// others of that kind. With Above it names Type/ID or what Up leads to from there.
// Circles are walked once.
type Tree struct {
	Param, Type, ID, Up string
	Above               bool
	Of                  Expr
}

func (Tree) expr() {}
func (And) expr()  {}
func (Or) expr()   {}
func (Not) expr()  {}
func (Test) expr() {}
func (Via) expr()  {}
func (Has) expr()  {}

// How compares an entry's value v with a condition c.
type How uint8

// The comparisons. On ranges, v.Lo nil is minus infinity and v.Hi nil plus
// infinity, as nil ends of c are; a v.Hi below v.Lo counts as v.Lo; c.HiOpen
// makes c.Hi exclusive. Where c.Space or c.Name is set in a
// range comparison, the unit must agree too (see Cond.Unit).
const (
	Present   How = iota + 1 // any entry of the parameter
	Is                       // Code, Link, URI: Space and Name equal; a Link's Text too, where c.Text is set
	Named                    // Code: Name equal in any Space
	Within                   // Code, Link: Space equal, any Name
	Starts                   // Text, Code: v.Text, read from some word on, starts with c.Text; with c.Name, URI: v.Name is c.Name or lies below it (path segments)
	Contains                 // Text, Code: v.Text contains c.Text
	Exactly                  // Text, Code: v.Raw equals c.Raw; c.Text, its folded form, lets an index answer
	Above                    // URI: c.Name is v.Name or lies below it
	Inside                   // c.Lo <= v.Lo and v.Hi <= c.Hi (eq)
	Outside                  // not Inside (ne), per entry
	Overlaps                 // v.Lo <= c.Hi and v.Hi >= c.Lo (ap)
	Greater                  // v.Hi > c.Hi (gt)
	Less                     // v.Lo < c.Lo (lt)
	AtLeast                  // Greater or Inside (ge)
	AtMost                   // Less or Inside (le)
	After                    // v.Lo > c.Hi (sa)
	Before                   // v.Hi < c.Lo (eb)
	All                      // Tuple: every part of v meets the part of c at its place
	Near                     // Place: within Radius metres of Lo, Hi
	Versioned                // Link: Space and Name equal, Text is c.Text or begins with it and a dot or dash
	Whole                    // Text, Code: v.Text equals c.Text
	Leads                    // Text, Code: v.Text begins with c.Text, not at a later word
	Ends                     // Text, Code: v.Text ends with c.Text
)

// Unit says how a range condition compares units.
type Unit uint8

// The unit comparisons.
const (
	AnyUnit  Unit = iota // no unit asked
	UnitIs               // Space and Name equal
	UnitName             // Name equals v.Name or v.Text (code or printed unit)
	UnitBase             // v.Parts[0], the amount in base units, stands for v; Name equals its Name
)

// Cond is a condition on one value.
type Cond struct {
	How    How
	Space  string
	Name   string
	Text   string
	Raw    string
	Lo, Hi []byte
	HiOpen bool
	Unit   Unit
	Radius float64 // metres
	Parts  []Cond
}
