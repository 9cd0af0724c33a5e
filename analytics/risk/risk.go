// Package risk writes how likely a first cardiovascular event is: one
// RiskAssessment per patient by the PREVENT score.
//
// It knows which facts of a profile are the score's inputs, how old they may
// be, and how the result looks as a resource. It must not know how facts are
// read or how resources are written.
//
// Conventions of the resource: probabilityDecimal is a percentage, as the R4
// definition of the element says (max = 100), rounded half up to one digit;
// rationale repeats it in words. occurrenceDateTime is the day of the newest
// input, or the configured day. A patient who cannot be scored has no
// assessment. When an earlier one exists, it is taken back: entered-in-error
// when its inputs vanished, cancelled when the score is no longer for them.
package risk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"candela/analytics"
	"candela/analytics/model"
	"candela/analytics/profile"
)

// Options narrow what is scored.
type Options struct {
	// AsOf is the moment of the assessment; facts behind it are not looked at.
	// Zero: the moment of each patient's newest input.
	AsOf time.Time
	// MaxAgeMonths is how much older than the assessment a measurement may be;
	// 0 is 24.
	MaxAgeMonths int
}

// Capability scores patients.
type Capability struct {
	Options
	scorer *model.Prevent
	// The concepts and classes are made once, they are asked for every patient.
	diabetes, disease profile.Concept
	pressure, statins profile.Class
}

// New is the 10-year base model of PREVENT.
func New(o Options) (*Capability, error) {
	scorer, err := model.NewPrevent(model.Base, 10)
	if err != nil {
		return nil, err
	}
	o.MaxAgeMonths = cmp.Or(o.MaxAgeMonths, 24)
	return &Capability{o, scorer, profile.Diabetes(), profile.Cardiovascular(), profile.Antihypertensives(), profile.Statins()}, nil
}

// Name is the score, its version and what it was configured with.
func (c *Capability) Name() string {
	name := fmt.Sprintf("%s %s max-age=%d", c.scorer.Name(), c.scorer.Version(), c.MaxAgeMonths)
	if !c.AsOf.IsZero() {
		name += " as-of=" + c.AsOf.UTC().Format(time.RFC3339)
	}
	return name
}

// Start begins a pass.
func (c *Capability) Start(context.Context, analytics.Door) (analytics.Pass, error) {
	return &pass{c, map[string]int{}}, nil
}

type pass struct {
	*Capability
	refused map[string]int
}

func (p *pass) Refused() map[string]int { return p.refused }

func (p *pass) Finish(context.Context) ([]analytics.Result, error) { return nil, nil }

func (p *pass) Subjects(_ context.Context, batch []profile.Profile) ([]analytics.Result, error) {
	out := make([]analytics.Result, 0, len(batch))
	for i := range batch {
		result, err := p.subject(&batch[i])
		if err != nil {
			return nil, err
		}
		out = append(out, result)
	}
	return out, nil
}

func (p *pass) subject(who *profile.Profile) (analytics.Result, error) {
	scored, err := p.Assess(who)
	var no *NotScored
	if errors.As(err, &no) {
		for _, reason := range no.Reasons {
			p.refused[reason]++
		}
		res, err := analytics.Build(p.withdrawn(who, no))
		return analytics.Result{Resource: res, Correction: true}, err
	}
	if err != nil {
		return analytics.Result{}, err
	}
	res, err := analytics.Build(p.assessment(who, scored))
	return analytics.Result{Resource: res}, err
}

// Assessment is a score with what it rests on.
type Assessment struct {
	model.Score
	Features model.Features
	At       time.Time
}

// NotScored says why a patient has no score.
type NotScored struct {
	Reasons  []string // hold no patient data
	Vanished bool     // for want of inputs, not because the score is not for them
}

func (n *NotScored) Error() string { return fmt.Sprintf("not scored: %v", n.Reasons) }

// Assess scores a patient. The error is a *NotScored.
func (c *Capability) Assess(who *profile.Profile) (Assessment, error) {
	switch {
	case !who.Exists:
		return Assessment{}, &NotScored{[]string{"patient was deleted"}, true}
	case who.Inactive:
		return Assessment{}, &NotScored{[]string{"record is inactive"}, false}
	case who.Dead(c.AsOf):
		return Assessment{}, &NotScored{[]string{"patient is deceased"}, false}
	}
	g := c.gather(who)
	score, err := c.scorer.Score(g.features)
	var refusal *model.Refusal
	if errors.As(err, &refusal) {
		return Assessment{}, &NotScored{g.explain(refusal), len(refusal.Missing) > 0}
	}
	return Assessment{score, g.features, g.at}, err
}
