package fhirpath

import (
	"time"

	"candela/fhir/fhirpath/system"
)

// Buffer is working memory of evaluations. The zero Buffer is ready.
type Buffer struct {
	run   run
	free  [][]Item
	names []string
}

// evaluator appends the value of an expression on this to out.
type evaluator func(r *run, this *Item, out []Item) ([]Item, error)

// run is one evaluation.
type run struct {
	buf   *Buffer
	env   Env
	model Model
	focus Item
	index int    // $index
	spent int    // work done
	limit int    // work allowed
	total []Item // $total
}

// get lends an empty list; put takes it back.
func (r *run) get() []Item {
	free := r.buf.free
	if len(free) == 0 {
		return make([]Item, 0, 8)
	}
	list := free[len(free)-1]
	r.buf.free = free[:len(free)-1]
	return list
}

func (r *run) put(list []Item) {
	clear(list)
	r.buf.free = append(r.buf.free, list[:0])
}

// name keeps one copy of a type name that came out of JSON.
func (r *run) name(raw []byte) string {
	for _, n := range r.buf.names {
		if n == string(raw) {
			return n
		}
	}
	n := string(raw)
	if len(r.buf.names) < 64 {
		r.buf.names = append(r.buf.names, n)
	}
	return n
}

// resource is %resource.
func (r *run) resource() Item {
	if r.env.Resource.Type != "" {
		return r.env.Resource
	}
	return r.focus
}

// container is %rootResource.
func (r *run) container() Item {
	if r.env.Root.Type != "" {
		return r.env.Root
	}
	return r.resource()
}

func (r *run) now() time.Time {
	if r.env.Now.IsZero() {
		r.env.Now = time.Now()
	}
	return r.env.Now
}

// truth is a three-valued boolean.
type truth byte

const (
	unknown truth = iota
	no
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// append gives unknown no item.
func (t truth) append(out []Item) []Item {
	if t == unknown {
		return out
	}
	return appendBool(out, t == yes)
}

// truthOfItems reads a collection where a boolean is wanted: one item that is
// no boolean counts as true (singleton evaluation).
func truthOfItems(items []Item, what string) (truth, error) {
	switch len(items) {
	case 0:
		return unknown, nil
	case 1:
		if v, ok := items[0].Bool(); ok {
			return truthOf(v), nil
		}
		return yes, nil
	default:
		return unknown, system.Errorf("%s needs one boolean, got %d items", what, len(items))
	}
}

// test evaluates e on this as a condition.
func (r *run) test(e evaluator, this *Item, what string) (truth, error) {
	list, err := e(r, this, r.get())
	if err != nil {
		return unknown, err
	}
	t, err := truthOfItems(list, what)
	r.put(list)
	return t, err
}

// one evaluates e on this where at most one value may come; v is filled when
// ok. Complex elements have no value and are an error.
func (r *run) one(e evaluator, this *Item, what string, v *system.Value) (ok bool, err error) {
	list, err := e(r, this, r.get())
	if err != nil {
		return false, err
	}
	ok, err = r.single(list, what, v)
	r.put(list)
	return ok, err
}

// single is one's rule for items that are there already.
func (r *run) single(list []Item, what string, v *system.Value) (bool, error) {
	if len(list) == 0 {
		return false, nil
	}
	if len(list) > 1 {
		return false, system.Errorf("%s needs one item, got %d", what, len(list))
	}
	if r.load(&list[0], v) {
		return true, nil
	}
	if list[0].Type != "" && isPrimitive(list[0].Type) {
		return false, nil
	}
	return false, system.Errorf("%s needs a value, got %s", what, list[0].Type)
}
