// Package fhir is Candela's vocabulary: what a resource, a request and an error
// are. Everything else in the product speaks these words.
//
// It knows FHIR's JSON form, its RESTful grammar and its status codes. It must
// not know any store, any HTTP framework, any element table or any resource
// type by name; it imports nothing of ours.
package fhir
