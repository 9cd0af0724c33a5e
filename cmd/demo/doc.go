package demo

import (
	"math"
	"strconv"
	"time"
)

// Code systems and identifier systems of the bundles.
const (
	snomed   = "http://snomed.info/sct"
	loinc    = "http://loinc.org"
	rxnorm   = "http://www.nlm.nih.gov/research/umls/rxnorm"
	icd10    = "http://hl7.org/fhir/sid/icd-10-cm"
	ucum     = "http://unitsofmeasure.org"
	hl7      = "http://terminology.hl7.org/CodeSystem/"
	uscore   = "http://hl7.org/fhir/us/core/StructureDefinition/"
	npi      = "http://hl7.org/fhir/sid/us-npi"
	ownID    = "https://candela.health/fhir/demo/id"
	survey   = "https://candela.health/fhir/Questionnaire/visit-satisfaction"
	instant  = "2006-01-02T15:04:05Z"
	calendar = "2006-01-02"
)

// doc writes compact JSON front to back into one buffer; commas are its work.
// A member's key is "" inside an array.
type doc struct {
	buf   []byte
	first bool
	ends  []byte
}

func newDoc(size int) *doc { return &doc{buf: make([]byte, 0, size), first: true} }

func (d *doc) lead(key string) {
	if !d.first {
		d.buf = append(d.buf, ',')
	}
	d.first = false
	if key != "" {
		d.buf = append(append(append(d.buf, '"'), key...), '"', ':')
	}
}

func (d *doc) open(key string) {
	d.lead(key)
	d.buf, d.ends, d.first = append(d.buf, '{'), append(d.ends, '}'), true
}

func (d *doc) list(key string) {
	d.lead(key)
	d.buf, d.ends, d.first = append(d.buf, '['), append(d.ends, ']'), true
}

// end closes n levels.
func (d *doc) end(n int) {
	for range n {
		last := len(d.ends) - 1
		d.buf, d.ends, d.first = append(d.buf, d.ends[last]), d.ends[:last], false
	}
}

// str writes a string member. Text of this package is plain: quotes,
// backslashes and control characters do not occur in it.
func (d *doc) str(key, value string) {
	d.lead(key)
	d.buf = append(append(append(d.buf, '"'), value...), '"')
}

func (d *doc) num(key string, value float64, digits int) {
	d.lead(key)
	d.buf = strconv.AppendFloat(d.buf, value, 'f', digits, 64)
}

func (d *doc) flag(key string, value bool) {
	d.lead(key)
	d.buf = strconv.AppendBool(d.buf, value)
}

func (d *doc) time(key string, t time.Time) {
	d.lead(key)
	d.buf = append(t.UTC().AppendFormat(append(d.buf, '"'), instant), '"')
}

func (d *doc) date(key string, t time.Time) {
	d.lead(key)
	d.buf = append(t.UTC().AppendFormat(append(d.buf, '"'), calendar), '"')
}

// code is a concept of a code system, with the ICD-10-CM code that stands
// beside it where there is one.
type code struct{ system, code, display, icd string }

func (d *doc) coding(key string, c code) {
	d.open(key)
	d.str("system", c.system)
	d.str("code", c.code)
	if c.display != "" {
		d.str("display", c.display)
	}
	d.end(1)
}

// concept writes a CodeableConcept.
func (d *doc) concept(key string, c code) {
	d.open(key)
	d.list("coding")
	d.coding("", c)
	if c.icd != "" {
		d.coding("", code{system: icd10, code: c.icd})
	}
	d.end(1)
	if c.display != "" {
		d.str("text", c.display)
	}
	d.end(1)
}

// concepts writes a list of one CodeableConcept.
func (d *doc) concepts(key string, c code) {
	d.list(key)
	d.concept("", c)
	d.end(1)
}

func (d *doc) reference(key, to string) {
	d.open(key)
	d.str("reference", to)
	d.end(1)
}

// local writes a reference to a resource of the same bundle.
func (d *doc) local(key, id string) { d.reference(key, "urn:uuid:"+id) }

func (d *doc) quantity(key string, value float64, digits int, unit, ucumCode string) {
	d.open(key)
	d.num("value", value, digits)
	d.str("unit", unit)
	d.str("system", ucum)
	d.str("code", ucumCode)
	d.end(1)
}

func (d *doc) period(key string, from, to time.Time) {
	d.open(key)
	d.time("start", from)
	d.time("end", to)
	d.end(1)
}

func (d *doc) identifier(system, value string) {
	d.list("identifier")
	d.open("")
	d.str("system", system)
	d.str("value", value)
	d.end(2)
}

func (d *doc) openBundle() {
	d.open("")
	d.str("resourceType", "Bundle")
	d.str("type", "transaction")
	d.list("entry")
}

func (d *doc) closeBundle() { d.end(2) }

// resource opens an entry and its resource; done closes both.
func (d *doc) resource(kind, id string) {
	d.open("")
	d.str("fullUrl", "urn:uuid:"+id)
	d.open("resource")
	d.str("resourceType", kind)
	d.str("id", id)
}

func (d *doc) done(kind, id string) {
	d.end(1)
	d.open("request")
	d.str("method", "PUT")
	d.str("url", kind+"/"+id)
	d.end(2)
}

// round cuts a value to the digits it will be written with, so that what is
// computed from it agrees with what a reader sees.
func round(value float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(value*scale) / scale
}
