package fhirpath_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"candela/fhir/fhirpath"
)

// notCompiled are the invariants that are refused, and why.
var notCompiled = map[string]string{
	"cid-0": "the specification errs: ChargeItemDefinition has no element name",
	"txt-1": "htmlChecks() belongs to the validator's issue",
	"txt-2": "htmlChecks() belongs to the validator's issue",
}

// TestInvariantsCompile: every invariant of the base specification compiles on
// the element it is about.
func TestInvariantsCompile(t *testing.T) {
	f, err := os.Open(shared(t, "data", "definitions", "r4-types.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var types map[string]struct {
		Elements []struct {
			Path string
			Type []struct{ Code string }
			Inv  [][4]string
		}
	}
	if err := json.NewDecoder(z).Decode(&types); err != nil {
		t.Fatal(err)
	}
	model := spec(t)
	count := 0
	for _, typ := range types {
		for _, e := range typ.Elements {
			root := e.Path
			if len(e.Type) == 1 && e.Type[0].Code != "BackboneElement" && e.Type[0].Code != "Element" {
				root = e.Type[0].Code
			}
			if !model.IsA(root, "Element") && !model.IsA(root, "Resource") {
				root = "" // a choice or a content reference: known at run time
			}
			for _, inv := range e.Inv {
				count++
				_, err := fhirpath.Compile(inv[2], root, model)
				if refused := notCompiled[inv[0]] != ""; (err != nil) != refused {
					t.Errorf("%s on %s: %s\n\t%v", inv[0], root, inv[2], err)
				}
			}
		}
	}
	if count < 200 {
		t.Errorf("only %d invariants", count)
	}
}
