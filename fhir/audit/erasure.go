package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	r4 "github.com/samply/golang-fhir-models/fhir-models/fhir"

	"candela/fhir"
)

// The code systems of the records.
const (
	eventType  = "http://terminology.hl7.org/CodeSystem/audit-event-type"
	restful    = "http://hl7.org/fhir/restful-interaction"
	entityType = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	objectRole = "http://terminology.hl7.org/CodeSystem/object-role"
	lifecycle  = "http://terminology.hl7.org/CodeSystem/dicom-audit-lifecycle"
	sourceType = "http://terminology.hl7.org/CodeSystem/security-source-type"
	dicom      = "http://dicom.nema.org/resources/ontology/DCM"
	actReason  = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	balpEntity = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
)

// Erased is what one commit of an erasure took away for good.
type Erased struct {
	Request fhir.Request // what asked for it: Type and ID, operation, caller, request id
	At      time.Time
	Counts  map[string]int // resources by type
	Reason  string         // as the caller wrote it; "" for none
}

// Erasure is the record of it: an AuditEvent about the patient.
func Erasure(e Erased) (fhir.Resource, error) {
	told := make([]string, 0, len(e.Counts))
	detail := make([]r4.AuditEventEntityDetail, 0, len(e.Counts))
	for _, t := range slices.Sorted(maps.Keys(e.Counts)) {
		n := strconv.Itoa(e.Counts[t])
		told = append(told, n+" "+t)
		detail = append(detail, r4.AuditEventEntityDetail{Type: t, ValueString: n})
	}
	r := e.Request
	return build(r4.AuditEvent{
		Type:           coding(eventType, "rest", "RESTful Operation"),
		Subtype:        []r4.Coding{coding(restful, "operation", "operation"), {Code: new("$" + r.Operation)}},
		Action:         new(r4.AuditEventActionD),
		Recorded:       e.At.UTC().Format(fhir.InstantForm),
		Outcome:        new(r4.AuditEventOutcome0),
		OutcomeDesc:    new("erased for good, with all versions: " + strings.Join(told, ", ")),
		PurposeOfEvent: purpose(r.Caller, e.Reason),
		Agent:          []r4.AuditEventAgent{agent(r.Caller)},
		Source:         source(r.Base),
		Entity: append([]r4.AuditEventEntity{{
			What:      &r4.Reference{Reference: new(r.Type + "/" + r.ID)},
			Type:      new(coding(entityType, "1", "Person")),
			Role:      new(coding(objectRole, "1", "Patient")),
			Lifecycle: new(coding(lifecycle, "15", "Permanent erasure / Physical destruction")),
			Detail:    detail,
		}}, transaction(r.RequestID)...),
	})
}

func coding(system, code, display string) r4.Coding {
	return r4.Coding{System: new(system), Code: new(code), Display: new(display)}
}

func purpose(c fhir.Caller, reason string) (out []r4.CodeableConcept) {
	for _, code := range c.Purpose {
		out = append(out, r4.CodeableConcept{Coding: []r4.Coding{{System: new(actReason), Code: new(code)}}})
	}
	if reason != "" {
		out = append(out, r4.CodeableConcept{Text: &reason})
	}
	return out
}

// agent is who asked: the person where one is known, and their client.
func agent(c fhir.Caller) r4.AuditEventAgent {
	out := r4.AuditEventAgent{Type: &r4.CodeableConcept{Coding: []r4.Coding{coding(dicom, "110150", "Application")}}, Requestor: true}
	switch {
	case c.User != (fhir.Reference{}):
		out.Who = &r4.Reference{Reference: new(c.User.Type + "/" + c.User.ID)}
	case c.Client != "":
		out.Who = &r4.Reference{Identifier: &r4.Identifier{Value: new(c.Client)}}
	}
	if c.Name != "" {
		out.Name = &c.Name
	}
	if c.Token != "" {
		out.Policy = []string{"urn:ietf:params:oauth:jti:" + c.Token}
	}
	if c.Address != "" {
		out.Network = &r4.AuditEventAgentNetwork{Address: &c.Address, Type: new(r4.AuditEventAgentNetworkType2)}
	}
	return out
}

func source(base string) r4.AuditEventSource {
	return r4.AuditEventSource{
		Site: &base, Observer: r4.Reference{Display: new("Candela FHIR server")}, Type: []r4.Coding{coding(sourceType, "4", "Application Server")},
	}
}

// transaction is the X-Request-Id that the request came with or was given.
func transaction(id string) []r4.AuditEventEntity {
	if id == "" {
		return nil
	}
	return []r4.AuditEventEntity{{
		What: &r4.Reference{Identifier: &r4.Identifier{Value: &id}}, Type: &r4.Coding{System: new(balpEntity), Code: new("XrequestId")},
	}}
}

// noBytes is what the typed model writes for the value of a detail that is a
// string; FHIR allows one of both. Inside a JSON string its quotes would be escaped.
var noBytes = []byte(`,"valueBase64Binary":""`)

func build(event r4.AuditEvent) (fhir.Resource, error) {
	raw, err := json.Marshal(event)
	if err != nil {
		return fhir.Resource{}, err
	}
	return fhir.ParseResource(bytes.ReplaceAll(raw, noBytes, nil), fhir.DefaultLimits())
}
