// Package r4 is the FHIR R4 (4.0.1) base specification as data: types and their
// elements, search parameters, compartments, the codes of required bindings and
// the case rule of code systems.
//
// It knows the published definitions and nothing else: no JSON of resources, no
// search, no store; it imports nothing of ours. The embedded files are made from
// HL7's npm package by the command in the folder generate.
package r4

//go:generate go run ./generate -out .
