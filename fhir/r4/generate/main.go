// Command generate boils the published R4 definitions down to the facts that
// fhir/r4 embeds: element tables, search parameters, compartments, the codes of
// required bindings and the case rule of code systems.
//
// It knows the layout of HL7's definition files. It must not know what the
// server does with the facts. Same package, same bytes: a second run changes
// nothing.
//
//	go generate ./fhir/r4
//
// The definitions come from the npm package named below, fetched once by the
// ordinary npm client into the user's cache folder.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	out := flag.String("out", ".", "folder of the embedded files")
	cache := flag.String("cache", "", "folder that keeps the npm package (default: the user's cache folder)")
	flag.Parse()
	if err := run(context.Background(), *out, *cache); err != nil {
		log.Fatal("generate: ", err)
	}
}

func run(ctx context.Context, out, cache string) error {
	file, err := obtain(ctx, cache)
	if err != nil {
		return err
	}
	defs, err := readDefinitions(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	types, err := typeFacts(defs.structures)
	if err != nil {
		return err
	}
	facts := map[string]any{
		"types":             types,
		"search-parameters": searchFacts(defs.search),
		"compartments":      compartmentFacts(defs.compartments),
		"value-sets":        valueSetFacts(types, defs),
		"code-systems":      caseFacts(defs.systems),
	}
	for name, fact := range facts {
		if err := write(filepath.Join(out, name+".json.gz"), fact); err != nil {
			return err
		}
	}
	return nil
}

// write stores v as gzipped JSON with one array element or map entry per line,
// so that a change of the facts can be read with zdiff. The gzip header carries
// neither name nor time.
func write(path string, v any) error {
	var plain bytes.Buffer
	if err := encodeLines(&plain, v); err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	log.Printf("%-28s %8d bytes, %7d packed", filepath.Base(path), plain.Len(), packed.Len())
	return os.WriteFile(path, packed.Bytes(), 0o644)
}

func encodeLines(w *bytes.Buffer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	rows, isList := v.(interface{ rows() []any })
	if !isList {
		return enc.Encode(v)
	}
	for i, row := range rows.rows() {
		w.WriteByte("[,"[min(i, 1)])
		if err := enc.Encode(row); err != nil {
			return err
		}
	}
	w.WriteString("]\n")
	return nil
}
