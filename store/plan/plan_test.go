package plan_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"candela/store"
	"candela/store/plan"
)

// ward is a memory engine with n laboratory values of n/100 patients.
func ward(tb testing.TB, n int) (*memory, *plan.Planner) {
	tb.Helper()
	m := newMemory()
	put := func(typ, id string, entries []store.Entry) {
		m.top++
		m.set(store.Version{Key: store.Key{Type: typ, ID: id}, RID: m.top, Number: 1, Seq: store.Seq(m.top), Time: time.UnixMilli(int64(m.top)), Raw: []byte("{}")}, entries)
	}
	for i := range n {
		if i%100 == 0 {
			names := []store.Entry{
				{Param: "name", Value: store.Value{Kind: store.Text, Text: fmt.Sprint("smith", i/1000), Raw: "Smith"}},
				{Param: "gender", Value: store.Value{Kind: store.Code, Name: []string{"male", "female"}[i/100%2]}},
			}
			put("Patient", patientOf(i), names)
		}
		put("Observation", fmt.Sprint("o", i), lab(i))
	}
	return m, plan.New(m, plan.Options{})
}

func patientOf(i int) string { return fmt.Sprintf("%08d-9b2c-4a0e-8d51-000000000000", i/100) }

func code(role store.Role, param, name string) store.Test {
	return store.Test{Param: param, Role: role, Cond: store.Cond{How: store.Named, Name: name}}
}

func owner(i int) store.Test {
	return store.Test{Param: "patient", Role: store.Anchor, Cond: store.Cond{How: store.Is, Space: "Patient", Name: patientOf(i)}}
}

func since(param string, role store.Role, at []byte, how store.How) store.Test {
	return store.Test{Param: param, Role: role, Cond: store.Cond{How: how, Lo: at, Hi: at}}
}

var newest = []store.Sort{{Param: "date", Desc: true, Role: store.Clock}}

// typical are queries as clinicians' software asks them, and what they may cost.
func typical() map[string]struct {
	query store.Query
	read  int64 // index entries and forward records at most
	calls int   // of the engine at most, without estimates
} {
	obs := []string{"Observation"}
	day, evening := lab(12_345)[7].Lo, lab(12_351)[7].Lo
	type limit = struct {
		query store.Query
		read  int64
		calls int
	}
	return map[string]limit{
		"newest of a code":         {store.Query{Types: obs, Where: code(store.Hot, "code", "8017-6"), Sort: newest, Count: 10}, 22, 5},
		"owner and code, by date":  {store.Query{Types: obs, Where: store.And{owner(5000), code(store.Hot, "code", "8017-6")}, Sort: newest, Count: 10}, 22, 7},
		"newest of an owner":       {store.Query{Types: obs, Where: owner(5000), Sort: newest, Count: 10}, 22, 5},
		"code, status, since":      {store.Query{Types: obs, Where: store.And{code(store.Hot, "code", "8017-6"), code(store.Hot, "status", "final"), since("date", store.Clock, day, store.AtLeast)}, Sort: newest, Count: 10}, 30, 6},
		"page of the type":         {store.Query{Types: obs, Count: 10}, 22, 4},
		"page of what most are":    {store.Query{Types: obs, Where: code(store.Hot, "status", "final"), Count: 10}, 60, 5},
		"sorted by a large column": {store.Query{Types: obs, Sort: []store.Sort{{Param: "value-quantity", Desc: true}}, Count: 10}, 120, 9},
		"a day":                    {store.Query{Types: obs, Where: store.Test{Param: "date", Role: store.Clock, Cond: store.Cond{How: store.Inside, Lo: day, Hi: evening}}, Count: 10}, 20, 6},
		"a period":                 {store.Query{Types: obs, Where: store.And{since("date", store.Clock, day, store.AtLeast), since("date", store.Clock, evening, store.Less)}, Count: 10}, 100, 7},
		"a long period, by date":   {store.Query{Types: obs, Where: store.And{since("date", store.Clock, day, store.AtLeast)}, Sort: newest, Count: 10}, 80, 9},
		"changed since, in order":  {store.Query{Types: obs, Where: since("_lastUpdated", 0, store.OrderedTime(time.UnixMilli(9_000)), store.AtLeast), Sort: []store.Sort{{Param: "_lastUpdated"}}, Count: 10}, 60, 7},
		"sorted by what none has":  {store.Query{Types: obs, Sort: []store.Sort{{Param: "nothing"}}, Count: 10}, 60_000, 60},
		"one by id":                {store.Query{Types: obs, Where: store.Test{Param: "_id", Cond: store.Cond{How: store.Is, Space: "Observation", Name: "o77"}}, Count: 10}, 5, 4},
		"of patients by name":      {store.Query{Types: obs, Where: store.And{code(store.Hot, "code", "8017-6"), store.Via{Param: "patient", Type: "Patient", Of: store.Test{Param: "name", Cond: store.Cond{How: store.Starts, Text: "smith7"}}}}, Count: 10}, 1_200, 20},
	}
}

func TestTypicalQueriesReadLittle(t *testing.T) {
	m, p := ward(t, 20_000)
	for name, c := range typical() {
		clear(m.calls)
		page, err := p.Find(context.Background(), c.query)
		if err != nil || len(page.Versions) == 0 {
			t.Errorf("%s: %d rows, %v", name, len(page.Versions), err)
			continue
		}
		e := page.Explain
		calls := m.calls["scan"] + m.calls["rows"] + m.calls["bodies"] + m.calls["lookup"]
		t.Logf("%s: driver %q, read %d + %d, %d calls, %d estimates", name, e.Driver, e.Scanned, e.Examined, calls, m.calls["estimate"])
		if read := e.Scanned + e.Examined; read > c.read || calls > c.calls || m.calls["bodies"] > 1 || e.Driver == "" {
			t.Errorf("%s: read %d, at most %d; calls %v, at most %d; %+v", name, read, c.read, m.calls, c.calls, e)
		}
	}
}

// TestLaterPagesReadNoMore: a page behind a cursor, forwards or back, costs what
// the first one does.
func TestLaterPagesReadNoMore(t *testing.T) {
	_, p := ward(t, 20_000)
	missing := []store.Sort{{Param: "nothing"}}
	for name, q := range map[string]store.Query{
		"a type":                    {Types: []string{"Observation"}},
		"a list":                    {Types: []string{"Observation"}, Where: code(store.Hot, "status", "final")},
		"two lists":                 {Types: []string{"Observation"}, Where: store.Or{code(0, "code", "8017-6"), code(0, "code", "8018-6")}},
		"by what some do not have":  {Types: []string{"Observation"}, Where: code(store.Hot, "status", "final"), Sort: missing},
		"by it, the greatest first": {Types: []string{"Observation"}, Sort: []store.Sort{{Param: "nothing", Desc: true}}},
	} {
		q.Count = 10
		first, err := p.Find(context.Background(), q)
		if err != nil || first.Next == "" {
			t.Fatalf("%s: %v, %d rows", name, err, len(first.Versions))
		}
		was := first.Explain.Scanned + first.Explain.Examined
		q.After = first.Next
		second, err := p.Find(context.Background(), q)
		if err != nil || len(second.Versions) != 10 {
			t.Fatalf("%s: %v, %d rows", name, err, len(second.Versions))
		}
		q.After = second.Next
		third, err := p.Find(context.Background(), q)
		if err != nil {
			t.Fatal(name, err)
		}
		q.After = third.Prev
		back, err := p.Find(context.Background(), q)
		if err != nil || len(back.Versions) != 10 || back.Versions[0].RID != second.Versions[0].RID {
			t.Fatalf("%s: back: %v, %d rows", name, err, len(back.Versions))
		}
		for place, e := range map[string]store.Explain{"second": second.Explain, "third": third.Explain, "back": back.Explain} {
			if e.Scanned+e.Examined > was+2 {
				t.Errorf("%s: the first page reads %d, the %s %+v", name, was, place, e)
			}
		}
	}
}

// compartment is all that belongs to the patient of observation i, as a search
// over all types of a compartment asks for it.
func compartment(i int) store.Query {
	q := store.Query{Types: []string{"Patient", "Observation"}, Count: 10}
	for n := range 60 {
		q.Types = append(q.Types, fmt.Sprint("Other", n))
	}
	var union store.Or
	for _, typ := range q.Types {
		of := owner(i)
		if typ == "Patient" {
			of = store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Is, Space: typ, Name: patientOf(i)}}
		}
		performer := store.Test{Param: "performer", Cond: store.Cond{How: store.Is, Space: "Patient", Name: patientOf(i)}}
		within := store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Within, Space: typ}}
		union = append(union, store.And{within, store.Or{of, performer}})
	}
	q.Where = union
	return q
}

// TestCompartmentsOfManyTypes: each type is read by its own lists, and a type
// that there is nothing of not at all.
func TestCompartmentsOfManyTypes(t *testing.T) {
	m, p := ward(t, 20_000)
	for name, c := range map[string]struct {
		sort []store.Sort
		read int64
	}{"in rid order": {nil, 60}, "newest": {newest, 350}} {
		clear(m.calls)
		q := compartment(5000)
		q.Sort, q.Total = c.sort, true
		page, err := p.Find(context.Background(), q)
		if err != nil || len(page.Versions) != 10 || page.Total != 101 {
			t.Fatalf("%s: %d rows of %d, %v", name, len(page.Versions), page.Total, err)
		}
		if e := page.Explain; e.Scanned+e.Examined > c.read+250 || m.calls["estimate"] > 20 {
			t.Errorf("%s: %+v, calls %v", name, e, m.calls)
		}
	}
}

// TestListsLeap: of several lists only what stands near the hits of the shortest is read.
func TestListsLeap(t *testing.T) {
	_, p := ward(t, 20_000)
	at := lab(5000)
	for n, where := range []store.And{
		{code(0, "code", "8017-6"), code(0, "status", "final"), code(0, "category", "laboratory")},
		{owner(5000), code(0, "status", "final"), code(0, "category", "laboratory"), store.Or{code(0, "code", at[0].Name), code(0, "status", "final")}},
	} {
		page, err := p.Find(context.Background(), store.Query{Types: []string{"Observation"}, Where: where})
		if err != nil || page.Total != 100 || page.Explain.Scanned > 12_000 {
			t.Errorf("%d: %d, %v, %+v", n, page.Total, err, page.Explain)
		}
	}
}

// TestCountsReadNoRows: exact lists are counted without forward records.
func TestCountsReadNoRows(t *testing.T) {
	_, p := ward(t, 20_000)
	for name, c := range map[string]struct {
		where store.Expr
		want  int64
	}{
		"all":         {nil, 20_000},
		"one":         {code(0, "code", "8017-6"), 100},
		"both":        {store.And{code(0, "code", "8017-6"), code(0, "status", "final")}, 100},
		"alternative": {store.And{store.Or{code(0, "code", "8017-6"), code(0, "code", "8018-6")}, code(0, "status", "final")}, 200},
	} {
		page, err := p.Find(context.Background(), store.Query{Types: []string{"Observation"}, Where: c.where})
		if err != nil || page.Total != c.want || page.Explain.Examined != 0 {
			t.Errorf("%s: total %d, %v, %+v", name, page.Total, err, page.Explain)
		}
	}
}

// glucoses is a memory engine with n values of one code, each as code, quantity
// and both together.
func glucoses(n int) *plan.Planner {
	m := newMemory()
	for i := range n {
		coded := store.Value{Kind: store.Code, Name: "glucose"}
		amount := store.Value{Kind: store.Range, Lo: amountOf(int64(i)), Hi: amountOf(int64(i))}
		m.top++
		m.set(store.Version{Key: store.Key{Type: "Observation", ID: fmt.Sprint(i)}, RID: m.top, Number: 1, Seq: store.Seq(m.top), Raw: []byte("{}")}, []store.Entry{
			{Param: "code", Role: store.Hot, Value: coded}, {Param: "value-quantity", Value: amount},
			{Param: "date", Role: store.Clock, Value: amount},
			{Param: "code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{coded, amount}}},
		})
	}
	return plan.New(m, plan.Options{})
}

// amountOf spreads amounts as wide as decimals are.
func amountOf(n int64) []byte { return store.OrderedInt(n << 44) }

// paired asks for a code with an amount from lo to hi.
func paired(lo, hi int64) store.Test {
	coded := store.Cond{How: store.Named, Name: "glucose"}
	amount := store.Cond{How: store.Overlaps, Lo: amountOf(lo), Hi: amountOf(hi)}
	return store.Test{Param: "code-value-quantity", Cond: store.Cond{How: store.All, Parts: []store.Cond{coded, amount}}, Implied: []store.Test{
		{Param: "code", Role: store.Hot, Cond: coded}, {Param: "value-quantity", Cond: amount},
	}}
}

// TestWhatIsImpliedDrives: a pair is found by the rarer of its parts, and by the
// key of its names where that may stop early.
func TestWhatIsImpliedDrives(t *testing.T) {
	p := glucoses(20_000)
	for name, c := range map[string]struct {
		where store.Expr
		sort  []store.Sort
		count int
		total int64
		read  int64
	}{
		"few":              {where: paired(9_000, 9_003), count: 10, total: 4, read: 20},
		"few of two":       {where: store.Or{paired(9_000, 9_003), paired(500, 501)}, count: 10, total: 6, read: 30},
		"none but few":     {where: store.Not{Of: paired(10, 20_000)}, count: 10, total: 10, read: 50_000},
		"counted":          {where: paired(9_000, 9_003), total: 4, read: 20},
		"many":             {where: paired(5_000, 8_000), count: 10, total: -1, read: 12_000},
		"most":             {where: paired(1_000, 20_000), count: 10, total: -1, read: 6_000},
		"newest of many":   {where: paired(1_000, 19_000), sort: newest, count: 10, total: -1, read: 6_000},
		"sorted otherwise": {where: paired(9_000, 9_003), sort: []store.Sort{{Param: "code"}}, count: 10, total: 4, read: 20},
	} {
		page, err := p.Find(context.Background(), store.Query{Types: []string{"Observation"}, Where: c.where, Sort: c.sort, Count: c.count, Total: c.total >= 0})
		if err != nil || page.Total != c.total || c.total < 0 && len(page.Versions) != 10 {
			t.Errorf("%s: %d of %d rows, %v", name, len(page.Versions), page.Total, err)
		}
		t.Logf("%s: %+v", name, page.Explain)
		if e := page.Explain; e.Scanned+e.Examined > c.read {
			t.Errorf("%s: %+v, at most %d", name, e, c.read)
		}
	}
}

// TestLongListsAreEstimatedOnce: the newest of a common code need no second
// count of what is known to be long.
func TestLongListsAreEstimatedOnce(t *testing.T) {
	m, p := ward(t, 20_000)
	q := store.Query{Types: []string{"Observation"}, Where: code(store.Hot, "status", "final"), Sort: newest, Count: 1}
	page, err := p.Find(context.Background(), q)
	if err != nil || len(page.Versions) != 1 {
		t.Fatal(page.Versions, err)
	}
	// its list, to see that it is long and then how long; the type; its list by time
	if n := m.calls["estimate"]; n > 4 {
		t.Errorf("%d estimates", n)
	}
	t.Log(m.calls)
}

// TestLimits: budget and deadline end a query and name what was being read.
func TestLimits(t *testing.T) {
	m, _ := ward(t, 2_000)
	dear := store.Query{Types: []string{"Observation"}, Where: store.Test{Param: "value-quantity", Cond: store.Cond{How: store.Outside, Lo: store.OrderedFloat(1), Hi: store.OrderedFloat(2)}}, Sort: []store.Sort{{Param: "code"}}, Count: 5}
	_, err := plan.New(m, plan.Options{Budget: 1_000}).Find(context.Background(), dear)
	if !errors.Is(err, store.ErrTooCostly) || !strings.Contains(err.Error(), "Observation") {
		t.Errorf("budget: %v", err)
	}
	m.slow = true
	_, err = plan.New(m, plan.Options{Deadline: time.Nanosecond}).Find(context.Background(), dear)
	if !errors.Is(err, store.ErrTooCostly) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("deadline: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := dear
	p := plan.New(cancelling{m, cancel}, plan.Options{})
	_, err = p.Find(ctx, q)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTooCostly) {
		t.Errorf("cancelled: %v", err)
	}
	if !m.mu.TryLock() {
		t.Error("a snapshot was left open")
	}
}

// cancelling is an engine whose caller goes away once the snapshot is open.
type cancelling struct {
	*memory
	cancel func()
}

func (c cancelling) Snapshot(ctx context.Context) (plan.Snapshot, error) {
	s, err := c.memory.Snapshot(ctx)
	c.cancel()
	return s, err
}

// TestDeepChains: chains of any depth stream, and have no cap on what they yield.
func TestDeepChains(t *testing.T) {
	m, p := ward(t, 20_000)
	female := code(0, "gender", "female")
	of := store.Via{Param: "patient", Type: "Patient", Of: female}
	with := store.Has{Type: "Observation", Param: "patient", Of: store.And{code(0, "code", "8017-6"), of}}
	page, err := p.Find(context.Background(), store.Query{Types: []string{"Observation"}, Where: store.And{code(0, "status", "final"), store.Via{Param: "patient", Type: "Patient", Of: with}}})
	if err != nil || page.Total != 0 {
		// 8017 is n%200 == 17: always the first hundred of two hundred, whose patients are male
		t.Errorf("total %d, %v", page.Total, err)
	}
	page, err = p.Find(context.Background(), store.Query{Types: []string{"Observation"}, Where: of})
	if err != nil || page.Total != 10_000 {
		t.Errorf("total %d, %v", page.Total, err)
	}
	page, err = p.Find(context.Background(), store.Query{Types: []string{"Patient"}, Where: store.Not{Of: store.Has{Type: "Observation", Param: "patient", Of: code(0, "code", "8017-6")}}, Count: 500, Total: true})
	if err != nil || page.Total != 100 || len(page.Versions) != 100 {
		t.Errorf("total %d, rows %d, %v, calls %v", page.Total, len(page.Versions), err, m.calls)
	}
}

func BenchmarkFind(b *testing.B) {
	_, p := ward(b, 20_000)
	b.Run("compartment", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Find(context.Background(), compartment(5000)); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, c := range typical() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Find(context.Background(), c.query); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTestRows: what one exact test of a forward record costs.
func BenchmarkTestRows(b *testing.B) {
	_, p := ward(b, 20_000)
	at := store.OrderedFloat(1e9)
	q := store.Query{Types: []string{"Observation"}, Where: store.And{code(0, "status", "final"), store.Not{Of: since("value-quantity", 0, at, store.Less)}}, Count: 1}
	b.ReportAllocs()
	for b.Loop() {
		page, err := p.Find(context.Background(), q)
		if err != nil || page.Explain.Examined < 20_000 {
			b.Fatal(page.Explain, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/20_000, "ns/row")
}

// counting is an engine that counts by itself, and says how often it was asked.
type counting struct {
	*memory
	asked *[][]uint64
}

type countingView struct {
	plan.Snapshot
	asked *[][]uint64
}

func (c counting) Snapshot(ctx context.Context) (plan.Snapshot, error) {
	s, err := c.memory.Snapshot(ctx)
	return countingView{s, c.asked}, err
}

func (v countingView) Count(_ context.Context, hashes []uint64) (int64, bool, error) {
	*v.asked = append(*v.asked, hashes)
	return 42, len(hashes) < 3, nil
}

// TestEngineCounts: where every part is one list, an engine that can count is
// asked, the shortest list first; else, and where it declines, hits are read.
func TestEngineCounts(t *testing.T) {
	m, _ := ward(t, 20_000)
	status, one := code(0, "status", "final"), code(0, "code", "8017-6")
	final, coded := plan.HashOfName("Observation", "status", "final"), plan.HashOfName("Observation", "code", "8017-6")
	for name, c := range map[string]struct {
		where store.Expr
		want  int64
		asked [][]uint64
	}{
		"all":         {nil, 42, [][]uint64{{plan.HashOfType("Observation")}}},
		"one":         {one, 42, [][]uint64{{coded}}},
		"both":        {store.And{status, one}, 42, [][]uint64{{coded, final}}},
		"alternative": {store.And{store.Or{one, code(0, "code", "8018-6")}, status}, 200, nil},
	} {
		var asked [][]uint64
		p := plan.New(counting{m, &asked}, plan.Options{})
		page, err := p.Find(context.Background(), store.Query{Types: []string{"Observation"}, Where: c.where})
		if err != nil || page.Total != c.want || !reflect.DeepEqual(asked, c.asked) {
			t.Errorf("%s: total %d, %v, asked %x, want %x", name, page.Total, err, asked, c.asked)
		}
	}
}
