// Package demo makes synthetic patients: FHIR R4 transaction bundles of people
// who never lived, with the visits, measurements, conditions, medicines,
// appointments and messages that a health service would hold about them.
//
// It knows how plausible records look and how they hang together (age moves
// blood pressure, diabetes moves HbA1c, waiting moves satisfaction). It must
// not know the server: it yields bytes, and whoever wants them loads them.
//
// The output depends on (seed, patients, now) alone: same arguments, same
// bytes. Every patient is drawn from a stream of their own, so patient n is the
// same person whether ten or a million are made.
package demo

import (
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Generate yields the infrastructure bundle and then one transaction bundle per
// patient. Times lie in the years before now and, for booked appointments, in
// the weeks after it. Patient resources are written by PUT under ids derived
// from the seed, infrastructure by conditional create, so that loading twice
// changes nothing.
func Generate(seed uint64, patients int, now time.Time) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !yield(Infrastructure()) {
			return
		}
		for n := range patients {
			if !yield(Patient(seed, n, now)) {
				return
			}
		}
	}
}

// Patient is the bundle of patient n of a seed. Calls are independent of each
// other and may run in parallel.
func Patient(seed uint64, n int, now time.Time) []byte {
	d := dice{rand.New(rand.NewPCG(seed, uint64(n)+1))}
	r := &record{dice: d, doc: newDoc(64 << 10), now: now.UTC().Truncate(time.Second), number: n}
	r.person = drawPerson(d, r.now)
	r.patientID = d.uuid()
	r.doc.openBundle()
	r.writePatient()
	r.writeHistory()
	r.doc.closeBundle()
	return r.doc.buf
}

// record is one patient's bundle in the making.
type record struct {
	dice
	doc    *doc
	now    time.Time
	number int

	person
	patientID  string
	conditions map[string]string // SNOMED code -> Condition id, for reasons
	lastVisit  string            // id of the newest ambulatory encounter
}

// writeHistory writes everything that follows the Patient itself.
func (r *record) writeHistory() {
	r.conditions = make(map[string]string, len(r.illnesses))
	visits := r.schedule()
	r.writeConditions()
	for i := range visits {
		r.writeVisit(&visits[i])
	}
	r.writeMedicines()
	r.writeWearable()
	r.writeFuture()
	r.writeOutreach()
}

// dice are the draws of one patient, in a fixed order.
type dice struct{ *rand.Rand }

// chance is true with probability p.
func (d dice) chance(p float64) bool { return d.Float64() < p }

// normal draws from a normal distribution, cut at 3 deviations.
func (d dice) normal(mean, deviation float64) float64 {
	return mean + deviation*min(3, max(-3, d.NormFloat64()))
}

// between draws evenly from [low, high).
func (d dice) between(low, high float64) float64 { return low + (high-low)*d.Float64() }

// count draws a Poisson number, at most 12.
func (d dice) count(mean float64) int {
	limit, product := math.Exp(-mean), d.Float64()
	n := 0
	for product > limit && n < 12 {
		product *= d.Float64()
		n++
	}
	return n
}

const hexDigits = "0123456789abcdef"

// uuid is a version 4 UUID of this patient's stream.
func (d dice) uuid() string {
	var b [36]byte
	hi, lo := d.Uint64(), d.Uint64()
	for i, at := 0, 0; at < 36; at++ {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			b[at] = '-'
			continue
		}
		word := hi
		if i >= 16 {
			word = lo
		}
		b[at] = hexDigits[word>>(60-4*(i%16))&15]
		i++
	}
	b[14] = '4'
	b[19] = hexDigits[8|lo>>60&3]
	return string(b[:])
}

// pick is one of the choices, evenly.
func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

// weighed is one of the choices by weight.
func weighed[T any](d dice, from []T, weights []float64) T {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	at := d.Float64() * total
	for i, w := range weights {
		if at -= w; at < 0 {
			return from[i]
		}
	}
	return from[len(from)-1]
}

// odds turns a linear score into a probability.
func odds(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
