package store

import (
	"bytes"
	"math"
)

// compare holds v's range against the condition's.
func (c *Cond) compare(v *Value) bool {
	if v.Lo != nil && v.Hi != nil && bytes.Compare(v.Hi, v.Lo) < 0 {
		v = &Value{Lo: v.Lo, Hi: v.Lo}
	}
	switch c.How {
	case Inside:
		return c.inside(v)
	case Outside:
		return !c.inside(v)
	case Overlaps:
		return !c.beyond(v.Lo, false) && !c.ahead(v.Hi, true)
	case Greater:
		return c.beyond(v.Hi, true)
	case Less:
		return c.ahead(v.Lo, false)
	case AtLeast:
		return c.beyond(v.Hi, true) || c.inside(v)
	case AtMost:
		return c.ahead(v.Lo, false) || c.inside(v)
	case After:
		return c.beyond(v.Lo, false)
	case Before:
		return c.ahead(v.Hi, true)
	default:
		return false
	}
}

func (c *Cond) inside(v *Value) bool { return !c.ahead(v.Lo, false) && !c.beyond(v.Hi, true) }

// beyond says whether an end of a value lies behind the condition's range. nil
// is plus infinity for a high end, minus infinity for a low one.
func (c *Cond) beyond(end []byte, high bool) bool {
	if c.Hi == nil {
		return false
	}
	if end == nil {
		return high
	}
	d := bytes.Compare(end, c.Hi)
	return d > 0 || d == 0 && c.HiOpen
}

// ahead says whether an end of a value lies before the condition's range.
func (c *Cond) ahead(end []byte, high bool) bool {
	if c.Lo == nil {
		return false
	}
	if end == nil {
		return !high
	}
	return bytes.Compare(end, c.Lo) < 0
}

// inUnit is the value that c is compared with: v, or v in base units; nil when
// v has no such form.
func (c *Cond) inUnit(v *Value) *Value {
	switch {
	case c.Unit != UnitBase:
		return v
	case v.Kind != Range || len(v.Parts) == 0:
		return nil
	default:
		return &v.Parts[0]
	}
}

func (c *Cond) sameUnit(v *Value) bool {
	switch c.Unit {
	case UnitBase:
		return v.Name == c.Name
	case UnitIs:
		return v.Space == c.Space && v.Name == c.Name
	case UnitName:
		return c.Name == v.Name || c.Name == v.Text
	default:
		return true
	}
}

// earth is the mean radius in metres (IUGG).
const earth = 6_371_008.8

// near measures the great circle distance (haversine) from Lo, Hi.
func (c *Cond) near(v *Value) bool {
	lat1, ok1 := FloatOf(c.Lo)
	lon1, ok2 := FloatOf(c.Hi)
	lat2, ok3 := FloatOf(v.Lo)
	lon2, ok4 := FloatOf(v.Hi)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return false
	}
	const rad = math.Pi / 180
	dLat, dLon := math.Sin((lat2-lat1)*rad/2), math.Sin((lon2-lon1)*rad/2)
	h := dLat*dLat + math.Cos(lat1*rad)*math.Cos(lat2*rad)*dLon*dLon
	return 2*earth*math.Asin(math.Sqrt(min(h, 1))) <= c.Radius
}
