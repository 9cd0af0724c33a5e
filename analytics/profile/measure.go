package profile

import (
	"slices"
	"strings"
	"sync"
	"time"

	"candela/fhir"
)

// codes are the LOINC codes that are read and what they measure. "" stands for
// panels, whose components are read.
var codes = map[string]Kind{
	"85354-9": "", "55284-4": "",
	"8480-6": Systolic, "8462-4": Diastolic,
	"2093-3": TotalChol, "14647-2": TotalChol, "2085-9": HDL, "14646-4": HDL, "18262-6": LDL, "13457-7": LDL,
	"2160-0": Creatinine, "38483-4": Creatinine, "14682-9": Creatinine,
	"4548-4": HbA1c, "17856-6": HbA1c, "59261-8": HbA1c, "14959-1": UACR, "9318-7": UACR,
	"39156-5": BMI, "29463-7": Weight, "8302-2": Height, "72166-2": Smoker,
}

// scale turns a value of a unit into a kind's own: value*factor + offset.
type scale struct{ factor, offset float64 }

// units are the UCUM codes (and the spellings that occur without one) that are
// understood per kind. A value in another unit is no fact.
var units = map[Kind]map[string]scale{
	Systolic:   {"mm[Hg]": {1, 0}, "mmHg": {1, 0}, "kPa": {7.50062, 0}},
	Diastolic:  {"mm[Hg]": {1, 0}, "mmHg": {1, 0}, "kPa": {7.50062, 0}},
	TotalChol:  {"mg/dL": {1, 0}, "mmol/L": {1 / 0.02586, 0}},
	HDL:        {"mg/dL": {1, 0}, "mmol/L": {1 / 0.02586, 0}},
	LDL:        {"mg/dL": {1, 0}, "mmol/L": {1 / 0.02586, 0}},
	Creatinine: {"mg/dL": {1, 0}, "umol/L": {1 / 88.4, 0}, "µmol/L": {1 / 88.4, 0}},
	HbA1c:      {"%": {1, 0}, "mmol/mol": {0.09148, 2.152}},
	UACR:       {"mg/g": {1, 0}, "mg/g{creat}": {1, 0}, "mg/mmol": {8.84, 0}, "mg/mmol{creat}": {8.84, 0}},
	BMI:        {"kg/m2": {1, 0}},
	Weight:     {"kg": {1, 0}, "g": {0.001, 0}, "[lb_av]": {0.45359237, 0}},
	Height:     {"cm": {1, 0}, "m": {100, 0}, "[in_i]": {2.54, 0}, "[ft_i]": {30.48, 0}},
}

// smoking says which SNOMED CT codes of the smoking status mean a current
// smoker. Unknown states are not listed and no fact.
var smoking = map[string]float64{
	"449868002": 1, "428041000124106": 1, "77176002": 1, "428071000124103": 1, "428061000124105": 1,
	"8517006": 0, "266919005": 0, "8392000": 0, "405746006": 0,
}

// counts says whether an Observation of this status may be used.
func counts(status string) bool {
	return status == "final" || status == "amended" || status == "corrected"
}

// observe reads the facts of one Observation into the profile.
func (p *Profile) observe(root fhir.Node, source string) {
	at, known := observedAt(root)
	if !counts(root.Get("status").Text()) || !known {
		return
	}
	p.measure(root, at, source)
	for component := range root.Get("component").Elements() {
		p.measure(component, at, source)
	}
}

// measure reads one code and value: an Observation's own or a component's.
func (p *Profile) measure(n fhir.Node, at time.Time, source string) {
	for coding := range n.Path("code", "coding").Elements() {
		kind, known := codes[coding.Get("code").Text()]
		if !known || kind == "" || coding.Get("system").Text() != loinc {
			continue
		}
		if value, ok := valueOf(kind, n); ok {
			p.add(kind, Fact{value, at, []string{source}})
			return
		}
	}
}

func valueOf(kind Kind, n fhir.Node) (float64, bool) {
	if kind == Smoker {
		for _, c := range codesOf(n.Get("valueCodeableConcept")) {
			if v, ok := smoking[c.Code]; ok && c.System == snomed {
				return v, true
			}
		}
		return 0, false
	}
	q := n.Get("valueQuantity")
	if q.Get("comparator").Exists() {
		return 0, false // "below 10" is not 10
	}
	value, err := fhir.ParseDecimal(q.Get("value").Text())
	unit := q.Get("code").Text()
	if unit == "" {
		unit = q.Get("unit").Text()
	}
	by, ok := units[kind][unit]
	if err != nil || !ok {
		return 0, false
	}
	if by == (scale{1, 0}) {
		return value.Float(), true
	}
	return value.Float()*by.factor + by.offset, true
}

// observedAt is when an observation was made: its effective time, a period's
// end, or else when it was issued.
func observedAt(root fhir.Node) (time.Time, bool) {
	for _, n := range []fhir.Node{
		root.Get("effectiveDateTime"), root.Get("effectiveInstant"),
		root.Path("effectivePeriod", "end"), root.Path("effectivePeriod", "start"), root.Get("issued"),
	} {
		if at, ok := momentOf(n); ok {
			return at, true
		}
	}
	return time.Time{}, false
}

// momentOf is the first moment of a date or dateTime.
func momentOf(n fhir.Node) (time.Time, bool) {
	if n.Kind() != fhir.String {
		return time.Time{}, false
	}
	d, err := fhir.ParseDate(n.Text(), nil)
	if err != nil {
		return time.Time{}, false
	}
	return time.UnixMicro(d.Lo).UTC(), true
}

func codesOf(concept fhir.Node) []Code {
	var out []Code
	for coding := range concept.Get("coding").Elements() {
		out = append(out, Code{coding.Get("system").Text(), coding.Get("code").Text(), coding.Get("display").Text()})
	}
	if text := concept.Get("text").Text(); text != "" {
		out = append(out, Code{Display: text})
	}
	return out
}

// codeList is the search value that finds everything in codes.
var codeList = sync.OnceValue(func() string {
	all := make([]string, 0, len(codes))
	for code := range codes {
		all = append(all, loinc+"|"+code)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
})
