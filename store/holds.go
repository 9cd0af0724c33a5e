package store

import (
	"fmt"
	"strings"
)

// Holds says whether x holds for a resource with these entries: the definition
// of what expressions mean, which every backend's Find must agree with. Entries
// of _id and _lastUpdated are read like others (see Builtin). Chains need other
// resources and are refused with ErrQuery, as is an unknown Expr or How.
func Holds(x Expr, entries []Entry) (bool, error) {
	if err := Check(x, false); err != nil {
		return false, err
	}
	return holds(x, entries), nil
}

func holds(x Expr, entries []Entry) bool {
	switch x := x.(type) {
	case And:
		for _, part := range x {
			if !holds(part, entries) {
				return false
			}
		}
		return true
	case Or:
		for _, part := range x {
			if holds(part, entries) {
				return true
			}
		}
		return false
	case Not:
		return !holds(x.Of, entries)
	case Test:
		return x.holds(entries)
	}
	return true // nil: no condition
}

func (t *Test) holds(entries []Entry) bool {
	for i := range entries {
		if entries[i].Param == t.Param && t.Cond.Met(&entries[i].Value) {
			return true
		}
	}
	return false
}

// Check says whether x is well formed: known expressions and comparisons,
// chains only where allowed. The error is ErrQuery, wrapped.
func Check(x Expr, chains bool) error {
	switch x := x.(type) {
	case nil:
		return nil
	case And:
		return checkAll(x, chains)
	case Or:
		return checkAll(x, chains)
	case Not:
		return Check(x.Of, chains)
	case Test:
		return x.Cond.check(x.Param)
	case Via:
		return checkChain(x.Param, x.Type, x.Of, chains)
	case Has:
		return checkChain(x.Param, x.Type, x.Of, chains)
	case Tree:
		if x.ID == "" || x.Up == "" {
			return fmt.Errorf("%s: a hierarchy without start or way: %w", x.Param, ErrQuery)
		}
		return checkChain(x.Param, x.Type, x.Of, chains)
	}
	return fmt.Errorf("%T is no known expression: %w", x, ErrQuery)
}

func checkAll(parts []Expr, chains bool) error {
	for _, part := range parts {
		if err := Check(part, chains); err != nil {
			return err
		}
	}
	return nil
}

func checkChain(param, typ string, of Expr, chains bool) error {
	switch {
	case !chains:
		return fmt.Errorf("%s: a chain needs other resources: %w", param, ErrQuery)
	case param == "" || typ == "":
		return fmt.Errorf("a chain without parameter or type: %w", ErrQuery)
	}
	return Check(of, chains)
}

func (c *Cond) check(param string) error {
	if c.How < Present || c.How > Ends {
		return fmt.Errorf("%s: comparison %d is unknown: %w", param, c.How, ErrQuery)
	}
	if c.Unit > UnitBase {
		return fmt.Errorf("%s: unit comparison %d is unknown: %w", param, c.Unit, ErrQuery)
	}
	for i := range c.Parts {
		if err := c.Parts[i].check(param); err != nil {
			return err
		}
	}
	return nil
}

// Met says whether v meets the condition. A value of a kind that the comparison
// does not speak of never does.
func (c *Cond) Met(v *Value) bool {
	switch c.How {
	case Present:
		return true
	case Is:
		return c.is(v)
	case Named:
		return v.Kind == Code && v.Name == c.Name
	case Within:
		return (v.Kind == Code || v.Kind == Link) && v.Space == c.Space
	case Starts:
		if c.Name != "" {
			return v.Kind == URI && below(v.Name, c.Name)
		}
		return folded(v.Kind) && startsWord(v.Text, c.Text)
	case Contains:
		return folded(v.Kind) && strings.Contains(v.Text, c.Text)
	case Exactly:
		return folded(v.Kind) && v.Raw == c.Raw
	case Above:
		return v.Kind == URI && below(c.Name, v.Name)
	case All:
		return c.all(v)
	case Near:
		return v.Kind == Place && c.near(v)
	case Whole:
		return folded(v.Kind) && v.Text == c.Text
	case Leads:
		return folded(v.Kind) && strings.HasPrefix(v.Text, c.Text)
	case Ends:
		return folded(v.Kind) && strings.HasSuffix(v.Text, c.Text)
	case Versioned:
		return v.Kind == Link && v.Space == c.Space && v.Name == c.Name && versionBelow(v.Text, c.Text)
	default:
		v = c.inUnit(v)
		return v != nil && v.Kind == Range && c.sameUnit(v) && c.compare(v)
	}
}

func folded(k Kind) bool { return k == Text || k == Code }

// is compares whole values. A Link condition with a version asks for that version.
func (c *Cond) is(v *Value) bool {
	switch v.Kind {
	case Code, URI:
		return v.Space == c.Space && v.Name == c.Name
	case Link:
		return v.Space == c.Space && v.Name == c.Name && (c.Text == "" || v.Text == c.Text)
	default:
		return false
	}
}

// versionBelow says whether version is root or a part of it: 1.2 and 1-beta of 1.
func versionBelow(version, root string) bool {
	rest, ok := strings.CutPrefix(version, root)
	return ok && root != "" && (rest == "" || rest[0] == '.' || rest[0] == '-')
}

func (c *Cond) all(v *Value) bool {
	if v.Kind != Tuple || len(v.Parts) != len(c.Parts) {
		return false
	}
	for i := range c.Parts {
		if !c.Parts[i].Met(&v.Parts[i]) {
			return false
		}
	}
	return true
}
