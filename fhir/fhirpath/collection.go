package fhirpath

import (
	"slices"

	"candela/fhir/fhirpath/system"
)

// filtering: functions that look at every item.
func filtering(name string) (function, bool) {
	switch name {
	case "where":
		return function{1, 1, onItems, givesInput, false, where}, true
	case "select":
		return function{1, 1, onItems, givesArg, false, project}, true
	case "all":
		return function{1, 1, onItems, givesBoolean, false, all}, true
	case "repeat":
		return function{1, 1, onItems, givesAny, false, repeat}, true
	case "aggregate":
		return function{1, 2, onItems, givesAny, false, aggregate}, true
	case "sort":
		return function{0, 16, onItems, givesInput, false, sortItems}, true
	case "trace":
		return function{1, 2, onItems, givesInput, false, trace}, true
	case "iif":
		return function{2, 3, onItems, givesAny, false, iif}, true
	}
	return function{}, false
}

func where(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	err := r.each(in, func(it *Item) error {
		t, err := r.test(k.args[0], it, "where()")
		if t == yes {
			out = append(out, *it)
		}
		return err
	})
	return out, err
}

func project(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	err := r.each(in, func(it *Item) (err error) {
		out, err = k.args[0](r, it, out)
		return err
	})
	return out, err
}

func all(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	every := true
	err := r.each(in, func(it *Item) error {
		t, err := r.test(k.args[0], it, "all()")
		every = every && t == yes
		return err
	})
	return appendBool(out, every), err
}

// maxRepeat bounds repeat(), whose projection may make new values for ever.
const maxRepeat = 10_000

func repeat(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	from, next := len(out), 0
	take := func(it *Item) error {
		found, err := k.args[0](r, it, r.get())
		for i := range found {
			out = r.appendNew(out, from, &found[i])
		}
		r.put(found)
		if err == nil && len(out)-from > maxRepeat {
			err = system.Errorf("repeat() found more than %d items", maxRepeat)
		}
		return err
	}
	if err := r.each(in, take); err != nil {
		return out, err
	}
	for ; from+next < len(out); next++ {
		it := out[from+next]
		if err := take(&it); err != nil {
			return out, err
		}
	}
	return out, nil
}

func aggregate(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	was := r.total
	defer func() { r.total = was }()
	r.total = nil
	if len(k.args) == 2 {
		start, err := k.args[1](r, this, nil)
		if err != nil {
			return out, err
		}
		r.total = start
	}
	err := r.each(in, func(it *Item) error {
		next, err := k.args[0](r, it, nil)
		r.total = next
		return err
	})
	return append(out, r.total...), err
}

// sortItems orders by its keys; -key falls. Items without a key come first
// either way.
func sortItems(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	keys := max(len(k.args), 1)
	rows := make([][]system.Value, len(in))
	for i := range in {
		rows[i] = make([]system.Value, keys)
		for n := range keys {
			key := itself
			if n < len(k.args) {
				key = k.args[n]
			}
			if _, err := r.one(key, &in[i], "a key of sort()", &rows[i][n]); err != nil {
				return out, err
			}
		}
	}
	order := make([]int, len(in))
	for i := range order {
		order[i] = i
	}
	var failed error
	slices.SortStableFunc(order, func(a, b int) int {
		o, err := compareRows(rows[a], rows[b], k.falls)
		if err != nil {
			failed = err
		}
		return o
	})
	for _, i := range order {
		out = append(out, in[i])
	}
	return out, failed
}

func compareRows(a, b []system.Value, falls []bool) (int, error) {
	for n := range a {
		order := 0
		switch {
		case a[n].Kind == system.KindNone || b[n].Kind == system.KindNone:
			if order = int(min(a[n].Kind, 1)) - int(min(b[n].Kind, 1)); order != 0 {
				return order, nil
			}
		default:
			o, _, err := system.Compare(&a[n], &b[n])
			if err != nil {
				return 0, err
			}
			order = o
		}
		if n < len(falls) && falls[n] {
			order = -order
		}
		if order != 0 {
			return order, nil
		}
	}
	return 0, nil
}

func trace(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	if r.env.Trace == nil {
		return append(out, in...), nil
	}
	name, _, err := r.textArg(k, this, 0)
	if err != nil {
		return out, err
	}
	seen := slices.Clone(in)
	if len(k.args) == 2 {
		seen = nil
		err = r.each(in, func(it *Item) (err error) {
			seen, err = k.args[1](r, it, seen)
			return err
		})
	}
	if err == nil {
		r.env.Trace(name, seen)
	}
	return append(out, in...), err
}

// iif evaluates only the branch that it takes. Its input may be empty or one item.
func iif(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	if len(in) > 1 {
		return out, system.Errorf("iif() needs one item, got %d", len(in))
	}
	if len(in) == 1 {
		this = &in[0]
	}
	t, err := r.test(k.args[0], this, "iif()")
	switch {
	case err != nil:
		return out, err
	case t == yes:
		return k.args[1](r, this, out)
	case len(k.args) == 3:
		return k.args[2](r, this, out)
	}
	return out, nil
}

// existence: functions that answer about a whole collection.
func existence(name string) (function, bool) {
	switch name {
	case "empty":
		return function{0, 0, onContext, givesBoolean, false, empty}, true
	case "exists":
		return function{0, 1, onItems, givesBoolean, false, exists}, true
	case "not":
		return function{0, 0, onContext, givesBoolean, false, not}, true
	case "count":
		return function{0, 0, onContext, givesInteger, false, count}, true
	case "allTrue", "anyTrue", "allFalse", "anyFalse":
		return function{0, 0, onContext, givesBoolean, false, quantify}, true
	case "subsetOf":
		return function{1, 1, onContext, givesBoolean, false, subsetOf}, true
	case "supersetOf":
		return function{1, 1, onContext, givesBoolean, false, supersetOf}, true
	case "distinct":
		return function{0, 0, onContext, givesInput, false, distinct}, true
	case "isDistinct":
		return function{0, 0, onContext, givesBoolean, false, isDistinct}, true
	}
	return function{}, false
}

func empty(_ *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	return appendBool(out, len(in) == 0), nil
}

func exists(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	if len(k.args) == 0 {
		return appendBool(out, len(in) > 0), nil
	}
	found := false
	err := r.each(in, func(it *Item) error {
		if found {
			return nil
		}
		t, err := r.test(k.args[0], it, "exists()")
		found = t == yes
		return err
	})
	return appendBool(out, found), err
}

func not(_ *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	t, err := truthOfItems(in, "not()")
	if err != nil || t == unknown {
		return out, err
	}
	return appendBool(out, t == no), nil
}

func count(_ *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	return append(out, itemOf(system.OfInt(int64(len(in))))), nil
}

// quantify does allTrue, anyTrue, allFalse and anyFalse.
func quantify(_ *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	wanted := k.name == "allTrue" || k.name == "anyTrue"
	hits := 0
	for i := range in {
		v, ok := in[i].Bool()
		if !ok {
			return out, system.Errorf("%s() needs booleans, got %s", k.name, in[i].Type)
		}
		if v == wanted {
			hits++
		}
	}
	if k.name[:3] == "all" {
		return appendBool(out, hits == len(in)), nil
	}
	return appendBool(out, hits > 0), nil
}

// within says whether every item of a is in b.
func (r *run) within(a, b []Item) bool {
	for i := range a {
		if !r.has(b, &a[i]) {
			return false
		}
	}
	return true
}

func subsetOf(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	other, err := r.list(k, this, 0)
	out = appendBool(out, r.within(in, other))
	r.put(other)
	return out, err
}

func supersetOf(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	other, err := r.list(k, this, 0)
	out = appendBool(out, r.within(other, in))
	r.put(other)
	return out, err
}

func distinct(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	from := len(out)
	for i := range in {
		out = r.appendNew(out, from, &in[i])
	}
	return out, nil
}

func isDistinct(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	for i := range in {
		if r.has(in[:i], &in[i]) {
			return appendBool(out, false), nil
		}
	}
	return appendBool(out, true), nil
}

// subsetting: functions that take some items by position.
func subsetting(name string) (function, bool) {
	switch name {
	case "single", "first", "last", "tail":
		return function{0, 0, onContext, givesInput, name != "single", ends}, true
	case "skip", "take":
		return function{1, 1, onContext, givesInput, true, slice}, true
	}
	return function{}, false
}

func ends(_ *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	if len(in) == 0 {
		return out, nil
	}
	switch k.name {
	case "first":
		return append(out, in[0]), nil
	case "last":
		return append(out, in[len(in)-1]), nil
	case "tail":
		return append(out, in[1:]...), nil
	}
	if len(in) > 1 {
		return out, system.Errorf("single() found %d items", len(in))
	}
	return append(out, in[0]), nil
}

func slice(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	n, ok, err := r.intArg(k, this, 0)
	if err != nil || !ok {
		return out, err
	}
	n = min(max(n, 0), len(in))
	if k.name == "skip" {
		return append(out, in[n:]...), nil
	}
	return append(out, in[:n]...), nil
}

// combining: functions on two collections.
func combining(name string) (function, bool) {
	switch name {
	case "union", "combine":
		return function{1, 1, onContext, givesBoth, false, combine}, true
	case "intersect", "exclude":
		return function{1, 1, onContext, givesInput, false, sift}, true
	}
	return function{}, false
}

func combine(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	other, err := r.list(k, this, 0)
	if k.name == "combine" {
		out = append(append(out, in...), other...)
	} else {
		from := len(out)
		for i := range in {
			out = r.appendNew(out, from, &in[i])
		}
		for i := range other {
			out = r.appendNew(out, from, &other[i])
		}
	}
	r.put(other)
	return out, err
}

// sift does intersect (without duplicates) and exclude (with them).
func sift(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	other, err := r.list(k, this, 0)
	from := len(out)
	for i := range in {
		switch both := r.has(other, &in[i]); {
		case both && k.name == "intersect":
			out = r.appendNew(out, from, &in[i])
		case !both && k.name == "exclude":
			out = append(out, in[i])
		}
	}
	r.put(other)
	return out, err
}
