// Package analytics keeps conclusions about patients current: it follows what
// changes, refreshes the patients touched and writes what its capabilities
// conclude from their profiles as FHIR resources.
//
// It knows the change feed, its own saved position and how results are written
// (through the door, as transactions with a Provenance). It must not know what
// a capability concludes; capabilities only return resources, and only the
// Runner writes.
//
// Results depend on records alone, never on the clock: an assessment is dated
// by its newest input, or by the AsOf that the caller configured. The same
// records give the same results in any store and in any number of runs.
package analytics

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	r4 "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"candela/analytics/profile"
	"candela/fhir"
)

// The systems that results carry.
const (
	// Tag is the system of the meta.tag on everything a Runner writes. A
	// resource whose tag somebody took off is theirs: it is never overwritten.
	Tag = "https://candela.health/fhir/CodeSystem/analytics"
	// Identifier is the system of the identifiers of results.
	Identifier = "https://candela.health/fhir/sid/analytics"
	// Device is the reference of the software that writes results.
	Device = "Device/candela-analytics"
)

// Capability concludes something from patients' profiles.
type Capability interface {
	// Name is stable and names the conclusion and its version. A new name makes
	// the Runner go through all patients again.
	Name() string
	// Start begins a pass over some patients.
	Start(ctx context.Context, door Door) (Pass, error)
}

// Pass is one walk of a capability over patients, in batches.
type Pass interface {
	// Subjects returns the results about a batch of patients. A profile with
	// Exists false is of a patient who was deleted.
	Subjects(ctx context.Context, batch []profile.Profile) ([]Result, error)
	// Finish returns the results about all batches together.
	Finish(ctx context.Context) ([]Result, error)
	// Refused counts the patients without a result by reason. Reasons hold no
	// patient data.
	Refused() map[string]int
}

// Result is a resource to write under its own id.
type Result struct {
	Resource fhir.Resource
	// Correction marks what is written only over an earlier result: where there
	// is none, there is nothing to correct.
	Correction bool
}

// Door is how a capability reads: FHIR requests as the system.
type Door struct{ profile.Reader }

// ID is the logical id of the result that a capability writes about a subject:
// always the same, so that a result replaces its predecessor.
func ID(capability, subject string) string {
	sum := sha256.Sum256([]byte(capability + "|" + subject))
	return hex.EncodeToString(sum[:16])
}

// Build is a created resource as the raw JSON that is stored.
func Build(created json.Marshaler) (fhir.Resource, error) {
	raw, err := created.MarshalJSON()
	if err != nil {
		return fhir.Resource{}, err
	}
	return fhir.ParseResource(typeFirst(raw), fhir.Limits{Bytes: 64 << 20, Tokens: 8 << 20})
}

// typeFirst moves resourceType from the end, where the models write it, to the
// front, where people look for it.
func typeFirst(raw []byte) []byte {
	const name = `,"resourceType":`
	at := bytes.LastIndex(raw, []byte(name))
	if at < 0 || bytes.IndexByte(raw[at:], '}') != len(raw)-at-1 {
		return raw
	}
	return slices.Concat([]byte("{"), raw[at+1:len(raw)-1], []byte(","), raw[1:at], []byte("}"))
}

// Meta is the meta of a result: the tag that says whose it is.
func Meta(capability string) *r4.Meta {
	return &r4.Meta{Tag: []r4.Coding{{System: new(Tag), Code: new(capability)}}}
}

// Concept is a CodeableConcept of one coding.
func Concept(system, version, code, display string) r4.CodeableConcept {
	c := r4.Coding{System: new(system), Code: new(code)}
	if version != "" {
		c.Version = new(version)
	}
	if display == "" {
		return r4.CodeableConcept{Coding: []r4.Coding{c}}
	}
	c.Display = new(display)
	return r4.CodeableConcept{Coding: []r4.Coding{c}, Text: new(display)}
}

// Reference is a literal reference.
func Reference(to string) r4.Reference { return r4.Reference{Reference: new(to)} }

// References are literal references.
func References(to []string) []r4.Reference {
	out := make([]r4.Reference, len(to))
	for i, one := range to {
		out[i] = Reference(one)
	}
	return out
}
