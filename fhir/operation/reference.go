package operation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"candela/fhir"
	"candela/store"
)

// hops is how far references are followed: a role names its practitioner and
// organization, an organization its parent.
const hops = 3

// gathering is the references of a record on their way to resources.
type gathering struct {
	*record
	patient fhir.Reference  // whose own resources may be referenced too; zero: nobody's
	seen    map[string]bool // Type/id that are members, found or asked for
	found   map[string]store.Version
}

// referenced is what the record references and does not hold, sorted by type
// and id: resources that belong to no patient, and for an encounter those of its
// own patient. _type and _since narrow what comes out, not what is looked at.
func (rec *record) referenced(ctx context.Context, self store.Version) ([]store.Version, error) {
	g := &gathering{record: rec, seen: map[string]bool{}, found: map[string]store.Version{}}
	if rec.owner.Type != "Patient" {
		if p := fhir.ParseReference(fhir.Stored(self.Raw).Root().Path("subject", "reference").Text()); p.Type == "Patient" {
			g.patient = fhir.Reference{Type: p.Type, ID: p.ID}
		}
	}
	wanted, err := g.fromMembers(ctx)
	if err != nil {
		return nil, err
	}
	for hop := 0; hop < hops && len(wanted) > 0 && len(g.found) < maxReferenced; hop++ {
		if wanted, err = g.read(ctx, wanted, hop == 0); err != nil {
			return nil, err
		}
	}
	var out []store.Version
	for _, name := range slices.Sorted(maps.Keys(g.found)) {
		if v := g.found[name]; rec.wants(v.Key.Type) && (!rec.sinced || v.Time.UnixMicro() >= rec.since.Lo) {
			out = append(out, v)
		}
	}
	return out, nil
}

// fromMembers reads the whole compartment and notes what it points to.
func (g *gathering) fromMembers(ctx context.Context) (map[string][]string, error) {
	var all [][]fhir.Reference
	for _, t := range g.memberTypes() {
		q := g.query(t)
		q.Count = pageSize
		for more := g.Sees(t); more; more = q.After != "" {
			found, err := g.Find(ctx, q)
			if err != nil {
				return nil, err
			}
			for _, v := range found.Versions {
				g.seen[v.Key.String()] = true
				all = append(all, g.references(v))
			}
			q.After = found.Next
		}
	}
	return g.unseen(all), nil
}

// unseen sorts new references by type; each is asked for once.
func (g *gathering) unseen(all [][]fhir.Reference) map[string][]string {
	wanted := map[string][]string{}
	for _, refs := range all {
		for _, ref := range refs {
			if name := ref.Type + "/" + ref.ID; !g.seen[name] {
				g.seen[name] = true
				wanted[ref.Type] = append(wanted[ref.Type], ref.ID)
			}
		}
	}
	return wanted
}

// references are the literal references and attachments of a resource that
// point to this server.
func (g *gathering) references(v store.Version) []fhir.Reference {
	var out []fhir.Reference
	for key, n := range fhir.Stored(v.Raw).Root().Strings() {
		attached := string(key) == `"url"`
		if !attached && string(key) != `"reference"` {
			continue
		}
		ref := fhir.ParseReference(n.Text())
		if ref.Type == "" || ref.Base != "" && ref.Base != g.Base || attached && ref.Type != "Binary" {
			continue
		}
		if _, served := g.shared[ref.Type]; served {
			out = append(out, ref)
		}
	}
	return out
}

// read reads what is wanted and may come, and gives what that points to.
func (g *gathering) read(ctx context.Context, wanted map[string][]string, first bool) (map[string][]string, error) {
	var all [][]fhir.Reference
	for _, typ := range slices.Sorted(maps.Keys(wanted)) {
		limit, ok := g.limit(typ, first)
		if !ok || !g.Sees(typ) {
			continue
		}
		for ids := range slices.Chunk(wanted[typ], 500) {
			found, err := g.Find(ctx, store.Query{Types: []string{typ}, Where: sum(anyOf(typ, ids), limit), Count: len(ids)})
			if err != nil && !isForbidden(err) {
				return nil, err
			}
			for _, v := range found.Versions {
				g.found[v.Key.String()] = v
				all = append(all, g.references(v))
			}
		}
	}
	return g.unseen(all), nil
}

// limit is the condition under which a referenced type may come; ok is false
// when it may not.
func (g *gathering) limit(typ string, first bool) (limit store.Expr, ok bool) {
	if g.shared[typ] {
		return nil, true
	}
	if g.patient.ID == "" || !first {
		return nil, false
	}
	return g.search.Compartment(g.patient, typ), true
}

func anyOf(typ string, ids []string) store.Expr {
	out := make(store.Or, len(ids))
	for i, id := range ids {
		out[i] = store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Is, Space: typ, Name: id}}
	}
	return out
}

func isForbidden(err error) bool {
	var refusal *fhir.Error
	return errors.As(err, &refusal) && refusal.Status == 403
}

// after leaves out what stood on the pages before.
func after(sorted []store.Version, last string) []store.Version {
	i, _ := slices.BinarySearchFunc(sorted, last, func(v store.Version, name string) int {
		if c := strings.Compare(v.Key.String(), name); c != 0 {
			return c
		}
		return -1 // the last one itself was there
	})
	return sorted[i:]
}
