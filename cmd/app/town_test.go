package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"candela/cmd/app"
	"candela/fhir"
)

// town is a made-up population of so many patients, a multiple of ten, with
// perPatient resources each. A name, a day of birth, a glucose value and an
// illness are each shared by exactly ten patients, and a day sees exactly ten
// encounters, however large the town is: what a selective search finds does not
// grow with it, only what it must not touch does. Those who share something are
// spread over the town, as in life: their records are not neighbours on disk.
type town int

const (
	perPatient = 20 // 1 Patient, 3 Encounters, 14 Observations, 2 Conditions
	visitsEach = 3
	loadAtOnce = 25 // patients of one Bundle

	loincSystem = "http://loinc.org"
	icdSystem   = "http://hl7.org/fhir/sid/icd-10"
	ucumSystem  = "http://unitsofmeasure.org"
	mrnSystem   = "http://hospital.example/mrn"
	hl7Terms    = "http://terminology.hl7.org/CodeSystem/"

	bloodPressure, heartRate, bodyWeight, bodyHeat, glucose, creatinine = "85354-9", "8867-4", "29463-7", "8310-5", "2339-0", "2160-0"
)

// syllables make family names of equal length, so that none begins with another.
var syllables = [...]string{"bar", "cor", "dal", "fen", "gro", "hol", "jas", "kel", "lin", "mar", "nor", "pel", "qui", "ros", "sta", "tor", "ulm", "ven", "wil", "zan"}

var givens = [...]string{"Ana", "Ben", "Chidi", "Dora", "Emil", "Fatma", "Greta", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Mio", "Nora", "Otto", "Priya", "Quentin"}

// tens is how many groups of ten the town has.
func (n town) tens() int { return int(n) / 10 }

func family(group int) string {
	const k = len(syllables)
	name := syllables[group/(k*k)%k] + syllables[group/k%k] + syllables[group%k]
	return strings.ToUpper(name[:1]) + name[1:]
}

func illness(group int) string {
	return fmt.Sprintf("%c%02d.%d", 'A'+group/1000%26, group/10%100, group%10)
}

// sugar is a glucose value in mg/dL: 60.00, 60.05 and so on.
func sugar(group int) string { return fmt.Sprintf("%d.%02d", 60+group/20, group%20*5) }

func patientID(i int) string { return fmt.Sprintf("p-%06d", i) }

// days is how many days the town's encounters fall on.
func (n town) days() int { return visitsEach * n.tens() }

// day is one of them, the last at the end of 2024.
func (n town) day(number int) time.Time {
	return time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC).AddDate(0, 0, number-n.days()+1)
}

// start is when a patient's visit begins: in office hours, no two visits of a
// patient on one day.
func (n town) start(i, visit int) time.Time {
	return n.day((visit*int(n) + i) % n.days()).Add(8*time.Hour + time.Duration(i*13%540)*time.Minute)
}

func (n town) born(group int) string {
	return time.Date(1935, 3, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, group*11%25_000).Format(time.DateOnly)
}

// writer collects the entries of one Bundle.
type writer struct {
	town
	entries []string
}

func (w *writer) put(typ, id, format string, args ...any) {
	body := fmt.Sprintf(format, args...)
	w.entries = append(w.entries, fmt.Sprintf(`{"resource":{"resourceType":%q,"id":%q,%s},"request":{"method":"PUT","url":"%s/%s"}}`, typ, id, body, typ, id))
}

func codeableConcept(system, code, display string) string {
	return fmt.Sprintf(`{"coding":[{"system":%q,"code":%q,"display":%q}],"text":%q}`, system, code, display, display)
}

// patient writes a patient with all that belongs to them.
func (w *writer) patient(i int) {
	n, id := w.town, patientID(i)
	w.put("Patient", id, `"identifier":[{"use":"official","system":%q,"value":"MRN-%06d"}],"active":true,"name":[{"use":"official","family":%q,"given":[%q,%q]}],`+
		`"telecom":[{"system":"phone","value":"+1-555-%07d","use":"home"}],"gender":%q,"birthDate":%q,`+
		`"address":[{"line":["%d Main Street"],"city":"Springfield","postalCode":"%05d","country":"US"}]`,
		mrnSystem, i, family(i%n.tens()), givens[i%len(givens)], givens[i*7%len(givens)], i, [...]string{"female", "male"}[i%2],
		n.born((i+n.tens()/3)%n.tens()), 1+i%999, i%100_000)
	for v := range visitsEach {
		w.visit(i, v)
	}
	w.laboratory(i, glucose, "Glucose [Mass/volume] in Blood", sugar((i+n.tens()/2)%n.tens()))
	w.laboratory(i, creatinine, "Creatinine [Mass/volume] in Serum or Plasma", fmt.Sprintf("0.%02d", 50+i%49))
	w.condition(i, "a", illness((i+2*n.tens()/3)%n.tens()), "Illness of ten")
	w.condition(i, "b", fmt.Sprintf("Z%02d.9", i%10), "Illness of a tenth of all")
}

// visit writes an encounter with the vital signs taken at it.
func (w *writer) visit(i, v int) {
	at := w.start(i, v)
	w.put("Encounter", fmt.Sprintf("e-%06d-%d", i, v), `"status":"finished","class":{"system":%q,"code":"AMB"},"type":[%s],"subject":{"reference":"Patient/%s"},"period":{"start":%q,"end":%q}`,
		hl7Terms+"v3-ActCode", codeableConcept("http://snomed.info/sct", "185349003", "Encounter for check up"), patientID(i),
		at.Format(time.RFC3339), at.Add(30*time.Minute).Format(time.RFC3339))
	w.observation(i, v, bloodPressure, "Blood pressure panel", "vital-signs", fmt.Sprintf(`"component":[{"code":%s,"valueQuantity":%s},{"code":%s,"valueQuantity":%s}]`,
		codeableConcept(loincSystem, "8480-6", "Systolic blood pressure"), amount(fmt.Sprint(95+(i*7+v*5)%70), "mm[Hg]"),
		codeableConcept(loincSystem, "8462-4", "Diastolic blood pressure"), amount(fmt.Sprint(55+(i*3+v*2)%45), "mm[Hg]")))
	w.observation(i, v, heartRate, "Heart rate", "vital-signs", `"valueQuantity":`+amount(fmt.Sprint(52+(i*11+v*7)%60), "/min"))
	w.observation(i, v, bodyWeight, "Body weight", "vital-signs", `"valueQuantity":`+amount(fmt.Sprintf("%d.%d", 45+i%75, (i+v)%10), "kg"))
	w.observation(i, v, bodyHeat, "Body temperature", "vital-signs", `"valueQuantity":`+amount(fmt.Sprintf("36.%d", (i+v)%10), "Cel"))
}

func (w *writer) laboratory(i int, code, display, value string) {
	w.observation(i, 0, code, display, "laboratory", `"valueQuantity":`+amount(value, "mg/dL"))
}

// observation writes what was seen at a visit; of odd patients it was amended.
func (w *writer) observation(i, v int, code, display, category, value string) {
	at := w.start(i, v).Add(5 * time.Minute).Format(time.RFC3339)
	w.put("Observation", fmt.Sprintf("o-%06d-%d-%s", i, v, code), `"status":%q,"category":[%s],"code":%s,"subject":{"reference":"Patient/%s"},`+
		`"encounter":{"reference":"Encounter/e-%06d-%d"},"effectiveDateTime":%q,"issued":%q,%s`,
		[...]string{"final", "amended"}[i%2], codeableConcept(hl7Terms+"observation-category", category, category), codeableConcept(loincSystem, code, display),
		patientID(i), i, v, at, at, value)
}

func (w *writer) condition(i int, mark, code, display string) {
	w.put("Condition", fmt.Sprintf("c-%06d-%s", i, mark), `"clinicalStatus":%s,"category":[%s],"code":%s,"subject":{"reference":"Patient/%s"},"encounter":{"reference":"Encounter/e-%06d-0"},"recordedDate":%q`,
		codeableConcept(hl7Terms+"condition-clinical", "active", "Active"), codeableConcept(hl7Terms+"condition-category", "problem-list-item", "Problem List Item"),
		codeableConcept(icdSystem, code, display), patientID(i), i, w.start(i, 0).Format(time.DateOnly))
}

func amount(value, unit string) string {
	return fmt.Sprintf(`{"value":%s,"unit":%q,"system":%q,"code":%q}`, value, unit, ucumSystem, unit)
}

// load writes the town through the server's door: transactions of some 500
// entries, two at once.
func (n town) load(tb testing.TB, s *app.Server) {
	tb.Helper()
	started := time.Now()
	var group errgroup.Group
	group.SetLimit(2)
	for from := 0; from < int(n); from += loadAtOnce {
		group.Go(func() error { return n.send(s, from) })
	}
	if err := group.Wait(); err != nil {
		tb.Fatalf("loading %d patients: %v", n, err)
	}
	took := time.Since(started)
	tb.Logf("%d patients, %d resources in %s, %.0f a second", n, int(n)*perPatient, took.Round(time.Millisecond), float64(int(n)*perPatient)/took.Seconds())
}

// send writes the patients from one number on.
func (n town) send(s *app.Server, from int) error {
	w := writer{town: n}
	for i := from; i < min(from+loadAtOnce, int(n)); i++ {
		w.patient(i)
	}
	bundle, err := fhir.ParseResource([]byte(`{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(w.entries, ",")+`]}`), fhir.BundleLimits())
	if err != nil {
		return err
	}
	answer, err := s.Door.Do(context.Background(), fhir.Request{Interaction: fhir.Batch, Resource: bundle, Base: s.Base, Caller: fhir.Caller{Access: fhir.Full()}})
	if err != nil {
		return err
	}
	if stored := strings.Count(string(answer.Body), `"201`); stored != len(w.entries) {
		return fmt.Errorf("%d of %d stored: %.2000s", stored, len(w.entries), answer.Body)
	}
	return nil
}
