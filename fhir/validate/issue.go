package validate

import (
	"slices"
	"strconv"
	"strings"

	"candela/fhir"
)

// step is one step of the path from the root to the present element.
type step struct {
	name  string
	index int // -1: no array
}

// expression is the FHIRPath of the present element.
func (c *checker) expression() string {
	var b strings.Builder
	b.WriteString(c.root)
	for _, s := range c.path {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
		if s.index >= 0 {
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
		}
	}
	return b.String()
}

// maxIssues bounds the answer to a body that is wrong everywhere.
const maxIssues = 100

// room says whether one more issue is listed. The last place tells of the rest,
// as an error, so that no error goes unnoticed behind many warnings.
func (c *checker) room(severity fhir.Severity) bool {
	n := len(c.issues)
	if n == maxIssues && severity == fhir.SevError {
		c.issues[n-1] = fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeStructure, Diagnostics: "there are more problems than are listed here"}
	}
	return n < maxIssues
}

// report is an error at the present element.
func (c *checker) report(code, diagnostics string) {
	if c.room(fhir.SevError) {
		c.add(fhir.SevError, code, diagnostics, c.expression())
	}
}

func (c *checker) add(severity fhir.Severity, code, diagnostics, expression string) {
	c.issues = append(c.issues, fhir.Issue{Severity: severity, Code: code, Diagnostics: diagnostics, Expression: expression})
}

// unknownMember reports a member that type t does not have. Its name is shown
// only when it looks like an element's name: anything else may be content.
func (c *checker) unknownMember(quoted []byte, t *table) {
	if !c.room(c.unknown) {
		return
	}
	name := string(quoted[1 : len(quoted)-1])
	if !isElementName(name) {
		c.add(c.unknown, fhir.CodeStructure, "unknown element: "+t.name+" has no element of that name", c.expression())
		return
	}
	message := "unknown element: " + t.name + " has no element " + name
	if t.rules[strings.TrimPrefix(name, "_")] != nil {
		message = "unknown element: " + name + " is for the extensions of a primitive, and " + name[1:] + " takes none here"
	} else if t.isChoice(name) {
		message = "unknown element: " + name + " is a choice; its name must end in its type"
	}
	expression := c.expression() + "." + name
	c.add(c.unknown, fhir.CodeStructure, message, expression)
}

func (t *table) isChoice(name string) bool {
	for _, e := range t.elements {
		if e.choice && e.name == name {
			return true
		}
	}
	return false
}

func isElementName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// choices looks at elements that were met twice: as name and _name of one
// primitive, which is right, or as two forms of a choice, which is not.
func (c *checker) choices(n fhir.Node, t *table, twice slots) {
	for i, e := range t.elements {
		if twice&slot(i) != 0 && e.choice && t.forms(n, slot(i)) > 1 && c.room(fhir.SevError) {
			c.add(fhir.SevError, fhir.CodeStructure, t.name+"."+e.name+"[x] may stand in one form only", c.expression()+"."+e.name)
		}
	}
}

// forms counts the types in which an object has a choice element; valueCode and
// _valueCode are one.
func (t *table) forms(n fhir.Node, of slots) int {
	var found []string
	for at := n.Cursor(); at.Next(); {
		r := t.rule(at.Name())
		if r == nil || r.slot != of {
			continue
		}
		if name := strings.TrimPrefix(string(unquoted(at.Name())), "_"); !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return len(found)
}

// missing reports required elements that are not there.
func (c *checker) missing(t *table, absent slots) {
	for i := range t.elements {
		if absent&slot(i) == 0 || !c.room(fhir.SevError) {
			continue
		}
		name := t.elements[i].name
		shown := name
		if t.elements[i].choice {
			shown += "[x]"
		}
		c.add(fhir.SevError, fhir.CodeRequired, t.name+"."+shown+" is required and missing", c.expression()+"."+name)
	}
}
