package embedded_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"candela/store"
	"candela/store/embedded"
)

// sample makes observations as a synthetic hospital writes them: 1 KB of JSON
// and the entries that its search parameters give.
type sample struct{ rnd *rand.Rand }

func newSample() *sample { return &sample{rand.New(rand.NewPCG(7, 7))} }

func (s *sample) uuid() string {
	a, b := s.rnd.Uint64(), s.rnd.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}

const loinc = "http://loinc.org"

// patientID is the id of patient n of the sample.
func patientID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-00000000000a", n) }

func codeOf(n int) string { return fmt.Sprintf("%d-%d", 1000+n*37, n%10) }

var epoch = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *sample) observation(patient int) store.Op {
	id, encounter, owner := s.uuid(), s.uuid(), patientID(patient)
	n := s.rnd.IntN(200) * s.rnd.IntN(200) / 200
	code, value := codeOf(n), 50+s.rnd.Float64()*100
	at := epoch.Add(time.Duration(s.rnd.IntN(10*365*24*3600)) * time.Second)
	when := at.Format("2006-01-02T15:04:05-07:00")
	raw := fmt.Sprintf(`{"resourceType":"Observation","id":"%s","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]},"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"Laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"%s","display":"Analyte %d [Mass/volume] in Serum or Plasma"}],"text":"Analyte %d [Mass/volume] in Serum or Plasma"},"subject":{"reference":"Patient/%s"},"encounter":{"reference":"Encounter/%s"},"effectiveDateTime":"%s","issued":"%s","valueQuantity":{"value":%.2f,"unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}}`,
		id, code, n, n, owner, encounter, when, when, value)
	return store.Op{Action: store.Put, Key: store.Key{Type: "Observation", ID: id}, Raw: []byte(raw), Entries: entriesOf(owner, encounter, code, n, value, at)}
}

func entriesOf(owner, encounter, code string, n int, value float64, at time.Time) []store.Entry {
	token := func(param string, role store.Role, space, name, text string) store.Entry {
		return store.Entry{Param: param, Role: role, Value: store.Value{Kind: store.Code, Space: space, Name: name, Text: text}}
	}
	link := func(param string, role store.Role, typ, id string) store.Entry {
		return store.Entry{Param: param, Role: role, Value: store.Value{Kind: store.Link, Space: typ, Name: id}}
	}
	text := fmt.Sprintf("analyte %d [mass/volume] in serum or plasma", n)
	date := store.OrderedTime(at)
	number := store.OrderedFloat(value)
	quantity := store.Value{Kind: store.Range, Lo: number, Hi: number, Space: "http://unitsofmeasure.org", Name: "mg/dL", Text: "mg/dL"}
	coded := store.Value{Kind: store.Code, Space: loinc, Name: code}
	return []store.Entry{
		token("status", store.Hot, "http://hl7.org/fhir/observation-status", "final", ""),
		token("category", store.Hot, "http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "laboratory"),
		token("code", store.Hot, loinc, code, text),
		token("combo-code", 0, loinc, code, text),
		link("subject", store.Anchor, "Patient", owner),
		link("patient", store.Anchor, "Patient", owner),
		link("encounter", 0, "Encounter", encounter),
		{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: date, Hi: date}},
		{Param: "value-quantity", Value: quantity},
		{Param: "combo-value-quantity", Value: quantity},
		{Param: "code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{coded, quantity}}},
		{Param: "combo-code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{coded, quantity}}},
		{Param: "_profile", Value: store.Value{Kind: store.URI, Name: "http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"}},
	}
}

// open opens a fresh store.
func open(t testing.TB, opt embedded.Options) (*embedded.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := embedded.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sizeOf(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return err
	})
	return total
}

// reportCPU reports the processor time since start, in µs for each of n.
func reportCPU(b *testing.B, start time.Duration, n int, unit string) {
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(n), unit)
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 100, 2000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, dir := open(b, embedded.Options{})
			gen, n := newSample(), 0
			var making time.Duration
			start := cpu()
			for b.Loop() {
				before := cpu()
				ops := make([]store.Op, size)
				for i := range ops {
					ops[i] = gen.observation(n / 100)
					n++
				}
				making += cpu() - before
				if _, err := s.Commit(context.Background(), ops...); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			reportCPU(b, start+making, n, "cpu-µs/res")
			b.ReportMetric(float64(sizeOf(dir))/float64(n), "disk-B/res")
		})
	}
}

func BenchmarkCommitConcurrent(b *testing.B) {
	s, _ := open(b, embedded.Options{})
	start := cpu()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		gen := &sample{rand.New(rand.NewPCG(rand.Uint64(), 1))}
		for pb.Next() {
			if _, err := s.Commit(context.Background(), gen.observation(gen.rnd.IntN(1000))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	reportCPU(b, start, b.N, "cpu-µs/res")
}

func BenchmarkUpdate(b *testing.B) {
	s, _ := open(b, embedded.Options{})
	gen := newSample()
	op := gen.observation(1)
	start := cpu()
	n := 0
	for b.Loop() {
		next := gen.observation(1)
		next.Key = op.Key
		if _, err := s.Commit(context.Background(), next); err != nil {
			b.Fatal(err)
		}
		n++
	}
	reportCPU(b, start, n, "cpu-µs/res")
}

// filled is a store of n observations of n/200 patients, and its folder.
func filled(b *testing.B, n int) (*embedded.Store, string) {
	b.Helper()
	s, dir := open(b, embedded.Options{Relaxed: true})
	gen := newSample()
	for i := 0; i < n; i += 1000 {
		ops := make([]store.Op, 1000)
		for j := range ops {
			ops[j] = gen.observation((i + j) / 200)
		}
		if _, err := s.Commit(context.Background(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	quiet()
	return s, dir
}

// quiet waits until the store's work in the background is done.
func quiet() {
	for busy := true; busy; {
		before := cpu()
		time.Sleep(300 * time.Millisecond)
		busy = cpu()-before > 20*time.Millisecond
	}
}

func named(param string, role store.Role, name string) store.Test {
	return store.Test{Param: param, Role: role, Cond: store.Cond{How: store.Named, Name: name}}
}

func ownedBy(patient int) store.Test {
	return store.Test{Param: "patient", Role: store.Anchor, Cond: store.Cond{How: store.Is, Space: "Patient", Name: patientID(patient)}}
}

func BenchmarkRead(b *testing.B) {
	const n = 100_000
	s, _ := filled(b, n)
	ctx := context.Background()
	newest := []store.Sort{{Param: "date", Desc: true, Role: store.Clock}}
	late := store.OrderedTime(epoch.AddDate(5, 0, 0))
	year := store.Test{Param: "date", Role: store.Clock, Cond: store.Cond{How: store.AtLeast, Lo: late, Hi: late}}
	queries := map[string]func(i int) store.Query{
		"id": func(i int) store.Query { return store.Query{Count: 0} },
		"patient+code newest": func(i int) store.Query {
			return store.Query{Where: store.And{ownedBy(i % (n / 200)), named("code", store.Hot, codeOf(i%8))}, Sort: newest, Count: 10}
		},
		"code newest 10": func(i int) store.Query {
			return store.Query{Where: named("code", store.Hot, codeOf(i%50)), Sort: newest, Count: 10}
		},
		"code+status+date newest 10": func(i int) store.Query {
			return store.Query{Where: store.And{named("code", store.Hot, codeOf(i%50)), named("status", store.Hot, "final"), year}, Sort: newest, Count: 10}
		},
		"count code and status": func(i int) store.Query {
			return store.Query{Where: store.And{named("code", store.Hot, codeOf(i%50)), named("status", store.Hot, "final")}, Total: true}
		},
		"page of all": func(i int) store.Query { return store.Query{Count: 50} },
	}
	page, err := s.Find(ctx, store.Query{Types: []string{"Observation"}, Count: 5000, NoRaw: true})
	if err != nil {
		b.Fatal(err)
	}
	for name, query := range queries {
		b.Run(name, func(b *testing.B) {
			start, i := cpu(), 0
			for b.Loop() {
				i++
				if name == "id" {
					_, err = s.Get(ctx, page.Versions[i%len(page.Versions)].Key)
				} else {
					q := query(i)
					q.Types = []string{"Observation"}
					_, err = s.Find(ctx, q)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, start, i, "cpu-µs/op")
			b.ReportAllocs()
		})
	}
}

// BenchmarkEncryption is what encryption costs a load, a read and the disk: the
// same work with and without, in turns.
func BenchmarkEncryption(b *testing.B) {
	for _, name := range []string{"clear", "encrypted", "clear again", "encrypted again"} {
		opt := embedded.Options{Unencrypted: name[0] == 'c', Owners: []string{"Patient"}}
		b.Run("load/"+name, func(b *testing.B) { benchLoad(b, opt) })
		b.Run("page of 50/"+name, func(b *testing.B) { benchPage(b, opt) })
	}
}

func benchLoad(b *testing.B, opt embedded.Options) {
	s, dir := open(b, opt)
	gen, n := newSample(), 0
	var making time.Duration
	start := cpu()
	for b.Loop() {
		before := cpu()
		ops := make([]store.Op, 200)
		for i := range ops {
			ops[i] = gen.observation(n / 200)
			n++
		}
		making += cpu() - before
		if _, err := s.Commit(context.Background(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	reportCPU(b, start+making, n, "cpu-µs/res")
	b.ReportMetric(float64(sizeOf(dir))/float64(n), "disk-B/res")
}

// benchPage reads pages of a list over many patients.
func benchPage(b *testing.B, opt embedded.Options) {
	s, _ := open(b, opt)
	gen := newSample()
	for i := range 50 {
		ops := make([]store.Op, 400)
		for j := range ops {
			ops[j] = gen.observation(i*10 + j%10)
		}
		if _, err := s.Commit(context.Background(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	quiet()
	q := store.Query{Types: []string{"Observation"}, Where: named("code", store.Hot, codeOf(3)), Count: 50, Entries: true}
	start, n := cpu(), 0
	for b.Loop() {
		page, err := s.Find(context.Background(), q)
		if err != nil || len(page.Versions) != 50 {
			b.Fatal(len(page.Versions), err)
		}
		n++
	}
	reportCPU(b, start, n, "cpu-µs/op")
}
