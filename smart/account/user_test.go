package account_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/scope"
	"candela/store"
)

func TestUsers(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		u := h.add(account.User{Name: " Ada.Lang@Site ", Display: "Ada Lang", Role: account.Practitioner,
			FHIRUser: fhir.Reference{Type: "Practitioner", ID: "p1"}, Policy: []string{"Observation.rs?category=vital-signs"}})
		h.add(patient("bob", "1"))
		if u.Name != "ada.lang@site" || u.FHIRUser.String() != "Practitioner/p1" || len(u.Policy) != 1 || u.Created.IsZero() {
			t.Fatalf("%+v", u)
		}
		if _, err := h.Put(background, practitioner("bob")); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("a name that is taken: %v", err)
		}
		stale := u
		u.Display = "A. Lang"
		if _, err := h.Put(background, u); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Put(background, stale); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("a change of what was changed: %v", err)
		}
		var names []string
		for u, err := range h.List(background) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, u.Name+"="+u.Display)
		}
		if strings.Join(names, " ") != "ada.lang@site=A. Lang bob=" {
			t.Fatal(names)
		}
		if err := h.Delete(background, "bob"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"bob", "", "a b", "a/b", strings.Repeat("x", 1<<20)} {
			if _, err := h.Get(background, name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get of %.10q: %v", name, err)
			}
		}
	})
}

func TestPutRefuses(t *testing.T) {
	h := newHouse(t)
	for name, u := range map[string]account.User{
		"no name":              practitioner(""),
		"name with slash":      practitioner("a/b"),
		"name with space":      practitioner("a b"),
		"name of other script": practitioner("аda"),
		"long name":            practitioner(strings.Repeat("a", 65)),
		"no role":              {Name: "a"},
		"unknown role":         {Name: "a", Role: "god"},
		"bidi display":         {Name: "a", Role: account.Nurse, Display: "a\u202eb"},
		"newline display":      {Name: "a", Role: account.Nurse, Display: "a\nb"},
		"bad UTF-8":            {Name: "a", Role: account.Nurse, Display: "a\xff"},
		"patient of nobody":    {Name: "a", Role: account.Patient},
		"proxy of nobody":      {Name: "a", Role: account.Proxy, FHIRUser: fhir.Reference{Type: "RelatedPerson", ID: "1"}},
		"staff with patients":  {Name: "a", Role: account.Nurse, Patients: []string{"1"}},
		"patient id":           {Name: "a", Role: account.Proxy, Patients: []string{"a/b"}},
		"nurse as patient":     {Name: "a", Role: account.Nurse, FHIRUser: fhir.Reference{Type: "Patient", ID: "1"}},
		"patient as staff":     {Name: "a", Role: account.Patient, Patients: []string{"1"}, FHIRUser: fhir.Reference{Type: "Practitioner", ID: "1"}},
		"person elsewhere":     {Name: "a", Role: account.Nurse, FHIRUser: fhir.ParseReference("https://evil.example/Practitioner/1")},
		"version of a person":  {Name: "a", Role: account.Nurse, FHIRUser: fhir.ParseReference("Practitioner/1/_history/1")},
		"policy of level":      {Name: "a", Role: account.Nurse, Policy: []string{"user/*.rs"}},
		"policy out of order":  {Name: "a", Role: account.Nurse, Policy: []string{"Observation.sr"}},
		"policy unknown type":  {Name: "a", Role: account.Nurse, Policy: []string{"Foo.rs"}},
	} {
		_, err := h.Put(background, u)
		t.Run(name, func(t *testing.T) { refused(t, err, account.BadUser) })
	}
}

func rules(access fhir.Access) string {
	var out []string
	for _, r := range access {
		out = append(out, strings.TrimSuffix(fmt.Sprintf("%s.%s?%s@%s", r.Type, r.Letters, r.Filter, r.Compartment.String()), "?@"))
	}
	return strings.Join(out, " ")
}

func TestR20_Policies(t *testing.T) {
	h := newHouse(t)
	of := func(u account.User) string {
		t.Helper()
		access, err := h.Policy(u, tables())
		if err != nil {
			t.Fatal(err)
		}
		return " " + rules(access) + " "
	}
	for _, role := range account.Roles() {
		if role.Own {
			continue
		}
		text := of(staff("a", role.Name))
		if strings.Contains(text, " *.") || strings.Contains(text, "AuditEvent") != (role.Name == account.PrivacyOfficer) {
			t.Errorf("%s: %s", role.Name, text)
		}
		if clinical := strings.Contains(text, " Observation."); clinical != (role.Name == account.Practitioner || role.Name == account.Nurse || role.Name == account.Analyst) {
			t.Errorf("%s has Observation: %v", role.Name, clinical)
		}
	}
	if text := of(staff("a", account.Nurse)); !strings.Contains(text, " MedicationRequest.rs ") || strings.Contains(text, "Observation.cruds") {
		t.Errorf("nurse: %s", text)
	}
	if text := of(account.User{Role: account.Nurse, Policy: []string{"Observation.rs?category=vital-signs"}}); text != " Observation.rs?category=vital-signs@ " {
		t.Errorf("own policy: %s", text)
	}
	if text := of(account.User{Role: account.Nurse, Policy: []string{}}); text != "  " {
		t.Errorf("empty policy: %s", text)
	}
	proxy := account.User{Role: account.Proxy, Patients: []string{"7", "8"}}
	text := of(proxy)
	for _, id := range proxy.Patients {
		for _, want := range []string{"Patient.rus?@Patient/" + id, "Observation.crus?@Patient/" + id, "Basic.cruds?@Patient/" + id} {
			if !strings.Contains(text, " "+want+" ") {
				t.Errorf("proxy lacks %s: %s", want, text)
			}
		}
	}
	if strings.Contains(text, "Subscription") || !strings.Contains(text, " Organization.rs ") || strings.Count(text, "@") != 6 {
		t.Errorf("proxy: %s", text)
	}
	if text := of(account.User{Role: account.Patient, FHIRUser: fhir.ParseReference("Patient/3"), Policy: []string{"*.rs"}}); strings.Contains(text, "c") && strings.Contains(text, ".c") {
		t.Errorf("patient with a policy to read: %s", text)
	}
}

// A policy that fails is never one without limits.
func TestR28_PolicyFailsClosed(t *testing.T) {
	h := newHouse(t)
	for name, u := range map[string]account.User{
		"no role": {Name: "a"}, "unknown role": {Role: "god"}, "locked": {Role: account.Nurse, Locked: true}, "disabled": {Role: account.Nurse, Disabled: true},
		"bad policy": {Role: account.Nurse, Policy: []string{"*.sr"}},
	} {
		access, err := h.Policy(u, tables())
		var e *fhir.Error
		if !errors.As(err, &e) || access != nil {
			t.Errorf("%s: %v %v", name, access, err)
		}
	}
	if access, err := h.Policy(account.User{Role: account.Patient}, tables()); err != nil || len(access) != 0 {
		t.Errorf("a patient who is nobody: %v %v", access, err)
	}
	if access, err := h.Policy(patient("p", "1"), scope.Context{}); err != nil || len(access) != 0 {
		t.Errorf("no tables: %v %v", access, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string]func(*account.Config){
		"no store":       func(c *account.Config) { c.KV = nil },
		"no grammar":     func(c *account.Config) { c.Scopes = nil },
		"short secret":   func(c *account.Config) { c.Secret = make([]byte, 31) },
		"long idle":      func(c *account.Config) { c.Idle = 16 * time.Minute },
		"long session":   func(c *account.Config) { c.Absolute = 13 * time.Hour },
		"negative idle":  func(c *account.Config) { c.Idle = -1 },
		"weak hash":      func(c *account.Config) { c.Hash = account.Hash{Memory: 1, Passes: 1, Threads: 1} },
		"2 GiB hash":     func(c *account.Config) { c.Hash = account.Hash{Memory: 2 << 20, Passes: 1, Threads: 1} },
		"negative lanes": func(c *account.Config) { c.Parallel = -1 },
	} {
		c := account.Config{KV: h.kv, Secret: make([]byte, 32), Scopes: scope.New(words{})}
		change(&c)
		if _, err := account.Open(c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
