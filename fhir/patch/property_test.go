package patch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"candela/fhir"
	"candela/fhir/patch"
)

var names = []string{"a", "b", "c", "~", "/", "a/b~1", "", "é", "0", "-"}

// literals are scalars whose text says more than their value.
var literals = []string{`1.00`, `1e2`, `-0.50`, `"\u0041\/"`, `"x"`, `true`, `false`, `null`, `""`, `7`}

// document draws a JSON text.
func document(t *rapid.T, depth int) string {
	kind := 0
	if depth > 0 {
		kind = rapid.IntRange(0, 2).Draw(t, "kind")
	}
	var parts []string
	switch kind {
	case 1:
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID[string]).Draw(t, "names") {
			parts = append(parts, string(fhir.Quote(name))+":"+document(t, depth-1))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case 2:
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			parts = append(parts, document(t, depth-1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	default:
		return rapid.SampledFrom(literals).Draw(t, "literal")
	}
}

// resource draws one with three members of any form.
func resource(t *rapid.T) string {
	return `{"resourceType":"Basic","x":` + document(t, 4) + `,"y":` + document(t, 3) + `,"z":` + document(t, 2) + `}`
}

func decoded(t interface{ Fatal(...any) }, text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// aPointer draws the steps to somewhere in v, and at times past it.
func aPointer(t *rapid.T, v any) []string {
	var steps []string
	for rapid.IntRange(0, 5).Draw(t, "deeper") > 0 {
		switch in := v.(type) {
		case map[string]any:
			keys := append(slices.Sorted(keysOf(in)), rapid.SampledFrom(names).Draw(t, "name"))
			steps = append(steps, rapid.SampledFrom(keys).Draw(t, "key"))
			v = in[steps[len(steps)-1]]
		case []any:
			at := rapid.IntRange(0, len(in)).Draw(t, "index")
			if at == len(in) {
				return append(steps, rapid.SampledFrom([]string{"-", strconv.Itoa(at), "00", "x"}).Draw(t, "end"))
			}
			steps, v = append(steps, strconv.Itoa(at)), in[at]
		default:
			return steps
		}
	}
	return steps
}

func keysOf(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func written(steps []string) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString("/" + strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"))
	}
	return string(fhir.Quote(b.String()))
}

// naive is RFC 6902 on decoded values, word for word, with no thought of text,
// order or cost. ok is false for an error.
type naive struct{ v any }

func (n naive) get(steps []string) (any, bool) {
	v := n.v
	for _, s := range steps {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[s]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			at, ok := naiveIndex(s, len(in)-1)
			if !ok {
				return nil, false
			}
			v = in[at]
		default:
			return nil, false
		}
	}
	return v, true
}

func naiveIndex(s string, most int) (int, bool) {
	at, err := strconv.Atoi(s)
	return at, err == nil && strconv.Itoa(at) == s && at >= 0 && at <= most
}

// at gives v with the value at steps exchanged by what do makes of its holder.
func at(v any, steps []string, do func(holder any, last string) (any, bool)) (any, bool) {
	if len(steps) == 1 {
		return do(v, steps[0])
	}
	next, ok := naive{v}.get(steps[:1])
	if !ok {
		return nil, false
	}
	inner, ok := at(next, steps[1:], do)
	if !ok {
		return nil, false
	}
	return set(v, steps[0], inner), true
}

func set(holder any, name string, v any) any {
	switch in := holder.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, was := range in {
			out[k] = was
		}
		out[name] = v
		return out
	case []any:
		out := slices.Clone(in)
		i, _ := strconv.Atoi(name)
		out[i] = v
		return out
	}
	return holder
}

func (n naive) add(steps []string, v any) (any, bool) {
	if len(steps) == 0 {
		return v, true
	}
	return at(n.v, steps, func(holder any, last string) (any, bool) {
		switch in := holder.(type) {
		case map[string]any:
			return set(holder, last, v), true
		case []any:
			i, ok := naiveIndex(last, len(in))
			if last == "-" {
				i, ok = len(in), true
			}
			if !ok {
				return nil, false
			}
			return slices.Insert(slices.Clone(in), i, v), true
		}
		return nil, false
	})
}

func (n naive) remove(steps []string) (any, bool) {
	if _, ok := n.get(steps); !ok || len(steps) == 0 {
		return nil, false
	}
	return at(n.v, steps, func(holder any, last string) (any, bool) {
		if list, ok := holder.([]any); ok {
			i, _ := strconv.Atoi(last)
			return slices.Delete(slices.Clone(list), i, i+1), true
		}
		out := map[string]any{}
		for k, v := range holder.(map[string]any) {
			if k != last {
				out[k] = v
			}
		}
		return out, true
	})
}

func (n naive) do(op string, path, from []string, value any) (any, bool) {
	switch op {
	case "add":
		return n.add(path, value)
	case "remove":
		return n.remove(path)
	case "replace":
		if len(path) == 0 {
			return value, true
		}
		if _, ok := n.get(path); !ok {
			return nil, false
		}
		return at(n.v, path, func(holder any, last string) (any, bool) { return set(holder, last, value), true })
	case "test":
		v, ok := n.get(path)
		return n.v, ok && reflect.DeepEqual(v, value)
	case "copy":
		v, ok := n.get(from)
		if !ok {
			return nil, false
		}
		return n.add(path, v)
	default:
		v, ok := n.get(from)
		if !ok || len(path) > len(from) && slices.Equal(path[:len(from)], from) {
			return nil, false
		}
		if slices.Equal(path, from) {
			return n.v, true
		}
		rest, ok := n.remove(from)
		if !ok {
			return nil, false
		}
		return naive{rest}.add(path, v)
	}
}

// JSON Patch does what the naive model does, and fails where it fails.
func TestJSONPatchEqualsANaiveModel(t *testing.T) {
	types := model(t)
	rapid.Check(t, func(t *rapid.T) {
		text := resource(t)
		want, ok := decoded(t, []byte(text)), true
		var operations []string
		for range rapid.IntRange(1, 6).Draw(t, "operations") {
			op := rapid.SampledFrom([]string{"add", "add", "remove", "replace", "test", "copy", "move"}).Draw(t, "op")
			path, from, value := aPointer(t, want), aPointer(t, want), document(t, 2)
			if there, found := (naive{want}).get(path); op == "test" && found && rapid.Bool().Draw(t, "right") {
				b, _ := json.Marshal(there)
				value = string(b)
			}
			operations = append(operations, fmt.Sprintf(`{"op":%q,"path":%s,"from":%s,"value":%s}`, op, written(path), written(from), value))
			if want, ok = (naive{want}).do(op, path, from, decoded(t, []byte(value))); !ok {
				break
			}
		}
		body := "[" + strings.Join(operations, ",") + "]"
		res, err := fhir.ParseResource([]byte(text), fhir.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := patch.Apply(res, patch.JSON, []byte(body), types)
		whole, isObject := want.(map[string]any)
		if ok = ok && isObject && whole["resourceType"] == "Basic"; !ok {
			if err == nil {
				t.Fatalf("%s\n%s\nwas taken: %s", text, body, got.Raw())
			}
			return
		}
		if err != nil || !reflect.DeepEqual(decoded(t, got.Raw()), want) {
			t.Fatalf("%s\n%s\ngot  %s %v\nwant %v", text, body, got.Raw(), err, want)
		}
	})
}

// A patch of the member x leaves all others, their text and their order.
func TestWhatIsNotNamedKeepsItsBytes(t *testing.T) {
	types := model(t)
	rapid.Check(t, func(t *rapid.T) {
		x, y, z := document(t, 3), document(t, 3), document(t, 3)
		res, err := fhir.ParseResource([]byte(`{"y":`+y+`,"resourceType":"Basic","x":`+x+`,"z":`+z+`}`), fhir.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var got fhir.Resource
		if rapid.Bool().Draw(t, "merge") {
			got, err = patch.Apply(res, patch.Merge, []byte(`{"x":`+document(t, 3)+`}`), types)
		} else {
			path := append([]string{"x"}, aPointer(t, decoded(t, []byte(x)))...)
			got, err = patch.Apply(res, patch.JSON, []byte(`[{"op":"add","path":`+written(path)+`,"value":1},{"op":"copy","from":"/y","path":"/x"},{"op":"replace","path":`+written(path[:1])+`,"value":`+x+`}]`), types)
		}
		if err != nil {
			return
		}
		raw := string(got.Raw())
		if !strings.HasPrefix(raw, `{"y":`+y+`,"resourceType":"Basic"`) || !strings.HasSuffix(raw, `,"z":`+z+`}`) {
			t.Fatalf("%s\nbecame %s", res.Raw(), raw)
		}
	})
}

// given is an element of a list of primitives: a value, an id beside it, or both.
type given struct{ value, id string }

func (g given) part() string {
	var parts []string
	if g.value != "" {
		parts = append(parts, fmt.Sprintf(`"valueString":%q`, g.value))
	}
	if g.id != "" {
		parts = append(parts, fmt.Sprintf(`"_valueString":{"id":%q}`, g.id))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func aGiven(t *rapid.T) given {
	g := given{rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "value"), rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "id")}
	if g == (given{}) {
		g.value = "c"
	}
	return g
}

// change draws one operation on a list, as text, and what it makes of list.
func change(t *rapid.T, list []given) (string, []given) {
	at, g := rapid.IntRange(0, len(list)-1).Draw(t, "at"), aGiven(t)
	const path = `"path":"Patient.name[0].given`
	switch rapid.IntRange(0, 4).Draw(t, "type") {
	case 0:
		to := rapid.IntRange(0, len(list)).Draw(t, "to")
		return fmt.Sprintf(`{"type":"insert",%s","index":%d,"value":%s}`, path, to, g.part()), slices.Insert(slices.Clone(list), to, g)
	case 1:
		return fmt.Sprintf(`{"type":"add","path":"Patient.name[0]","name":"given","value":%s}`, g.part()), append(slices.Clone(list), g)
	case 2:
		list = slices.Clone(list)
		list[at] = g
		return fmt.Sprintf(`{"type":"replace",%s[%d]","value":%s}`, path, at, g.part()), list
	case 3:
		to := rapid.IntRange(0, len(list)-1).Draw(t, "to")
		moved := list[at]
		rest := slices.Delete(slices.Clone(list), at, at+1)
		return fmt.Sprintf(`{"type":"move",%s","source":%d,"destination":%d}`, path, at, to), slices.Insert(rest, to, moved)
	default:
		if len(list) == 1 { // the last but the family name stays in the name
			return fmt.Sprintf(`{"type":"delete",%s[7]"}`, path), list
		}
		return fmt.Sprintf(`{"type":"delete",%s[%d]"}`, path, at), slices.Delete(slices.Clone(list), at, at+1)
	}
}

// Whatever a FHIRPath Patch does to a list of primitives: each value keeps what
// stands beside it, and the two arrays keep FHIR's form.
func TestListsOfPrimitivesStayAligned(t *testing.T) {
	types := model(t)
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		want := []given{aGiven(t)}
		lines := []string{`{"type":"add","path":"Patient.name[0]","name":"given","value":` + want[0].part() + `}`}
		for range rapid.IntRange(1, 8).Draw(t, "operations") {
			var line string
			line, want = change(t, want)
			lines = append(lines, line)
		}
		res, err := fhir.ParseResource([]byte(`{"resourceType":"Patient","name":[{"family":"f"}]}`), fhir.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := patch.Apply(res, patch.FHIR, parameters(outer, strings.Join(lines, "\n")), types)
		if err != nil {
			t.Fatalf("%v in\n%s", err, strings.Join(lines, "\n"))
		}
		name := got.Root().Path("name")
		values, beside := name.First().Get("given"), name.First().Get("_given")
		if !aligned(want, values, beside) {
			t.Fatalf("%s\ngot  %s\nwant %v", strings.Join(lines, "\n"), got.Raw(), want)
		}
	})
}

func aligned(want []given, values, beside fhir.Node) bool {
	texts, ids, said := make([]string, len(want)), make([]string, len(want)), false
	i := 0
	for v := range values.Elements() {
		if i < len(want) {
			texts[i] = v.Text()
		}
		i++
	}
	j := 0
	for v := range beside.Elements() {
		if j < len(want) {
			ids[j] = v.Get("id").Text()
			said = said || ids[j] != ""
		}
		j++
	}
	for n, g := range want {
		if texts[n] != g.value || ids[n] != g.id {
			return false
		}
	}
	return i == len(want) && (j == len(want) && said || !beside.Exists())
}
