package demo

import (
	"strconv"
	"time"
)

var (
	reminderKind = code{hl7 + "communication-category", "reminder", "Reminder", ""}
	outreachKind = code{hl7 + "communication-category", "notification", "Notification", ""}

	sms   = code{hl7 + "v3-ParticipationMode", "SMSWRIT", "SMS message", ""}
	email = code{hl7 + "v3-ParticipationMode", "EMAILWRIT", "email", ""}
	phone = code{hl7 + "v3-ParticipationMode", "PHONE", "telephone", ""}

	notReached = code{hl7 + "communication-not-done-reason", "recipient-unavailable", "Recipient Unavailable", ""}
)

// message is one Communication to the patient.
type message struct {
	kind, medium code
	sent         time.Time
	about        string // id of the resource it is about, "" when none
	text         string
	failed       bool
}

func (r *record) writeMessage(m message) {
	d, id := r.doc, r.uuid()
	d.resource("Communication", id)
	if m.failed {
		d.str("status", "not-done")
		d.concept("statusReason", notReached)
	} else {
		d.str("status", "completed")
	}
	d.concepts("category", m.kind)
	d.concepts("medium", m.medium)
	d.local("subject", r.patientID)
	if m.about != "" {
		d.list("about")
		d.local("", m.about)
		d.end(1)
	}
	d.time("sent", m.sent)
	if !m.failed {
		d.time("received", m.sent.Add(time.Duration(1+r.IntN(600))*time.Minute))
	}
	d.list("recipient")
	d.local("", r.patientID)
	d.end(1)
	d.reference("sender", find("Organization", ownID, organizations[0].number))
	d.list("payload")
	d.open("")
	d.str("contentString", m.text)
	d.end(2)
	d.done("Communication", id)
}

// writeReminder reminds of a planned visit two days ahead.
func (r *record) writeReminder(v *visit) {
	if v.lead < 3 || !r.chance(0.7) {
		return
	}
	r.writeMessage(message{
		kind: reminderKind, medium: pick(r.dice, []code{sms, email, phone}),
		sent: v.start.Add(-48 * time.Hour), about: v.booking, failed: r.chance(0.08),
		text: "You have an appointment at " + v.place.name + " on " + v.start.Format(calendar) + ".",
	})
}

// invitations by what they are for.
var invitations = []string{
	"Your yearly flu vaccination is due. Book online or call us.",
	"Take part in our heart health check: it takes twenty minutes.",
	"We have not seen you for a while. Would you like a check-up?",
}

// writeOutreach writes campaign messages of the last year.
func (r *record) writeOutreach() {
	if !r.died.IsZero() {
		return
	}
	for range r.count(0.8) {
		r.writeMessage(message{
			kind: outreachKind, medium: pick(r.dice, []code{sms, email}),
			sent: workday(r.now.Add(-years(r.between(0.03, 1))), r.IntN(36)),
			text: pick(r.dice, invitations), failed: r.chance(0.05),
		})
	}
}

// comments by the mark given, 1 to 5.
var comments = [...][]string{
	1: {"I waited far too long and nobody told me why.", "The receptionist was rude and the doctor did not listen.", "Very poor. My results were lost twice."},
	2: {"Parking is impossible and the wait was long.", "I felt rushed, there was no time for my questions."},
	3: {"It was fine, but booking by phone takes too long.", "Average. The waiting room was crowded."},
	4: {"Friendly staff, though I waited a little.", "Good care. The website could be clearer."},
	5: {"Everyone was kind and explained everything.", "Excellent, on time and very thorough.", "The nurse was wonderful, thank you."},
}

// writeSurvey writes the satisfaction answers after a visit; waiting spoils them.
func (r *record) writeSurvey(v *visit) {
	mark := func(mean float64) int { return int(min(5, max(1, r.normal(mean, 0.9)+0.5))) }
	wait := v.waited.Minutes()
	waiting := mark(5 - wait/18)
	staff := mark(4.3)
	overall := mark((float64(waiting)+2*float64(staff))/3 + 0.2)
	d, id := r.doc, r.uuid()
	d.resource("QuestionnaireResponse", id)
	d.str("questionnaire", survey)
	d.str("status", "completed")
	d.local("subject", r.patientID)
	d.local("encounter", v.id)
	d.time("authored", v.end.Add(time.Duration(2+r.IntN(70))*time.Hour))
	d.local("source", r.patientID)
	d.list("item")
	r.answer(0, "valueInteger", strconv.Itoa(overall))
	r.answer(1, "valueInteger", strconv.Itoa(waiting))
	r.answer(2, "valueInteger", strconv.Itoa(staff))
	if r.chance(0.6) {
		r.answer(3, "valueString", `"`+pick(r.dice, comments[overall])+`"`)
	}
	d.end(1)
	d.done("QuestionnaireResponse", id)
}

func (r *record) answer(question int, key, literal string) {
	d := r.doc
	d.open("")
	d.str("linkId", questions[question][0])
	d.str("text", questions[question][1])
	d.list("answer")
	d.open("")
	d.lead(key)
	d.buf = append(d.buf, literal...)
	d.end(3)
}
