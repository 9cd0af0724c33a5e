// Package patch changes a resource by a patch document: JSON Patch (RFC 6902),
// JSON Merge Patch (RFC 7396) and FHIRPath Patch (FHIR R4, fhirpatch.html).
//
// It knows the three languages and how FHIR elements are written as JSON. It
// works on the raw text: what a patch does not name stays byte for byte. It must
// not know any store, HTTP, any resource type by name, nor whether the outcome
// is a valid resource: the caller validates it.
package patch

import (
	"bytes"
	"errors"
	"fmt"
	"mime"

	"candela/fhir"
	"candela/fhir/fhirpath"
)

// The media types of the three languages. A FHIRPath Patch is a Parameters
// resource and comes as FHIR's own JSON.
const (
	JSON  = "application/json-patch+json"
	Merge = "application/merge-patch+json"
	FHIR  = "application/fhir+json"
)

// Limits of one patch. Nobody who writes a patch by hand or by program meets
// them; they keep a hostile one from costing more than a fraction of a second.
const (
	maxOperations = 10_000   // operations of one patch
	maxSteps      = 128      // steps of one JSON Pointer; resources are at most 64 deep
	maxWork       = 1 << 24  // members and elements compared; four moved count as one
	maxCopied     = 10 << 20 // bytes that copy operations make: the size of the largest resource
	maxReread     = 64 << 20 // bytes that the paths of a FHIRPath Patch look at and that are read again between its operations
	maxPath       = 4 << 10  // bytes of one FHIRPath expression
)

// Model is what a FHIRPath Patch must know of the FHIR types beyond what
// evaluating a path needs.
type Model interface {
	fhirpath.Model
	// Many says whether element name of type typ repeats, so that it is written
	// as a JSON array.
	Many(typ, name string) bool
}

// Apply gives the resource as the patch makes it, or an error and no change at
// all; res itself stays as it is. mediaType says the language of body, and may
// have parameters. A patch that changes nothing gives res back.
//
// JSON Patch and Merge Patch speak of the JSON text and are taken at their word;
// a FHIRPath Patch speaks of elements, so that the values, ids and extensions of
// a primitive are kept together and what gets empty goes.
//
// Errors are *fhir.Error: 415 another language; 400 the patch is malformed; 413
// it costs too much; 422 it does not fit the resource, a test failed, or it
// would change resourceType or id. They name the operation by its position,
// counted from 0, and never quote the resource.
func Apply(res fhir.Resource, mediaType string, body []byte, model Model) (fhir.Resource, error) {
	language, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		language = ""
	}
	var raw []byte
	switch language {
	case JSON:
		raw, err = jsonPatch(res, body)
	case Merge:
		raw, err = mergePatch(res, body)
	case FHIR, "application/json":
		raw, err = pathPatch(res, body, model)
	default:
		return fhir.Resource{}, fhir.Errorf(415, fhir.CodeNotSupported, "a patch is %s, %s or, as Parameters, %s", JSON, Merge, FHIR)
	}
	if err != nil {
		return fhir.Resource{}, err
	}
	return outcome(res, raw)
}

// outcome reads what came out, and refuses another resource.
func outcome(before fhir.Resource, raw []byte) (fhir.Resource, error) {
	if bytes.Equal(raw, before.Raw()) {
		return before, nil
	}
	tree, err := fhir.ParseTree(raw, fhir.Limits{})
	if err != nil {
		return fhir.Resource{}, unfit(err, "the patched resource: ")
	}
	root := tree.Root()
	if root.Kind() != fhir.Object {
		return fhir.Resource{}, fhir.Errorf(422, fhir.CodeStructure, "the patch leaves no resource but another JSON value")
	}
	for _, fixed := range [...]string{"resourceType", "id"} {
		was, is := before.Root().Get(fixed), root.Get(fixed)
		if was.Kind() != is.Kind() || was.Text() != is.Text() {
			return fhir.Resource{}, fhir.Errorf(422, fhir.CodeValue, "a patch can't change %s", fixed).At(fixed)
		}
	}
	return fhir.ResourceOf(tree)
}

// unfit is an error with prefix before its text; a 400 about what the patch
// made is a 422, since the patch itself was well-formed.
func unfit(err error, prefix string) error {
	var own *fhir.Error
	if !errors.As(err, &own) {
		return err
	}
	out := fhir.Errorf(own.Status, own.Issues[0].Code, "%s%s", prefix, own.Issues[0].Diagnostics).At(own.Issues[0].Expression)
	if out.Status == 400 {
		out.Status = 422
	}
	return out
}

// operation names one operation of a patch in errors.
type operation struct {
	index int
	name  string
}

func (o operation) String() string {
	if o.name == "" {
		return fmt.Sprintf("operation %d", o.index)
	}
	return fmt.Sprintf("operation %d (%s)", o.index, o.name)
}

func (o operation) refuse(status int, code, format string, args ...any) error {
	return fhir.Errorf(status, code, "%s: %s", o, fmt.Sprintf(format, args...))
}

// tooCostly is the refusal of a patch that runs into a limit.
func (o operation) tooCostly() error {
	return o.refuse(413, fhir.CodeTooCostly, "the patch costs too much; write the resource whole instead")
}
