package search

import (
	"maps"
	"sync"
	"sync/atomic"

	"candela/fhir"
	"candela/fhir/fhirpath/ucum"
)

// unitsOfMeasure is the system of UCUM codes.
const unitsOfMeasure = "http://unitsofmeasure.org"

// scale takes numbers of a unit to base units.
type scale struct {
	base           string
	factor, offset fhir.Decimal
	shifted        bool
}

// baseDigits is the precision in base units: more than any measurement has, and
// so few that the error of factors like 1/60 is rounded away.
const baseDigits = 18

// base10 is d in base units; without a scale it is d.
func (s *scale) base10(d fhir.Decimal) fhir.Decimal {
	if s == nil {
		return d
	}
	if s.shifted {
		d = d.Plus(s.offset)
	}
	return d.Times(s.factor).Rounded(baseDigits)
}

// units remembers the scales of unit codes; it is bounded and read without a lock.
type units struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]*scale]
}

// maxUnits bounds what is remembered: health data has some hundred units.
const maxUnits = 4096

func newUnits() *units {
	u := &units{}
	u.known.Store(&map[string]*scale{})
	return u
}

// of is the scale of a unit, nil when it is none of UCUM or not known.
func (u *units) of(system, code string) *scale {
	if system != unitsOfMeasure {
		return nil
	}
	s, ok := (*u.known.Load())[code]
	if ok {
		return s
	}
	s = scaleOf(code)
	u.mu.Lock()
	defer u.mu.Unlock()
	if known := *u.known.Load(); len(known) < maxUnits {
		more := maps.Clone(known)
		more[code] = s
		u.known.Store(&more)
	}
	return s
}

func scaleOf(code string) *scale {
	from, ok := ucum.ScaleOf(code)
	if !ok {
		return nil
	}
	s := &scale{base: from.Base, shifted: from.Offset != ""}
	var err1, err2 error
	s.factor, err1 = fhir.ParseDecimal(from.Factor)
	s.offset, err2 = fhir.ParseDecimal("0" + from.Offset)
	if s.shifted {
		s.offset, err2 = fhir.ParseDecimal(from.Offset)
	}
	if err1 != nil || err2 != nil {
		return nil
	}
	return s
}
