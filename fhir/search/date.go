package search

import (
	"math"
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/store"
)

// date gives what a date, Period or Timing covers.
func (x *extraction) date(dst []store.Value, item fhirpath.Item) []store.Value {
	n := item.Node
	switch item.Type {
	case "date", "dateTime", "instant", "System.Date", "System.DateTime":
		d, err := fhir.ParseDate(item.Text(), x.zone)
		if err != nil {
			return dst
		}
		if item.Type == "instant" {
			d.Hi = d.Lo
		}
		return x.window(dst, d.Lo, d.Hi)
	case "Period":
		lo, hi, ok := x.period(n)
		if !ok {
			return dst
		}
		return x.window(dst, lo, hi)
	case "Timing":
		return x.timing(dst, n)
	}
	return dst
}

// The open ends of a period.
const (
	longAgo = math.MinInt64
	forever = math.MaxInt64
)

func (x *extraction) window(dst []store.Value, lo, hi int64) []store.Value {
	v := store.Value{Kind: store.Range}
	if lo != longAgo {
		v.Lo = x.moment(lo)
	}
	if hi != forever {
		v.Hi = x.moment(hi)
	}
	return append(dst, v)
}

// period reads start and end; a missing one is open.
func (x *extraction) period(n fhir.Node) (lo, hi int64, ok bool) {
	start, err1 := fhir.ParseDate(n.Get("start").Text(), x.zone)
	end, err2 := fhir.ParseDate(n.Get("end").Text(), x.zone)
	lo, hi = longAgo, forever
	if err1 == nil {
		lo = start.Lo
	}
	if err2 == nil {
		hi = end.Hi
	}
	return lo, hi, err1 == nil || err2 == nil
}

// timing gives the outer bounds of a schedule: its events and its bounds period.
func (x *extraction) timing(dst []store.Value, n fhir.Node) []store.Value {
	lo, hi, found := int64(forever), int64(longAgo), false
	for e := range n.Get("event").Elements() {
		if d, err := fhir.ParseDate(e.Text(), x.zone); err == nil {
			lo, hi, found = min(lo, d.Lo), max(hi, d.Hi), true
		}
	}
	if from, to, ok := x.period(n.Path("repeat", "boundsPeriod")); ok {
		lo, hi, found = min(lo, from), max(hi, to), true
	}
	if !found {
		return dst
	}
	return x.window(dst, lo, hi)
}

func (x *extraction) moment(micros int64) []byte {
	from := len(x.bytes)
	x.bytes = append(x.bytes, store.OrderedInt(micros)...)
	return x.bytes[from:len(x.bytes):len(x.bytes)]
}

// dateConds reads [prefix]date.
func (r reader) dateConds(name, value string) ([]store.Cond, error) {
	how, rest, err := cutPrefix(name, value)
	if err != nil {
		return nil, err
	}
	// A space can only be the plus of an offset that was not percent-encoded.
	d, err := fhir.ParseDate(strings.Replace(rest, " ", "+", 1), r.zone)
	if err != nil {
		return nil, invalid(name, "not a date; use yyyy, yyyy-mm, yyyy-mm-dd or yyyy-mm-ddThh:mm[:ss[.sss]][Z|±hh:mm]")
	}
	if how == store.Overlaps {
		margin := (r.now.UnixMicro() - d.Lo) / 10 // a tenth of the distance from now
		d.Lo, d.Hi = d.Lo-max(margin, -margin), d.Hi+max(margin, -margin)
	}
	return []store.Cond{{How: how, Lo: store.OrderedInt(d.Lo), Hi: store.OrderedInt(d.Hi)}}, nil
}
