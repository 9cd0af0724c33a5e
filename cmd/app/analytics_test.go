package app_test

import (
	"context"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/fhir/bulk"
	"candela/store/mongo/mongotest"
)

// TestBothStoresGiveTheSameAnalytics loads the Synthea bundles into both
// stores, runs the analytics twice and compares every result.
func TestBothStoresGiveTheSameAnalytics(t *testing.T) {
	var results [2]map[string]string
	for i, store := range []string{"embedded:" + t.TempDir(), mongotest.URI(t)} {
		s := start(t, store)
		sum, err := bulk.Load{Door: s.Door, Workers: 1, Caller: fhir.Caller{Access: fhir.Full()}}.
			Run(context.Background(), shared(t, "data/fhir/synthea-2.7"), shared(t, "data/fhir/synthea-2019"))
		if err != nil || sum.Refused != 0 || sum.Stored != 9644 {
			t.Fatalf("load: %v %v", sum.Lines(), err)
		}
		first := analyze(t, s)
		before := head(t, s)
		analyze(t, s)
		if after := head(t, s); after != before {
			t.Errorf("%s: the second run wrote (head %d, then %d)", store, before, after)
		}
		results[i] = written(t, s)
		t.Logf("%s: %v", s.Base, first.Lines())
	}
	if len(results[0]) < 3 {
		t.Fatalf("only %d results", len(results[0]))
	}
	for key, raw := range results[0] {
		if results[1][key] != raw {
			t.Errorf("%s differs:\n%s\n%s", key, raw, results[1][key])
		}
	}
	if len(results[0]) != len(results[1]) {
		t.Errorf("%d results on one store, %d on the other", len(results[0]), len(results[1]))
	}
}

func analyze(t *testing.T, s *app.Server) interface{ Lines() []string } {
	t.Helper()
	report, err := s.Runner.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func head(t *testing.T, s *app.Server) uint64 {
	t.Helper()
	seq, err := s.Store.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return uint64(seq)
}

// written is all that the analytics wrote, without the server's version stamp.
// Provenance tells the time and the range of changes of its run, so it counts
// but is not compared.
func written(t *testing.T, s *app.Server) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, typ := range []string{"RiskAssessment", "Group"} {
		bundle := ask(t, s, "GET", typ+"?_count=1000", nil).tree(t)
		for e := range bundle.Get("entry").Elements() {
			res, err := fhir.ResourceAt(e.Get("resource"))
			if err != nil {
				t.Fatal(err)
			}
			out[typ+"/"+res.ID()] = string(fhir.Apply(res.Raw(), fhir.DropServerMeta(res)))
		}
	}
	return out
}

// TestFollowKeepsResultsCurrent changes a patient's record under a server that
// follows and waits for the new result.
func TestFollowKeepsResultsCurrent(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.Analytics = "follow"
	s := startWith(t, c)
	sum, err := bulk.Load{Door: s.Door, Caller: fhir.Caller{Access: fhir.Full()}}.
		Run(context.Background(), shared(t, "data/fhir/synthea-2.7"))
	if err != nil || sum.Refused != 0 {
		t.Fatalf("load: %v %v", sum.Lines(), err)
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if len(written(t, s)) >= 3 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("no results within a minute")
}
