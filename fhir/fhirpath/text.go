package fhirpath

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"candela/fhir/fhirpath/system"
)

// texts: functions on one string.
func texts(name string) (function, bool) {
	switch name {
	case "indexOf", "lastIndexOf":
		return function{1, 1, onContext, givesInteger, false, indexOf}, true
	case "substring":
		return function{1, 2, onContext, givesString, false, substring}, true
	case "startsWith", "endsWith", "contains":
		return function{1, 1, onContext, givesBoolean, false, contains}, true
	case "upper", "lower", "trim":
		return function{0, 0, onContext, givesString, false, recase}, true
	case "replace":
		return function{2, 2, onContext, givesString, false, replace}, true
	case "matches", "matchesFull":
		return function{1, 1, onContext, givesBoolean, false, matches}, true
	case "replaceMatches":
		return function{2, 2, onContext, givesString, false, replaceMatches}, true
	case "length":
		return function{0, 0, onContext, givesInteger, false, length}, true
	case "toChars":
		return function{0, 0, onContext, givesString, false, toChars}, true
	case "split":
		return function{1, 1, onContext, givesString, false, split}, true
	case "join":
		return function{0, 1, onContext, givesString, false, join}, true
	}
	return function{}, false
}

// textInput is the one string a text function works on.
func (r *run) textInput(k *call, in []Item) (text string, ok bool, err error) {
	var v system.Value
	if ok, err = r.single(in, k.name+"()", &v); err != nil || !ok {
		return "", false, err
	}
	if v.Kind != system.KindString {
		return "", false, system.Errorf("%s() needs a string, got %s", k.name, v.Kind.Name())
	}
	return v.Text, true, r.chargeText(len(v.Text))
}

// textAndArg is textInput and the first argument.
func (r *run) textAndArg(k *call, this *Item, in []Item) (text, arg string, ok bool, err error) {
	text, ok, err = r.textInput(k, in)
	if err != nil || !ok {
		return "", "", false, err
	}
	arg, ok, err = r.textArg(k, this, 0)
	return text, arg, ok, err
}

func indexOf(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, part, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	at := strings.Index(text, part)
	if k.name == "lastIndexOf" {
		at = strings.LastIndex(text, part)
	}
	if at > 0 {
		at = utf8.RuneCountInString(text[:at])
	}
	return appendInt(out, at), nil
}

func substring(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, ok, err := r.textInput(k, in)
	if err != nil || !ok {
		return out, err
	}
	start, ok, err := r.intArg(k, this, 0)
	runes := []rune(text)
	if err != nil || !ok || start < 0 || start >= len(runes) {
		return out, err
	}
	runes = runes[start:]
	if len(k.args) == 2 {
		n, ok, err := r.intArg(k, this, 1)
		if err != nil {
			return out, err
		}
		if ok {
			runes = runes[:min(max(n, 0), len(runes))]
		}
	}
	return appendText(out, string(runes)), nil
}

func contains(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, part, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	does := strings.Contains
	switch k.name {
	case "startsWith":
		does = strings.HasPrefix
	case "endsWith":
		does = strings.HasSuffix
	}
	return appendBool(out, does(text, part)), nil
}

func recase(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	text, ok, err := r.textInput(k, in)
	if err != nil || !ok {
		return out, err
	}
	change := strings.TrimSpace
	switch k.name {
	case "upper":
		change = strings.ToUpper
	case "lower":
		change = strings.ToLower
	}
	return appendText(out, change(text)), nil
}

func replace(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, from, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	to, ok, err := r.textArg(k, this, 1)
	if err != nil || !ok {
		return out, err
	}
	if err := r.chargeText(strings.Count(text, from) * len(to)); err != nil {
		return out, err
	}
	return appendText(out, strings.ReplaceAll(text, from, to)), nil
}

// pattern is the regular expression of argument 0. A literal was compiled with
// the expression. The dot matches line ends too.
func (k *call) pattern(text string) (*pattern, error) {
	if k.regex != nil {
		return k.regex, nil
	}
	return compilePattern(k.name, text)
}

func matches(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, pattern, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	re, err := k.pattern(pattern)
	if err != nil {
		return out, err
	}
	if err := r.chargeMatch(re, text); err != nil {
		return out, err
	}
	return appendBool(out, re.MatchString(text)), nil
}

func replaceMatches(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, pattern, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	to, ok, err := r.textArg(k, this, 1)
	if err != nil || !ok {
		return out, err
	}
	if pattern == "" {
		return appendText(out, text), nil
	}
	re, err := k.pattern(pattern)
	if err != nil {
		return out, err
	}
	if err := r.chargeMatch(re, text); err != nil {
		return out, err
	}
	made, err := r.replaceAll(re, text, groups(to))
	if err != nil {
		return out, err
	}
	return appendText(out, made), nil
}

// groups writes $1 as ${1}: FHIRPath's group names end with the digits.
func groups(to string) string {
	var b strings.Builder
	for i := 0; i < len(to); i++ {
		from := i + 1
		end := from
		for end < len(to) && to[end] >= '0' && to[end] <= '9' {
			end++
		}
		if to[i] != '$' || end == from {
			b.WriteByte(to[i])
			continue
		}
		b.WriteString("${" + to[from:end] + "}")
		i = end - 1
	}
	return b.String()
}

func length(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	text, ok, err := r.textInput(k, in)
	if err != nil || !ok {
		return out, err
	}
	return appendInt(out, utf8.RuneCountInString(text)), nil
}

func toChars(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	text, _, err := r.textInput(k, in)
	if err == nil {
		err = r.charge(itemCost * len(text))
	}
	if err != nil {
		return out, err
	}
	for _, c := range text {
		out = appendText(out, string(c))
	}
	return out, nil
}

func split(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, by, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	if err := r.charge(itemCost * (1 + strings.Count(text, by))); err != nil {
		return out, err
	}
	for _, part := range strings.Split(text, by) {
		out = appendText(out, part)
	}
	return out, nil
}

func join(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	by := ""
	if len(k.args) == 1 {
		var err error
		if by, _, err = r.textArg(k, this, 0); err != nil {
			return out, err
		}
	}
	parts := make([]string, 0, len(in))
	for i := range in {
		text, ok, err := r.textInput(k, in[i:i+1])
		if err != nil {
			return out, err
		}
		if ok {
			parts = append(parts, text)
		}
	}
	if err := r.chargeText(len(by) * len(parts)); err != nil {
		return out, err
	}
	return appendText(out, strings.Join(parts, by)), nil
}

// encodings: functions that write a string in another form and back.
func encodings(name string) (function, bool) {
	switch name {
	case "encode", "decode", "escape", "unescape":
		return function{1, 1, onContext, givesString, false, recode}, true
	}
	return function{}, false
}

func recode(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	text, form, ok, err := r.textAndArg(k, this, in)
	if err != nil || !ok {
		return out, err
	}
	to, ok := recoded(k.name, form, text)
	if !ok {
		return out, nil
	}
	return appendText(out, to), nil
}

// recoded is ok=false for unknown forms and text that is not of the form.
func recoded(name, form, text string) (string, bool) {
	switch name + " " + form {
	case "encode hex":
		return hex.EncodeToString([]byte(text)), true
	case "encode base64":
		return base64.StdEncoding.EncodeToString([]byte(text)), true
	case "encode urlbase64":
		return base64.URLEncoding.EncodeToString([]byte(text)), true
	case "decode hex":
		b, err := hex.DecodeString(text)
		return string(b), err == nil
	case "decode base64":
		b, err := base64.StdEncoding.DecodeString(text)
		return string(b), err == nil
	case "decode urlbase64":
		b, err := base64.URLEncoding.DecodeString(text)
		return string(b), err == nil
	case "escape html":
		return strings.ReplaceAll(html.EscapeString(text), "&#34;", "&quot;"), true
	case "unescape html":
		return html.UnescapeString(text), true
	case "escape json":
		b, err := jsontext.AppendQuote(nil, text)
		return strings.TrimSuffix(strings.TrimPrefix(string(b), `"`), `"`), err == nil
	case "unescape json":
		b, err := jsontext.AppendUnquote(nil, []byte(`"`+guarded(text)+`"`))
		return string(b), err == nil
	}
	return "", false
}

// guarded escapes the quotes that are not escaped yet.
func guarded(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			b.WriteByte(text[i])
			i++
		} else if text[i] == '"' {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
