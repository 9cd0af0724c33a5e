package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/store/mongo/mongotest"
)

// BenchmarkAudit reads a resource, and searches for fifty, with the audit log off
// and on, for one caller and for eight at a time. cpu-µs/op is what the whole
// process spends, the making of AuditEvents in the background included.
func BenchmarkAudit(b *testing.B) {
	for _, kind := range []string{"embedded", "mongodb"} {
		for _, mode := range []string{"off", "journal", "on"} {
			address := "embedded:" + b.TempDir()
			if kind == "mongodb" {
				address = mongotest.URI(b)
			}
			s := audited(b, address, mode)
			for _, path := range []string{"/fhir/Observation/o1", "/fhir/Observation?patient=Patient/p1&_count=50"} {
				for _, callers := range []int{1, 8} {
					b.Run(fmt.Sprintf("%s/%s/%.17s/%d", kind, mode, path[6:], callers), func(b *testing.B) { ask8(b, s.Handler(), path, callers) })
				}
			}
		}
	}
}

func audited(t testing.TB, address, mode string) *app.Server {
	t.Helper()
	c := testConfig(address)
	c.Audit, c.NewID = mode, nil
	if mode == "journal" { // AuditEvents are made when somebody asks for them
		c.Audit, c.AuditEvery = "on", 24*time.Hour
	}
	s, err := app.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	put := func(url, body string) {
		req, err := http.NewRequest("PUT", s.Base+"/"+url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/fhir+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode > 201 {
			t.Fatal(res.Status)
		}
	}
	put("Patient/p1", `{"resourceType":"Patient","id":"p1","name":[{"family":"Doe"}]}`)
	for i := range 60 {
		put(fmt.Sprintf("Observation/o%d", i), fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2024-01-02T03:04:05Z","valueQuantity":{"value":%d.5,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}`, i, i))
	}
	return s
}

func ask8(b *testing.B, h http.Handler, path string, callers int) {
	before := cpu()
	b.SetParallelism((callers + 1) / 2) // two processors
	ask := func() {
		req := httptest.NewRequest("GET", path, nil)
		req.Header.Set("Accept", "application/fhir+json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != 200 {
			b.Error(w.Code)
		}
	}
	b.ReportAllocs()
	if callers == 1 {
		for b.Loop() {
			ask()
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				ask()
			}
		})
	}
	b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "cpu-µs/op")
}

// cpu is what this process has spent, in nanoseconds.
func cpu() int64 {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return use.Utime.Nano() + use.Stime.Nano()
}
