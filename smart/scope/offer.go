package scope

// Choice is a narrower scope that a consent page offers in place of a broad one.
type Choice struct {
	Scope Scope
	Label string // what it opens, in words for a patient
}

// category is one of the data categories that a user may grant alone.
type category struct{ typ, code, label string }

// categories are those that US Core 6.1 asks servers to support in granular
// scopes ("SMART on FHIR Obligations and Capabilities"), and that certification
// (g)(10) lets a user choose.
func categories() []category {
	const (
		hl7    = "http://terminology.hl7.org/CodeSystem/"
		usCore = "http://hl7.org/fhir/us/core/CodeSystem/"
	)
	return []category{
		{"Condition", hl7 + "condition-category|problem-list-item", "Health problems on the problem list"},
		{"Condition", hl7 + "condition-category|encounter-diagnosis", "Diagnoses made at visits"},
		{"Condition", usCore + "condition-category|health-concern", "Health concerns"},
		{"Observation", hl7 + "observation-category|laboratory", "Laboratory results"},
		{"Observation", hl7 + "observation-category|vital-signs", "Vital signs"},
		{"Observation", hl7 + "observation-category|social-history", "Social history, such as smoking"},
		{"Observation", hl7 + "observation-category|survey", "Answers to questionnaires and surveys"},
		{"Observation", usCore + "us-core-category|sdoh", "Social needs, such as housing and food"},
	}
}

// Offer gives the narrower scopes that may be granted instead of asked, each
// with the letters asked for: a choice for every data category that asked covers
// and the server can search by. None for a scope that is as narrow already.
// A wildcard offers the categories of all its types; granting them without the
// wildcard grants no other type.
func (g *Grammar) Offer(asked Scope) []Choice {
	if asked.Level == "" {
		return nil
	}
	from := Set{asked}
	var out []Choice
	for _, one := range categories() {
		text := asked.Level + "/" + one.typ + "." + asked.Letters + "?category=" + one.code
		narrow, ok := g.one(text)
		if !ok || !from.Covers(Set{narrow}) || (Set{narrow}).Covers(from) {
			continue
		}
		out = append(out, Choice{narrow, one.label})
	}
	return out
}
