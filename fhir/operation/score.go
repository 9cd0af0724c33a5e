package operation

import (
	"math"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"candela/fhir"
)

// priorBits are the odds, before anything is compared, that a candidate of a
// block is the one: one in 4,096.
const priorBits = -12

// person is what $match compares.
type person struct {
	identifiers []identifier
	names       []personName
	birth       string // as written
	gender      string
	phones      []contact
	emails      []contact
	postal      []string
	lines       []string
}

type identifier struct{ system, value string }

func (id identifier) token() string {
	if id.system == "" {
		return escape(id.value)
	}
	return escape(id.system) + "|" + escape(id.value)
}

type personName struct{ family, given string } // folded; given is the first one

// contact is a phone number or e-mail, as written and as compared.
type contact struct{ raw, plain string }

// field is one comparison: how it came out and what it adds to the log2 odds.
type field struct {
	name, how string
	bits      float64
}

// weight is a field's m (how often it comes out so for the same person) and u
// (how often for two others) as in Fellegi and Sunter, "A Theory for Record
// Linkage" (1969); its bits are log2(m/u). The figures are rounded from
// published linkage studies of health registries; they are set, not learnt.
type weight struct{ m, u float64 }

func (w weight) bits() float64 { return math.Log2(w.m / w.u) }

// weights are by field and comparison. What one side does not say adds nothing.
func weights() map[string]map[string]weight {
	return map[string]map[string]weight{
		"identifier": {"same": {0.95, 1e-6}, "other": {0.02, 0.3}},
		"family":     {"same": {0.90, 0.004}, "similar": {0.05, 0.006}, "other": {0.05, 0.99}},
		"given":      {"same": {0.87, 0.01}, "similar": {0.07, 0.02}, "initial": {0.03, 0.03}, "other": {0.03, 0.94}},
		"birthDate":  {"same": {0.95, 0.00004}, "similar": {0.03, 0.003}, "part": {0.01, 0.015}, "other": {0.01, 0.98}},
		"gender":     {"same": {0.98, 0.5}, "other": {0.01, 0.5}},
		"phone":      {"same": {0.60, 0.0002}, "other": {0.40, 0.9998}},
		"email":      {"same": {0.60, 0.0001}, "other": {0.40, 0.9999}},
		"postalCode": {"same": {0.75, 0.01}, "other": {0.25, 0.99}},
		"address":    {"same": {0.60, 0.0005}, "similar": {0.15, 0.005}, "other": {0.25, 0.99}},
	}
}

// compare compares what both sides say, in the order of the fields below.
func compare(a, b person) []field {
	var out []field
	all := weights()
	for _, one := range []struct{ name, how string }{
		{"identifier", sameIdentifier(a.identifiers, b.identifiers)},
		{"family", bestOf(a.names, b.names, func(n personName) string { return n.family })},
		{"given", bestOf(a.names, b.names, func(n personName) string { return n.given })},
		{"birthDate", sameDate(a.birth, b.birth)},
		{"gender", sameText(a.gender, b.gender)},
		{"phone", sameContact(a.phones, b.phones)},
		{"email", sameContact(a.emails, b.emails)},
		{"postalCode", anySame(a.postal, b.postal)},
		{"address", closest(a.lines, b.lines)},
	} {
		if w, ok := all[one.name][one.how]; ok {
			out = append(out, field{one.name, one.how, w.bits()})
		}
	}
	return out
}

func personOf(n fhir.Node) person {
	p := person{birth: n.Get("birthDate").Text(), gender: n.Get("gender").Text()}
	for id := range n.Get("identifier").Elements() {
		if v := id.Get("value").Text(); v != "" {
			p.identifiers = append(p.identifiers, identifier{id.Get("system").Text(), v})
		}
	}
	for name := range n.Get("name").Elements() {
		one := personName{folded(name.Get("family").Text()), folded(name.Get("given").First().Text())}
		if one != (personName{}) {
			p.names = append(p.names, one)
		}
	}
	for t := range n.Get("telecom").Elements() {
		raw := t.Get("value").Text()
		switch system := t.Get("system").Text(); {
		case raw == "":
		case system == "email":
			p.emails = append(p.emails, contact{raw, strings.ToLower(strings.TrimSpace(raw))})
		case system == "phone" || system == "sms":
			p.phones = append(p.phones, contact{raw, digits(raw)})
		}
	}
	for address := range n.Get("address").Elements() {
		if code := folded(address.Get("postalCode").Text()); code != "" {
			p.postal = append(p.postal, code)
		}
		if line := folded(address.Get("line").First().Text()); line != "" {
			p.lines = append(p.lines, line)
		}
	}
	return p
}

// digits are the last ten digits of a phone number: without country codes and signs.
func digits(raw string) string {
	out := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, raw)
	return out[max(0, len(out)-10):]
}

// folded is text without case, accents and punctuation.
func folded(text string) string {
	var out strings.Builder
	for _, r := range norm.NFD.String(text) {
		switch {
		case unicode.IsLetter(r) || unicode.IsNumber(r):
			out.WriteRune(unicode.ToLower(r))
		case unicode.IsSpace(r) || r == '-':
			out.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// sameIdentifier: only two values in one system can differ.
func sameIdentifier(a, b []identifier) string {
	how := ""
	for _, x := range a {
		for _, y := range b {
			switch {
			case x == y:
				return "same"
			case x.system == y.system && x.system != "":
				how = "other"
			}
		}
	}
	return how
}

func sameText(a, b string) string {
	switch {
	case a == "" || b == "":
		return ""
	case a == b:
		return "same"
	default:
		return "other"
	}
}

func sameContact(a, b []contact) string {
	plain := func(list []contact) []string {
		var out []string
		for _, c := range list {
			out = append(out, c.plain)
		}
		return out
	}
	return anySame(plain(a), plain(b))
}

func anySame(a, b []string) string {
	switch {
	case len(a) == 0 || len(b) == 0:
		return ""
	case slices.ContainsFunc(a, func(x string) bool { return x != "" && slices.Contains(b, x) }):
		return "same"
	default:
		return "other"
	}
}

// closest is the best comparison among all pairs of texts.
func closest(a, b []string) string {
	best := ""
	for _, x := range a {
		for _, y := range b {
			switch how := alike(x, y); {
			case how == "same":
				return how
			case best == "" || best == "other" || best == "initial" && how == "similar":
				if how != "" {
					best = how
				}
			}
		}
	}
	return best
}

func bestOf(a, b []personName, part func(personName) string) string {
	pick := func(names []personName) []string {
		var out []string
		for _, n := range names {
			if text := part(n); text != "" {
				out = append(out, text)
			}
		}
		return out
	}
	return closest(pick(a), pick(b))
}

// alike compares two folded names: an initial stands for any name it begins.
func alike(a, b string) string {
	switch {
	case a == "" || b == "":
		return ""
	case a == b:
		return "same"
	case len([]rune(a)) == 1 && strings.HasPrefix(b, a), len([]rune(b)) == 1 && strings.HasPrefix(a, b):
		return "initial"
	case jaroWinkler([]rune(a), []rune(b)) >= 0.9:
		return "similar"
	default:
		return "other"
	}
}

// sameDate: one wrong digit, or day and month exchanged, is similar; a year or
// month that the other one has is a part.
func sameDate(a, b string) string {
	switch {
	case a == "" || b == "":
		return ""
	case a == b:
		return "same"
	case strings.HasPrefix(a, b+"-"), strings.HasPrefix(b, a+"-"):
		return "part"
	case len(a) != 10 || len(b) != 10:
		return "other"
	}
	wrong := 0
	for i := range a {
		if a[i] != b[i] {
			wrong++
		}
	}
	if wrong == 1 || a[:4] == b[:4] && a[5:7] == b[8:] && a[8:] == b[5:7] {
		return "similar"
	}
	return "other"
}

// jaroWinkler is the similarity of two words, 0 to 1 (Winkler 1990): common
// letters near each other, with a bonus for up to four equal first ones.
func jaroWinkler(a, b []rune) float64 {
	reach := max(len(a), len(b))/2 - 1
	taken := make([]bool, len(b))
	var common []rune
	for i, r := range a {
		for j := max(0, i-reach); j < min(len(b), i+reach+1); j++ {
			if !taken[j] && b[j] == r {
				taken[j] = true
				common = append(common, r)
				break
			}
		}
	}
	if len(common) == 0 {
		return 0
	}
	k, moved := 0, 0
	for j, r := range b {
		if taken[j] {
			if common[k] != r {
				moved++
			}
			k++
		}
	}
	m := float64(len(common))
	jaro := (m/float64(len(a)) + m/float64(len(b)) + (m-float64(moved)/2)/m) / 3
	start := 0
	for start < min(4, len(a), len(b)) && a[start] == b[start] {
		start++
	}
	return jaro + float64(start)*0.1*(1-jaro)
}
