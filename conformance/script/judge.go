package script

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath"
)

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// judge checks all asserts of a response section and puts captures into vars.
func (a answer) judge(want string, vars map[string]string, model fhirpath.Model) error {
	lines := strings.Split(want, "\n")
	var failed []error
	if err := a.isStatus(lines[0]); err != nil {
		failed = append(failed, err)
	}
	for _, line := range lines[1:] {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%q is no assert", line)
		}
		if err := a.assert(name, strings.TrimSpace(rest), vars, model); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", line, err))
		}
	}
	return errors.Join(failed...)
}

// isStatus: "201", "200|201" or "4xx".
func (a answer) isStatus(want string) error {
	got := strconv.Itoa(a.status)
	for one := range strings.SplitSeq(strings.TrimSpace(want), "|") {
		if one == got || len(one) == 3 && one[1:] == "xx" && one[0] == got[0] {
			return nil
		}
	}
	return fmt.Errorf("status is %d, want %s", a.status, want)
}

func (a answer) assert(name, rest string, vars map[string]string, model fhirpath.Model) error {
	kind, operand, _ := strings.Cut(name, " ")
	switch kind {
	case "fhirpath":
		return a.holds(expand(rest, vars), model)
	case "json":
		return a.isJSON(operand, expand(rest, vars))
	case "capture":
		got, err := a.capture(rest, vars, model)
		vars[operand] = got
		return err
	case "body":
		return matches(string(a.body), rest, vars, rest == "!")
	default:
		got, there := a.header[http.CanonicalHeaderKey(name)]
		if rest == "!" && !there {
			return nil
		}
		return matches(strings.Join(got, ", "), rest, vars, !there || rest == "!")
	}
}

// matches checks a regexp, or with a leading ! that it does not match.
func matches(got, want string, vars map[string]string, fail bool) error {
	if fail {
		return fmt.Errorf("got %q", got)
	}
	expression, not := strings.CutPrefix(want, "!")
	re, err := compile(expression, vars)
	if err != nil {
		return err
	}
	if re.MatchString(got) == not {
		return fmt.Errorf("got %q", shorten([]byte(got)))
	}
	return nil
}

// compile reads a regexp; variables in it are literal text.
func compile(expression string, vars map[string]string) (*regexp.Regexp, error) {
	literal := make(map[string]string, len(vars))
	for name, value := range vars {
		literal[name] = regexp.QuoteMeta(value)
	}
	return regexp.Compile(expand(expression, literal))
}

func (a answer) eval(expression string, model fhirpath.Model) ([]fhirpath.Item, error) {
	res, err := fhir.ParseResource(a.body, fhir.BundleLimits())
	if err != nil {
		return nil, err
	}
	e, err := fhirpath.Compile(expression, res.Type(), model)
	if err != nil {
		return nil, err
	}
	return e.Eval(fhirpath.Env{}, fhirpath.Root(res))
}

func (a answer) holds(expression string, model fhirpath.Model) error {
	items, err := a.eval(expression, model)
	if err != nil {
		return err
	}
	if len(items) == 1 {
		if v, ok := items[0].Bool(); ok && v {
			return nil
		}
	}
	return fmt.Errorf("is not true, but %s", show(items))
}

func show(items []fhirpath.Item) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.Text()
	}
	return fmt.Sprintf("%q", texts)
}

// isJSON compares the literal text at a JSON pointer.
func (a answer) isJSON(pointer, want string) error {
	tree, err := fhir.ParseTree(a.body, fhir.BundleLimits())
	if err != nil {
		return err
	}
	here := tree.Root()
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		here = child(here, part)
	}
	if want == "!" && !here.Exists() || want != "!" && string(here.Raw()) == want {
		return nil
	}
	return fmt.Errorf("got %s", here.Raw())
}

func child(n fhir.Node, part string) fhir.Node {
	if n.Kind() != fhir.Array {
		return n.Get(part)
	}
	index := 0
	for one := range n.Elements() {
		if strconv.Itoa(index) == part {
			return one
		}
		index++
	}
	return fhir.Node{}
}

// capture reads "Header regexp" or "fhirpath expression".
func (a answer) capture(rest string, vars map[string]string, model fhirpath.Model) (string, error) {
	from, what, _ := strings.Cut(rest, " ")
	if from == "fhirpath" {
		items, err := a.eval(expand(what, vars), model)
		if err != nil {
			return "", err
		}
		if len(items) != 1 {
			return "", fmt.Errorf("gave %d items", len(items))
		}
		return items[0].Text(), nil
	}
	re, err := compile(what, vars)
	if err != nil {
		return "", err
	}
	found := re.FindStringSubmatch(a.header.Get(from))
	if len(found) < 2 {
		return "", fmt.Errorf("%s is %q", from, a.header.Get(from))
	}
	return found[1], nil
}
