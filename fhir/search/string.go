package search

import (
	"html"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/fhir/search/phonetic"
	"candela/store"
)

func (x *extraction) text(dst []store.Value, item fhirpath.Item) []store.Value {
	switch item.Type {
	case "HumanName":
		return texts(dst, item.Node, "family", "given", "prefix", "suffix", "text")
	case "Address":
		return texts(dst, item.Node, "line", "city", "district", "state", "postalCode", "country", "text")
	case "CodeableConcept":
		return texts(dst, item.Node, "text")
	case "Coding":
		return texts(dst, item.Node, "display")
	}
	if item.Node.Kind() == fhir.Object {
		return dst
	}
	return appendText(dst, item.Text())
}

func texts(dst []store.Value, n fhir.Node, members ...string) []store.Value {
	for _, member := range members {
		value := n.Get(member)
		for part := range value.Elements() {
			dst = appendText(dst, part.Text())
		}
		dst = appendText(dst, value.Text())
	}
	return dst
}

func appendText(dst []store.Value, raw string) []store.Value {
	if raw == "" {
		return dst
	}
	return append(dst, store.Value{Kind: store.Text, Text: fold(raw), Raw: raw})
}

// sounds replaces texts by the sounds of their words.
func sounds(dst []store.Value, from int) []store.Value {
	texts := slices.Clone(dst[from:])
	dst = dst[:from]
	for _, v := range texts {
		for word := range strings.FieldsSeq(v.Text) {
			if key := phonetic.Key(word); key != "" {
				dst = append(dst, store.Value{Kind: store.Code, Name: key})
			}
		}
	}
	return dst
}

// alike reads the value of a phonetic parameter: each of its words must sound
// like one of the resource's.
func alike(p *Param, name, value string) (store.Expr, error) {
	var all store.And
	for word := range strings.FieldsSeq(fold(value)) {
		if key := phonetic.Key(word); key != "" && len(all) < maxParts {
			all = append(all, store.Test{Param: p.Code, Cond: store.Cond{How: store.Named, Name: key}})
		}
	}
	if len(all) == 0 {
		return nil, invalid(name, "the value has no word with a sound")
	}
	return all, nil
}

// textConds compares folded text.
func textConds(how store.How, name, value string) ([]store.Cond, error) {
	folded := fold(value)
	if folded == "" {
		return nil, invalid(name, "the value is empty")
	}
	return []store.Cond{{How: how, Text: folded}}, nil
}

// uri gives a URI as written, and a canonical with a version also without it.
func (x *extraction) uri(dst []store.Value, item fhirpath.Item) []store.Value {
	if item.Node.Kind() != fhir.String {
		return dst
	}
	whole := item.Node.Text()
	if item.Type == "canonical" { // profiles: few, and in many resources
		whole = x.names.of(item.Node)
	}
	if whole == "" {
		return dst
	}
	dst = append(dst, store.Value{Kind: store.URI, Name: whole})
	if name, _, versioned := strings.Cut(whole, "|"); versioned && name != "" {
		dst = append(dst, store.Value{Kind: store.URI, Name: name})
	}
	return dst
}

// textual are the modifiers of strings and URIs.
func (f *filters) textual(p *Param, name, modifier, value string) ([]store.Cond, error) {
	switch {
	case p.Type == String && modifier == "exact":
		return []store.Cond{{How: store.Exactly, Raw: value}}, nil
	case p.Type == String && modifier == "contains":
		return textConds(store.Contains, name, value)
	case p.Type == URI && modifier == "below":
		return []store.Cond{{How: store.Starts, Name: value}}, nil
	case p.Type == URI && modifier == "above":
		return []store.Cond{{How: store.Above, Name: value}}, nil
	}
	return nil, unsupported(p, modifier)
}

// fold is the form in which strings are compared (R4 search, string): accents
// stripped, lower case, apostrophes and dots dropped, any other punctuation and
// white space one space. Text that would vanish keeps its lower-case form.
func fold(s string) string {
	if isFolded(s) {
		return s
	}
	out := make([]byte, 0, len(s))
	if isASCII(s) {
		out = foldASCII(out, s)
	} else {
		out = foldUnicode(out, s)
	}
	if n := len(out); n > 0 && out[n-1] == ' ' {
		out = out[:n-1]
	}
	if len(out) == 0 {
		return strings.ToLower(strings.TrimSpace(s))
	}
	return string(out)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isFolded spares the common case (codes, single lower-case words) an allocation.
func isFolded(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func foldASCII(out []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			out = append(out, c)
		case c >= 'A' && c <= 'Z':
			out = append(out, c+'a'-'A')
		case c == '\'' || c == '.' || c == '`':
		default:
			out = space(out)
		}
	}
	return out
}

func space(out []byte) []byte {
	if n := len(out); n > 0 && out[n-1] != ' ' {
		return append(out, ' ')
	}
	return out
}

func foldUnicode(out []byte, s string) []byte {
	for _, r := range norm.NFD.String(s) {
		switch {
		case unicode.Is(unicode.Mn, r) || strings.ContainsRune("'.`’‘ʼ´", r):
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Mc, r):
			out = appendPlain(out, unicode.ToLower(r))
		default:
			out = space(out)
		}
	}
	return out
}

// appendPlain writes letters that carry their accent inside, which no
// decomposition takes off, as people type them without it.
func appendPlain(out []byte, r rune) []byte {
	switch r {
	case 'ß':
		return append(out, "ss"...)
	case 'æ':
		return append(out, "ae"...)
	case 'œ':
		return append(out, "oe"...)
	case 'ø':
		return append(out, 'o')
	case 'ł':
		return append(out, 'l')
	case 'đ', 'ð':
		return append(out, 'd')
	case 'þ':
		return append(out, "th"...)
	case 'ı':
		return append(out, 'i')
	}
	return utf8.AppendRune(out, r)
}

// The parameters of words.
const (
	inNarrative = "_text"
	inAll       = "_content"
)

// Limits of the word index: different words of a resource, and bytes of one;
// longer ones are data, not language.
const (
	maxWords   = 5000
	maxWordLen = 48
)

// appendWords adds each different word of the narrative and of all strings.
func appendWords(dst []store.Entry, root fhir.Node) []store.Entry {
	w := words{entries: dst, seen: map[string]bool{}}
	w.param = inNarrative
	w.text(root.Path("text", "div").Text(), true)
	w.param = inAll
	clear(w.seen)
	w.node(root, "")
	return w.entries
}

type words struct {
	param   string
	entries []store.Entry
	seen    map[string]bool
}

func (w *words) node(n fhir.Node, member string) {
	switch n.Kind() {
	case fhir.Object:
		for name, one := range n.Members() {
			w.node(one, name)
		}
	case fhir.Array:
		for one := range n.Elements() {
			w.node(one, member)
		}
	case fhir.String:
		w.text(n.Text(), member == "div")
	default: // numbers and booleans are no words
	}
}

func (w *words) text(s string, markup bool) {
	if markup {
		s = withoutTags(s)
	}
	for word := range strings.FieldsSeq(fold(s)) {
		if len(word) > maxWordLen || w.seen[word] || len(w.seen) >= maxWords {
			continue
		}
		w.seen[word] = true
		w.entries = append(w.entries, store.Entry{Param: w.param, Value: store.Value{Kind: store.Text, Text: word}})
	}
}

// withoutTags is the text of XHTML: each tag is a space.
func withoutTags(s string) string {
	var out strings.Builder
	for s != "" {
		text, rest, found := strings.Cut(s, "<")
		out.WriteString(html.UnescapeString(text))
		if !found {
			break
		}
		out.WriteByte(' ')
		_, s, _ = strings.Cut(rest, ">")
	}
	return out.String()
}

// inText and inContent read _text and _content: alternatives between commas,
// each of words that must all be there, whole.
func (f *filters) inText(_ []string, value string) (store.Expr, error) {
	return f.allWords(inNarrative, value)
}

func (f *filters) inContent(_ []string, value string) (store.Expr, error) {
	return f.allWords(inAll, value)
}

func (f *filters) allWords(param, value string) (store.Expr, error) {
	var union store.Or
	for _, one := range split(value, ',') {
		var all store.And
		for word := range strings.FieldsSeq(fold(one)) {
			all = append(all, store.Test{Param: param, Cond: store.Cond{How: store.Whole, Text: word}})
		}
		if f.tests += len(all); len(all) == 0 || len(all) > maxOr || len(union) >= maxOr || f.tests > maxTests {
			return nil, invalid(param, "1 to %d words, or as many alternatives joined by commas", maxOr)
		}
		union = append(union, all)
	}
	return union, nil
}

// wordless leaves a search for words out where none are indexed, and notes where
// not all are.
func (s *parsing) wordless(p fhir.Param) (ignored bool, err error) {
	if p.Name != inNarrative && p.Name != inAll {
		return false, nil
	}
	switch s.Words() {
	case WordsOff:
		return true, s.ignore(p, "is not supported: this server keeps no index of words")
	case WordsBuilding:
		s.noted(&Param{Code: p.Name, building: true})
	default: // all words are there
	}
	return false, nil
}
