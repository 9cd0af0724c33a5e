package scope_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"candela/fhir"
	"candela/smart/scope"
)

const labs = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"

// TestR18_Grammar: what a scope text means, and that it is echoed as asked.
func TestR18_Grammar(t *testing.T) {
	g := scope.New(real(t))
	for text, want := range map[string]scope.Scope{
		"openid":                   {},
		"launch/encounter":         {},
		"patient/Observation.read": {Level: "patient", Type: "Observation", Letters: "rs"},
		"user/Observation.write":   {Level: "user", Type: "Observation", Letters: "cud"},
		"system/*.*":               {Level: "system", Type: "*", Letters: "cruds"},
		"patient/*.rs":             {Level: "patient", Type: "*", Letters: "rs"},
		"patient/Observation.cds":  {Level: "patient", Type: "Observation", Letters: "cds"},
		"user/Basic.cuds?code=a|b": {Level: "user", Type: "Basic", Letters: "cuds", Filter: "code=a%7Cb"},
		"system/*.rs?_tag=b,a,b":   {Level: "system", Type: "*", Letters: "rs", Filter: "_tag=a%2Cb"},
		"patient/Observation.rs?category=" + labs: {Level: "patient", Type: "Observation", Letters: "rs",
			Filter: "category=http%3A%2F%2Fterminology.hl7.org%2FCodeSystem%2Fobservation-category%7Claboratory"},
		"patient/Observation.rs?status=final&category=b&category=a&status=final": {Level: "patient", Type: "Observation", Letters: "rs",
			Filter: "category=a&category=b&status=final"},
	} {
		got, refused := g.Parse(" " + text + "  " + text)
		want.Text = text
		if len(got) != 1 || got[0] != want || len(refused) != 0 {
			t.Errorf("%s: %+v, refused %q", text, got, refused)
		}
	}
}

func TestSet(t *testing.T) {
	set := grant(t, scope.New(real(t)), "user/Patient.rs openid patient/Patient.read launch user/Condition.rs")
	if got := set.Clinical().String(); got != "user/Patient.rs patient/Patient.read user/Condition.rs" {
		t.Errorf("clinical: %s", got)
	}
	if got := set.Levels(); !slices.Equal(got, []string{"patient", "user"}) {
		t.Errorf("levels: %v", got)
	}
	if !set.Has("patient/Patient.read") || set.Has("patient/Patient.rs") || set.Has("") {
		t.Error("Has is by text")
	}
}

// TestCovers: sub-sets of consent and refresh by example; the laws are below.
func TestCovers(t *testing.T) {
	g := scope.New(real(t))
	for _, one := range []struct {
		have, want string
		ok         bool
	}{
		{"patient/Observation.rs", "patient/Observation.read", true},
		{"patient/Observation.read", "patient/Observation.rs", true},
		{"patient/Observation.rs", "patient/Observation.rs?category=" + labs, true},
		{"patient/*.rs", "patient/Observation.r?category=" + labs, true},
		{"patient/*.read patient/*.write", "patient/Condition.cruds", true},
		{"patient/Observation.rs?category=a,b", "patient/Observation.rs?category=b", true},
		{"patient/Observation.rs?category=a", "patient/Observation.rs?status=final&category=a", true},
		{"patient/Observation.rs?category=a", "patient/Observation.rs?category=a,b", false},
		{"patient/Observation.rs?category=a&status=final", "patient/Observation.rs?category=a", false},
		{"patient/Observation.rs?category=a", "patient/Observation.rs", false},
		{"patient/Observation.rs?code=a", "patient/Observation.rs?category=a", false},
		{"patient/Observation.rs", "patient/Observation.cruds", false},
		{"user/Observation.rs", "patient/Observation.rs", false},
		{"patient/Observation.rs", "patient/*.rs", false},
		{"openid", "fhirUser", false},
		{"launch/patient patient/*.rs", "launch", false},
		{"online_access", "offline_access", false},
	} {
		if got := grant(t, g, one.have).Covers(grant(t, g, one.want)); got != one.ok {
			t.Errorf("%s covers %s: %v", one.have, one.want, got)
		}
	}
	asked, allowed := grant(t, g, "openid patient/*.cruds launch patient/Observation.read"), grant(t, g, "openid patient/Observation.rs?category=a patient/Condition.*")
	if got := asked.Meet(allowed).String(); got != "openid patient/Observation.rs?category=a patient/Condition.cruds" {
		t.Errorf("meet: %s", got)
	}
}

// TestMeetBounds: a common part that could not be asked for again is not granted.
func TestMeetBounds(t *testing.T) {
	g := scope.New(small{})
	a, b := "user/A.r?p=0", "user/A.r?q=0"
	for i := range 5 {
		a, b = a+fmt.Sprintf("&p=a%d", i), b+fmt.Sprintf("&q=b%d", i)
	}
	if got := grant(t, g, a).Meet(grant(t, g, b)); len(got) != 0 {
		t.Errorf("12 parameters: %v", got)
	}
	if got := grant(t, g, a).Meet(grant(t, g, "user/A.r?q=0")); len(got) != 1 {
		t.Errorf("7 parameters: %v", got)
	}
}

// TestOffer: a broad scope offers the categories of US Core, a narrow one those
// within it, and every offer may be granted in its place.
func TestOffer(t *testing.T) {
	g := scope.New(real(t))
	for text, want := range map[string]int{
		"patient/Condition.rs": 3, "patient/Observation.read": 5, "user/*.cruds": 8, "patient/Patient.rs": 0, "openid": 0,
		"patient/Observation.rs?category=" + labs: 0, "patient/Observation.rs?category=" + labs + ",x": 1, "patient/Observation.rs?code=1": 0,
	} {
		asked := grant(t, g, text)
		offers := g.Offer(asked[0])
		if len(offers) != want {
			t.Errorf("%s offers %v", text, offers)
		}
		for _, o := range offers {
			if !asked.Covers(scope.Set{o.Scope}) || o.Label == "" || o.Scope.Letters != asked[0].Letters || o.Scope.Level != asked[0].Level {
				t.Errorf("%s offers %+v", text, o)
			}
		}
	}
	if got := g.Offer(grant(t, g, "patient/Observation.rs")[0])[0].Scope.Text; got != "patient/Observation.rs?category="+labs {
		t.Errorf("first offer: %s", got)
	}
}

// FuzzParse: no input breaks the reader; what it grants reads back as itself,
// and all is either granted or refused.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"openid patient/A.rs", "user/*.cruds?_tag=a", "patient/A.rs?p=a|b,c&q==", "patient/A.read", "a%2Fb  c", "patient/A.rs?p=+", "\xff/A.\x00"} {
		f.Add(seed)
	}
	g := scope.New(small{})
	f.Fuzz(func(t *testing.T, text string) {
		set, refused := g.Parse(text)
		again, more := g.Parse(set.String())
		if len(more) != 0 || !slices.Equal(set, again) || !set.Covers(again) {
			t.Fatalf("%q became %q, refused %q", set, again, more)
		}
		for _, one := range set {
			if !strings.Contains(" "+text+" ", " "+one.Text+" ") {
				t.Fatalf("granted %q, which is not in %q", one.Text, text)
			}
		}
		if len(text) <= 128 && strings.Trim(text, " ") != "" && len(set)+len(refused) == 0 {
			t.Fatalf("%q is neither granted nor refused", text)
		}
	})
}

func many(n int) string {
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf("patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|c%d", i))
	}
	return strings.Join(texts, " ")
}

func BenchmarkAccess40(b *testing.B) {
	set, c := grant(b, scope.New(real(b)), many(40)), chart(fhir.Full())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Access(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse40(b *testing.B) {
	g, text := scope.New(small{}), strings.ReplaceAll(strings.ReplaceAll(many(40), "Observation", "A"), "category=", "p=")
	b.ReportAllocs()
	for b.Loop() {
		if set, _ := g.Parse(text); len(set) != 40 {
			b.Fatal(len(set))
		}
	}
}

func BenchmarkNarrow500(b *testing.B) {
	have, want := grant(b, scope.New(real(b)), many(500)), grant(b, scope.New(real(b)), strings.ReplaceAll(many(500), ".rs", ".r"))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := have.Narrow(want); !ok {
			b.Fatal("not covered")
		}
	}
}
