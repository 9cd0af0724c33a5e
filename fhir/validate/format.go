package validate

import (
	"bytes"
	"strconv"

	"candela/fhir"

	"github.com/go-json-experiment/json/jsontext"
)

// format checks the JSON kind and the text form of a primitive's value (R4
// datatypes.html) and says what is wrong with it, "" when nothing is.
type format func(n fhir.Node) (problem string)

// formatOf is the format of a primitive type. The text forms are the regular
// expressions of the specification, read by hand.
func formatOf(primitive string) format {
	switch primitive {
	case "boolean":
		return boolean
	case "decimal":
		return decimal
	case "integer":
		return integer(-1 << 31)
	case "unsignedInt":
		return integer(0)
	case "positiveInt":
		return integer(1)
	case "date":
		return text(isDate, "not a date: expected YYYY, YYYY-MM or YYYY-MM-DD")
	case "dateTime":
		return text(isDateTime, "not a dateTime: expected YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with Z or an offset")
	case "instant":
		return text(isInstant, "not an instant: expected YYYY-MM-DDThh:mm:ss with Z or an offset")
	case "time":
		return text(isTime, "not a time: expected hh:mm:ss")
	default:
		return wordFormat(primitive)
	}
}

func wordFormat(primitive string) format {
	switch primitive {
	case "code":
		return text(isCode, "not a code: no white space at the ends, and only single spaces inside")
	case "id":
		return text(isID, "not an id: expected 1 to 64 characters of A-Z a-z 0-9 - and .")
	case "uri", "url", "canonical":
		return text(isURI, "not a "+primitive+": it must have no white space")
	case "oid":
		return text(isOID, "not an oid: expected urn:oid: and numbers with dots")
	case "uuid":
		return text(isUUID, "not a uuid: expected urn:uuid: and 32 hexadecimal digits in lower case, grouped 8-4-4-4-12")
	case "base64Binary":
		return text(isBase64, "not base64: expected groups of four characters of A-Z a-z 0-9 + / with = only at the end")
	case "xhtml":
		return text(isXHTML, "not XHTML: expected one div element")
	default:
		return text(isText, "a text must have no control characters but tab, line feed and carriage return")
	}
}

// text is the format of a JSON string whose value fits.
func text(fits func(value []byte) bool, problem string) format {
	return func(n fhir.Node) string {
		if n.Kind() != fhir.String {
			return kindMessage("string", n)
		}
		value := n.Raw()
		if bytes.IndexByte(value, '\\') >= 0 {
			value = unquoted(value)
		} else {
			value = value[1 : len(value)-1]
		}
		switch {
		case len(value) == 0:
			return "a string must not be empty"
		case !fits(value):
			return problem
		default:
			return ""
		}
	}
}

func unquoted(literal []byte) []byte {
	value, err := jsontext.AppendUnquote(nil, literal)
	if err != nil { // a parsed literal always unquotes
		return nil
	}
	return value
}

// kindMessage says which JSON kind was expected and which is there.
func kindMessage(want string, n fhir.Node) string {
	got := map[fhir.Kind]string{
		fhir.Object: "an object", fhir.Array: "an array", fhir.String: "a string", fhir.Number: "a number",
		fhir.True: "a boolean", fhir.False: "a boolean", fhir.Null: "null",
	}[n.Kind()]
	return "expected a JSON " + want + ", not " + got
}

func boolean(n fhir.Node) string {
	if k := n.Kind(); k != fhir.True && k != fhir.False {
		return kindMessage("boolean", n)
	}
	return ""
}

func decimal(n fhir.Node) string {
	if n.Kind() != fhir.Number {
		return kindMessage("number", n)
	}
	return ""
}

// integer is the format of 32-bit integers from least upwards.
func integer(least int64) format {
	problem := "not an integer from " + strconv.FormatInt(least, 10) + " to 2147483647, without fraction or exponent"
	return func(n fhir.Node) string {
		if n.Kind() != fhir.Number {
			return kindMessage("number", n)
		}
		literal := n.Raw()
		if len(literal) > 11 {
			return problem
		}
		v, err := strconv.ParseInt(string(literal), 10, 64)
		if err != nil || v < least || v > 1<<31-1 {
			return problem
		}
		return ""
	}
}
