// Package conformance says what this server can do (the CapabilityStatement,
// built from what is mounted) and holds the scripts that prove it.
//
// It knows the shape of a CapabilityStatement and the search registry. It must
// not know how an interaction is done.
package conformance

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"runtime/debug"
	"slices"
	"sync"

	"candela/fhir"
	"candela/fhir/operation"
	"candela/fhir/search"
)

//go:embed scripts/*.txtar
var scripts embed.FS

// Scripts are the conformance scripts, *.txtar at the top of the file system;
// package script runs them.
func Scripts() (fs.FS, error) { return fs.Sub(scripts, "scripts") }

// Statement is what a CapabilityStatement is made of.
type Statement struct {
	Software string // version of the server
	Search   *search.Registry
	Types    []string // resource types served, sorted
	// Operations are the operations served.
	Operations []operation.Operation
	// Instantiates are the canonical URLs of the capability statements of guides
	// that this server fulfils.
	Instantiates []string
	// Security says how callers are known; "" is that they are not.
	Security string
	// OAuth are the endpoints of the authorization server, which clients from before
	// smart-configuration look for here (SMART App Launch 1.0, "oauth-uris"); nil: none.
	OAuth []Endpoint
	// DeleteMany says that DELETE Type?criteria ends all that match.
	DeleteMany bool
	// Date is when this was built (FHIR dateTime); "" takes it from the binary.
	Date string
}

// Once is the answer to GET metadata, made at the first call of each base URL and
// again when search parameters were added or removed.
func (s Statement) Once() func(ctx context.Context, r fhir.Request) ([]byte, error) {
	var mu sync.Mutex
	made := map[string][]byte{}
	var of uint64 // the stamp of the parameters it was made of
	return func(ctx context.Context, r fhir.Request) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if stamp := s.Search.Stamp(); stamp != of {
			of = stamp
			clear(made)
		}
		if body, ok := made[r.Base]; ok {
			return body, nil
		}
		body, err := s.Answer(ctx, r)
		if err == nil {
			made[r.Base] = body
		}
		return body, err
	}
}

// Answer makes the CapabilityStatement as compact JSON.
func (s Statement) Answer(_ context.Context, r fhir.Request) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s.statement(r.Base)); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

func (s Statement) statement(base string) capabilityStatement {
	return capabilityStatement{
		ResourceType: "CapabilityStatement", Name: "Candela", Title: "Candela FHIR server", Status: "active", Date: s.date(), Kind: "instance",
		Publisher: "Candela", Description: "What this Candela server does, built from what it serves.",
		Instantiates: s.Instantiates, Software: software{"Candela", s.Software}, Implementation: implementation{"Candela FHIR R4 server", base},
		FHIRVersion: "4.0.1", Format: []string{"application/fhir+json", "json"},
		PatchFormat: []string{"application/fhir+json", "application/json-patch+json", "application/merge-patch+json"}, Rest: []rest{s.rest(base)},
	}
}

// documentation says what the other elements have no place for.
const documentation = "A write that changes nothing makes no version and answers with the present one. " +
	"If-Match works on update, patch and delete; If-Match: * updates only, If-None-Match: * creates only. " +
	"Patches may be conditional, and stand in Bundles as Parameters or as a Binary. " +
	"A transaction fails before it writes where one of its reads must fail. " +
	"X-Provenance goes with create, update and patch. Binary is read and written as it is unless FHIR JSON is asked for. " +
	"History takes _since, _at and _count; a patch stands in it as a PUT. " +
	"Reads, searches, histories and the answers to writes take _summary and _elements; _elements speaks of matches, Type.element of included resources too. " +
	"_explain=true, a parameter of this server, adds to a search how it was answered."

func (s Statement) date() string {
	if s.Date != "" {
		return s.Date
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, one := range info.Settings {
			if one.Key == "vcs.time" {
				return one.Value
			}
		}
	}
	return "2026-11-22"
}

func (s Statement) rest(base string) rest {
	out := rest{Mode: "server", Documentation: documentation, Interaction: codes("transaction", "batch", "search-system", "history-system")}
	out.Security.Description = s.Security
	out.Security.Cors = s.Security == "" // else metadata only
	if s.Security == "" {
		out.Security.Description = "No authorization: every caller that reaches this server may do everything. It listens on a loopback address only."
	}
	if len(s.OAuth) > 0 {
		out.Security.Extension = []oauth{{"http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", s.OAuth}}
		out.Security.Service = []concept{{[]coding{{"http://terminology.hl7.org/CodeSystem/restful-security-service", "SMART-on-FHIR", "SMART-on-FHIR"}}}}
	}
	for _, one := range s.Operations {
		if one.System {
			out.Operation = append(out.Operation, offer{one.Name, one.URL})
		}
	}
	pointers := s.pointers()
	for _, t := range s.Types {
		out.Resource = append(out.Resource, s.resource(t, pointers[t]))
		if len(s.Search.CompartmentTypes(t)) > 0 {
			out.Compartment = append(out.Compartment, "http://hl7.org/fhir/CompartmentDefinition/"+compartmentID(t))
		}
	}
	return out
}

// compartmentID is the id of the base definition: its type in lower case.
func compartmentID(t string) string {
	return string(bytes.ToLower([]byte(t)))
}

// pointers are the reference parameters that may point to each type, as
// "Type:code".
func (s Statement) pointers() map[string][]string {
	out := map[string][]string{}
	for _, t := range s.Types {
		for _, p := range s.Search.Params(t) {
			if p.Type != search.Reference || !p.Complete() {
				continue
			}
			for _, target := range p.Targets {
				out[target] = append(out[target], t+":"+p.Code)
			}
		}
	}
	return out
}

func (s Statement) resource(t string, pointedBy []string) resource {
	out := resource{
		Type: t, Profile: "http://hl7.org/fhir/StructureDefinition/" + t,
		Interaction: codes("read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"),
		Versioning:  "versioned", ReadHistory: true, UpdateCreate: true, ConditionalCreate: true, ConditionalRead: "full-support",
		ConditionalUpdate: true, ConditionalDelete: s.conditionalDelete(), ReferencePolicy: []string{"literal", "logical"}, SearchRevInclude: slices.Clone(pointedBy),
	}
	for _, one := range s.Operations {
		if one.Type == "" && (one.OnType || one.Instance) || one.Type == t {
			out.Operation = append(out.Operation, offer{one.Name, one.URL})
		}
	}
	for _, p := range s.Search.Params(t) {
		if !p.Complete() {
			continue
		}
		out.SearchParam = append(out.SearchParam, searchParam{p.Code, p.URL, string(p.Type)})
		if p.Type == search.Reference {
			out.SearchInclude = append(out.SearchInclude, t+":"+p.Code)
		}
	}
	for _, p := range s.Search.WordParams(t) {
		out.SearchParam = append(out.SearchParam, searchParam{p.Code, p.URL, string(p.Type)})
	}
	return out
}

func (s Statement) conditionalDelete() string {
	if s.DeleteMany {
		return "multiple"
	}
	return "single"
}

func codes(names ...string) []code {
	out := make([]code, len(names))
	for i, n := range names {
		out[i].Code = n
	}
	return out
}
