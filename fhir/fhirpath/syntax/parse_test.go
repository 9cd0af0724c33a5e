package syntax

import (
	"errors"
	"strings"
	"testing"

	"candela/fhir"
)

// write gives a tree as text with all parentheses, to see what binds to what.
func write(n *Node) string {
	switch n.Shape {
	case Empty:
		return "{}"
	case String:
		return "'" + n.Text + "'"
	case Quantity:
		if n.Calendar {
			return n.Text + " " + n.Unit
		}
		return n.Text + " '" + n.Unit + "'"
	case Moment:
		return "@" + n.Text
	case Call:
		args := make([]string, len(n.Args))
		for i, a := range n.Args {
			args[i] = write(a)
		}
		return n.Text + "(" + strings.Join(args, ",") + ")"
	case Dot:
		return write(n.Args[0]) + "." + write(n.Args[1])
	case Index:
		return write(n.Args[0]) + "[" + write(n.Args[1]) + "]"
	case Sign:
		return "(" + n.Text + write(n.Args[0]) + ")"
	case Binary, Type:
		return "(" + write(n.Args[0]) + " " + n.Text + " " + write(n.Args[1]) + ")"
	case Dollar:
		return "$" + n.Text
	case Variable:
		return "%`" + n.Text + "`"
	default:
		return n.Text
	}
}

func TestParse(t *testing.T) {
	for _, c := range [][2]string{
		{"1+2*3-4", "((1 + (2 * 3)) - 4)"},
		{"-1.abs()", "(-1.abs())"},
		{"-a.b + c", "((-a.b) + c)"},
		{"1 > 2 is Boolean", "(1 > (2 is Boolean))"},
		{"a | b = c | d", "((a | b) = (c | d))"},
		{"a = b and c = d or e implies f", "((((a = b) and (c = d)) or e) implies f)"},
		{"a or b and c xor d", "((a or (b and c)) xor d)"},
		{"a in b and c contains d", "((a in b) and (c contains d))"},
		{"a < b = c >= d", "((a < b) = (c >= d))"},
		{"a as FHIR.Quantity | b", "((a as FHIR.Quantity) | b)"},
		{"(a as Quantity).value", "(a as Quantity).value"},
		{"a & b + c div d mod e", "((a & b) + ((c div d) mod e))"},
		{"expansion.contains.where(is(code)).as", "expansion.contains.where(is(code)).as"},
		{"contains.code", "contains.code"},
		{"a.div.mod", "a.div.mod"},
		{"name[0].given[1+1]", "name[0].given[(1 + 1)]"},
		{"4 days + 5.0 'mg' + 1 year", "((4 day + 5.0 'mg') + 1 year)"},
		{"@2015-02-04T14:34:28.123+10:00.is(DateTime)", "@2015-02-04T14:34:28.123+10:00.is(DateTime)"},
		{"@2015+1 year", "(@2015 + 1 year)"},
		{"@2015-02-04 - 1 day", "(@2015-02-04 - 1 day)"},
		{"@T14:30.lowBoundary()", "@T14:30.lowBoundary()"},
		{"@2015T", "@2015T"},
		{`'it\'s A'`, "'it's A'"},
		{"`a b`.`c\\`d`", "a b.c`d"},
		{"%resource.id = %`vs-x` | %vs-administrative-gender | %'s'", "(%`resource`.id = ((%`vs-x` | %`vs-administrative-gender`) | %`s`))"},
		{"{} = $this.a // end", "({} = $this.a)"},
		{"a /* in */ . b", "a.b"},
		{"f(a, b, $index)", "f(a,b,$index)"},
	} {
		tree, err := Parse(c[0])
		if err != nil {
			t.Errorf("%s: %v", c[0], err)
			continue
		}
		if got := write(tree); got != c[1] && got != "("+c[1]+")" {
			t.Errorf("%s: read as %s, wanted %s", c[0], got, c[1])
		}
	}
}

// TestParseBounds: no expression exhausts the stack or the machine.
func TestParseBounds(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("(", 10_000), strings.Repeat("-", 10_000) + "1", strings.Repeat("a(", 10_000),
		"a" + strings.Repeat(".b", 20_000), strings.Repeat("a[", 10_000), strings.Repeat("a", maxLength+1),
	} {
		var refused *fhir.Error
		if _, err := Parse(text); !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("%.10s…: %v", text, err)
		}
	}
}

// FuzzParse: any text is read or refused, and what was read reads the same again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a.b(c)[0]", "-1 + 2.5 'mg'", "@2015-02T", "'a\\u0041'", "%`x` is A.B", "{} | $this", "1 year", "/* */ a", "`", "a as b.c.d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tree, err := Parse(s)
		if err != nil {
			var refused *fhir.Error
			if !errors.As(err, &refused) || refused.Status != 400 {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if strings.ContainsAny(s, "'`\\\"") { // write doesn't escape
			return
		}
		once := write(tree)
		again, err := Parse(once)
		if strings.Contains(once, "%") {
			return
		}
		if err != nil || write(again) != once {
			t.Errorf("%q was read as %q, which reads otherwise: %v", s, once, err)
		}
	})
}
