package app_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"candela/cmd/app"
	"candela/fhir"
	"candela/fhir/audit"
	"candela/store"
	"candela/store/mongo/mongotest"
)

// onBothAddresses runs a test with the address of a fresh store of each kind.
func onBothAddresses(t *testing.T, test func(t *testing.T, address string)) {
	t.Run("embedded", func(t *testing.T) { test(t, "embedded:"+t.TempDir()) })
	t.Run("mongodb", func(t *testing.T) { test(t, mongotest.URI(t)) })
}

// recorded runs a server with the audit log on, lets do use it, and stops it.
func recorded(t *testing.T, address string, do func(s *app.Server)) {
	t.Helper()
	c := testConfig(address)
	c.Audit, c.NewID = "on", nil
	s, err := app.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func verdictOf(t *testing.T, address string) audit.Verdict {
	t.Helper()
	v, err := app.VerifyAudit(context.Background(), testConfig(address), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// behind writes to a store as somebody with its files or its database would.
func behind(t *testing.T, address string, do func(s store.Store) error) {
	t.Helper()
	a, err := app.Open(context.Background(), testConfig(address)) // without the log
	if err != nil {
		t.Fatal(err)
	}
	if err := do(a.Store); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestT94_ChangedBehindTheServer: what somebody with the database at hand does to
// AuditEvents or to the journal is named; a server that runs on links to it.
func TestT94_ChangedBehindTheServer(t *testing.T) {
	onBothAddresses(t, func(t *testing.T, address string) {
		var ids []string
		for range 2 {
			recorded(t, address, func(s *app.Server) {
				ask(t, s, "PUT", "Patient/p", []byte(`{"resourceType":"Patient","id":"p"}`))
				ask(t, s, "GET", "Patient/p", nil)
				ask(t, s, "POST", "AuditEvent", []byte(`{"resourceType":"AuditEvent","type":{"code":"rest"},"recorded":"2026-01-02T03:04:05Z","agent":[{"requestor":true}],"source":{"observer":{"display":"an app"}}}`))
				for e := range ask(t, s, "GET", "AuditEvent", nil).tree(t).Get("entry").Elements() {
					ids = append(ids, e.Path("resource", "id").Text())
				}
			})
		}
		v := verdictOf(t, address)
		if !v.Good() || v.Chains != 2 || v.Events < 8 || v.Tail != 0 {
			t.Fatalf("%+v", v)
		}
		key := store.Key{Type: "AuditEvent", ID: ids[0]}
		behind(t, address, func(s store.Store) error {
			_, err := s.Commit(t.Context(), store.Op{Action: store.Delete, Key: key})
			return err
		})
		if v := verdictOf(t, address); len(v.Wrong) != 1 || !strings.HasPrefix(v.Wrong[0], key.String()+" ") {
			t.Errorf("a deleted AuditEvent: %v", v.Wrong)
		}
		var last string
		behind(t, address, func(s store.Store) error {
			for k, err := range s.KVList(t.Context(), "audit.journal", "") {
				if err != nil {
					return err
				}
				last = k
			}
			return s.KVDelete(t.Context(), "audit.journal", last)
		})
		if v := verdictOf(t, address); len(v.Findings) != 1 || !strings.HasPrefix(last, v.Findings[0].Writer) {
			t.Errorf("a block cut off: %v", v.Findings)
		}
	})
}

// TestT20_T78_EachEntryByItself: fifty reads of what is not there are fifty records,
// and the address is that of the connection, whatever headers say.
func TestT20_T78_EachEntryByItself(t *testing.T) {
	onBothAddresses(t, func(t *testing.T, address string) {
		recorded(t, address, func(s *app.Server) {
			var entries []string
			for i := range 50 {
				entries = append(entries, fmt.Sprintf(`{"request":{"method":"GET","url":"Patient/foreign%d"}}`, i))
			}
			req, err := http.NewRequest("POST", s.Base, strings.NewReader(`{"resourceType":"Bundle","type":"batch","entry":[`+strings.Join(entries, ",")+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/fhir+json")
			req.Header.Set("X-Forwarded-For", "6.6.6.6")
			req.Header.Set("Forwarded", "for=6.6.6.6")
			if a := do(t, req); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			found := ask(t, s, "GET", "AuditEvent?outcome=4&_count=100", nil)
			n := 0
			for e := range found.tree(t).Get("entry").Elements() {
				n++
				if got := e.Path("resource", "agent", "network", "address").Text(); got != "127.0.0.1" {
					t.Errorf("the address is %s", got)
				}
			}
			if n != 50 || strings.Contains(string(found.body), "6.6.6.6") {
				t.Errorf("%d records", n)
			}
		})
		if v := verdictOf(t, address); !v.Good() {
			t.Errorf("%+v", v)
		}
	})
}

// An erasure's own AuditEvents are sealed too, and the log stays whole.
func TestErasureIsSealed(t *testing.T) {
	onBothAddresses(t, func(t *testing.T, address string) {
		recorded(t, address, func(s *app.Server) {
			ask(t, s, "PUT", "Patient/p", []byte(`{"resourceType":"Patient","id":"p"}`))
			if a := ask(t, s, "POST", "Patient/p/$erase", nil); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if n := ask(t, s, "GET", "AuditEvent?patient=Patient/p", nil).tree(t).Get("entry").Len(); n != 3 { // written, erased, asked to
				t.Errorf("%d AuditEvents of the erased", n)
			}
		})
		if v := verdictOf(t, address); !v.Good() {
			t.Errorf("%+v", v)
		}
	})
}

// What the server does by itself is on record where it changes data; what it only
// reads does not leave.
func TestOwnWork(t *testing.T) {
	recorded(t, "embedded:"+t.TempDir(), func(s *app.Server) {
		own := fhir.Caller{Name: "nightly", Access: fhir.Full()}
		res := fhir.Stored([]byte(`{"resourceType":"Basic","id":"b","code":{"text":"x"}}`))
		for _, r := range []fhir.Request{{Interaction: fhir.Update, Type: "Basic", ID: "b", Resource: res, Caller: own}, {Interaction: fhir.Read, Type: "Basic", ID: "b", Caller: own}} {
			if _, err := s.Door.Do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if n := ask(t, s, "GET", "AuditEvent?entity=Basic/b", nil).tree(t).Get("entry").Len(); n != 1 {
			t.Errorf("%d records", n)
		}
	})
}

// TestServerSecret: made once, kept to its owner, refused when short.
func TestServerSecret(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.Audit, c.Secret = "on", nil
	c.SecretFile = filepath.Join(t.TempDir(), "new", "secret")
	for range 2 {
		a, err := app.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(c.SecretFile)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() < 32 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.WriteFile(c.SecretFile, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err := app.Open(t.Context(), c); err == nil {
		t.Error("a secret of five octets passes", a.Close())
	}
}
