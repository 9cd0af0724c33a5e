// Command train writes the compression dictionary of package body from
// skeletons of resources and a list of common codes, both beside it. It uses
// no patient data, real or synthetic, and gives the same bytes on every run.
package main

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// plan is the order in which skeletons enter the dictionary: when it does not
// hold them all, the first ones are cut.
var plan = [...]string{
	"Questionnaire", "ImagingStudy", "Device", "AllergyIntolerance", "Practitioner", "Organization", "Provenance",
	"CarePlan", "CareTeam", "Medication", "MedicationAdministration", "SupplyDelivery", "Patient", "Immunization",
	"Note", "DocumentReference", "MedicationRequest", "Encounter", "DiagnosticReport", "Claim",
	"ExplanationOfBenefit", "Condition", "Procedure", "Smoking", "Finding", "Survey", "BloodPressure", "Vital",
	"Observation",
}

func main() {
	from := flag.String("from", "train", "folder of skeletons.tmpl and facts.txt")
	to := flag.String("to", "dictionary1", "file to write")
	size := flag.Int("size", 64<<10, "bytes of the dictionary")
	flag.Parse()
	if err := run(*from, *to, *size); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(from, to string, size int) error {
	w, err := newWriter(from)
	if err != nil {
		return err
	}
	dictionary, err := w.dictionary(size)
	if err != nil {
		return err
	}
	return os.WriteFile(to, dictionary, 0o644)
}

type fact struct{ System, Code, Display, Unit, Profile string }

type pair struct{ A, B string }

// writer fills skeletons from a seeded source.
type writer struct {
	rnd   *rand.Rand
	tmpl  *template.Template
	facts map[string][]fact
	ids   map[string]string // ids that one sample repeats
}

func newWriter(from string) (*writer, error) {
	w := &writer{rnd: rand.New(rand.NewPCG(1, 2)), facts: map[string][]fact{}}
	list, err := os.ReadFile(filepath.Join(from, "facts.txt"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		w.addFact(strings.TrimSpace(line))
	}
	w.tmpl, err = template.New("").Funcs(w.funcs()).ParseFiles(filepath.Join(from, "skeletons.tmpl"))
	return w, err
}

func (w *writer) addFact(line string) {
	if line == "" || line[0] == '#' {
		return
	}
	f := append(strings.Split(line, "|"), "", "")
	system := map[string]string{
		"drug": "http://www.nlm.nih.gov/research/umls/rxnorm", "vaccine": "http://hl7.org/fhir/sid/cvx",
		"answer": snomed, "procedure": snomed, "condition": snomed, "visit": snomed,
	}[f[0]]
	if system == "" {
		system = "http://loinc.org"
	}
	w.facts[f[0]] = append(w.facts[f[0]], fact{system, f[1], f[2], f[3], f[4]})
}

const snomed = "http://snomed.info/sct"

func (w *writer) funcs() template.FuncMap {
	return template.FuncMap{
		"uuid": w.uuid, "time": w.time, "instant": func() string { return w.clock("04.123+00:00") },
		"date":   func() string { return w.clock("")[:10] },
		"number": func() string { return fmt.Sprintf("%.2f", w.rnd.Float64()*200) },
		"int":    func() int { return w.rnd.IntN(150) },
		"money":  func() string { return fmt.Sprint(w.rnd.Float64() * 300) },
		"digits": func() string { return fmt.Sprint(w.rnd.Uint64() >> 12) },
		"name":   func() string { return fmt.Sprintf("Ann%d Ray%d", w.rnd.IntN(999), w.rnd.IntN(999)) },
		"payer": func() string {
			return []string{"Medicare", "Medicaid", "Humana", "Aetna", "Blue Cross Blue Shield"}[w.rnd.IntN(5)]
		},
		"hospital": func() string {
			return []string{"GENERAL HOSPITAL, INC.", "COMMUNITY MEDICAL CENTER", "PRIMARY CARE LLC"}[w.rnd.IntN(3)]
		},
		"patient": w.one("Patient/"), "encounter": w.one("Encounter/"), "location": w.one("Location/"),
		"organization": w.one("Organization/"), "practitioner": w.one("Practitioner/"),
		"fact": w.fact, "facts": func(kind string) []fact { return w.facts[kind] },
		"pair": func(a, b string) pair { return pair{a, b} }, "note": w.note,
	}
}

func (w *writer) uuid() string {
	a, b := w.rnd.Uint64(), w.rnd.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}

func (w *writer) time() string { return w.clock("04+00:00") }

func (w *writer) clock(tail string) string {
	r := w.rnd
	return fmt.Sprintf("20%02d-%02d-%02dT%02d:%02d:", 10+r.IntN(16), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60)) + tail
}

func (w *writer) one(prefix string) func() string {
	return func() string {
		if w.ids[prefix] == "" {
			w.ids[prefix] = prefix + w.uuid()
		}
		return w.ids[prefix]
	}
}

func (w *writer) fact(kind string) fact {
	all := w.facts[kind]
	return all[w.rnd.IntN(len(all))]
}

// note is a clinical note as text in base64.
func (w *writer) note() string {
	heads := []string{"\n2020-01-01\n\n# Chief Complaint\nNo complaints.\n", "\n# History of Present Illness\n",
		"Ann1\n is a 50 year-old nonhispanic white female. Patient has a history of ", "\n\n# Social History\nPatient is married. Patient has never smoked.\n",
		"\nPatient identifies as heterosexual.\n\nPatient comes from a middle socioeconomic background.\n", "\nPatient currently has Medicare.\n",
		"\n# Allergies\nNo Known Allergies.\n", "\n# Medications\nNo Active Medications.\n", "\n# Assessment and Plan\nPatient is presenting with ",
		"\n\n## Plan\nPatient was given the following immunizations: influenza, seasonal, injectable, preservative free. ",
		"\nThe following procedures were conducted:\n- medication reconciliation (procedure)\n- assessment of health and social care needs (procedure)\n- depression screening (procedure)\n"}
	var b strings.Builder
	for _, h := range heads {
		b.WriteString(h)
	}
	return base64.StdEncoding.EncodeToString([]byte(b.String()))
}

func (w *writer) fill(name string) ([]byte, error) {
	w.ids = map[string]string{}
	var b bytes.Buffer
	err := w.tmpl.ExecuteTemplate(&b, name, nil)
	return b.Bytes(), err
}

// dictionary is what matches are found in: all codes, then one of each skeleton.
func (w *writer) dictionary(size int) ([]byte, error) {
	var b bytes.Buffer
	for _, kind := range []string{"answer", "question", "drug", "vaccine", "panel", "visit", "condition", "procedure", "finding", "survey", "vital", "lab"} {
		for _, f := range w.facts[kind] {
			fmt.Fprintf(&b, `%s","display":"%s"}`, f.Code, f.Display)
		}
	}
	for _, p := range plan {
		one, err := w.fill(p)
		if err != nil {
			return nil, err
		}
		b.Write(one)
	}
	if over := b.Len() - size; over > 0 {
		b.Next(over)
	}
	return b.Bytes(), nil
}
