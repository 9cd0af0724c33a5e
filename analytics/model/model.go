// Package model turns a person's inputs into published risk scores.
//
// It knows the scores: their terms, coefficients, valid ranges and sources. It
// must not know where inputs come from (package profile reads them from
// records) nor how results are stored (package risk does).
//
// An input outside the range a score was derived on is refused, never clamped:
// a number that looks right and is not is worse than none.
package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Name names an input of a score.
type Name string

// The inputs and their units. Binary inputs are 0 or 1.
const (
	Age          Name = "age"                    // completed years
	Female       Name = "sex"                    // 1 female, 0 male; the score knows no other
	SystolicBP   Name = "systolic-bp"            // mm[Hg]
	TotalChol    Name = "total-cholesterol"      // mg/dL
	HDL          Name = "hdl-cholesterol"        // mg/dL
	EGFR         Name = "egfr"                   // mL/min/{1.73_m2}, CKD-EPI 2021
	BMI          Name = "bmi"                    // kg/m2
	Diabetes     Name = "diabetes"               // binary
	Smoking      Name = "smoking"                // binary: current smoker
	BPTreatment  Name = "bp-treatment"           // binary: takes an antihypertensive
	Statin       Name = "statin"                 // binary: takes a statin
	HbA1c        Name = "hba1c"                  // %
	UACR         Name = "uacr"                   // mg/g
	SDIDecile    Name = "sdi-decile"             // 1 to 10, social deprivation index
	PriorDisease Name = "cardiovascular-disease" // binary: has had the outcome
)

// Input is one value and where it was read.
type Input struct {
	Name    Name
	Value   float64
	Unit    string   // UCUM code, "" for binary inputs
	Sources []string // references of the resources it was read from, none for a default
}

// Features are one person's inputs. The zero Features has none.
type Features struct{ inputs []Input }

// With is f with one more input; an input of the same name is replaced.
func (f Features) With(in Input) Features {
	out := Features{make([]Input, 0, len(f.inputs)+1)}
	for _, old := range f.inputs {
		if old.Name != in.Name {
			out.inputs = append(out.inputs, old)
		}
	}
	out.inputs = append(out.inputs, in)
	return out
}

// Add puts one more input into f in place.
func (f *Features) Add(name Name, value float64, unit string, sources ...string) {
	f.inputs = append(f.inputs, Input{name, value, unit, sources})
}

// Get is the input called name.
func (f Features) Get(name Name) (Input, bool) {
	for _, in := range f.inputs {
		if in.Name == name {
			return in, true
		}
	}
	return Input{}, false
}

// All are the inputs in the order they were added.
func (f Features) All() []Input { return f.inputs }

func (f Features) value(name Name) float64 {
	in, _ := f.Get(name)
	return in.Value
}

// Outcome names what a probability is about.
type Outcome string

// Chance is the probability of one outcome.
type Chance struct {
	Outcome     Outcome
	Probability float64 // 0 to 1, not rounded
}

// Reason is what one input does to the main outcome: the odds with the input as
// it is, divided by the odds with the input at its reference value.
type Reason struct {
	Input  Input
	Factor float64
}

// Score is the answer of a Scorer.
type Score struct {
	Years   int      // horizon
	Chances []Chance // main outcome first
	Reasons []Reason // strongest first
	Missing []Name   // optional inputs that were not there
}

// Chance is the probability of one outcome, 0 to 1.
func (s Score) Chance(of Outcome) (p float64, ok bool) {
	for _, c := range s.Chances {
		if c.Outcome == of {
			return c.Probability, true
		}
	}
	return 0, false
}

// Scorer computes one published score. Score returns a *Refusal when it cannot.
type Scorer interface {
	Name() string
	Version() string
	Score(f Features) (Score, error)
}

// Range is the interval an input must lie in, ends included.
type Range struct {
	Name      Name
	Low, High float64
	Unit      string
}

// Violation is an input outside its range.
type Violation struct {
	Range
	Value float64
}

// Refusal says why there is no score.
type Refusal struct {
	Scorer     string
	Missing    []Name      // required inputs that are not there
	OutOfRange []Violation // inputs the score was not derived for
	Excluded   []Name      // conditions the score must not be used with
}

func (r *Refusal) Error() string {
	return r.Scorer + ": " + strings.Join(r.Reasons(), "; ")
}

// Reasons are short texts without any patient's values, fit for counting.
func (r *Refusal) Reasons() []string {
	var out []string
	for _, n := range r.Missing {
		out = append(out, string(n)+" is missing")
	}
	for _, v := range r.OutOfRange {
		out = append(out, fmt.Sprintf("%s is not within %s to %s %s", v.Name, short(v.Low), short(v.High), v.Unit))
	}
	for _, n := range r.Excluded {
		out = append(out, "not for people with "+string(n))
	}
	return out
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// check collects what speaks against scoring f.
func check(scorer string, f Features, required []Range, excluded ...Name) error {
	r := &Refusal{Scorer: scorer}
	for _, want := range required {
		in, ok := f.Get(want.Name)
		switch {
		case !ok:
			r.Missing = append(r.Missing, want.Name)
		case !(in.Value >= want.Low && in.Value <= want.High): // also refuses NaN
			r.OutOfRange = append(r.OutOfRange, Violation{want, in.Value})
		}
	}
	for _, name := range excluded {
		if f.value(name) != 0 {
			r.Excluded = append(r.Excluded, name)
		}
	}
	if len(r.Missing)+len(r.OutOfRange)+len(r.Excluded) == 0 {
		return nil
	}
	return r
}
