package demo

import (
	"math"
	"time"
)

var (
	vitalSigns = code{hl7 + "observation-category", "vital-signs", "Vital Signs", ""}
	laboratory = code{hl7 + "observation-category", "laboratory", "Laboratory", ""}
	social     = code{hl7 + "observation-category", "social-history", "Social History", ""}
	activity   = code{hl7 + "observation-category", "activity", "Activity", ""}

	smokingStatus = code{loinc, "72166-2", "Tobacco smoking status", ""}
	smoking       = []code{
		{snomed, "266919005", "Never smoked tobacco", ""},
		{snomed, "8517006", "Ex-smoker", ""},
		{snomed, "449868002", "Smokes tobacco daily", ""},
	}
)

// measure is a numeric observation: its code, and how its value is written.
type measure struct {
	code   code
	digits int
	unit   string
	ucum   string
}

var (
	systolic     = measure{code{loinc, "8480-6", "Systolic blood pressure", ""}, 0, "mmHg", "mm[Hg]"}
	diastolic    = measure{code{loinc, "8462-4", "Diastolic blood pressure", ""}, 0, "mmHg", "mm[Hg]"}
	heartRate    = measure{code{loinc, "8867-4", "Heart rate", ""}, 0, "beats/minute", "/min"}
	bodyWeight   = measure{code{loinc, "29463-7", "Body weight", ""}, 1, "kg", "kg"}
	bodyHeight   = measure{code{loinc, "8302-2", "Body height", ""}, 1, "cm", "cm"}
	bodyMass     = measure{code{loinc, "39156-5", "Body mass index (BMI) [Ratio]", ""}, 1, "kg/m2", "kg/m2"}
	totalChol    = measure{code{loinc, "2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", ""}, 0, "mg/dL", "mg/dL"}
	hdlChol      = measure{code{loinc, "2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", ""}, 0, "mg/dL", "mg/dL"}
	ldlChol      = measure{code{loinc, "18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay", ""}, 0, "mg/dL", "mg/dL"}
	triglyceride = measure{code{loinc, "2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", ""}, 0, "mg/dL", "mg/dL"}
	creatinine   = measure{code{loinc, "2160-0", "Creatinine [Mass/volume] in Serum or Plasma", ""}, 2, "mg/dL", "mg/dL"}
	filtration   = measure{code{loinc, "98979-8", "Glomerular filtration rate/1.73 sq M.predicted by Creatinine-based formula (CKD-EPI 2021)", ""}, 0, "mL/min/1.73m2", "mL/min/{1.73_m2}"}
	glycated     = measure{code{loinc, "4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", ""}, 1, "%", "%"}
	dailySteps   = measure{code{loinc, "41950-7", "Number of steps in 24 hour Measured", ""}, 0, "steps/day", "{steps}/d"}
	restingRate  = measure{code{loinc, "40443-4", "Heart rate --resting", ""}, 0, "beats/minute", "/min"}
)

// open writes an observation up to its value; close ends it.
func (r *record) openObservation(what, category code, at time.Time, encounter string) string {
	d, id := r.doc, r.uuid()
	d.resource("Observation", id)
	d.str("status", "final")
	d.concepts("category", category)
	d.concept("code", what)
	d.local("subject", r.patientID)
	if encounter != "" {
		d.local("encounter", encounter)
	}
	d.time("effectiveDateTime", at)
	d.time("issued", at.Add(time.Duration(1+r.IntN(40))*time.Minute))
	return id
}

func (r *record) observe(m measure, value float64, category code, at time.Time, encounter string) {
	id := r.openObservation(m.code, category, at, encounter)
	r.doc.quantity("valueQuantity", value, m.digits, m.unit, m.ucum)
	r.doc.done("Observation", id)
}

func (r *record) writeVitals(v *visit) {
	at := v.start.Add(v.waited)
	excited := 0.0
	if v.kind == emergency {
		excited = 8
	}
	id := r.openObservation(code{loinc, "85354-9", "Blood pressure panel with all children optional", ""}, vitalSigns, at, v.id)
	r.doc.list("component")
	r.component(systolic, max(80, r.normal(r.sbp+excited, 6)))
	r.component(diastolic, max(45, r.normal(r.dbp+excited/2, 4)))
	r.doc.end(1)
	r.doc.done("Observation", id)
	r.observe(heartRate, r.normal(74+excited, 9), vitalSigns, at, v.id)
	if v.kind != routine {
		return
	}
	bmi := r.normal(r.bmi, 0.4)
	metres := round(r.height, 1) / 100
	kilos := round(bmi*metres*metres, 1)
	r.observe(bodyHeight, r.height, vitalSigns, at, v.id)
	r.observe(bodyWeight, kilos, vitalSigns, at, v.id)
	r.observe(bodyMass, kilos/(metres*metres), vitalSigns, at, v.id)
	if r.age > 14 {
		r.writeSmoking(at, v.id)
	}
}

func (r *record) component(m measure, value float64) {
	d := r.doc
	d.open("")
	d.concept("code", m.code)
	d.quantity("valueQuantity", value, m.digits, m.unit, m.ucum)
	d.end(1)
}

func (r *record) writeSmoking(at time.Time, encounter string) {
	id := r.openObservation(smokingStatus, social, at, encounter)
	r.doc.concept("valueCodeableConcept", smoking[r.smoker])
	r.doc.done("Observation", id)
}

func (r *record) writeLabs(v *visit) {
	at := v.start.Add(v.waited + 10*time.Minute)
	lab := func(m measure, value float64) { r.observe(m, value, laboratory, at, v.id) }
	if r.adult() && v.kind == routine {
		total, hdl, trig := round(r.normal(r.total, 8), 0), round(max(20, r.normal(r.hdl, 3)), 0), round(max(38, r.normal(r.trig, 15)), 0)
		lab(totalChol, total)
		lab(hdlChol, hdl)
		lab(ldlChol, max(18, total-hdl-math.Floor(trig/5)))
		lab(triglyceride, trig)
	}
	age := v.start.Sub(r.born).Hours() / (24 * 365.25)
	egfr := max(9, r.normal(r.egfr, 4))
	lab(creatinine, r.creatinine(egfr, age))
	lab(filtration, egfr)
	if r.diabetes || r.age > 45 {
		lab(glycated, r.normal(r.hba1c, 0.2))
	}
}

// writeWearable writes two weeks of daily steps and resting heart rates.
func (r *record) writeWearable() {
	if !r.wearable || !r.died.IsZero() || r.age < 14 {
		return
	}
	usual := max(1200, 9500-55*r.age-140*(r.bmi-24)) * r.between(0.6, 1.4)
	today := r.now.Truncate(24 * time.Hour)
	for day := 14; day > 0; day-- {
		at := today.Add(-time.Duration(day)*24*time.Hour + 23*time.Hour)
		r.observe(dailySteps, max(150, r.normal(usual, usual/4)), activity, at, "")
		r.observe(restingRate, r.normal(63, 4), activity, at, "")
	}
}
