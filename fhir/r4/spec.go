package r4

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"sync"
)

//go:embed *.json.gz
var files embed.FS

// Spec is the specification. It is read-only and safe for concurrent use; what
// its methods return must not be changed.
type Spec struct {
	types        map[string]*Type
	resources    []string
	search       []SearchParameter
	compartments map[string]map[string][]string
	codes        map[string]*CodeSet
	caseRule     map[string]bool
	owners       map[string]Ownership
}

var load = sync.OnceValues(read)

// Load gives the embedded specification; it is parsed at the first call (a few
// milliseconds). An error means that the binary was built from damaged files.
func Load() (*Spec, error) { return load() }

func read() (*Spec, error) {
	s := &Spec{}
	parts := []func() error{s.readTypes, s.readSearch, s.readRest}
	errs := make([]error, len(parts))
	var wait sync.WaitGroup
	for i, part := range parts {
		wait.Go(func() { errs[i] = part() })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Spec) readSearch() error { return unpack("search-parameters", &s.search) }

func (s *Spec) readRest() error {
	if err := unpack("compartments", &s.compartments); err != nil {
		return err
	}
	if err := s.readCodes(); err != nil {
		return err
	}
	s.ownerships()
	return s.readCaseRule()
}

// unpack decodes one embedded file into v.
func unpack(name string, v any) error {
	packed, err := files.ReadFile(name + ".json.gz")
	if err != nil {
		return fmt.Errorf("r4: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("r4: %s: %w", name, err)
	}
	if err := json.NewDecoder(z).Decode(v); err != nil {
		return fmt.Errorf("r4: %s: %w", name, err)
	}
	return nil
}

// Compartment maps each resource type of the compartment ("Patient", "Encounter",
// "Device", "Practitioner", "RelatedPerson") to the codes of the search
// parameters that tie it to the compartment's owner. nil: no such compartment.
func (s *Spec) Compartment(code string) map[string][]string { return s.compartments[code] }
