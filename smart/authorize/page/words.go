package page

import (
	"strings"
	"unicode"

	"candela/smart/scope"
)

// Say is what a scope allows in words that need no training: "see health problems".
func Say(s scope.Scope) string {
	if s.Level == "" {
		return sayPlain(s.Text)
	}
	text := verbs(s.Letters) + " " + things(s.Type)
	if s.Filter != "" {
		_, filter, _ := strings.Cut(s.Text, "?")
		text += ", only those with " + strings.ReplaceAll(filter, "&", " and ")
	}
	return text
}

func sayPlain(text string) string {
	switch text {
	case "openid":
		return "know that it is you, by a name of its own for you"
	case "fhirUser", "profile":
		return "know who you are, and read your own entry"
	case "offline_access":
		return "go on while you are away"
	case "online_access":
		return "go on for as long as you are signed in"
	}
	return "know which record or visit is open"
}

// verbs says letters of cruds.
func verbs(letters string) string {
	var out []string
	add := func(letter, word string) {
		if strings.Contains(letters, letter) {
			out = append(out, word)
		}
	}
	if strings.ContainsAny(letters, "rs") {
		out = append(out, "see")
	}
	add("c", "add")
	add("u", "change")
	add("d", "delete")
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
}

// things names a resource type for people.
func things(typ string) string {
	switch typ {
	case scope.Any:
		return "everything in it"
	case "AllergyIntolerance":
		return "allergies and intolerances"
	case "CarePlan":
		return "care plans"
	case "CareTeam":
		return "care teams"
	case "Condition":
		return "health problems and diagnoses"
	case "DiagnosticReport":
		return "reports of laboratory and imaging"
	case "DocumentReference":
		return "documents and notes"
	case "Encounter":
		return "visits and stays"
	case "Immunization":
		return "vaccinations"
	case "MedicationRequest":
		return "prescriptions"
	case "MedicationDispense":
		return "medicines that were handed out"
	case "MedicationStatement":
		return "medicines that are taken"
	case "Observation":
		return "measurements and test results"
	case "Patient":
		return "name, date of birth, address and the like"
	case "Procedure":
		return "operations and procedures"
	case "ServiceRequest":
		return "orders and referrals"
	case "Coverage":
		return "insurance"
	case "Practitioner", "PractitionerRole":
		return "who gives care"
	}
	return split(typ)
}

// split writes EpisodeOfCare as "entries of kind episode of care".
func split(typ string) string {
	var out strings.Builder
	out.WriteString("entries of kind ")
	for i, c := range typ {
		if i > 0 && unicode.IsUpper(c) {
			out.WriteByte(' ')
		}
		out.WriteRune(unicode.ToLower(c))
	}
	return out.String()
}
