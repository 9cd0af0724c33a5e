package mongo_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

// sample makes observations as a hospital writes them: 1 KB of JSON and the
// entries that its search parameters give.
type sample struct{ rnd *rand.Rand }

func newSample() *sample { return &sample{rand.New(rand.NewPCG(7, 7))} }

func (s *sample) observation(patient int) store.Op {
	id := fmt.Sprintf("%08x-%04x-4000-8000-%012x", s.rnd.Uint32(), s.rnd.Uint32()&0xffff, s.rnd.Uint64()&0xffffffffffff)
	owner, encounter := fmt.Sprintf("patient-%d", patient), fmt.Sprintf("%d-%d", patient, s.rnd.IntN(30))
	n := s.rnd.IntN(200) * s.rnd.IntN(200) / 200
	code, value := fmt.Sprintf("%d-%d", 1000+n*37, n%10), 50+s.rnd.Float64()*100
	at := time.Date(2015, 1, 1, 0, 0, s.rnd.IntN(10*365*24*3600), 0, time.UTC)
	raw := fmt.Sprintf(`{"resourceType":"Observation","id":"%s","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]},"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"Laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"%s","display":"Analyte %d [Mass/volume] in Serum or Plasma"}],"text":"Analyte %d [Mass/volume] in Serum or Plasma"},"subject":{"reference":"Patient/%s"},"encounter":{"reference":"Encounter/%s"},"effectiveDateTime":"%s","valueQuantity":{"value":%.2f,"unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}}`,
		id, code, n, n, owner, encounter, at.Format(time.RFC3339), value)
	date, number := store.OrderedTime(at), store.OrderedFloat(value)
	quantity := store.Value{Kind: store.Range, Lo: number, Hi: number, Space: "http://unitsofmeasure.org", Name: "mg/dL", Text: "mg/dL"}
	coded := store.Value{Kind: store.Code, Space: "http://loinc.org", Name: code}
	token := func(param string, role store.Role, space, name string) store.Entry {
		return store.Entry{Param: param, Role: role, Value: store.Value{Kind: store.Code, Space: space, Name: name}}
	}
	link := func(param string, role store.Role, typ, id string) store.Entry {
		return store.Entry{Param: param, Role: role, Value: store.Value{Kind: store.Link, Space: typ, Name: id}}
	}
	return store.Op{Action: store.Create, Key: store.Key{Type: "Observation", ID: id}, Raw: []byte(raw), Entries: []store.Entry{
		token("status", store.Hot, "http://hl7.org/fhir/observation-status", "final"),
		token("category", store.Hot, "http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"),
		token("code", store.Hot, "http://loinc.org", code),
		token("combo-code", 0, "http://loinc.org", code),
		link("subject", store.Anchor, "Patient", owner),
		link("patient", store.Anchor, "Patient", owner),
		link("encounter", 0, "Encounter", encounter),
		{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: date, Hi: date}},
		{Param: "value-quantity", Value: quantity},
		{Param: "combo-value-quantity", Value: quantity},
		{Param: "code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{coded, quantity}}},
		{Param: "combo-code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{coded, quantity}}},
		{Param: "_profile", Value: store.Value{Kind: store.URI, Name: "http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"}},
	}}
}

// load puts n observations of n/100 patients in bundles and gives their keys.
func load(b *testing.B, s *mongo.Store, n int) []store.Key {
	b.Helper()
	gen := newSample()
	keys := make([]store.Key, 0, n)
	for len(keys) < n {
		ops := make([]store.Op, 0, 1000)
		for range cap(ops) {
			op := gen.observation(len(keys) % max(n/100, 1))
			keys = append(keys, op.Key)
			ops = append(ops, op)
		}
		if _, err := s.Commit(context.Background(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	return keys
}

// rows is how many observations the search benchmarks have before them.
func rows() int {
	if n, err := strconv.Atoi(os.Getenv("CANDELA_BENCH_ROWS")); err == nil {
		return n
	}
	return 20_000
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// mongodCPU is the processor time of all mongods that this process has started.
func mongodCPU(b *testing.B) time.Duration {
	b.Helper()
	total := 0
	for _, pid := range mongotest.PIDs() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // not Linux
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		total += user + system
	}
	return time.Duration(total) * 10 * time.Millisecond
}

// measure reports the processor time per operation, ours and mongod's.
func measure(b *testing.B, per int, f func()) {
	b.Helper()
	b.ReportAllocs()
	ours, theirs := cpu(), mongodCPU(b)
	f()
	n := float64(b.N * per)
	b.ReportMetric(float64((cpu()-ours).Microseconds())/n, "cpu-us/op")
	b.ReportMetric(float64((mongodCPU(b)-theirs).Microseconds())/n, "mongod-us/op")
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("bundle=%d", size), func(b *testing.B) {
			s := open(b, mongotest.URI(b), mongo.Options{})
			gen := newSample()
			bundles := make([][]store.Op, b.N)
			for i := range bundles {
				for range size {
					bundles[i] = append(bundles[i], gen.observation(i%50))
				}
			}
			b.ResetTimer()
			measure(b, size, func() {
				for _, ops := range bundles {
					if _, err := s.Commit(context.Background(), ops...); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkCreateParallel: single creates of 32 clients share counter round trips.
func BenchmarkCreateParallel(b *testing.B) {
	s := open(b, mongotest.URI(b), mongo.Options{})
	gen := newSample()
	ops := make([]store.Op, b.N)
	for i := range ops {
		ops[i] = gen.observation(i % 50)
	}
	var next atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	measure(b, 1, func() {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Commit(context.Background(), ops[next.Add(1)-1]); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkConditionalCreate: 32 clients create, each on an identifier of its own.
func BenchmarkConditionalCreate(b *testing.B) {
	s := open(b, mongotest.URI(b), mongo.Options{})
	gen := newSample()
	ops := make([]store.Op, b.N)
	for i := range ops {
		ops[i] = gen.observation(i % 50)
		id := store.Value{Kind: store.Code, Space: "urn:lab", Name: strconv.Itoa(i)}
		ops[i].Entries = append(ops[i].Entries, store.Entry{Param: "identifier", Value: id})
		ops[i].IfNone = &store.Query{Types: []string{"Observation"}, Where: store.And{
			store.Test{Param: "identifier", Role: store.Identity, Cond: store.Cond{How: store.Is, Space: id.Space, Name: id.Name}},
			store.Test{Param: "status", Role: store.Hot, Cond: store.Cond{How: store.Named, Name: "final"}},
		}}
	}
	var next atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	measure(b, 1, func() {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Commit(context.Background(), ops[next.Add(1)-1]); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkUpdate(b *testing.B) {
	s := open(b, mongotest.URI(b), mongo.Options{})
	gen := newSample()
	op := gen.observation(1)
	op.Action = store.Put
	raw := op.Raw
	b.ResetTimer()
	measure(b, 1, func() {
		for i := range b.N {
			op.Raw = append(raw[:len(raw):len(raw)], strconv.Itoa(i)...)
			if _, err := s.Commit(context.Background(), op); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	s := open(b, mongotest.URI(b), mongo.Options{})
	keys := load(b, s, rows())
	n := len(keys) / 100
	is := func(param string, role store.Role, space, name string) store.Test {
		return store.Test{Param: param, Role: role, Cond: store.Cond{How: store.Is, Space: space, Name: name}}
	}
	newest := []store.Sort{{Param: "date", Desc: true, Role: store.Clock}}
	patient := func(i int) store.Test {
		return is("patient", store.Anchor, "Patient", fmt.Sprintf("patient-%d", i%n))
	}
	code := func(i int) store.Test {
		c := i % 40
		return is("code", store.Hot, "http://loinc.org", fmt.Sprintf("%d-%d", 1000+c*37, c%10))
	}
	final := is("status", store.Hot, "http://hl7.org/fhir/observation-status", "final")
	types := []string{"Observation"}
	queries := map[string]func(i int) store.Query{
		"patient+code newest": func(i int) store.Query {
			return store.Query{Types: types, Where: store.And{patient(i), code(i)}, Sort: newest, Count: 10}
		},
		"code newest 10": func(i int) store.Query {
			return store.Query{Types: types, Where: code(i), Sort: newest, Count: 10}
		},
		"count code and status": func(i int) store.Query {
			return store.Query{Types: types, Where: store.And{code(i), final}, Total: true}
		},
		"patient all": func(i int) store.Query {
			return store.Query{Types: types, Where: patient(i), Count: 100}
		},
		"newest of the type": func(int) store.Query {
			return store.Query{Types: types, Sort: []store.Sort{{Param: "_lastUpdated", Desc: true}}, Count: 10}
		},
	}
	b.Run("get", func(b *testing.B) {
		measure(b, 1, func() {
			for i := range b.N {
				if _, err := s.Get(context.Background(), keys[i*7919%len(keys)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	for name, q := range queries {
		b.Run(name, func(b *testing.B) {
			measure(b, 1, func() {
				for i := range b.N {
					if _, err := s.Find(context.Background(), q(i)); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
