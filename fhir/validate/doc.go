// Package validate says what is wrong with a resource. Its first part, the
// structure check, runs on every write: known elements, arrays where the
// specification has arrays, JSON kinds, formats of primitives, required
// elements and required codes.
//
// It knows the element tables of fhir/r4 and walks raw JSON. It must not know
// any store, any request or any resource type by name, and no diagnostics of
// it repeat content of a resource.
package validate
