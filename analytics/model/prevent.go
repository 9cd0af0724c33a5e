package model

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The outcomes of PREVENT.
const (
	TotalCVD     Outcome = "total_cvd"
	ASCVD        Outcome = "ascvd"
	HeartFailure Outcome = "heart_failure"
	CHD          Outcome = "chd"
	Stroke       Outcome = "stroke"
)

// Variant is a family of PREVENT models by the optional inputs it uses.
type Variant string

// The variants. A missing optional input enters Full by its own coefficient.
const (
	Base      Variant = "base"
	WithUACR  Variant = "uacr"
	WithHbA1c Variant = "hba1c"
	WithSDI   Variant = "sdi"
	Full      Variant = "full"
)

// prevent.csv holds all 100 models of Khan 2024 (Circulation 149:430,
// supplemental tables): a row per model, years, sex and outcome, a column per
// term; an empty cell is a term the model does not have.
//
//go:embed prevent.csv
var preventTable string

// terms are the columns of prevent.csv behind the first four.
const terms = 32

type preventKey struct {
	variant Variant
	years   int
	female  bool
	outcome Outcome
}

type coefficients map[preventKey]*[terms]float64

var loadPrevent = sync.OnceValues(func() (coefficients, error) {
	rows, err := csv.NewReader(strings.NewReader(preventTable)).ReadAll()
	if err != nil {
		return nil, err
	}
	all := make(coefficients, len(rows))
	for _, row := range rows[1:] {
		years, err := strconv.Atoi(row[1])
		if err != nil {
			return nil, err
		}
		betas := new([terms]float64)
		for i, cell := range row[4:] {
			if cell == "" {
				continue
			}
			if betas[i], err = strconv.ParseFloat(cell, 64); err != nil {
				return nil, err
			}
		}
		all[preventKey{Variant(row[0]), years, row[2] == "female", Outcome(row[3])}] = betas
	}
	return all, nil
})

// Prevent is the American Heart Association's PREVENT score of one variant and
// horizon. It has no term for race and is for people without cardiovascular
// disease.
type Prevent struct {
	variant Variant
	years   int
	all     coefficients
}

// NewPrevent gives the models of a variant for 10 or 30 years.
func NewPrevent(variant Variant, years int) (*Prevent, error) {
	all, err := loadPrevent()
	if err != nil {
		return nil, fmt.Errorf("coefficients of PREVENT: %w", err)
	}
	if _, ok := all[preventKey{variant, years, true, TotalCVD}]; !ok {
		return nil, fmt.Errorf("PREVENT has no %s model for %d years", variant, years)
	}
	return &Prevent{variant, years, all}, nil
}

// Name is "prevent-base-10y" and the like.
func (p *Prevent) Name() string { return fmt.Sprintf("prevent-%s-%dy", p.variant, p.years) }

// Version is the year of the publication and our revision of its use.
func (p *Prevent) Version() string { return "2024.1" }

// Ranges are the inputs PREVENT must have, and the intervals it was derived on.
func (p *Prevent) Ranges() []Range {
	oldest := 79.0
	if p.years == 30 {
		oldest = 59 // nobody older was followed for 30 years
	}
	return []Range{
		{Age, 30, oldest, "a"}, {Female, 0, 1, ""},
		{SystolicBP, 90, 180, "mm[Hg]"}, {TotalChol, 130, 320, "mg/dL"}, {HDL, 20, 100, "mg/dL"},
		{EGFR, 15, 140, "mL/min/{1.73_m2}"}, {BMI, 18.5, 39.9, "kg/m2"},
		{Diabetes, 0, 1, ""}, {Smoking, 0, 1, ""}, {BPTreatment, 0, 1, ""}, {Statin, 0, 1, ""},
	}
}

var optional = []Range{{HbA1c, 4.5, 15, "%"}, {UACR, 0.1, 25000, "mg/g"}, {SDIDecile, 1, 10, ""}}

func (p *Prevent) uses(name Name) bool {
	one := map[Name]Variant{HbA1c: WithHbA1c, UACR: WithUACR, SDIDecile: WithSDI}[name]
	return p.variant == Full || p.variant == one
}

// Score computes all five outcomes. The error is a *Refusal.
func (p *Prevent) Score(f Features) (Score, error) {
	want := p.Ranges()
	s := Score{Years: p.years}
	for _, o := range optional {
		if !p.uses(o.Name) {
			continue
		}
		if _, ok := f.Get(o.Name); ok {
			want = append(want, o)
		} else {
			s.Missing = append(s.Missing, o.Name)
		}
	}
	if err := check(p.Name(), f, want, PriorDisease); err != nil {
		return Score{}, err
	}
	female, values := f.value(Female) != 0, preventTerms(f)
	for _, o := range []Outcome{TotalCVD, ASCVD, HeartFailure, CHD, Stroke} {
		s.Chances = append(s.Chances, Chance{o, logistic(p.sum(female, o, values))})
	}
	s.Reasons = p.reasons(f, female, p.sum(female, TotalCVD, values))
	return s, nil
}

func (p *Prevent) sum(female bool, o Outcome, values [terms]float64) float64 {
	x := 0.0
	for i, beta := range p.all[preventKey{p.variant, p.years, female, o}] {
		x += beta * values[i]
	}
	return x
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// milliMolar turns mg/dL of cholesterol into mmol/L.
const milliMolar = 0.02586

// preventTerms are the values of the columns of prevent.csv, in their order.
func preventTerms(f Features) [terms]float64 {
	age := (f.value(Age) - 55) / 10
	nonHDL := (f.value(TotalChol)-f.value(HDL))*milliMolar - 3.5
	hdl := (f.value(HDL)*milliMolar - 1.3) / 0.3
	sbp := (max(f.value(SystolicBP), 110) - 130) / 20
	dm, smoking, treated, statin := f.value(Diabetes), f.value(Smoking), f.value(BPTreatment), f.value(Statin)
	bmi := (max(f.value(BMI), 30) - 30) / 5
	egfr := (min(f.value(EGFR), 60) - 60) / -15
	t := [terms]float64{
		age, age * age, nonHDL, hdl,
		(min(f.value(SystolicBP), 110) - 110) / 20, sbp, dm, smoking,
		(min(f.value(BMI), 30) - 25) / 5, bmi, egfr, (max(f.value(EGFR), 60) - 90) / -15,
		treated, statin, treated * sbp, statin * nonHDL,
		age * nonHDL, age * hdl, age * sbp, age * dm, age * smoking, age * bmi, age * egfr,
	}
	optionalTerms(f, t[23:31])
	t[31] = 1
	return t
}

// optionalTerms fills sdi4-6, sdi7-10, nosdi, lnacr, noacr, hba1c*dm,
// hba1c*nodm, nohba1c. Models without them have zero coefficients there.
func optionalTerms(f Features, t []float64) {
	if sdi, ok := f.Get(SDIDecile); !ok {
		t[2] = 1
	} else if sdi.Value >= 7 {
		t[1] = 1
	} else if sdi.Value >= 4 {
		t[0] = 1
	}
	if acr, ok := f.Get(UACR); ok {
		t[3] = math.Log(acr.Value)
	} else {
		t[4] = 1
	}
	if a1c, ok := f.Get(HbA1c); ok {
		t[5] = (a1c.Value - 5.3) * f.value(Diabetes)
		t[6] = (a1c.Value - 5.3) * (1 - f.value(Diabetes))
	} else {
		t[7] = 1
	}
}

// references are the values that a reason compares with: the centre of the
// score's terms, and nothing for binary inputs.
var references = []Input{
	{Name: SystolicBP, Value: 120}, {Name: TotalChol, Value: 185}, {Name: HDL, Value: 50}, {Name: EGFR, Value: 90},
	{Name: BMI, Value: 25}, {Name: Diabetes}, {Name: Smoking},
}

// reasons compares x, the log-odds, with what they would be with each input at
// its reference value. Treatments are no reasons: in the data of the score they
// stand for the disease they treat.
func (p *Prevent) reasons(f Features, female bool, x float64) []Reason {
	var out []Reason
	for _, ref := range references {
		in, _ := f.Get(ref.Name)
		if in.Value == ref.Value {
			continue
		}
		other := p.sum(female, TotalCVD, preventTerms(f.With(ref)))
		if factor := math.Exp(x - other); factor >= 1.05 || factor <= 1/1.05 {
			out = append(out, Reason{in, factor})
		}
	}
	slices.SortStableFunc(out, func(a, b Reason) int {
		return cmp.Compare(math.Abs(math.Log(b.Factor)), math.Abs(math.Log(a.Factor)))
	})
	return out
}

// Band is the category of a 10-year PREVENT-ASCVD risk.
type Band string

// The bands of the 2026 ACC/AHA dyslipidaemia guideline.
const (
	Low          Band = "low"          // below 3 %
	Borderline   Band = "borderline"   // 3 % to below 5 %
	Intermediate Band = "intermediate" // 5 % to below 10 %
	High         Band = "high"         // 10 % and above
)

// BandOf is the band of a 10-year ASCVD probability (0 to 1, not rounded).
func BandOf(ascvd float64) Band {
	switch {
	case ascvd < 0.03:
		return Low
	case ascvd < 0.05:
		return Borderline
	case ascvd < 0.10:
		return Intermediate
	default:
		return High
	}
}
