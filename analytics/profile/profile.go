// Package profile is one patient's facts, typed, read from all their records.
//
// It knows where facts stand in FHIR resources, which codes and units name
// them, and which records count (final, amended or corrected). It must not know
// what anybody concludes from them. It reads through the door and through the
// raw tree, so that nothing is lost on the way, and every fact keeps the
// reference of the resource version it was read from.
package profile

import (
	"cmp"
	"slices"
	"time"

	"candela/analytics/model"
)

// Kind is what a measurement measures.
type Kind string

// The kinds of measurements and the units their facts have.
const (
	Systolic   Kind = "systolic-bp"       // mm[Hg]
	Diastolic  Kind = "diastolic-bp"      // mm[Hg]
	TotalChol  Kind = "total-cholesterol" // mg/dL
	HDL        Kind = "hdl-cholesterol"   // mg/dL
	LDL        Kind = "ldl-cholesterol"   // mg/dL
	Creatinine Kind = "creatinine"        // mg/dL
	HbA1c      Kind = "hba1c"             // %
	UACR       Kind = "uacr"              // mg/g
	BMI        Kind = "bmi"               // kg/m2
	Weight     Kind = "weight"            // kg
	Height     Kind = "height"            // cm
	Smoker     Kind = "smoking"           // 1 current, 0 former or never
)

// Fact is one measured value.
type Fact struct {
	Value   float64
	At      time.Time // UTC
	Sources []string  // references with versions, "Observation/1/_history/2"
}

// Condition is one diagnosis. Refuted and mistaken ones are not kept.
type Condition struct {
	Codes   []Code
	Active  bool      // clinicalStatus active, recurrence or relapse
	Onset   time.Time // or when it was recorded; zero: unknown
	Abated  time.Time // zero: not known to have ended
	Sources []string
}

// Medication is one medicine that is ordered or taken at present.
type Medication struct {
	Codes   []Code
	Since   time.Time // zero: unknown
	Sources []string
}

// Code is a coding.
type Code struct{ System, Code, Display string }

// Profile is everything known of one patient that a score or segment asks for.
// A patient who was deleted has a Profile with Exists false and the ID only.
type Profile struct {
	ID          string
	Exists      bool
	Inactive    bool   // Patient.active is false
	Gender      string // administrative gender, "" when unknown
	Born        time.Time
	Deceased    bool
	Died        time.Time // zero when not known or not dead
	Source      string    // reference of the Patient version
	Conditions  []Condition
	Medications []Medication

	series map[Kind][]Fact // newest first
}

// Reference is "Patient/ID".
func (p Profile) Reference() string { return "Patient/" + p.ID }

// Series are the facts of a kind, newest first.
func (p Profile) Series(k Kind) []Fact { return p.series[k] }

// Latest is the newest fact of a kind at or before a moment; the zero moment
// asks for the newest of all.
func (p Profile) Latest(k Kind, asOf time.Time) (Fact, bool) {
	for _, f := range p.series[k] {
		if asOf.IsZero() || !f.At.After(asOf) {
			return f, true
		}
	}
	return Fact{}, false
}

// Newest is when the newest measurement at or before asOf was taken; zero when
// there is none.
func (p Profile) Newest(asOf time.Time) time.Time {
	var newest time.Time
	for k := range p.series {
		if f, ok := p.Latest(k, asOf); ok && f.At.After(newest) {
			newest = f.At
		}
	}
	return newest
}

// Age is the number of completed years at a moment, by the UTC calendar. ok is
// false when the birth date is unknown or later.
func (p Profile) Age(at time.Time) (years int, ok bool) {
	if p.Born.IsZero() || at.Before(p.Born) {
		return 0, false
	}
	at = at.UTC()
	years = at.Year() - p.Born.Year()
	if at.Month() < p.Born.Month() || at.Month() == p.Born.Month() && at.Day() < p.Born.Day() {
		years--
	}
	return years, true
}

// Dead says whether the patient had died by a moment; the zero moment asks
// whether they have at all.
func (p Profile) Dead(at time.Time) bool {
	return p.Deceased && (at.IsZero() || p.Died.IsZero() || !p.Died.After(at))
}

// BodyMass is the newest body mass index: measured, or of the newest weight and
// height when it was not. In kg/m2.
func (p Profile) BodyMass(asOf time.Time) (Fact, bool) {
	bmi, measured := p.Latest(BMI, asOf)
	weight, hasWeight := p.Latest(Weight, asOf)
	height, hasHeight := p.Latest(Height, asOf)
	if measured || !hasWeight || !hasHeight || height.Value <= 0 {
		return bmi, measured
	}
	metres := height.Value / 100
	return Fact{weight.Value / (metres * metres), weight.At, slices.Concat(weight.Sources, height.Sources)}, true
}

// Filtration is the CKD-EPI 2021 estimate from the newest creatinine, in
// mL/min/{1.73_m2}. Reported rates are not read: most of them are MDRD.
func (p Profile) Filtration(asOf time.Time) (Fact, bool) {
	f, ok := p.Latest(Creatinine, asOf)
	age, known := p.Age(f.At)
	if !ok || !known || f.Value <= 0 || p.Gender != "female" && p.Gender != "male" {
		return Fact{}, false
	}
	f.Value = model.FiltrationRate(f.Value, float64(age), p.Gender == "female")
	return f, true
}

// add puts a fact into its series; sort orders them all.
func (p *Profile) add(k Kind, f Fact) {
	if p.series == nil {
		p.series = map[Kind][]Fact{}
	}
	p.series[k] = append(p.series[k], f)
}

// sort makes the profile independent of the order in which records came: newest
// first, equal times by value and then by reference. The value comes first so
// that the same records under other ids give the same facts.
func (p *Profile) sort() {
	for _, facts := range p.series {
		slices.SortFunc(facts, func(a, b Fact) int {
			return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Value, a.Value), slices.Compare(a.Sources, b.Sources))
		})
	}
	slices.SortFunc(p.Conditions, func(a, b Condition) int { return slices.Compare(a.Sources, b.Sources) })
	slices.SortFunc(p.Medications, func(a, b Medication) int { return slices.Compare(a.Sources, b.Sources) })
}
