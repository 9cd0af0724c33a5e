package demo

import (
	"slices"
	"time"
)

// kind of contact with the service.
type kind int

const (
	routine kind = iota
	urgent
	emergency
	inpatient
)

// history is how many years of contacts a record holds.
const history = 4.0

// visit is one contact, planned or not; a planned one may not have happened.
type visit struct {
	kind    kind
	start   time.Time
	end     time.Time
	lead    int // days between booking and start; planned visits only
	outcome string
	waited  time.Duration // between arrival and being seen
	reason  code
	place   site
	doctor  doctor
	id      string // Encounter id
	booking string // Appointment id, "" when none
	labs    bool
}

// schedule draws the contacts of the last years in time order.
func (r *record) schedule() []visit {
	ill := float64(len(r.illnesses))
	span := min(history, r.age)
	var all []visit
	add := func(k kind, perYear float64) {
		for range r.count(perYear * span) {
			all = append(all, r.draw(k, span))
		}
	}
	add(routine, 0.9+0.45*min(ill, 4))
	add(urgent, 0.35)
	add(emergency, 0.1+0.07*ill)
	add(inpatient, 0.02+0.05*max(0, ill-1))
	all = append(all, r.recentCheck())
	slices.SortStableFunc(all, func(a, b visit) int { return a.start.Compare(b.start) })
	return r.alive(all)
}

// alive drops what would lie behind the patient's death or the present.
func (r *record) alive(all []visit) []visit {
	end := r.now
	if !r.died.IsZero() {
		end = r.died
	}
	return slices.DeleteFunc(all, func(v visit) bool { return v.end.After(end) })
}

func (r *record) draw(k kind, span float64) visit {
	at := r.now.Add(-years(r.between(0.02, span)))
	v := visit{kind: k, id: r.uuid(), outcome: "fulfilled", doctor: pick(r.dice, practitioners)}
	switch k {
	case routine:
		r.plan(&v, at)
		v.reason, v.place = checkUp, locations[r.IntN(3)]
		if len(r.illnesses) > 0 && r.chance(0.6) {
			v.reason = pick(r.dice, r.illnesses).code
		}
		v.labs = r.chance(0.5)
	case urgent:
		r.plan(&v, at)
		v.lead = r.IntN(2)
		v.reason, v.place = pick(r.dice, minorIllnesses), locations[r.IntN(2)]
	case emergency:
		v.start = at.Truncate(time.Minute)
		v.end = v.start.Add(time.Duration(60+r.IntN(300)) * time.Minute)
		v.waited = time.Duration(r.between(5, 150)) * time.Minute
		v.reason, v.place = pick(r.dice, emergencies), locations[3]
	case inpatient:
		v.start = at.Truncate(time.Minute)
		v.end = v.start.Add(time.Duration(18+r.IntN(180)) * time.Hour)
		v.reason, v.place = pick(r.dice, admissions), locations[4]
		v.labs = true
	}
	return v
}

// recentCheck is the check-up of the last year that most people had.
func (r *record) recentCheck() visit {
	v := r.draw(routine, 1)
	v.labs = r.chance(0.9)
	v.outcome = "fulfilled"
	return v
}

// plan moves a visit into working hours and decides whether it took place. Long
// leads and unreliable people make empty rooms; a reminder helps.
func (r *record) plan(v *visit, at time.Time) {
	v.start = workday(at, r.IntN(36))
	length := pick(r.dice, []time.Duration{15, 20, 30}) * time.Minute
	v.waited = time.Duration(max(0, r.normal(14, 11))) * time.Minute
	v.end = v.start.Add(v.waited + length)
	v.booking = r.uuid()
	v.lead = int(min(75, max(0, r.normal(19, 15))))
	miss := 0.03 + 0.004*float64(v.lead) + 0.12*(1-r.reliable)
	if r.age > 18 && r.age < 35 {
		miss += 0.05
	}
	switch {
	case r.chance(miss):
		v.outcome = "noshow"
	case r.chance(0.07 + 0.002*float64(v.lead)):
		v.outcome = "cancelled"
	}
}

// workday is the next working day's slot: 36 quarter hours from 8:00.
func workday(t time.Time, slot int) time.Time {
	day := t.Truncate(24 * time.Hour)
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.Add(24 * time.Hour)
	}
	return day.Add(8*time.Hour + time.Duration(slot)*15*time.Minute)
}

func (r *record) writeVisit(v *visit) {
	if v.booking != "" {
		r.writeAppointment(v, v.outcome)
		r.writeReminder(v)
	}
	if v.outcome != "fulfilled" {
		return
	}
	r.lastVisit = v.id
	r.writeEncounter(v)
	if v.kind != routine {
		r.writeAcute(v)
	}
	r.writeVitals(v)
	if v.labs {
		r.writeLabs(v)
	}
	if v.kind != urgent && r.chance(0.3) {
		r.writeSurvey(v)
	}
}

// writeFuture books appointments in the coming weeks.
func (r *record) writeFuture() {
	if !r.died.IsZero() || !r.chance(0.35+0.08*float64(len(r.illnesses))) {
		return
	}
	v := r.draw(routine, 1)
	ahead := r.IntN(56)
	v.start = workday(r.now.Add(time.Duration(1+ahead)*24*time.Hour), r.IntN(36))
	v.end = v.start.Add(20 * time.Minute)
	v.lead = ahead + r.IntN(30)
	r.writeAppointment(&v, "booked")
}
