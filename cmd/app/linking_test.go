package app_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/store"
	"candela/store/mongo/mongotest"
)

// onBothLinking is onBoth with logical references linked.
func onBothLinking(t *testing.T, test func(t *testing.T, s *app.Server), paths ...string) {
	t.Helper()
	for name, address := range map[string]string{"embedded": "embedded:" + t.TempDir(), "mongodb": mongotest.URI(t)} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(address)
			c.Link = paths
			test(t, startWith(t, c))
		})
	}
}

func mrn(typ, id, value, more string) []byte {
	return fmt.Appendf(nil, `{"resourceType":%q,"id":%q,"identifier":[{"system":"urn:mrn","value":%q}]%s}`, typ, id, value, more)
}

func about(id, subject string) []byte {
	return fmt.Appendf(nil, `{"resourceType":"Observation","id":%q,"status":"final","code":{"text":"x"},"subject":%s,"valueQuantity":{"value":1.00}}`, id, subject)
}

func byMRN(value string) string {
	return fmt.Sprintf(`{"identifier":{"system":"urn:mrn","value":%q}}`, value)
}

// settled waits until every change is linked; our own writes are changes too.
func settled(t *testing.T, s *app.Server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		behind, err := s.Linker.Behind(context.Background())
		if err == nil && behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d changes behind after a minute (%v)", behind, err)
		}
	}
}

// TestLinking: over HTTP, whichever comes first; found by search, told by a
// Provenance, seen in the metrics.
func TestLinking(t *testing.T) {
	onBothLinking(t, func(t *testing.T, s *app.Server) {
		want(t, ask(t, s, "PUT", "Observation/early", about("early", byMRN("1"))), 201, "")
		settled(t, s)
		want(t, ask(t, s, "GET", "Observation?subject:identifier=urn:mrn|1", nil), 200, `"id":"early"`)
		want(t, ask(t, s, "GET", "Observation?subject=Patient/p&_summary=count", nil), 200, `"total":0`)
		want(t, ask(t, s, "PUT", "Patient/p", mrn("Patient", "p", "1", "")), 201, "")
		want(t, ask(t, s, "PUT", "Observation/late", about("late", byMRN("1"))), 201, "")
		want(t, ask(t, s, "PUT", "Encounter/other", []byte(`{"resourceType":"Encounter","id":"other","status":"finished","class":{"code":"AMB"},"subject":`+byMRN("1")+`}`)), 201, "")
		settled(t, s)
		for _, id := range []string{"early", "late"} {
			want(t, ask(t, s, "GET", "Observation/"+id, nil), 200, `"subject":{"reference":"Patient/p","identifier":{"system":"urn:mrn","value":"1"}},"valueQuantity":{"value":1.00}}`)
			want(t, ask(t, s, "GET", "Observation/"+id, nil), 200, `"versionId":"2"`)
			want(t, ask(t, s, "GET", "Provenance?target=Observation/"+id, nil), 200, `"target":[{"reference":"Observation/`+id+`/_history/2"}]`)
		}
		want(t, ask(t, s, "GET", "Observation?subject=Patient/p&_summary=count", nil), 200, `"total":2`)
		want(t, ask(t, s, "GET", "Provenance?agent=Device/candela-linking&_summary=count", nil), 200, `"total":2`)
		want(t, ask(t, s, "GET", "Device/candela-linking", nil), 200, `"value":"`+app.VersionName()+`"`)
		want(t, ask(t, s, "GET", "Encounter/other", nil), 200, `"versionId":"1"`) // was not named
		metrics := string(ask(t, s, "GET", strings.TrimSuffix(s.Base, "/fhir")+"/metrics", nil).body)
		for _, line := range []string{`candela_links_total{element="Observation.subject",outcome="linked"} 2`, `candela_links_behind 0`} {
			if !strings.Contains(metrics, line) {
				t.Errorf("/metrics does not say %s", line)
			}
		}
	}, "Observation.subject:Patient")
}

// TestNothingIsLinkedByDefault: the feature is off.
func TestNothingIsLinkedByDefault(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	if s.Linker != nil {
		t.Error("a server that was told nothing links")
	}
}

// TestOrderOfArrival: targets and referrers in any order, in parallel, end as
// they would with all targets first.
func TestOrderOfArrival(t *testing.T) {
	onBothLinking(t, func(t *testing.T, s *app.Server) {
		for seed := range uint64(4) {
			first, any := fmt.Sprintf("f%d", seed), fmt.Sprintf("a%d", seed)
			targets, referrers := crowd(rand.New(rand.NewPCG(seed, 1)), first)
			write(t, s, targets)
			settled(t, s)
			write(t, s, referrers)
			settled(t, s)
			targets, referrers = crowd(rand.New(rand.NewPCG(seed, 1)), any)
			all := slices.Concat(targets, referrers)
			rand.New(rand.NewPCG(seed, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			write(t, s, all)
			settled(t, s)
			ordered, shuffled := states(t, s, first), states(t, s, any)
			if len(ordered) != len(targets)+len(referrers) || !maps.Equal(ordered, shuffled) {
				for id, state := range ordered {
					if shuffled[id] != state {
						t.Errorf("seed %d, %s: %s, want %s", seed, id, shuffled[id], state)
					}
				}
			}
			if n := strings.Count(fmt.Sprint(ordered), `"reference":"P`); n < 20 {
				t.Errorf("only %d references are linked", n)
			}
		}
		quiet(t, s)
	}, "Observation.subject:Patient", "Observation.performer:Practitioner", "Observation.performer:Patient")
}

// crowd is targets with identifiers of their own and referrers to some of them,
// and to nobody.
func crowd(r *rand.Rand, run string) (targets, referrers [][]byte) {
	for i := range 12 {
		typ := []string{"Patient", "Practitioner"}[i%2]
		targets = append(targets, mrn(typ, fmt.Sprintf("%s-%d", run, i), fmt.Sprintf("%s-%d", run, i), ""))
	}
	who := func() string { return byMRN(fmt.Sprintf("%s-%d", run, r.IntN(16))) }
	for i := range 40 {
		subject := who() + `,"performer":[` + who() + `,{"display":"x"},` + who() + `]`
		referrers = append(referrers, about(fmt.Sprintf("%s-%d", run, i), subject))
	}
	return targets, referrers
}

// write puts resources, four at a time.
func write(t *testing.T, s *app.Server, all [][]byte) {
	t.Helper()
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for i := n; i < len(all); i += 4 {
				res, err := fhir.ParseResource(all[i], fhir.DefaultLimits())
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Door.Do(context.Background(), fhir.Request{Interaction: fhir.Update, Type: res.Type(), ID: res.ID(), Resource: res, Caller: fhir.Caller{Access: fhir.Full()}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// states are the resources of a run by their ids, as they are stored; the run's
// name is taken out.
func states(t *testing.T, s *app.Server, run string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, typ := range []string{"Patient", "Practitioner", "Observation"} {
		page, err := s.Store.Find(context.Background(), store.Query{Types: []string{typ}, Count: 1000})
		if err != nil || page.Next != "" {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			if strings.HasPrefix(v.Key.ID, run+"-") {
				out[strings.ReplaceAll(v.Key.String(), run, "")] = strings.ReplaceAll(string(v.Raw), run, "")
			}
		}
	}
	return out
}

// quiet says that going through everything again writes nothing.
func quiet(t *testing.T, s *app.Server) {
	t.Helper()
	ctx := context.Background()
	before, err := s.Store.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for key := range s.Store.KVList(ctx, "linking", "") {
		if err := s.Store.KVPut(ctx, "linking", key, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if _, err := s.Linker.Turn(ctx); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond) // the server's own turn
	}
	if after, err := s.Store.Head(ctx); err != nil || after != before {
		t.Errorf("the head moved from %d to %d (%v)", before, after, err)
	}
}

// TestLinkingIsKilled: ended again and again at any moment, its lease left
// behind, it links each reference once.
func TestLinkingIsKilled(t *testing.T) {
	for name, address := range map[string]string{"embedded": "embedded:" + t.TempDir(), "mongodb": mongotest.URI(t)} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(address)
			c.Link = []string{"Observation.subject:Patient"}
			a, err := app.Open(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			}()
			const referrers = 150
			for i := range referrers {
				put(t, a, "Observation", fmt.Sprintf("o%d", i), about(fmt.Sprintf("o%d", i), byMRN(fmt.Sprint(i%5))))
			}
			for i := range 5 {
				put(t, a, "Patient", fmt.Sprintf("p%d", i), mrn("Patient", fmt.Sprintf("p%d", i), fmt.Sprint(i), ""))
			}
			kills := 0
			for done := false; !done; kills++ {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(10+10*kills)*time.Millisecond)
				_, err := a.Linker.Turn(ctx)
				done = err == nil
				cancel()
			}
			if kills < 2 {
				t.Errorf("it was killed %d times", kills-1)
			}
			linkedOnce(t, a.Store, referrers)
		})
	}
}

// linkedOnce says that each Observation was linked, once, with one Provenance.
func linkedOnce(t *testing.T, s store.Store, referrers int) {
	t.Helper()
	told := map[string]int{}
	for _, typ := range []string{"Provenance", "Observation"} {
		page, err := s.Find(context.Background(), store.Query{Types: []string{typ}, Count: 10_000})
		if err != nil || len(page.Versions) != referrers {
			t.Fatalf("%d of %s, want %d (%v)", len(page.Versions), typ, referrers, err)
		}
		for _, v := range page.Versions {
			root := fhir.Stored(v.Raw).Root()
			if typ == "Provenance" {
				told[root.Path("target", "reference").Text()]++
			} else if to := root.Path("subject", "reference").Text(); v.Number != 2 || to == "" || told[v.Key.String()+"/_history/2"] != 1 {
				t.Errorf("%s: version %d points to %q, %d times told", v.Key, v.Number, to, told[v.Key.String()+"/_history/2"])
			}
		}
	}
}

// TestTwoProcessesLink: two servers on one MongoDB link each reference once, and
// go on when one of them stops.
func TestTwoProcessesLink(t *testing.T) {
	c := testConfig(mongotest.URI(t))
	c.Link, c.NewID = []string{"Observation.subject:Patient"}, nil
	one, err := app.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	two := startWith(t, c)
	const referrers = 100
	for i := range referrers {
		s := []*app.Server{one, two}[i%2]
		write(t, s, [][]byte{about(fmt.Sprintf("o%d", i), byMRN(fmt.Sprint(i%10)))})
		if i < 10 {
			write(t, s, [][]byte{mrn("Patient", fmt.Sprintf("p%d", i), fmt.Sprint(i), "")})
		}
		if i == referrers/2 {
			if err := one.Stop(); err != nil {
				t.Fatal(err)
			}
			one = two
		}
	}
	settled(t, two)
	linkedOnce(t, two.Store, referrers)
	quiet(t, two)
}
