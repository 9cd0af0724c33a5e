package guard

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"candela/fhir"
	"candela/store"
)

const (
	privacyOfficer = "privacy-officer"
	privacyScope   = "patient-privacy"
	resourceTypes  = "http://hl7.org/fhir/resource-types"
)

// provision is a rule of a consent and its exceptions.
type provision struct {
	deny     bool
	from, to time.Time // of its period; zero: open
	actors   []fhir.Reference
	actions  []string
	purposes []string
	// What data it is about; all of these hold.
	classes  []string // resource types
	codes    []string // tokens, one of which the resource's code has
	security []string // tokens of labels
	things   []fhir.Reference
	// vague: it is about less than what is written here, in a way that is not
	// understood: a denial then takes all of it, a permission gives nothing.
	vague  bool
	nested []provision
}

// readConsent reads an active Consent about privacy; false for one about
// something else.
func readConsent(v store.Version) (consent, bool) {
	root := fhir.Stored(v.Raw).Root()
	out := consent{id: v.Key.ID, patient: patientOf(v.Raw), at: v.Time}
	codes := codesOf(root.Path("scope", "coding"))
	if len(codes) > 0 && !slices.Contains(codes, privacyScope) {
		return out, false
	}
	if text := root.Get("dateTime").Text(); text != "" {
		when, err := fhir.ParseDate(text, time.UTC)
		if err != nil {
			out.unread = true
		} else {
			out.at = time.UnixMicro(when.Lo).UTC()
		}
	}
	p := root.Get("provision")
	out.provision = readProvision(p)
	if !p.Get("type").Exists() {
		switch base := codesOf(root.Path("policyRule", "coding")); {
		case slices.Contains(base, "OPTIN"):
		case slices.Contains(base, "OPTOUT"):
			out.provision.deny = true
		default:
			out.unread = true // neither says what holds where nothing is said
		}
	}
	out.withholds = out.unread || out.provision.denies()
	return out, true
}

// denies says whether it or an exception denies anything.
func (p *provision) denies() bool {
	return p.deny || slices.ContainsFunc(p.nested, func(n provision) bool { return n.denies() })
}

func readProvision(n fhir.Node) provision {
	out := provision{deny: n.Get("type").Text() != "permit" && n.Get("type").Exists()}
	out.period(n.Get("period"))
	for actor := range n.Get("actor").Elements() {
		out.actors = append(out.actors, fhir.ParseReference(actor.Path("reference", "reference").Text()))
	}
	for action := range n.Get("action").Elements() {
		out.actions = append(out.actions, codesOf(action.Get("coding"))...)
		out.vague = out.vague || !action.Get("coding").Exists()
	}
	out.purposes = codesOf(n.Get("purpose"))
	out.security = tokensOf(n.Get("securityLabel"))
	for class := range n.Get("class").Elements() {
		if class.Get("system").Text() == resourceTypes {
			out.classes = append(out.classes, class.Get("code").Text())
		} else {
			out.vague = true // documents of a kind, or by profile
		}
	}
	for code := range n.Get("code").Elements() {
		found := tokensOf(code.Get("coding"))
		out.codes, out.vague = append(out.codes, found...), out.vague || len(found) == 0
	}
	for data := range n.Get("data").Elements() {
		r := fhir.ParseReference(data.Path("reference", "reference").Text())
		if data.Get("meaning").Text() != "instance" || r.Type == "" || r.Base != "" {
			out.vague = true
			continue
		}
		out.things = append(out.things, fhir.Reference{Type: r.Type, ID: r.ID})
	}
	out.vague = out.vague || n.Get("dataPeriod").Exists() || n.Get("modifierExtension").Exists()
	if out.vague {
		out.classes, out.codes, out.security, out.things = nil, nil, nil, nil
	}
	for one := range n.Get("provision").Elements() {
		out.nested = append(out.nested, readProvision(one))
	}
	return out
}

// period reads from when until when the rule holds; what cannot be read is open.
func (p *provision) period(n fhir.Node) {
	if from, err := fhir.ParseDate(n.Get("start").Text(), time.UTC); err == nil {
		p.from = time.UnixMicro(from.Lo).UTC()
	}
	if to, err := fhir.ParseDate(n.Get("end").Text(), time.UTC); err == nil {
		p.to = time.UnixMicro(to.Hi).UTC()
	}
}

func codesOf(codings fhir.Node) (out []string) {
	for one := range codings.Elements() {
		out = append(out, one.Get("code").Text())
	}
	return out
}

func tokensOf(codings fhir.Node) (out []string) {
	for one := range codings.Elements() {
		if code := one.Get("code").Text(); code != "" {
			out = append(out, escape(one.Get("system").Text())+"|"+escape(code))
		}
	}
	return out
}

// escape makes a text a part of a search value.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, "|", `\|`, "$", `\$`).Replace(text)
}

// applies says whether a consent speaks of the request at all.
func (a *asker) applies(c *consent) (bool, error) {
	if c.unread {
		return true, nil
	}
	return a.meets(&c.provision)
}

// meets says whether a rule speaks of this caller, now, for this purpose. What
// cannot be told speaks of the caller where it denies and does not where it
// permits.
func (a *asker) meets(p *provision) (bool, error) {
	if !p.from.IsZero() && a.now.Before(p.from) || !p.to.IsZero() && a.now.After(p.to) {
		return false, nil
	}
	if len(p.purposes) > 0 && len(a.caller.Purpose) > 0 && !overlap(p.purposes, a.caller.Purpose) || len(p.purposes) > 0 && len(a.caller.Purpose) == 0 && !p.deny {
		return false, nil
	}
	if len(p.actions) > 0 && !p.deny && !overlap(p.actions, []string{"access", "use", "disclose"}) {
		return false, nil
	}
	if len(p.actors) == 0 {
		return true, nil
	}
	mine, err := a.theirs()
	if err != nil {
		return false, err
	}
	for _, actor := range p.actors {
		switch actor.Type {
		case "Practitioner", "PractitionerRole", "Organization", "Patient", "RelatedPerson", "Device":
			if slices.Contains(mine, fhir.Reference{Type: actor.Type, ID: actor.ID}) {
				return true, nil
			}
		default: // a team or group: who is in it is not known here
			if p.deny {
				return true, nil
			}
		}
	}
	return false, nil
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(one string) bool { return slices.Contains(b, one) })
}

// box is data that a rule is about: types, nil for all, and search parameters.
type box struct {
	types []string
	tests []string
}

// withholds are the rules by which a consent takes data away.
func (a *asker) withholds(c *consent) (fhir.Access, error) {
	whole := fhir.Access{{Type: "*", Compartment: fhir.Reference{Type: "Patient", ID: c.patient}}}
	if c.unread {
		return whole, nil
	}
	return a.taken(&c.provision, box{}, c.patient)
}

// taken are the rules that a provision which speaks of the caller makes, and
// those of its exceptions.
func (a *asker) taken(p *provision, within box, patient string) (fhir.Access, error) {
	here := within.narrowed(p)
	var out fhir.Access
	var free []box
	for i := range p.nested {
		n := &p.nested[i]
		meets, err := a.meets(n)
		if err != nil {
			return nil, err
		}
		if !meets {
			continue
		}
		more, err := a.taken(n, here, patient)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
		if !n.deny && !n.vague && len(n.things) == 0 {
			free = append(free, box{}.narrowed(n))
		}
	}
	if p.deny {
		out = append(out, a.rules(here, free, patient)...)
	}
	return out, nil
}

// narrowed is the part of a box that a provision is about.
func (b box) narrowed(p *provision) box {
	out := box{b.types, slices.Clone(b.tests)}
	if len(p.classes) > 0 {
		out.types = p.classes
		if b.types != nil {
			out.types = slices.DeleteFunc(slices.Clone(p.classes), func(t string) bool { return !slices.Contains(b.types, t) })
		}
	}
	if len(p.things) > 0 {
		among := out.types
		out.types = []string{}
		for _, one := range p.things {
			if among == nil || slices.Contains(among, one.Type) {
				out.types = append(out.types, one.Type)
			}
		}
	}
	for param, values := range map[string][]string{"code": p.codes, "_security": p.security, "_id": idsOf(p.things)} {
		if len(values) > 0 {
			out.tests = append(out.tests, test(param, values))
		}
	}
	slices.Sort(out.tests)
	return out
}

func idsOf(things []fhir.Reference) (out []string) {
	for _, one := range things {
		out = append(out, one.ID)
	}
	return out
}

func test(param string, values []string) string {
	return url.QueryEscape(param) + "=" + url.QueryEscape(strings.Join(values, ","))
}

// rules withhold a box of one patient but for what is free. What is free is left
// out where a rule can say so: by type, or by one search parameter; else it is
// withheld too.
func (a *asker) rules(b box, free []box, patient string) fhir.Access {
	owner := fhir.Reference{Type: "Patient", ID: patient}
	if b.types == nil && len(free) == 0 && !slices.ContainsFunc(b.tests, coded) {
		return fhir.Access{{Type: "*", Compartment: owner, Filter: strings.Join(b.tests, "&")}}
	}
	types := b.types
	if types == nil {
		types = a.types
	}
	var out fhir.Access
	for _, typ := range types {
		if slices.ContainsFunc(b.tests, coded) && !a.Search.HasParam(typ, "code") {
			continue // nothing of this type has a code
		}
		tests, open := slices.Clone(b.tests), false
		for _, f := range free {
			if f.types != nil && !slices.Contains(f.types, typ) {
				continue
			}
			if open = open || len(f.tests) == 0; len(f.tests) == 1 && (!coded(f.tests[0]) || a.Search.HasParam(typ, "code")) {
				tests = append(tests, except(f.tests[0]))
			}
		}
		if !open {
			out = append(out, fhir.Rule{Type: typ, Compartment: owner, Filter: strings.Join(tests, "&")})
		}
	}
	return out
}

func coded(test string) bool { return strings.HasPrefix(test, "code=") }

// except is a test that holds where the given one does not.
func except(test string) string {
	param, value, _ := strings.Cut(test, "=")
	return param + url.QueryEscape(":not") + "=" + value
}
