package store

// Role marks what an entry (and a test or sort on its parameter) is for, so
// that hot patterns get keys of their own.
type Role uint8

// The roles. A Hot test beside an Anchor test is answered by one scan of
// (anchor, parameter, value) in Clock order; a Hot test sorted by Clock by one
// scan of (parameter, value) in Clock order.
const (
	Anchor   Role = 1 << iota // names the owner of the resource (its patient)
	Hot                       // asked for in combination with an owner or newest-first
	Clock                     // the one date of the type that such scans are ordered by
	Identity                  // names the one resource that is meant; only tests have it (see Claims)
)

// Kind says which fields of a Value are used and which index keys it gets.
type Kind uint8

// The kinds.
const (
	Code  Kind = iota + 1 // Space, Name: found by both or by Name alone; Text is its folded display, Raw the display as written
	Link                  // Space (type), Name (id, or a whole URL with Space ""): found by both; Text is a version id
	URI                   // Name: found whole, by prefix, or as a path ancestor
	Text                  // Text folded, Raw as written: found by word prefix, whole, or substring
	Range                 // Lo, Hi: ordered bytes, inclusive; Space, Name: a unit, Text the printed unit; Parts[0], where there: the same as a Range in base units (Name)
	Tuple                 // Parts: values of one composite
	Place                 // Lo is latitude, Hi longitude in degrees (OrderedFloat); found by distance
)

// Value is one indexed value.
type Value struct {
	Kind  Kind
	Space string
	Name  string
	Text  string
	Raw   string
	// Lo and Hi are ordered bytes: bytes.Compare orders them as their values.
	// nil is unbounded. Equal Lo and Hi are a point.
	Lo, Hi []byte
	Parts  []Value
}

// Entry is one index entry of a resource: a parameter and a value.
type Entry struct {
	Param string
	Role  Role
	Value
}
