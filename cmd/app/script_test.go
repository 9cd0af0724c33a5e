package app_test

import (
	"context"
	"io/fs"
	"testing"

	"candela/cmd/app"
	"candela/conformance"
	"candela/conformance/script"
	"candela/fhir/r4"
)

// TestScripts runs every conformance script against a whole server on each
// store, as it is by default; its name carries the number of the item that it proves.
func TestScripts(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	all, err := conformance.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(all, "*.txtar")
	if err != nil || len(names) < 10 {
		t.Fatalf("found %d scripts: %v", len(names), err)
	}
	onBothRecorded(t, func(t *testing.T, s *app.Server) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				text, err := fs.ReadFile(all, name)
				if err != nil {
					t.Fatal(err)
				}
				if err := (script.Runner{Base: s.Base, Model: spec}).Run(context.Background(), text); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
