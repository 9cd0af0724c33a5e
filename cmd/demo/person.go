package demo

import (
	"math"
	"strconv"
	"time"
)

// person is what is true of somebody, before any of it is recorded.
type person struct {
	female           bool
	given, family    string
	born             time.Time
	died             time.Time // zero: alive
	age              float64   // years at the end of the record
	height           float64   // cm
	bmi              float64   // kg/m2
	sbp, dbp         float64   // mm[Hg], usual
	total, hdl, trig float64   // mg/dL
	egfr             float64   // mL/min/1.73m2
	hba1c            float64   // %
	smoker           int       // 0 never, 1 former, 2 current
	diabetes, htn    bool
	treatedBP        bool
	statin           bool
	wearable         bool
	reliable         float64 // 0 to 1: keeps appointments
	illnesses        []illness
}

// illness is a long-standing condition and its onset.
type illness struct {
	code  code
	onset time.Time
}

const year = 365.25 * 24 * float64(time.Hour)

func years(n float64) time.Duration { return time.Duration(n * year) }

func drawPerson(d dice, now time.Time) person {
	p := person{female: d.chance(0.52), family: pick(d, families)}
	p.given = pick(d, boys)
	if p.female {
		p.given = pick(d, girls)
	}
	p.age = 1 + 16*d.Float64()
	if d.chance(0.9) {
		p.age = 18 + 77*(d.Float64()+d.Float64())/2
	}
	p.born = now.Add(-years(p.age)).Truncate(24 * time.Hour)
	p.reliable = math.Sqrt(d.Float64())
	p.wearable = d.chance(0.3)
	p.drawBody(d)
	p.drawBlood(d)
	p.drawIllnesses(d, now)
	return p
}

func (p *person) adult() bool { return p.age >= 18 }

func (p *person) drawBody(d dice) {
	if !p.adult() {
		p.height = d.normal(76+6.1*p.age, 4)
		p.bmi = d.normal(15.5+0.3*p.age, 1.6)
		p.sbp, p.dbp = d.normal(88+1.8*p.age, 6), d.normal(52+p.age, 5)
		return
	}
	p.height = d.normal(176, 7)
	if p.female {
		p.height = d.normal(163, 6.5)
	}
	p.bmi = max(16.5, d.normal(23+0.06*(min(p.age, 65)-20), 4.6))
	p.smoker = weighed(d, []int{0, 1, 2}, []float64{0.62, 0.24, 0.14})
	p.diabetes = d.chance(odds(-5.4 + 0.05*p.age + 0.12*(p.bmi-25)))
	x := -5.5 + 0.075*p.age + 0.08*(p.bmi-25)
	if p.diabetes {
		x += 0.6
	}
	p.htn = d.chance(odds(x))
	p.treatedBP = p.htn && d.chance(0.75)
	p.sbp = d.normal(104+0.3*p.age+0.5*(p.bmi-25), 8)
	if p.htn {
		p.sbp += 18
	}
	if p.treatedBP {
		p.sbp -= 11
	}
	p.sbp = min(205, max(88, p.sbp))
	p.dbp = d.normal(43+0.27*p.sbp, 5)
}

func (p *person) drawBlood(d dice) {
	p.hdl = 48
	if p.female {
		p.hdl = 58
	}
	p.hdl = min(98, max(23, d.normal(p.hdl-0.5*(p.bmi-25), 11)))
	p.trig = max(40, math.Exp(d.normal(4.6+0.02*(p.bmi-25), 0.4)))
	p.total = max(p.hdl+60, d.normal(148+0.8*min(p.age, 62), 29))
	ldl := p.total - p.hdl - p.trig/5
	p.statin = p.age >= 40 && (ldl > 165 && d.chance(0.7) || p.diabetes && d.chance(0.6) || d.chance(0.08))
	if p.statin {
		p.total -= 0.28 * max(0, ldl)
	}
	p.egfr = d.normal(116-0.72*max(0, p.age-20), 11)
	p.hba1c = d.normal(5.3, 0.22)
	if p.diabetes {
		p.egfr -= 8
		p.hba1c = max(6.1, d.normal(7.3, 1.1))
	}
	if p.htn {
		p.egfr -= 6
	}
	p.egfr = min(138, max(11, p.egfr))
}

// drawIllnesses decides which long-standing conditions the person has; each
// began somewhere in the last third of their life.
func (p *person) drawIllnesses(d dice, now time.Time) {
	add := func(has bool, c code) {
		if has {
			onset := now.Add(-years(d.between(0.3, min(20, p.age/3))))
			p.illnesses = append(p.illnesses, illness{c, onset.Truncate(24 * time.Hour)})
		}
	}
	old := func(base, perYear, ifHTN, ifSmoke float64) bool {
		x := base + perYear*p.age
		if p.htn {
			x += ifHTN
		}
		return p.adult() && d.chance(odds(x+ifSmoke*float64(p.smoker)))
	}
	add(p.htn, hypertension)
	add(p.diabetes, diabetes)
	add(p.adult() && !p.diabetes && p.hba1c >= 5.65, prediabetes)
	add(p.statin || p.total > 225, hyperlipidemia)
	add(p.bmi >= 30 && p.adult() && d.chance(0.6), obesity)
	add(p.egfr < 60 && d.chance(0.8), kidneyDisease)
	add(old(-9.5, 0.08, 0.9, 0.2), heartFailure)
	add(old(-9, 0.08, 0.5, 0), atrialFibrillation)
	add(old(-8.5, 0.06, 0.6, 0.4), oldInfarction)
	add(old(-9, 0.065, 0.8, 0.3), stroke)
	add(old(-7, 0.045, 0, 1.3), copd)
	add(d.chance(0.08), asthma)
	add(p.adult() && d.chance(0.11), depression)
	add(old(-4.5, 0.05, 0, 0), arthritis)
	add(d.chance(0.04), foodInsecurity)
	add(p.adult() && d.chance(0.04), unemployed)
	if p.age > 75 && d.chance(0.06*(p.age-72)/10) {
		p.died = now.Add(-years(d.between(0.05, 1.5))).Truncate(time.Minute)
	}
}

// creatinine is the serum creatinine (mg/dL) that CKD-EPI 2021 turns into the
// person's eGFR at an age.
func (p *person) creatinine(egfr, age float64) float64 {
	kappa, alpha, factor := 0.9, -0.302, 142.0
	if p.female {
		kappa, alpha, factor = 0.7, -0.241, 142*1.012
	}
	ratio := egfr / (factor * math.Pow(0.9938, age))
	if ratio >= 1 {
		return kappa * math.Pow(ratio, 1/alpha)
	}
	return kappa * math.Pow(ratio, -1/1.2)
}

func (r *record) writePatient() {
	d := r.doc
	d.resource("Patient", r.patientID)
	d.list("extension")
	r.extension("us-core-race", weighed(r.dice, races, []float64{0.68, 0.2, 0.12}))
	r.extension("us-core-ethnicity", weighed(r.dice, ethnicities, []float64{0.83, 0.17}))
	d.end(1)
	d.identifier(ownID, "P"+strconv.Itoa(100000+r.number))
	d.flag("active", true)
	r.writeNameAndContact()
	d.str("gender", map[bool]string{true: "female", false: "male"}[r.female])
	d.date("birthDate", r.born)
	if !r.died.IsZero() {
		d.time("deceasedDateTime", r.died)
	}
	r.writeAddress()
	d.list("communication")
	d.open("")
	d.concept("language", weighed(r.dice, languages, []float64{0.82, 0.12, 0.03, 0.03}))
	d.flag("preferred", true)
	d.end(2)
	d.reference("managingOrganization", find("Organization", ownID, organizations[0].number))
	d.done("Patient", r.patientID)
}

func (r *record) extension(name string, c code) {
	d := r.doc
	d.open("")
	d.list("extension")
	d.open("")
	d.str("url", "ombCategory")
	d.coding("valueCoding", c)
	d.end(1)
	d.open("")
	d.str("url", "text")
	d.str("valueString", c.display)
	d.end(2)
	d.str("url", uscore+name)
	d.end(1)
}

func (r *record) writeNameAndContact() {
	d := r.doc
	d.list("name")
	d.open("")
	d.str("use", "official")
	d.str("family", r.family)
	d.list("given")
	d.str("", r.given)
	d.end(3)
	d.list("telecom")
	d.open("")
	d.str("system", "phone")
	d.str("value", "555-01"+strconv.Itoa(10+r.IntN(90)))
	d.str("use", "mobile")
	d.end(1)
	d.open("")
	d.str("system", "email")
	d.str("value", r.given+"."+r.family+strconv.Itoa(r.number)+"@example.org")
	d.end(2)
}

func (r *record) writeAddress() {
	d := r.doc
	at := weighed(r.dice, towns, []float64{5, 3, 2, 2, 1})
	d.list("address")
	d.open("")
	d.list("line")
	d.str("", strconv.Itoa(1+r.IntN(180))+" "+pick(r.dice, streets))
	d.end(1)
	d.str("city", at.name)
	d.str("state", "RI")
	d.str("postalCode", at.postal)
	d.str("country", "US")
	d.end(2)
}
