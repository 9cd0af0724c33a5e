package linking_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/linking"
	"candela/store"
)

func TestParseRefusesWhatCannotBeLinked(t *testing.T) {
	w := open(t)
	for text, says := range map[string]string{
		"":                                              "not Type.element:Target",
		"Observation.subject":                           "not Type.element:Target",
		"Observation:Patient":                           "not Type.element:Target",
		"Observatoin.subject:Patient":                   "no resource type Observatoin",
		"BackboneElement.x:Patient":                     "no resource type BackboneElement",
		"Observation.subjekt:Patient":                   "Observation has no element subjekt",
		"Observation.subject.reference:Patient":         "no Reference",
		"Observation.:Patient":                          "has no element",
		"Observation.code:Patient":                      "no Reference",
		"Observation.value.subject:Patient":             "no Reference",
		"Observation.subject:Patent":                    "no resource type Patent",
		"Observation.subject:":                          "no resource type",
		"Observation.subject:Practitioner":              "cannot point to a Practitioner; it points to Patient, Group",
		"Observation.derivedFrom:Media:x":               "no resource type",
		"DocumentReference.content.attachment:Patient":  "no Reference",
		"Encounter.hospitalization.destination:Patient": "cannot point",
		"Patient.link.other:Patient,Observation":        "no resource type",
		"Provenance.target:Binary":                      "cannot be found by an identifier",
		"Encounter.hospitalization.origin:Location":     "no search parameter of Encounter covers Encounter.hospitalization.origin",
	} {
		if _, err := linking.Parse(w.spec, w.search, []string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestParse(t *testing.T) {
	w := open(t)
	paths, err := linking.Parse(w.spec, w.search, []string{"Observation.subject:Patient", " Observation.subject:Group", "Observation.subject:Patient",
		"MedicationRequest.medication[x]:Medication", "MedicationRequest.medication:Medication", "Appointment.participant.actor:Practitioner", "AllergyIntolerance.patient:Patient"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range paths {
		got = append(got, p.String())
	}
	want := "Observation.subject:Patient,Observation.subject:Group MedicationRequest.medication:Medication Appointment.participant.actor:Practitioner AllergyIntolerance.patient:Patient"
	if strings.Join(got, " ") != want {
		t.Errorf("%v", got)
	}
}

// TestLinks: which references are linked, to the byte.
func TestLinks(t *testing.T) {
	cases := map[string]struct{ path, before, after string }{
		"plain":              {"Observation.subject:Patient", observation("o", named("1")), observation("o", to("Patient/p", "1"))},
		"nobody has it":      {"Observation.subject:Patient", observation("o", named("none")), ""},
		"two have it":        {"Observation.subject:Patient", observation("o", named("2")), ""},
		"another case":       {"Observation.subject:Patient", observation("o", named("ABC")), ""},
		"case as written":    {"Observation.subject:Patient", observation("o", named("aBc")), observation("o", to("Patient/case", "aBc"))},
		"odd characters":     {"Observation.subject:Patient", observation("o", named(`a|b,c$d\e`)), observation("o", to("Patient/odd", `a|b,c$d\e`))},
		"no system":          {"Observation.subject:Patient", observation("o", `{"identifier":{"value":"1"}}`), ""},
		"no value":           {"Observation.subject:Patient", observation("o", `{"identifier":{"system":"urn:mrn"}}`), ""},
		"another system":     {"Observation.subject:Patient", observation("o", `{"identifier":{"system":"urn:other","value":"1"}}`), ""},
		"literal already":    {"Observation.subject:Patient", observation("o", to("Patient/else", "1")), ""},
		"why it has none":    {"Observation.subject:Patient", observation("o", `{"_reference":{"extension":[{"url":"u","valueCode":"masked"}]},"identifier":{"system":"urn:mrn","value":"1"}}`), ""},
		"of its type":        {"Observation.subject:Patient", observation("o", `{"type":"Patient","identifier":{"system":"urn:mrn","value":"1"}}`), observation("o", `{"reference":"Patient/p","type":"Patient","identifier":{"system":"urn:mrn","value":"1"}}`)},
		"of another type":    {"Observation.subject:Patient", observation("o", `{"type":"Group","identifier":{"system":"urn:mrn","value":"1"}}`), ""},
		"other members stay": {"Observation.subject:Patient", observation("o", `{"id":"x","display":"\u00e9","identifier":{"value":"1","system":"urn:mrn","use":"usual"}}`), observation("o", `{"reference":"Patient/p","id":"x","display":"\u00e9","identifier":{"value":"1","system":"urn:mrn","use":"usual"}}`)},
		"another path":       {"Observation.focus:Patient", observation("o", named("1")), ""},
		"in what it contains": {"Observation.subject:Patient", `{"resourceType":"Observation","id":"o","contained":[` + observation("c", named("1")) + `],"status":"final","code":{"text":"x"}}`,
			""},
		"many": {"Observation.performer:Patient", `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"performer":[{"reference":"Patient/p"},` + named("1") + `,{"display":"y"},` + named("none") + `,` + named("3") + `]}`,
			`{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"performer":[{"reference":"Patient/p"},` + to("Patient/p", "1") + `,{"display":"y"},` + named("none") + `,` + to("Patient/q", "3") + `]}`},
		"nested": {"Encounter.participant.individual:Practitioner", `{"resourceType":"Encounter","id":"o","status":"finished","class":{"code":"AMB"},"participant":[{"individual":` + named("d") + `}]}`,
			`{"resourceType":"Encounter","id":"o","status":"finished","class":{"code":"AMB"},"participant":[{"individual":` + to("Practitioner/d", "d") + `}]}`},
		"a choice": {"MedicationRequest.medication:Medication", `{"resourceType":"MedicationRequest","id":"o","status":"active","intent":"order","medicationReference":` + named("m") + `,"subject":{"display":"x"}}`,
			`{"resourceType":"MedicationRequest","id":"o","status":"active","intent":"order","medicationReference":` + to("Medication/m", "m") + `,"subject":{"display":"x"}}`},
		"two targets, one has it":  {"Observation.subject:Group,Observation.subject:Patient", observation("o", named("1")), observation("o", to("Patient/p", "1"))},
		"two targets, both have":   {"Observation.subject:Group,Observation.subject:Patient", observation("o", named("5")), ""},
		"two targets, type parts":  {"Observation.subject:Group,Observation.subject:Patient", observation("o", `{"type":"Group","identifier":{"system":"urn:mrn","value":"5"}}`), observation("o", `{"reference":"Group/g","type":"Group","identifier":{"system":"urn:mrn","value":"5"}}`)},
		"a conditional one inside": {"Observation.subject:Patient", observation("o", named("1")+`,"performer":[{"reference":"Patient?identifier=3"}]`), ""},
		"to itself":                {"Patient.link.other:Patient", `{"resourceType":"Patient","id":"o","identifier":[{"system":"urn:mrn","value":"self"}],"link":[{"other":` + named("self") + `,"type":"seealso"}]}`, `{"resourceType":"Patient","id":"o","identifier":[{"system":"urn:mrn","value":"self"}],"link":[{"other":` + to("Patient/o", "self") + `,"type":"seealso"}]}`},
	}
	targets := []string{patient("p", "1"), patient("q", "3"), patient("two", "2"), patient("twin", "2"), patient("case", "aBc"), patient("odd", `a|b,c$d\e`), patient("five", "5"),
		`{"resourceType":"Group","id":"g","type":"person","actual":true,"identifier":[{"system":"urn:mrn","value":"5"}]}`,
		`{"resourceType":"Practitioner","id":"d","identifier":[{"system":"urn:mrn","value":"d"}]}`,
		`{"resourceType":"Medication","id":"m","identifier":[{"system":"urn:mrn","value":"m"}]}`}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, first := range []string{"targets", "referrer"} {
				w := open(t)
				l := w.linker(t, nil, strings.Split(c.path, ",")...)
				if first == "referrer" {
					w.put(t, c.before)
					turn(t, l)
				}
				for _, raw := range targets {
					w.put(t, raw)
				}
				if first == "targets" {
					turn(t, l)
					w.put(t, c.before)
				}
				turn(t, l)
				typ, _, _ := strings.Cut(c.path, ".")
				got, version := w.raw(t, typ, "o")
				want, wantVersion := c.after, int64(2)
				if want == "" {
					want, wantVersion = c.before, 1
				}
				if got != want || version != wantVersion {
					t.Errorf("%s first: version %d\n%s, want\n%s", first, version, got, want)
				}
				silent(t, w, l)
			}
		})
	}
}

// silent says that nothing is left to do, for this process and a new one that
// begins at the first change.
func silent(t *testing.T, w *world, l *linking.Linker) {
	t.Helper()
	before, err := w.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	turn(t, l)
	for key := range w.KVList(context.Background(), "linking", "") {
		if err := w.KVDelete(context.Background(), "linking", key); err != nil {
			t.Fatal(err)
		}
	}
	turn(t, w.linker(t, func(c *linking.Config) { c.Paths = l.Paths }, "Observation.subject:Patient"))
	if after, err := w.Head(context.Background()); err != nil || after != before {
		t.Errorf("the head moved from %d to %d (%v)", before, after, err)
	}
}

// TestProvenance: each link has one, that names the version made, who made it
// and from what.
func TestProvenance(t *testing.T) {
	w := open(t)
	l := w.linker(t, nil, "Observation.subject:Patient")
	w.put(t, observation("o", named("1")))
	w.put(t, patient("p", "1"))
	turn(t, l)
	page, err := w.Find(context.Background(), store.Query{Types: []string{"Provenance"}, Count: 10})
	if err != nil || len(page.Versions) != 1 {
		t.Fatalf("%d, %v", len(page.Versions), err)
	}
	p := fhir.Stored(page.Versions[0].Raw).Root()
	for path, want := range map[string]string{
		"target.reference": "Observation/o/_history/2", "entity.what.reference": "Patient/p/_history/1", "activity.coding.code": "UPDATE",
		"agent.who.reference": "Device/candela-linking", "reason.text": "The identifier of a logical reference belongs to exactly one resource: the literal reference was added.",
	} {
		if got := p.Path(strings.Split(path, ".")...).Text(); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	made, err := w.GetVersion(context.Background(), store.Key{Type: "Observation", ID: "o"}, 2)
	if err != nil || made.Seq != page.Versions[0].Seq-1 && made.Seq != page.Versions[0].Seq+1 {
		t.Errorf("version and Provenance are no one commit: %d, %d (%v)", made.Seq, page.Versions[0].Seq, err)
	}
	if device, _ := w.raw(t, "Device", "candela-linking"); !strings.Contains(device, `"version":[{"value":"1"}]`) {
		t.Error(device)
	}
}

// TestTargetsComeAndGo: identifiers that are given, taken and shared.
func TestTargetsComeAndGo(t *testing.T) {
	w := open(t)
	l := w.linker(t, nil, "Observation.subject:Patient")
	link := func(id, value, subject string) {
		t.Helper()
		turn(t, l)
		want := observation(id, subject)
		if got, _ := w.raw(t, "Observation", id); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	w.put(t, observation("a", named("1")))
	w.put(t, patient("p", "other"))
	link("a", "1", named("1"))
	w.put(t, patient("p", "1")) // gets the identifier later
	link("a", "1", to("Patient/p", "1"))
	w.put(t, patient("p", "other")) // loses it: what is linked stays
	link("a", "1", to("Patient/p", "1"))

	w.put(t, patient("q", "2"))
	w.put(t, patient("r", "2"))
	w.put(t, observation("b", named("2")))
	link("b", "2", named("2"))
	if count(l, "Observation.subject", "ambiguous") == 0 {
		t.Error("two targets are not counted")
	}
	w.remove(t, "Patient", "r") // one is left
	link("b", "2", to("Patient/q", "2"))

	w.put(t, patient("s", "3"))
	w.put(t, patient("u", "3"))
	w.put(t, observation("c", named("3")))
	link("c", "3", named("3"))
	w.put(t, patient("u", "4")) // one is left, the other was mistaken
	link("c", "3", to("Patient/s", "3"))

	w.put(t, patient("v", "5"))
	w.remove(t, "Patient", "v")
	w.put(t, observation("d", named("5")))
	link("d", "5", named("5"))
	w.put(t, patient("v", "5")) // comes back
	link("d", "5", to("Patient/v", "5"))
	w.put(t, observation("e", named("6")))
	w.remove(t, "Observation", "e")
	w.put(t, patient("x", "6"))
	turn(t, l)
	if _, err := w.Get(context.Background(), store.Key{Type: "Observation", ID: "e"}); err == nil {
		t.Error("a deleted referrer was linked")
	}
	w.put(t, observation("f", named("7")))
	w.put(t, patient("y", "7"))
	if _, err := w.Commit(context.Background(), store.Op{Action: store.Erase, Key: store.Key{Type: "Patient", ID: "y"}}); err != nil {
		t.Fatal(err)
	}
	link("f", "7", named("7"))
	w.put(t, patient("aa", "8"))
	w.put(t, patient("ab", "8"))
	w.put(t, observation("g", named("8")))
	link("g", "8", named("8"))
	if _, err := w.Commit(context.Background(), store.Op{Action: store.Erase, Key: store.Key{Type: "Patient", ID: "aa"}}); err != nil {
		t.Fatal(err)
	}
	link("g", "8", to("Patient/ab", "8")) // one is left; what the erased one had nobody knows
	link("f", "7", named("7"))
	silent(t, w, l)
}

// TestRaces: what happens between the look and the write.
func TestRaces(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, w *world)
		subject   string
		waits     int64
	}{
		"the target is deleted":  {func(t *testing.T, w *world) { w.remove(t, "Patient", "p") }, named("1"), 1},
		"the target has another": {func(t *testing.T, w *world) { w.put(t, patient("p", "9")) }, named("1"), 1},
		"the target has more": {func(t *testing.T, w *world) {
			w.put(t, strings.Replace(patient("p", "1"), `"id":"p"`, `"id":"p","active":true`, 1))
		}, to("Patient/p", "1"), 0},
		"the referrer has it":     {func(t *testing.T, w *world) { w.put(t, observation("o", to("Patient/z", "1"))) }, to("Patient/z", "1"), 0},
		"the referrer has others": {func(t *testing.T, w *world) { w.put(t, patient("q", "2")); w.put(t, observation("o", named("2"))) }, to("Patient/q", "2"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			l := w.linker(t, nil, "Observation.subject:Patient")
			w.put(t, patient("p", "1"))
			w.put(t, observation("o", named("1")))
			w.meanwhile = func() { c.meanwhile(t, w) }
			turn(t, l)
			if got, _ := w.raw(t, "Observation", "o"); w.meanwhile != nil || got != observation("o", c.subject) {
				t.Errorf("%s, want %s", got, observation("o", c.subject))
			}
			if got := count(l, "Observation.subject", "waiting"); got < c.waits {
				t.Errorf("%d wait, want %d", got, c.waits)
			}
			silent(t, w, l)
		})
	}
}

// TestDeletedReferrer: it goes between the look and the write.
func TestDeletedReferrer(t *testing.T) {
	w := open(t)
	l := w.linker(t, nil, "Observation.subject:Patient")
	w.put(t, patient("p", "1"))
	w.put(t, observation("o", named("1")))
	w.meanwhile = func() { w.remove(t, "Observation", "o") }
	turn(t, l)
	if v, err := w.Get(context.Background(), store.Key{Type: "Observation", ID: "o"}); err == nil || v.Number != 2 {
		t.Errorf("version %d, %v", v.Number, err)
	}
	silent(t, w, l)
}

// TestManyReferrers: more than a page wait for one target.
func TestManyReferrers(t *testing.T) {
	w := open(t)
	l := w.linker(t, func(c *linking.Config) { c.Page = 7 }, "Observation.subject:Patient")
	for i := range 50 {
		w.put(t, observation("o"+strings.Repeat("x", i), named("1")))
	}
	turn(t, l)
	w.put(t, patient("p", "1"))
	turn(t, l)
	for i := range 50 {
		id := "o" + strings.Repeat("x", i)
		if got, version := w.raw(t, "Observation", id); got != observation(id, to("Patient/p", "1")) || version != 2 {
			t.Fatalf("version %d: %s", version, got)
		}
	}
	silent(t, w, l)
}

// TestOneLinksAtATime: a second process waits for the lease of a first, also of
// a dead one.
func TestOneLinksAtATime(t *testing.T) {
	w := open(t)
	one := w.linker(t, func(c *linking.Config) { c.Lease = 300 * time.Millisecond }, "Observation.subject:Patient")
	two := w.linker(t, func(c *linking.Config) { c.Lease = 300 * time.Millisecond }, "Observation.subject:Patient")
	w.put(t, patient("p", "1"))
	w.put(t, observation("o", named("1")))
	ctx, cancel := context.WithCancel(context.Background())
	w.meanwhile = func() {
		time.Sleep(500 * time.Millisecond) // longer than the lease, which is renewed
		if _, err := two.Turn(context.Background()); err == nil || count(two, "Observation.subject", "linked") != 0 {
			t.Errorf("two link at a time (%v)", err)
		}
		cancel()
	}
	if _, err := one.Turn(ctx); err == nil {
		t.Error("a turn that was ended says that it is done")
	}
	turn(t, two)
	if got, version := w.raw(t, "Observation", "o"); got != observation("o", to("Patient/p", "1")) || version != 2 {
		t.Errorf("version %d: %s", version, got)
	}
	silent(t, w, two)
}
