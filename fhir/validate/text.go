package validate

import (
	"bytes"

	"candela/fhir"
)

// isText is [ \r\n\t\S]+ and no other control character.
func isText(s []byte) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// isCode is the form [^\s]+(\s[^\s]+)* of the specification.
func isCode(s []byte) bool {
	gap := true // at the start, or behind a white space
	for _, c := range s {
		white := isWhite(c)
		if white && gap || c < ' ' && !white {
			return false
		}
		gap = white
	}
	return !gap
}

func isWhite(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isID(s []byte) bool {
	return len(s) <= 64 && fhir.ValidID(string(s))
}

// isURI is the form \S* of the specification.
func isURI(s []byte) bool {
	for _, c := range s {
		if c <= ' ' {
			return false
		}
	}
	return true
}

// isOID is urn:oid: and the form [0-2](\.(0|[1-9][0-9]*))+ of the specification.
func isOID(s []byte) bool {
	rest, ok := bytes.CutPrefix(s, []byte("urn:oid:"))
	if !ok || len(rest) < 3 || rest[0] < '0' || rest[0] > '2' || rest[1] != '.' {
		return false
	}
	for arc := range bytes.SplitSeq(rest[2:], []byte(".")) {
		if len(arc) == 0 || arc[0] == '0' && len(arc) > 1 || !all(arc, isDigit) {
			return false
		}
	}
	return true
}

// isUUID is urn:uuid: and hexadecimal digits in lower case, 8-4-4-4-12.
func isUUID(s []byte) bool {
	rest, ok := bytes.CutPrefix(s, []byte("urn:uuid:"))
	if !ok || len(rest) != 36 {
		return false
	}
	for i, c := range rest {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func all(s []byte, fits func(byte) bool) bool {
	for _, c := range s {
		if !fits(c) {
			return false
		}
	}
	return true
}

// isBase64 lets white space pass anywhere, as published examples have it.
func isBase64(s []byte) bool {
	count, padding := 0, 0
	for _, c := range s {
		switch {
		case isWhite(c):
			continue
		case c == '=':
			padding++
		case padding > 0, (c|0x20 < 'a' || c|0x20 > 'z') && !isDigit(c) && c != '+' && c != '/':
			return false
		}
		count++
	}
	return count > 0 && count%4 == 0 && padding <= 2
}

// isXHTML looks at the outermost element only; what a div may contain is the
// question of those who show it.
func isXHTML(s []byte) bool {
	s = bytes.TrimSpace(s)
	rest, ok := bytes.CutPrefix(s, []byte("<div"))
	if !ok || len(rest) == 0 || !isWhite(rest[0]) && rest[0] != '>' && rest[0] != '/' {
		return false
	}
	return isText(s) && (bytes.HasSuffix(s, []byte("</div>")) || bytes.HasSuffix(s, []byte("/>")))
}

func isDate(s []byte) bool {
	d, err := fhir.ParseDate(string(s), nil)
	return err == nil && d.Precision <= fhir.Day
}

func isDateTime(s []byte) bool {
	d, err := fhir.ParseDate(string(s), nil)
	return err == nil && (d.Precision <= fhir.Day || d.Precision >= fhir.Second && d.Zoned)
}

func isInstant(s []byte) bool {
	d, err := fhir.ParseDate(string(s), nil)
	return err == nil && d.Precision >= fhir.Second && d.Zoned
}

func isTime(s []byte) bool {
	_, _, err := fhir.ParseTime(string(s))
	return err == nil
}
