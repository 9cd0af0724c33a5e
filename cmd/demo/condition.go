package demo

import "time"

var (
	hypertension       = code{snomed, "59621000", "Essential hypertension", "I10"}
	diabetes           = code{snomed, "44054006", "Diabetes mellitus type 2", "E11.9"}
	prediabetes        = code{snomed, "15777000", "Prediabetes", "R73.03"}
	hyperlipidemia     = code{snomed, "55822004", "Hyperlipidemia", "E78.5"}
	obesity            = code{snomed, "414916001", "Obesity", "E66.9"}
	kidneyDisease      = code{snomed, "433144002", "Chronic kidney disease stage 3", "N18.30"}
	heartFailure       = code{snomed, "84114007", "Heart failure", "I50.9"}
	atrialFibrillation = code{snomed, "49436004", "Atrial fibrillation", "I48.91"}
	oldInfarction      = code{snomed, "22298006", "Myocardial infarction", "I25.2"}
	stroke             = code{snomed, "230690007", "Cerebrovascular accident", "I63.9"}
	copd               = code{snomed, "13645005", "Chronic obstructive lung disease", "J44.9"}
	asthma             = code{snomed, "195967001", "Asthma", "J45.909"}
	depression         = code{snomed, "370143000", "Major depressive disorder", "F32.9"}
	arthritis          = code{snomed, "396275006", "Osteoarthritis", "M19.90"}
	foodInsecurity     = code{snomed, "733423003", "Food insecurity", "Z59.41"}
	unemployed         = code{snomed, "73438004", "Unemployed", "Z56.0"}
	checkUp            = code{snomed, "185349003", "Encounter for check up", ""}
	respiratory        = code{snomed, "54150009", "Upper respiratory infection", "J06.9"}
	urinary            = code{snomed, "68566005", "Urinary tract infectious disease", "N39.0"}
	backPain           = code{snomed, "279039007", "Low back pain", "M54.50"}
	sprain             = code{snomed, "44465007", "Sprain of ankle", "S93.409A"}
	chestPain          = code{snomed, "29857009", "Chest pain", "R07.9"}
	laceration         = code{snomed, "283371005", "Laceration of forearm", "S51.819A"}
	pneumonia          = code{snomed, "233604007", "Pneumonia", "J18.9"}
	sepsis             = code{snomed, "91302008", "Sepsis", "A41.9"}
	hipFracture        = code{snomed, "5913000", "Fracture of neck of femur", "S72.009A"}

	minorIllnesses = []code{respiratory, urinary, backPain}
	emergencies    = []code{sprain, chestPain, laceration, respiratory}
	admissions     = []code{pneumonia, sepsis, hipFracture, chestPain}
)

// writeConditions writes the long-standing conditions.
func (r *record) writeConditions() {
	for _, i := range r.illnesses {
		id := r.uuid()
		r.conditions[i.code.code] = id
		r.writeCondition(id, i.code, i.onset, time.Time{}, "")
	}
}

// writeAcute writes the condition that brought the patient in, which passed, and
// the medicine given for it.
func (r *record) writeAcute(v *visit) {
	r.writeCondition(r.uuid(), v.reason, v.start, v.end.Add(time.Duration(5+r.IntN(20))*24*time.Hour), v.id)
	if r.chance(0.5) {
		r.writeMedicine(pick(r.dice, shortCourses), "completed", v.id, v.end)
	}
}

func (r *record) writeCondition(id string, what code, onset, abated time.Time, encounter string) {
	d := r.doc
	status, category := "active", code{hl7 + "condition-category", "problem-list-item", "Problem List Item", ""}
	if !abated.IsZero() && abated.Before(r.now) {
		status = "resolved"
	}
	if encounter != "" {
		category = code{hl7 + "condition-category", "encounter-diagnosis", "Encounter Diagnosis", ""}
	}
	d.resource("Condition", id)
	d.concept("clinicalStatus", code{system: hl7 + "condition-clinical", code: status})
	d.concept("verificationStatus", code{system: hl7 + "condition-ver-status", code: "confirmed"})
	d.concepts("category", category)
	d.concept("code", what)
	d.local("subject", r.patientID)
	if encounter != "" {
		d.local("encounter", encounter)
	}
	d.time("onsetDateTime", onset)
	if status == "resolved" {
		d.time("abatementDateTime", abated)
	}
	d.date("recordedDate", onset)
	d.done("Condition", id)
}

// medicine is a prescription, its reason and its dose text.
type medicine struct {
	code   code
	reason string // SNOMED code of the condition it treats
	dose   string
}

var (
	pressureDrugs = []medicine{
		{code{rxnorm, "314076", "lisinopril 10 MG Oral Tablet", ""}, hypertension.code, "1 tablet once a day"},
		{code{rxnorm, "197361", "amlodipine 5 MG Oral Tablet", ""}, hypertension.code, "1 tablet once a day"},
		{code{rxnorm, "310798", "Hydrochlorothiazide 25 MG Oral Tablet", ""}, hypertension.code, "1 tablet in the morning"},
	}
	statins = []medicine{
		{code{rxnorm, "312961", "Simvastatin 20 MG Oral Tablet", ""}, hyperlipidemia.code, "1 tablet in the evening"},
		{code{rxnorm, "314231", "Simvastatin 10 MG Oral Tablet", ""}, hyperlipidemia.code, "1 tablet in the evening"},
	}
	shortCourses = []medicine{
		{code{rxnorm, "310965", "Ibuprofen 200 MG Oral Tablet", ""}, "", "1 tablet up to three times a day"},
		{code{rxnorm, "313782", "Acetaminophen 325 MG Oral Tablet", ""}, "", "1 tablet up to four times a day"},
		{code{rxnorm, "308182", "Amoxicillin 250 MG Oral Capsule", ""}, "", "1 capsule three times a day for a week"},
	}
	metformin = medicine{code{rxnorm, "860975", "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet", ""}, diabetes.code, "1 tablet with the evening meal"}
)

func (r *record) writeMedicines() {
	if r.lastVisit == "" {
		return
	}
	if r.treatedBP {
		first := r.IntN(len(pressureDrugs))
		r.prescribe(pressureDrugs[first], "active")
		if r.chance(0.35) {
			other := pressureDrugs[(first+1)%len(pressureDrugs)]
			r.prescribe(other, weighed(r.dice, []string{"active", "stopped"}, []float64{0.6, 0.4}))
		}
	}
	if r.statin {
		r.prescribe(pick(r.dice, statins), "active")
	}
	if r.diabetes && r.chance(0.8) {
		r.prescribe(metformin, "active")
	}
}

// prescribe writes a standing prescription of the last year.
func (r *record) prescribe(m medicine, status string) {
	r.writeMedicine(m, status, r.lastVisit, r.now.Add(-years(r.between(0.1, 1))))
}

func (r *record) writeMedicine(m medicine, status, encounter string, at time.Time) {
	d, id := r.doc, r.uuid()
	d.resource("MedicationRequest", id)
	d.str("status", status)
	d.str("intent", "order")
	d.concept("medicationCodeableConcept", m.code)
	d.local("subject", r.patientID)
	d.local("encounter", encounter)
	d.time("authoredOn", at)
	d.reference("requester", find("Practitioner", npi, pick(r.dice, practitioners).npi))
	if reason, has := r.conditions[m.reason]; has {
		d.list("reasonReference")
		d.local("", reason)
		d.end(1)
	}
	d.list("dosageInstruction")
	d.open("")
	d.str("text", m.dose)
	d.end(2)
	d.done("MedicationRequest", id)
}
