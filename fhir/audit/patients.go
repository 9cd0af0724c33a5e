package audit

import (
	"bytes"
	"slices"
	"strings"

	"candela/fhir"
)

// patientsIn adds the ids of all Patients that JSON names: every string that is a
// reference to one, relative or below base, with a version or without, also as
// the fullUrl of an entry. That is more than the patient compartment, which knows
// some elements of some types: whoever got the data got to know of them. It reads
// bytes, which costs a hundredth of what parsing does.
func patientsIn(ids []string, raw []byte, base string) []string {
	if bytes.Contains(raw, []byte(`\/`)) || bytes.Contains(raw, []byte(`\u`)) {
		return patientsEscaped(ids, raw, base)
	}
	const name = "Patient/"
	for at := 0; ; {
		next := bytes.Index(raw[at:], []byte(name))
		if next < 0 {
			return ids
		}
		from := at + next
		at = from + len(name)
		if from > 0 && (raw[from-1] == '"' || raw[from-1] == '/' && quoted(raw[:from-1], base)) {
			ids = addID(ids, raw[at:])
		}
	}
}

// quoted says whether raw ends with a quote and base.
func quoted(raw []byte, base string) bool {
	rest, ok := bytes.CutSuffix(raw, []byte(base))
	return ok && len(rest) > 0 && rest[len(rest)-1] == '"'
}

// addID adds the id that text begins with, if nothing but a version follows.
func addID(ids []string, text []byte) []string {
	n := 0
	for n < len(text) && n <= 64 && text[n] != '"' && text[n] != '/' {
		n++
	}
	if n == len(text) || !fhir.ValidID(string(text[:n])) {
		return ids
	}
	if text[n] == '/' {
		version, ok := bytes.CutPrefix(text[n:], []byte("/_history/"))
		end := bytes.IndexByte(version, '"')
		if !ok || end < 0 || end > 64 || !fhir.ValidID(string(version[:end])) {
			return ids
		}
	}
	return addPatient(ids, string(text[:n]))
}

// addPatient adds an id unless it was among the last ones: neighbours are often of
// one patient. What is twice all the same, record.about takes out.
func addPatient(ids []string, id string) []string {
	if id == "" || slices.Contains(ids[max(0, len(ids)-8):], id) {
		return ids
	}
	return append(ids, id)
}

// patientsEscaped is patientsIn where text may hide behind escapes.
func patientsEscaped(ids []string, raw []byte, base string) []string {
	for _, n := range fhir.Stored(raw).Root().Strings() {
		s := strings.TrimPrefix(n.Text(), base+"/")
		if id, ok := strings.CutPrefix(s, "Patient/"); ok && len(id) <= 160 {
			ids = addID(ids, append([]byte(id), '"'))
		}
	}
	return ids
}
