package interaction_test

import (
	"context"
	"io/fs"
	"testing"
	"time"

	"candela/conformance"
	"candela/conformance/script"
)

// ofLayers are the scripts about layers around the engine; they run against
// whole servers only (cmd/app).
var ofLayers = map[string]bool{"audit.txtar": true}

// TestScripts runs every conformance script of the engine; its name carries the
// number of the item of the list of semantics that it proves.
func TestScripts(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	all, err := conformance.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(all, "*.txtar")
	if err != nil || len(names) < 10 {
		t.Fatalf("found %d scripts: %v", len(names), err)
	}
	for _, name := range names {
		if ofLayers[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := fs.ReadFile(all, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := (script.Runner{Base: s.base, Model: s.spec}).Run(context.Background(), text); err != nil {
				t.Error(err)
			}
		})
	}
}
