package demo

import "time"

const actCode = "http://terminology.hl7.org/CodeSystem/v3-ActCode"

// class and type of each kind of contact.
var (
	classes = [...]code{
		routine:   {actCode, "AMB", "ambulatory", ""},
		urgent:    {actCode, "AMB", "ambulatory", ""},
		emergency: {actCode, "EMER", "emergency", ""},
		inpatient: {actCode, "IMP", "inpatient encounter", ""},
	}
	encounterTypes = [...]code{
		routine:   {snomed, "185349003", "Encounter for check up", ""},
		urgent:    {snomed, "185345009", "Encounter for symptom", ""},
		emergency: {snomed, "50849002", "Emergency room admission", ""},
		inpatient: {snomed, "32485007", "Hospital admission", ""},
	}
	dispositions = []code{
		{hl7 + "discharge-disposition", "home", "Home", ""},
		{hl7 + "discharge-disposition", "rehab", "Rehabilitation", ""},
		{hl7 + "discharge-disposition", "long", "Long-term care", ""},
	}
)

func (r *record) writeEncounter(v *visit) {
	d := r.doc
	d.resource("Encounter", v.id)
	d.str("status", "finished")
	if v.waited > 0 {
		d.list("statusHistory")
		r.writeStatus("arrived", v.start, v.start.Add(v.waited))
		r.writeStatus("in-progress", v.start.Add(v.waited), v.end)
		d.end(1)
	}
	d.coding("class", classes[v.kind])
	d.concepts("type", encounterTypes[v.kind])
	d.local("subject", r.patientID)
	d.list("participant")
	d.open("")
	d.reference("individual", find("Practitioner", npi, v.doctor.npi))
	d.end(2)
	if v.booking != "" {
		d.list("appointment")
		d.local("", v.booking)
		d.end(1)
	}
	d.period("period", v.start, v.end)
	d.concepts("reasonCode", v.reason)
	if v.kind == inpatient {
		d.open("hospitalization")
		d.concept("dischargeDisposition", weighed(r.dice, dispositions, []float64{0.82, 0.12, 0.06}))
		d.end(1)
	}
	d.list("location")
	d.open("")
	d.reference("location", find("Location", ownID, v.place.number))
	d.end(2)
	d.reference("serviceProvider", find("Organization", ownID, organizations[0].number))
	d.done("Encounter", v.id)
}

func (r *record) writeStatus(status string, from, to time.Time) {
	r.doc.open("")
	r.doc.str("status", status)
	r.doc.period("period", from, to)
	r.doc.end(1)
}

var (
	cancellations = []code{
		{hl7 + "appointment-cancellation-reason", "pat", "Patient", ""},
		{hl7 + "appointment-cancellation-reason", "pat-crs", "Patient: Canceled via automated reminder system", ""},
		{hl7 + "appointment-cancellation-reason", "pat-fb", "Patient: Feeling Better", ""},
		{hl7 + "appointment-cancellation-reason", "pat-lt", "Patient: Lack of Transportation", ""},
		{hl7 + "appointment-cancellation-reason", "prov", "Provider", ""},
		{hl7 + "appointment-cancellation-reason", "oth-weath", "Other: Weather", ""},
	}
	bookingTypes = [...]code{
		routine: {"http://terminology.hl7.org/CodeSystem/v2-0276", "FOLLOWUP", "A follow up visit from a previous appointment", ""},
		urgent:  {"http://terminology.hl7.org/CodeSystem/v2-0276", "WALKIN", "A previously unscheduled walk-in visit", ""},
	}
)

// participation of an appointment's outcome.
var participation = map[string]string{"fulfilled": "accepted", "noshow": "accepted", "cancelled": "declined", "booked": "accepted"}

func (r *record) writeAppointment(v *visit, status string) {
	d := r.doc
	d.resource("Appointment", v.booking)
	d.str("status", status)
	if status == "cancelled" {
		d.concept("cancelationReason", weighed(r.dice, cancellations, []float64{30, 20, 10, 12, 22, 6}))
	}
	d.concept("appointmentType", bookingTypes[v.kind])
	d.concepts("reasonCode", v.reason)
	d.time("start", v.start)
	d.time("end", v.start.Add(20*time.Minute))
	d.num("minutesDuration", 20, 0)
	booked := v.start.Add(-time.Duration(v.lead)*24*time.Hour - 3*time.Hour)
	if booked.After(r.now) {
		booked = r.now
	}
	d.time("created", booked)
	d.list("participant")
	r.writeParticipant("urn:uuid:"+r.patientID, participation[status])
	r.writeParticipant(find("Practitioner", npi, v.doctor.npi), "accepted")
	r.writeParticipant(find("Location", ownID, v.place.number), "accepted")
	d.end(1)
	d.done("Appointment", v.booking)
}

func (r *record) writeParticipant(actor, status string) {
	d := r.doc
	d.open("")
	d.reference("actor", actor)
	d.str("required", "required")
	d.str("status", status)
	d.end(1)
}
