// Package segment keeps groups of patients who meet a definition: a Group
// resource with its members listed.
//
// It knows definitions (a condition, a measurement and its age) and how
// membership is kept: only patients whose records changed are looked at again,
// everybody else stays where they are. It must not know how records are read
// or how resources are written.
//
// "Within 12 months" counts back from a configured day, or else from each
// patient's own newest measurement: whether somebody belongs then depends on
// their records alone, in whatever order and however often they are read.
package segment

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	r4 "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"candela/analytics"
	"candela/analytics/profile"
)

// Definition says who belongs.
type Definition struct {
	ID        string // of the Group
	Title     string
	Condition profile.Concept // which they have at present
	Coding    r4.Coding       // that stands for the condition in the Group
	Kind      profile.Kind    // of which the newest measurement counts
	LOINC     string          // that stands for the measurement in the Group
	Unit      string          // UCUM
	AtLeast   float64         // the newest measurement, inclusive
	Months    int             // it must not be older than
	AsOf      time.Time       // zero: the patient's newest measurement of any kind
}

// Hypertension is people with hypertension whose last systolic blood pressure
// within 12 months was 130 mm[Hg] or more.
func Hypertension(asOf time.Time) Definition {
	return Definition{
		ID: "segment-hypertension-sbp-130", Title: "Hypertension, last systolic blood pressure 130 mm[Hg] or more",
		Condition: profile.Hypertension(),
		Coding:    r4.Coding{System: new("http://snomed.info/sct"), Code: new("38341003"), Display: new("Hypertensive disorder")},
		Kind:      profile.Systolic, LOINC: "8480-6", Unit: "mm[Hg]",
		AtLeast: 130, Months: 12, AsOf: asOf,
	}
}

// Capability keeps one Group.
type Capability struct{ Definition }

// New is the capability that keeps the Group of a definition.
func New(d Definition) *Capability { return &Capability{d} }

// Name names the definition with its numbers.
func (c *Capability) Name() string {
	name := fmt.Sprintf("%s %s>=%g%s/%dmonths", c.ID, c.Kind, c.AtLeast, c.Unit, c.Months)
	if !c.AsOf.IsZero() {
		name += " as-of=" + c.AsOf.UTC().Format(time.RFC3339)
	}
	return name
}

// Holds says whether a patient belongs.
func (d Definition) Holds(who *profile.Profile) bool {
	if !who.Exists || who.Inactive || who.Dead(d.AsOf) || len(who.Present(d.Condition, d.AsOf)) == 0 {
		return false
	}
	last, ok := who.Latest(d.Kind, d.AsOf)
	if !ok || last.Value < d.AtLeast {
		return false
	}
	asOf := d.AsOf
	if asOf.IsZero() {
		asOf = who.Newest(asOf)
	}
	return !last.At.Before(asOf.AddDate(0, -d.Months, 0))
}

// Start begins a pass.
func (c *Capability) Start(_ context.Context, door analytics.Door) (analytics.Pass, error) {
	return &pass{c, door, map[string]bool{}}, nil
}

// pass remembers of the patients seen who belongs.
type pass struct {
	*Capability
	door    analytics.Door
	belongs map[string]bool // by reference
}

func (p *pass) Refused() map[string]int { return nil }

func (p *pass) Subjects(_ context.Context, batch []profile.Profile) ([]analytics.Result, error) {
	for i := range batch {
		p.belongs[batch[i].Reference()] = p.Holds(&batch[i])
	}
	return nil, nil
}

// Finish is the Group with the membership of the patients seen brought up to
// date. An empty Group is not created, but an existing one may become empty.
func (p *pass) Finish(ctx context.Context) ([]analytics.Result, error) {
	present, err := p.door.Get(ctx, "Group", p.ID)
	if err != nil {
		return nil, err
	}
	members := map[string]bool{}
	for m := range present.Root().Get("member").Elements() {
		members[m.Path("entity", "reference").Text()] = true
	}
	for who, in := range p.belongs {
		if in {
			members[who] = true
		} else {
			delete(members, who)
		}
	}
	if len(members) == 0 && !present.Exists() {
		return nil, nil
	}
	res, err := analytics.Build(p.group(slices.SortedFunc(maps.Keys(members), cmp.Compare[string])))
	return []analytics.Result{{Resource: res}}, err
}

// group is a Group whose characteristics are written by us: the typed model
// would write every value[x] at once.
type group struct {
	r4.OtherGroup
	Characteristic []characteristic `json:"characteristic,omitempty"`
	ResourceType   string           `json:"resourceType"`
}

type characteristic struct {
	Code    r4.CodeableConcept  `json:"code"`
	Concept *r4.CodeableConcept `json:"valueCodeableConcept,omitempty"`
	Range   *r4.Range           `json:"valueRange,omitempty"`
	Exclude bool                `json:"exclude"`
}

// MarshalJSON is the Group as JSON.
func (g group) MarshalJSON() ([]byte, error) {
	type plain group
	return json.Marshal(plain(g))
}

func (c *Capability) group(members []string) group {
	out := group{ResourceType: "Group", OtherGroup: r4.OtherGroup{
		Id:         new(c.ID),
		Meta:       analytics.Meta(c.ID),
		Identifier: []r4.Identifier{{System: new(analytics.Identifier), Value: new(c.ID)}},
		Active:     new(true), Type: r4.GroupTypePerson, Actual: true,
		Name: new(c.Title), Quantity: new(len(members)),
	}}
	limit := r4.Quantity{
		Value: new(json.Number(strings.TrimSuffix(fmt.Sprintf("%.1f", c.AtLeast), ".0"))),
		Unit:  new(c.Unit), System: new("http://unitsofmeasure.org"), Code: new(c.Unit),
	}
	measured := analytics.Concept("http://loinc.org", "", c.LOINC, "")
	measured.Text = new(fmt.Sprintf("newest %s within %d months", c.Kind, c.Months))
	out.Characteristic = []characteristic{
		{Code: r4.CodeableConcept{Text: new("condition")}, Concept: &r4.CodeableConcept{Coding: []r4.Coding{c.Coding}}},
		{Code: measured, Range: &r4.Range{Low: &limit}},
	}
	for _, m := range members {
		out.Member = append(out.Member, r4.GroupMember{Entity: analytics.Reference(m)})
	}
	return out
}
