package risk

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	r4 "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"candela/analytics"
	"candela/analytics/model"
	"candela/analytics/profile"
)

// The code systems of the resource.
const (
	Methods  = "https://candela.health/fhir/CodeSystem/risk-method"
	Outcomes = "https://candela.health/fhir/CodeSystem/risk-outcome"
	Bands    = "https://candela.health/fhir/CodeSystem/risk-band"

	probability = "http://terminology.hl7.org/CodeSystem/risk-probability"
	day         = "2006-01-02"
)

// outcomes that are told, with their names.
var outcomes = []struct {
	outcome model.Outcome
	display string
}{
	{model.TotalCVD, "Total cardiovascular disease"},
	{model.ASCVD, "Atherosclerotic cardiovascular disease"},
	{model.HeartFailure, "Heart failure"},
}

// likelihood is the code of the general scale nearest to a band.
var likelihood = map[model.Band]string{model.Low: "low", model.Borderline: "low", model.Intermediate: "moderate", model.High: "high"}

// frame is what every resource about a patient has, scored or not.
func (c *Capability) frame(who *profile.Profile, status r4.ObservationStatus) r4.RiskAssessment {
	name := c.scorer.Name()
	method := analytics.Concept(Methods, c.scorer.Version(), name, "AHA PREVENT, base model, 10 years")
	code := analytics.Concept("http://loinc.org", "", "99055-6", "")
	return r4.RiskAssessment{
		Id:         new(analytics.ID(name, who.Reference())),
		Meta:       analytics.Meta(name),
		Identifier: []r4.Identifier{{System: new(analytics.Identifier), Value: new(name + "|" + who.Reference())}},
		Status:     status,
		Method:     &method,
		Code:       &code,
		Subject:    analytics.Reference(who.Reference()),
		Performer:  &r4.Reference{Reference: new(analytics.Device)},
	}
}

func (c *Capability) assessment(who *profile.Profile, a Assessment) r4.RiskAssessment {
	r := c.frame(who, r4.ObservationStatusFinal)
	r.OccurrenceDateTime = new(a.At.UTC().Format(day))
	r.Basis = analytics.References(basis(a.Features))
	for _, o := range outcomes {
		if p, ok := a.Chance(o.outcome); ok {
			r.Prediction = append(r.Prediction, prediction(o.outcome, o.display, p, a))
		}
	}
	r.Note = []r4.Annotation{{Text: inputs(a)}}
	return r
}

// withdrawn takes an earlier assessment back.
func (c *Capability) withdrawn(who *profile.Profile, no *NotScored) r4.RiskAssessment {
	status := r4.ObservationStatusCancelled
	if no.Vanished {
		status = r4.ObservationStatusEnteredInError
	}
	r := c.frame(who, status)
	r.Note = []r4.Annotation{{Text: "No score: " + strings.Join(no.Reasons, "; ") + "."}}
	return r
}

func prediction(o model.Outcome, display string, p float64, a Assessment) r4.RiskAssessmentPrediction {
	percent := model.Percent(p)
	concept := analytics.Concept(Outcomes, "", strings.ReplaceAll(string(o), "_", "-"), display)
	years := strconv.Itoa(a.Years) + " years"
	text := percent + " % in " + years
	out := r4.RiskAssessmentPrediction{
		Outcome:            &concept,
		ProbabilityDecimal: new(json.Number(percent)),
		WhenPeriod:         &r4.Period{Start: new(a.At.UTC().Format(day)), End: new(a.At.UTC().AddDate(a.Years, 0, 0).Format(day))},
	}
	switch o {
	case model.TotalCVD:
		text += because(a.Reasons)
	case model.ASCVD:
		band := model.BandOf(p)
		risk := analytics.Concept(Bands, "", string(band), string(band))
		risk.Coding = append(risk.Coding, r4.Coding{System: new(probability), Code: new(likelihood[band])})
		out.QualitativeRisk = &risk
	default: // the others are a number alone
	}
	out.Rationale = &text
	return out
}

// because are the four strongest reasons in words.
func because(reasons []model.Reason) string {
	if len(reasons) == 0 {
		return ""
	}
	parts := make([]string, 0, 4)
	for _, r := range reasons[:min(4, len(reasons))] {
		parts = append(parts, valued(r.Input)+" × "+strconv.FormatFloat(r.Factor, 'f', 2, 64))
	}
	return "; odds against the score's reference values: " + strings.Join(parts, ", ")
}

// inputs says what the score was computed from.
func inputs(a Assessment) string {
	parts := make([]string, 0, 12)
	for _, in := range a.Features.All() {
		if in.Name != model.PriorDisease {
			parts = append(parts, valued(in))
		}
	}
	return "Computed from " + strings.Join(parts, ", ") + ". Probabilities are percentages."
}

// words of the two values of binary inputs, where yes and no will not do.
var words = map[model.Name][2]string{model.Female: {"male", "female"}}

func valued(in model.Input) string {
	if in.Unit != "" {
		value := strconv.FormatFloat(in.Value, 'f', 1, 64)
		return string(in.Name) + " " + strings.TrimSuffix(value, ".0") + " " + in.Unit
	}
	of, ok := words[in.Name]
	if !ok {
		of = [2]string{"no", "yes"}
	}
	return string(in.Name) + " " + of[int(in.Value)]
}

// basis are the records the inputs were read from, each once.
func basis(f model.Features) []string {
	var out []string
	for _, in := range f.All() {
		for _, source := range in.Sources {
			if !slices.Contains(out, source) {
				out = append(out, source)
			}
		}
	}
	return out
}
