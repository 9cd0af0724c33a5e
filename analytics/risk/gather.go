package risk

import (
	"fmt"
	"time"

	"candela/analytics/model"
	"candela/analytics/profile"
)

// gathered are one patient's inputs on their way into the score.
type gathered struct {
	*Capability
	who      *profile.Profile
	at       time.Time
	features model.Features
	stale    map[model.Name]bool // there, but too old
}

// measurement is a numeric input and its fact, if there is one.
type measurement struct {
	name model.Name
	unit string
	fact profile.Fact
	ok   bool
}

// gather finds the inputs. The assessment's moment is that of the newest of
// them; measurements much older than that are left out.
func (c *Capability) gather(who *profile.Profile) *gathered {
	g := &gathered{Capability: c, who: who, at: c.AsOf, stale: map[model.Name]bool{}}
	measured := g.measurements()
	conditions := map[model.Name][]profile.Condition{
		model.Diabetes:     who.Present(c.diabetes, c.AsOf),
		model.PriorDisease: who.Ever(c.disease, c.AsOf),
	}
	medicines := map[model.Name][]profile.Medication{
		model.BPTreatment: who.Taking(c.pressure, c.AsOf),
		model.Statin:      who.Taking(c.statins, c.AsOf),
	}
	if c.AsOf.IsZero() {
		g.at = newest(measured, conditions, medicines)
	}
	if age, ok := who.Age(g.at); ok {
		g.features.Add(model.Age, float64(age), "a")
	}
	if who.Gender == "female" || who.Gender == "male" {
		g.features.Add(model.Female, binary(who.Gender == "female"), "")
	}
	g.measure(measured)
	for _, name := range []model.Name{model.Diabetes, model.PriorDisease} {
		g.features.Add(name, binary(len(conditions[name]) > 0), "", sources(conditions[name], func(c profile.Condition) []string { return c.Sources })...)
	}
	for _, name := range []model.Name{model.BPTreatment, model.Statin} {
		g.features.Add(name, binary(len(medicines[name]) > 0), "", sources(medicines[name], func(m profile.Medication) []string { return m.Sources })...)
	}
	return g
}

func (g *gathered) measurements() []measurement {
	latest := func(name model.Name, unit string, k profile.Kind) measurement {
		f, ok := g.who.Latest(k, g.AsOf)
		return measurement{name, unit, f, ok}
	}
	egfr, hasRate := g.who.Filtration(g.AsOf)
	bmi, hasMass := g.who.BodyMass(g.AsOf)
	return []measurement{
		latest(model.SystolicBP, "mm[Hg]", profile.Systolic),
		latest(model.TotalChol, "mg/dL", profile.TotalChol),
		latest(model.HDL, "mg/dL", profile.HDL),
		{model.EGFR, "mL/min/{1.73_m2}", egfr, hasRate},
		{model.BMI, "kg/m2", bmi, hasMass},
		latest(model.Smoking, "", profile.Smoker),
	}
}

func newest(measured []measurement, conditions map[model.Name][]profile.Condition, medicines map[model.Name][]profile.Medication) time.Time {
	var at time.Time
	later := func(t time.Time) {
		if t.After(at) {
			at = t
		}
	}
	for _, m := range measured {
		later(m.fact.At)
	}
	for _, list := range conditions {
		for _, c := range list {
			later(c.Onset)
		}
	}
	for _, list := range medicines {
		for _, m := range list {
			later(m.Since)
		}
	}
	return at
}

// measure adds the measurements that are recent enough.
func (g *gathered) measure(measured []measurement) {
	oldest := g.at.AddDate(0, -g.MaxAgeMonths, 0)
	for _, m := range measured {
		switch {
		case m.ok && m.fact.At.Before(oldest):
			g.stale[m.name] = true
		case m.ok:
			g.features.Add(m.name, m.fact.Value, m.unit, m.fact.Sources...)
		}
	}
}

// explain are the reasons of a refusal, telling apart what is missing and what
// is too old.
func (g *gathered) explain(refusal *model.Refusal) []string {
	reasons := refusal.Reasons()
	for i, name := range refusal.Missing { // they come first, in the same order
		if g.stale[name] {
			reasons[i] = fmt.Sprintf("%s is older than %d months", name, g.MaxAgeMonths)
		}
	}
	return reasons
}

func binary(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func sources[T any](list []T, of func(T) []string) []string {
	var out []string
	for _, one := range list {
		out = append(out, of(one)...)
	}
	return out
}
