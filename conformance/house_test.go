package conformance_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the import table of the architecture: a room and the rooms of
// ours it may import. A pattern ending in "/..." covers the room and all below.
var mayImport = map[string][]string{
	"store":                      {},
	"fhir":                       {},
	"fhir/r4":                    {},
	"fhir/r4/generate":           {},
	"store/body":                 {},
	"store/body/train":           {},
	"store/plan":                 {"store"},
	"store/turn":                 {},
	"store/vault":                {},
	"store/embedded":             {"store", "store/plan", "store/body", "store/vault", "store/embedded/cipherfs", "store/embedded/sets"},
	"store/embedded/cipherfs":    {"store/vault"},
	"store/embedded/sets":        {"store", "store/plan"},
	"store/mongo":                {"store", "store/plan", "store/body", "store/turn"},
	"store/mongo/mongotest":      {},
	"store/storetest":            {"store"},
	"fhir/fhirpath":              {"fhir", "fhir/fhirpath/syntax", "fhir/fhirpath/system"},
	"fhir/fhirpath/syntax":       {"fhir"},
	"fhir/fhirpath/system":       {"fhir", "fhir/fhirpath/syntax", "fhir/fhirpath/ucum"},
	"fhir/fhirpath/ucum":         {},
	"fhir/rest":                  {"fhir"},
	"fhir/audit":                 {"fhir", "fhir/audit/journal", "store"},
	"fhir/audit/journal":         {"store"},
	"fhir/patch":                 {"fhir", "fhir/fhirpath"},
	"fhir/search":                {"fhir", "fhir/r4", "fhir/fhirpath", "fhir/fhirpath/ucum", "fhir/search/grammar", "fhir/search/phonetic", "store"},
	"fhir/search/grammar":        {"fhir"},
	"fhir/search/phonetic":       {},
	"fhir/validate":              {"fhir", "fhir/r4", "fhir/fhirpath", "fhir/terminology"},
	"fhir/interaction":           {"fhir", "fhir/search", "fhir/validate", "fhir/patch", "fhir/terminology", "store", "store/turn", "fhir/interaction/contained", "fhir/interaction/door", "fhir/interaction/link", "fhir/interaction/page", "fhir/interaction/reach", "fhir/interaction/subset", "fhir/operation", "fhir/operation/erase"},
	"fhir/interaction/contained": {"fhir", "fhir/search", "store"},
	"fhir/interaction/door":      {"fhir"},
	"fhir/interaction/link":      {"fhir"},
	"fhir/interaction/page":      {"fhir", "store"},
	"fhir/interaction/reach":     {"fhir", "fhir/r4", "fhir/search", "store"},
	"fhir/interaction/subset":    {"fhir", "fhir/r4"},
	"fhir/operation":             {"fhir", "fhir/audit", "fhir/r4", "fhir/search", "fhir/interaction/page", "fhir/operation/erase", "store"},
	"fhir/operation/erase":       {"fhir", "fhir/audit", "fhir/search", "store"},
	"fhir/index":                 {"fhir", "fhir/bulk", "fhir/search", "store"},
	"fhir/linking":               {"fhir", "fhir/r4", "fhir/search", "store"},
	"fhir/bulk":                  {"fhir", "fhir/search", "fhir/validate", "store"},
	"conformance":                {"fhir", "fhir/fhirpath", "fhir/r4", "fhir/search", "fhir/operation"},
	"conformance/clients":        {},
	"conformance/script":         {"fhir", "fhir/fhirpath", "fhir/r4"},
	"analytics/model":            {"fhir"},
	"analytics/model/generate":   {},
	"analytics/profile":          {"fhir", "analytics/model"},
	"analytics":                  {"fhir", "store", "analytics/model", "analytics/profile"},
	"analytics/risk":             {"fhir", "analytics", "analytics/model", "analytics/profile"},
	"analytics/segment":          {"fhir", "analytics", "analytics/model", "analytics/profile"},
	"smart/account":              {"fhir", "store", "smart/scope"},
	"smart/authorize":            {"fhir", "store", "smart/scope", "smart/client", "smart/account", "smart/token", "smart/authorize/page"},
	"smart/authorize/directory":  {"fhir", "store", "smart/authorize"},
	"smart/authorize/page":       {"smart/scope"},
	"smart/client":               {"fhir", "store", "smart/scope"},
	"smart/egress":               {},
	"smart/guard":                {"fhir", "fhir/r4", "store", "smart/scope", "smart/client", "smart/account", "smart/token"},
	"smart/scope":                {"fhir"},
	"smart/token":                {"fhir", "store", "smart/scope"},
	"cmd/demo":                   {"fhir"},
	"cmd/app":                    {"..."},
	"cmd/candela":                {"..."},
}

// onlyIn are libraries that stay in the rooms named.
var onlyIn = map[string][]string{
	"github.com/gin-gonic/gin":         {"fhir/rest", "cmd/app"},
	"go.mongodb.org/mongo-driver":      {"store/mongo", "store/mongo/mongotest"},
	"github.com/cockroachdb/pebble":    {"store/embedded", "store/embedded/cipherfs"},
	"github.com/samply/golang-fhir-m":  {"analytics", "analytics/risk", "analytics/segment", "conformance", "cmd/demo", "fhir/audit"},
	"github.com/google/uuid":           {"cmd/app"},
	"github.com/coreos/go-oidc":        {"smart/token", "smart/account"},
	"github.com/RoaringBitmap/roaring": {"store/embedded/sets"},
	"github.com/transparency-dev":      {"fhir/audit/journal"},
}

type room struct {
	ImportPath string
	Imports    []string
}

// TestHouse keeps the import table: who may import whom, and which library
// lives where.
func TestHouse(t *testing.T) {
	rooms := list(t)
	if len(rooms) < 10 {
		t.Fatalf("go list sees %d packages; the house has more", len(rooms))
	}
	for _, r := range rooms {
		name := strings.TrimPrefix(r.ImportPath, "candela/")
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s is in no row of the import table", name)
			continue
		}
		for _, imp := range r.Imports {
			checkImport(t, name, imp, allowed)
		}
	}
}

func checkImport(t *testing.T, name, imp string, allowed []string) {
	t.Helper()
	if own, ok := strings.CutPrefix(imp, "candela/"); ok {
		if !slices.Contains(allowed, "...") && !slices.Contains(allowed, own) {
			t.Errorf("%s imports %s; the table allows %v", name, own, allowed)
		}
		return
	}
	for library, homes := range onlyIn {
		if strings.HasPrefix(imp, library) && !slices.Contains(homes, name) {
			t.Errorf("%s imports %s, which lives in %v", name, imp, homes)
		}
	}
}

func list(t *testing.T) []room {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "candela/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var rooms []room
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var r room
		if err := dec.Decode(&r); err == io.EOF {
			return rooms
		} else if err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, r)
	}
}
