package operation

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"candela/fhir"
	"candela/store"
)

// labels are the lists of a meta that the operations keep as sets.
var labels = [...]string{"profile", "security", "tag"}

// meta answers $meta: of one resource its meta, of a type or of all the labels
// that any current resource has.
func (c *Catalog) meta(ctx context.Context, a call) (fhir.Response, error) {
	if a.ID != "" {
		now, err := a.Get(ctx, store.Key{Type: a.Type, ID: a.ID})
		if err != nil {
			return fhir.Response{}, err
		}
		return metaOf(now.Number, fhir.AppendStamped(nil, now.Raw, now.Number, now.Time))
	}
	var types []string
	if a.Type != "" {
		types = []string{a.Type}
	}
	out := []byte{'{'}
	for _, label := range labels {
		all, err := a.distinct(ctx, types, label)
		if err != nil {
			return fhir.Response{}, err
		}
		out = appendList(out, label, all)
	}
	return answerMeta(append(out, '}')), nil
}

// metaOf is the answer with the meta of a stamped resource.
func metaOf(number int64, stamped []byte) (fhir.Response, error) {
	answer := answerMeta(fhir.Stored(stamped).Root().Get("meta").Raw())
	answer.ETag = strconv.FormatInt(number, 10)
	return answer, nil
}

func answerMeta(meta []byte) fhir.Response {
	out := append([]byte(`{"resourceType":"Parameters","parameter":[{"name":"return","valueMeta":`), meta...)
	return fhir.Response{Status: 200, Body: append(out, `}]}`...)}
}

func appendList(out []byte, name string, list [][]byte) []byte {
	if len(list) == 0 {
		return out
	}
	if out[len(out)-1] != '{' {
		out = append(out, ',')
	}
	out = append(append(append(out, '"'), name...), `":[`...)
	for i, one := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	return append(out, ']')
}

// maxLabels bounds how many different labels of one kind a summary names.
const maxLabels = 1000

// distinct are the different labels of one kind: resources are read that have
// none of those known, a few at a time, until there is no other. It costs a few
// scans of what is labelled and not a read of all resources.
func (a call) distinct(ctx context.Context, types []string, label string) ([][]byte, error) {
	param := "_" + label
	var out [][]byte
	names := map[string]bool{}
	known := map[string]bool{}
	var without store.Or
	for len(out) < maxLabels {
		q := store.Query{Types: types, Where: sum(present(param), store.Not{Of: without}), Count: 50, Entries: true}
		found, err := a.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		before := len(without)
		for _, v := range found.Versions {
			for one := range fhir.Stored(v.Raw).Root().Path("meta", label).Elements() {
				if name := nameOf(one); !names[name] {
					names[name] = true
					out = append(out, one.Raw())
				}
			}
			for _, e := range v.Entries {
				if id := e.Space + "|" + e.Name + "|" + e.Text; e.Param == param && !known[id] {
					known[id] = true
					without = append(without, store.Test{Param: param, Cond: sameAs(e)})
				}
			}
		}
		if len(without) == before {
			return out, nil
		}
	}
	return nil, fhir.Errorf(400, fhir.CodeTooCostly, "there are more than %d different labels; ask one type or one resource", maxLabels)
}

func sameAs(e store.Entry) store.Cond {
	return store.Cond{How: store.Is, Space: e.Space, Name: e.Name}
}

// nameOf is what makes two labels the same one: system and code, or the URL.
func nameOf(n fhir.Node) string {
	if n.Kind() == fhir.Object {
		return n.Get("system").Text() + "|" + n.Get("code").Text()
	}
	return n.Text()
}

// metaAdd answers $meta-add: the labels of the parameter are added to those the
// resource has, as sets, in a new version. All else stays byte for byte.
func (c *Catalog) metaAdd(ctx context.Context, a call) (fhir.Response, error) {
	return a.relabel(ctx, func(now, given fhir.Node) []byte { return merged(now, given) })
}

// metaDelete answers $meta-delete: the labels of the parameter are taken away.
func (c *Catalog) metaDelete(ctx context.Context, a call) (fhir.Response, error) {
	return a.relabel(ctx, reduced)
}

// maxTries bounds how often a lost race is run again.
const maxTries = 5

// relabel gives the resource the meta that change makes of its present one and
// the parameter, unless somebody else wrote meanwhile: then it starts again.
func (a call) relabel(ctx context.Context, change func(now, given fhir.Node) []byte) (fhir.Response, error) {
	given := a.in.node("meta")
	if !given.Exists() {
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeRequired, "$%s takes a Parameters resource with meta in the body of a POST", a.Operation).At("Parameters.parameter")
	}
	if err := checkLabels(given); err != nil {
		return fhir.Response{}, err
	}
	for try := 1; ; try++ {
		answer, err := a.rewrite(ctx, func(now fhir.Node) []byte { return change(now, given) })
		if refusal := statusOf(err); (refusal == 412 || refusal == 409) && a.IfMatch == "" && try < maxTries {
			continue
		}
		return answer, err
	}
}

func checkLabels(given fhir.Node) error {
	for _, label := range labels {
		list := given.Get(label)
		if list.Exists() && list.Kind() != fhir.Array {
			return invalid("meta", "%s must be an array", label)
		}
		for one := range list.Elements() {
			if want := kindOf(label); one.Kind() != want || nameOf(one) == "" || nameOf(one) == "|" {
				return invalid("meta", "%s has an element that is empty or of the wrong type", label)
			}
		}
	}
	return nil
}

func kindOf(label string) fhir.Kind {
	if label == "profile" {
		return fhir.String
	}
	return fhir.Object
}

// rewrite reads the resource and writes it with another meta, as the version
// that follows the one read.
func (a call) rewrite(ctx context.Context, change func(now fhir.Node) []byte) (fhir.Response, error) {
	now, err := a.Get(ctx, store.Key{Type: a.Type, ID: a.ID})
	if err != nil {
		return fhir.Response{}, err
	}
	number := strconv.FormatInt(now.Number, 10)
	if !asked(a.IfMatch, number) {
		return fhir.Response{}, store.ErrPrecondition
	}
	res := fhir.Stored(now.Raw)
	res, err = res.Edited([]fhir.Edit{putMeta(res, change(res.Root().Get("meta")))})
	if err != nil {
		return fhir.Response{}, err
	}
	done, err := a.Do(ctx, fhir.Request{
		Interaction: fhir.Update, Type: a.Type, ID: a.ID, Resource: res, IfMatch: `W/"` + number + `"`, Base: a.Base, RequestID: a.RequestID,
		Prefer: fhir.Prefer{Return: "representation", Handling: "lenient"},
	})
	if err != nil {
		return fhir.Response{}, err
	}
	answer := answerMeta(done.Resource.Root().Get("meta").Raw())
	answer.ETag, answer.LastModified = done.ETag, done.LastModified
	return answer, nil
}

// asked says whether an If-Match header allows the version; none does.
func asked(header, number string) bool {
	if header == "" {
		return true
	}
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.Trim(strings.TrimPrefix(one, "W/"), `"`) == number {
			return true
		}
	}
	return false
}

// putMeta is the edit that replaces the resource's meta; an empty one is taken
// out, and one that was not there is put behind the id.
func putMeta(res fhir.Resource, meta []byte) fhir.Edit {
	const name = `"meta":`
	now := res.Root().Get("meta")
	from, to := now.Span()
	switch {
	case now.Exists() && len(meta) > 2:
		return fhir.Edit{From: from, To: to, With: meta}
	case now.Exists():
		from -= len(name)
		if raw := res.Raw(); raw[to] == ',' {
			to++
		} else {
			from-- // the comma before: resourceType stands in every resource
		}
		return fhir.Edit{From: from, To: to}
	case len(meta) <= 2:
		return fhir.Edit{}
	}
	behind := res.Root().Get("id")
	if !behind.Exists() {
		behind = res.Root().Get("resourceType")
	}
	_, to = behind.Span()
	return fhir.Edit{From: to, To: to, With: append([]byte(","+name), meta...)}
}

// merged is the meta now with the labels of given added at the end of its lists.
func merged(now, given fhir.Node) []byte {
	lists := map[string][][]byte{}
	for _, label := range labels {
		list, names := elements(now.Get(label))
		for one := range given.Get(label).Elements() {
			if !slices.Contains(names, nameOf(one)) {
				list, names = append(list, one.Raw()), append(names, nameOf(one))
			}
		}
		lists[label] = list
	}
	return rebuilt(now, lists)
}

// reduced is the meta now without the labels of given.
func reduced(now, given fhir.Node) []byte {
	lists := map[string][][]byte{}
	for _, label := range labels {
		_, gone := elements(given.Get(label))
		for one := range now.Get(label).Elements() {
			if !slices.Contains(gone, nameOf(one)) {
				lists[label] = append(lists[label], one.Raw())
			}
		}
	}
	return rebuilt(now, lists)
}

func elements(list fhir.Node) (raw [][]byte, names []string) {
	for one := range list.Elements() {
		raw, names = append(raw, one.Raw()), append(names, nameOf(one))
	}
	return raw, names
}

// rebuilt is the meta with other lists: its members keep their order and bytes,
// new lists follow. Extensions of profiles (_profile) go with the profiles they
// belong to only where no profile went; R4 pairs them by place.
func rebuilt(now fhir.Node, lists map[string][][]byte) []byte {
	out := []byte{'{'}
	for key, v := range now.Members() {
		list, ours := lists[key]
		switch {
		case ours || slices.Contains(labels[:], key):
			out = appendList(out, key, list)
			continue
		case key == "_profile" && len(lists["profile"]) != v.Len():
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, fhir.Quote(key)...), ':'), v.Raw()...)
	}
	for _, label := range labels {
		if !now.Get(label).Exists() {
			out = appendList(out, label, lists[label])
		}
	}
	return append(out, '}')
}
