package guard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"

	"candela/fhir"
	"candela/smart/token"
	"candela/store"
)

// The headers that say why somebody asks. They count as headers only: a switch
// that a link could carry is none.
const (
	PurposeHeader = "X-Purpose-Of-Use"     // codes of v3-ActReason, separated by commas
	ReasonHeader  = "X-Break-Glass-Reason" // in words, for an emergency
)

const (
	bucketGlass = "smart.glass"
	openFor     = time.Hour      // an emergency lasts
	keptFor     = 24 * time.Hour // it is known for how long that it was one
	maxReason   = 500
)

// known purposes of use (v3-ActReason); the first two break the glass.
var reasons = [...]string{"BTG", "ETREAT", "TREAT", "HPAYMT", "HOPERAT", "HRESCH", "PUBHLTH", "PATRQT", "FAMRQT", "COVERAGE", "HMARKT", "HLEGAL", "CAREMGT"}

const emergencies = 2

// purpose is why somebody asks.
type purpose struct {
	purposes []string
	breaks   bool
	reason   string
}

// emergency reads the headers of a request.
func emergency(h http.Header) (purpose, error) {
	var out purpose
	values := h.Values(PurposeHeader)
	if len(values) == 0 {
		return out, nil
	}
	for code := range strings.SplitSeq(strings.Join(values, ","), ",") {
		code = strings.TrimSpace(code)
		if _, after, ok := strings.Cut(code, "|"); ok {
			code = after
		}
		at := slices.Index(reasons[:], code)
		if at < 0 {
			return out, fhir.Errorf(http.StatusBadRequest, fhir.CodeValue, "%s has a code that is no purpose of use known here", PurposeHeader)
		}
		out.purposes = append(out.purposes, code)
		out.breaks = out.breaks || at < emergencies
	}
	out.reason = strings.TrimSpace(h.Get(ReasonHeader))
	return out, nil
}

func noGlass(why string) error {
	return fhir.Errorf(http.StatusForbidden, fhir.CodeForbidden, "emergency access: %s", why)
}

// opened is when an emergency began.
type opened struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// breakGlass gives what labels and consents withhold, to roles that may have it,
// for an hour of one grant, and not before it is on record. Scopes and policy
// still hold.
func (g *Guard) breakGlass(ctx context.Context, c fhir.Caller, have rights, info *token.Info, reason string, now time.Time) (fhir.Caller, error) {
	switch {
	case !have.glass || info.Grant.User == "" || c.User.Type != "Practitioner" && c.User.Type != "PractitionerRole":
		return fhir.Caller{}, noGlass("not for this caller")
	case g.Record == nil:
		return fhir.Caller{}, noGlass("not served here")
	case len(reason) < 4 || len(reason) > maxReason || strings.ContainsFunc(reason, unicode.IsControl):
		return fhir.Caller{}, noGlass("a reason in words is needed, in the header " + ReasonHeader)
	}
	first, err := g.open(ctx, info.Grant.ID, opened{At: now, Reason: reason})
	if err != nil {
		return fhir.Caller{}, g.refusal(err)
	}
	if now.Sub(first.At) >= openFor || now.Before(first.At) {
		return fhir.Caller{}, noGlass("the hour is over; sign in again where it still is one")
	}
	c.Deny = nil
	event := fhir.Event{Kind: fhir.BreakGlass, Caller: c, Patient: c.Patient, Reason: reason}
	if err := g.Record.Record(ctx, event); err != nil {
		return fhir.Caller{}, g.refusal(err)
	}
	return c, nil
}

// open notes the first moment of a grant's emergency; it does not begin twice.
func (g *Guard) open(ctx context.Context, grant string, o opened) (opened, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return o, err
	}
	err = g.Store.KVSwap(ctx, bucketGlass, grant, nil, raw, keptFor)
	if !errors.Is(err, store.ErrConflict) {
		return o, err
	}
	if raw, err = g.Store.KVGet(ctx, bucketGlass, grant); err != nil {
		return o, err
	}
	return o, json.Unmarshal(raw, &o)
}
