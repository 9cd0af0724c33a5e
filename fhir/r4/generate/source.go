package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// The package holds every definition of FHIR R4 4.0.1 (licence CC0-1.0).
const (
	npmPackage = "hl7.fhir.r4.examples@4.0.1"
	npmFile    = "hl7.fhir.r4.examples-4.0.1.tgz"
	npmSHA256  = "dce87f1b5b9341867033f7d1f544fa1b5232503f6d62813887ac6b8a8b6cb682"
)

// obtain gives the path of the npm package, fetching it when it is not there yet.
func obtain(ctx context.Context, cache string) (string, error) {
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(base, "candela", "npm")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(cache, npmFile)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		pack := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", cache, npmPackage)
		pack.Stderr = os.Stderr
		if err := pack.Run(); err != nil {
			return "", fmt.Errorf("npm pack %s: %w", npmPackage, err)
		}
	}
	return file, verify(file)
}

func verify(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != npmSHA256 {
		return fmt.Errorf("%s has SHA-256 %s, not that of %s; remove it and run again", file, got, npmPackage)
	}
	return nil
}

type definitions struct {
	structures   []structure
	search       []searchParameter
	compartments []compartment
	valueSets    map[string]valueSet
	systems      map[string]codeSystem
	published    map[string]valueSet // HL7's own expansions
}

// readDefinitions reads the JSON files of the package's top folder.
func readDefinitions(file string) (*definitions, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defs := &definitions{valueSets: map[string]valueSet{}, systems: map[string]codeSystem{}, published: map[string]valueSet{}}
	archive := tar.NewReader(unzipped)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return defs, nil
		}
		if err != nil {
			return nil, err
		}
		if path.Dir(head.Name) != "package" || !strings.HasSuffix(head.Name, ".json") {
			continue
		}
		if err := defs.read(path.Base(head.Name), archive); err != nil {
			return nil, fmt.Errorf("%s: %w", head.Name, err)
		}
	}
}

// read takes one file in, chosen by its name's first word.
func (d *definitions) read(name string, r io.Reader) error {
	kind, _, _ := strings.Cut(name, "-")
	switch {
	case kind == "StructureDefinition":
		return add(r, func(s structure) { d.structures = append(d.structures, s) })
	case kind == "SearchParameter":
		return add(r, func(s searchParameter) { d.search = append(d.search, s) })
	case kind == "CompartmentDefinition":
		return add(r, func(c compartment) { d.compartments = append(d.compartments, c) })
	case kind == "ValueSet":
		return add(r, func(v valueSet) { d.valueSets[v.URL] = v })
	case kind == "CodeSystem":
		return add(r, func(c codeSystem) { d.systems[c.URL] = c })
	case name == "Bundle-valueset-expansions.json":
		return add(r, func(b expansions) {
			for _, e := range b.Entry {
				d.published[e.Resource.URL] = e.Resource
			}
		})
	}
	return nil
}

func add[T any](r io.Reader, keep func(T)) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var one T
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &one); err != nil {
		return err
	}
	keep(one)
	return nil
}
