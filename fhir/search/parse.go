package search

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/store"
)

// Mode is a value of _total.
type Mode string

// The modes; "" when _total was not given.
const (
	TotalNone     Mode = "none"
	TotalEstimate Mode = "estimate"
	TotalAccurate Mode = "accurate"
)

// Options bound and colour one search.
type Options struct {
	Strict       bool      // unknown parameters are refused (Prefer: handling=strict)
	Now          time.Time // for the prefix ap on dates; zero: the wall clock
	DefaultCount int       // page size when _count is not given; 0 is 50
	MaxCount     int       // largest page size; 0 is 1000
}

// Search is a parsed search.
type Search struct {
	Query       store.Query
	Includes    []Include // _include
	RevIncludes []Include // _revinclude
	Total       Mode
	Count       int    // page size; 0: no entries, the total only
	Summary     string // _summary as given: true, text, data, count, false or ""
	Elements    []string
	Contained   bool         // _contained=true or both: what is contained in any type is searched
	Both        bool         // _contained=both: so are the resources themselves
	Alone       bool         // _containedType=contained: it comes without its container
	Explain     bool         // _explain=true, a parameter of ours: tell how the search was answered
	Bare        []Bare       // ids without a type that may be ambiguous
	Used        fhir.Params  // what was used, for the self link; the effective _count is always in it
	Warnings    []fhir.Issue // about what was ignored
}

// CountOnly says whether no entries are asked for (_summary=count or _count=0).
func (s Search) CountOnly() bool { return s.Count == 0 || s.Summary == "count" }

// Include is one _include or _revinclude.
type Include struct {
	Type    string // resource type that has the reference
	Param   string // its reference parameter
	Target  string // only this target type; "" any
	Iterate bool   // also from what was included
}

// parsing is one Parse call.
type parsing struct {
	filters
	opt   Options
	types []string
	out   Search
	where store.And
	once  fhir.Params // result parameters seen, which may stand only once
}

// Parse turns URL parameters into a search over types; none is all types,
// narrowed by _type. Errors are *fhir.Error with status 400: malformed values,
// unfit modifiers, exceeded limits and, when strict, unknown parameters. What is
// ignored gives a warning and is not in Used.
func (r *Registry) Parse(types []string, params fhir.Params, opt Options) (Search, error) {
	s, err := r.begin(types, opt)
	if err != nil {
		return Search{}, err
	}
	if err := s.typesOf(params); err != nil {
		return Search{}, err
	}
	for _, one := range params {
		if one.Value == "" || one.Name == "_type" {
			continue
		}
		if err := s.one(one); err != nil {
			return Search{}, err
		}
	}
	if err := s.halfBuilt(); err != nil {
		return Search{}, err
	}
	return s.finish(), s.containable()
}

func (r *Registry) begin(types []string, opt Options) (*parsing, error) {
	if opt.MaxCount == 0 {
		opt.MaxCount = 1000
	}
	if opt.DefaultCount == 0 {
		opt.DefaultCount = min(50, opt.MaxCount)
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	for _, t := range types {
		if _, ok := r.types[t]; !ok {
			return nil, fhir.Errorf(404, fhir.CodeNotSupported, "%s is not a resource type of FHIR R4", quoteName(t))
		}
	}
	s := &parsing{filters: filters{reader: reader{Registry: r, now: opt.Now}}, opt: opt, types: slices.Clone(types)}
	s.out.Count = -1
	s.bare = &s.out.Bare
	return s, nil
}

// typesOf reads _type, which every other parameter depends on.
func (s *parsing) typesOf(params fhir.Params) error {
	for _, one := range params {
		if one.Name != "_type" || one.Value == "" {
			continue
		}
		list := strings.Split(one.Value, ",")
		for _, t := range list {
			if _, ok := s.Registry.types[t]; !ok {
				return invalid("_type", "a list of resource types, joined by commas")
			}
			if len(s.types) > 0 && !slices.Contains(s.types, t) {
				return invalid("_type", "%s is not among the types searched here", t)
			}
		}
		slices.Sort(list)
		s.types = slices.Compact(list)
		s.out.Used = append(s.out.Used, one)
	}
	return nil
}

func (s *parsing) one(p fhir.Param) error {
	base, _, _ := strings.Cut(p.Name, ":")
	if read := result(base); read != nil {
		if err := s.single(base, p); err != nil {
			return err
		}
		return read(s, p)
	}
	if read := selecting(p.Name); read != nil {
		if ignored, err := s.wordless(p); ignored || err != nil {
			return err
		}
		x, err := read(&s.filters, s.types, p.Value)
		if err != nil {
			return err
		}
		s.where = append(s.where, x)
		s.out.Used = append(s.out.Used, p)
		return nil
	}
	if notBuilt(base) {
		return fhir.Errorf(400, fhir.CodeNotSupported, "search parameter %s is not supported", base)
	}
	x, known, err := s.filter(s.types, p.Name, p.Value, 0)
	if err != nil {
		return err
	}
	if !known {
		return s.ignore(p, "is not known on "+s.typeNames())
	}
	s.where = append(s.where, x)
	s.out.Used = append(s.out.Used, p)
	return nil
}

// selecting is the reader of a parameter that selects and is none of a type's.
func selecting(name string) func(*filters, []string, string) (store.Expr, error) {
	switch name {
	case "_filter":
		return (*filters).logic
	case "_list":
		return (*filters).list
	case "_text":
		return (*filters).inText
	case "_content":
		return (*filters).inContent
	}
	return nil
}

func (s *parsing) typeNames() string {
	if len(s.types) == 0 {
		return "all types"
	}
	return strings.Join(s.types[:min(len(s.types), 5)], ", ")
}

// ignore leaves a parameter out with a warning, or refuses it when strict.
func (s *parsing) ignore(p fhir.Param, why string) error {
	text := "search parameter " + quoteName(p.Name) + " " + why
	if s.opt.Strict {
		return fhir.Errorf(400, fhir.CodeNotSupported, "%s", text)
	}
	s.out.Warnings = append(s.out.Warnings, fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeNotSupported, Diagnostics: text + "; it was ignored"})
	return nil
}

// finish puts the query together.
func (s *parsing) finish() Search {
	out := &s.out
	if out.Count < 0 {
		out.Count = s.opt.DefaultCount
	}
	out.Used = append(out.Used, fhir.Param{Name: "_count", Value: strconv.Itoa(out.Count)})
	out.Query.Types, out.Query.Count = s.types, out.Count
	if len(s.where) == 1 {
		out.Query.Where = s.where[0]
	} else if len(s.where) > 1 {
		out.Query.Where = s.where
	}
	out.Query.Total = out.Total == TotalAccurate
	if out.CountOnly() {
		out.Query.Count, out.Query.Total, out.Query.Sort = 0, true, nil
	}
	return s.out
}

// Criteria reads the criteria of a conditional interaction or a conditional
// reference ("identifier=s|v") as a query for at most two matches. Criteria
// that would select everything, because they are empty or unknown, and
// parameters that do not select are errors.
func (r *Registry) Criteria(typ, query string, opt Options) (store.Query, error) {
	s, err := r.Select(typ, query, opt)
	return s.Query, err
}

// Select is Criteria with what else there is to say of them: ids that may be
// ambiguous.
func (r *Registry) Select(typ, query string, opt Options) (Search, error) {
	params, err := fhir.ParseParams(query)
	if err != nil {
		return Search{}, err
	}
	opt.Strict = true
	s, err := r.begin([]string{typ}, opt)
	if err != nil {
		return Search{}, err
	}
	for _, one := range params {
		base, _, _ := strings.Cut(one.Name, ":")
		if result(base) != nil || base == "_type" {
			return Search{}, invalid(one.Name, "selects nothing and cannot stand in criteria")
		}
		if one.Value == "" {
			continue
		}
		if err := s.one(one); err != nil {
			return Search{}, err
		}
	}
	if len(s.where) == 0 {
		return Search{}, fhir.Errorf(400, fhir.CodeRequired, "the criteria are empty: they would match every %s", typ)
	}
	if err := s.halfBuilt(); err != nil {
		return Search{}, err
	}
	out := s.finish()
	out.Query.Count, out.Query.Total = 2, false
	return out, nil
}

// result is the reader of a parameter that shapes the answer and selects
// nothing; nil for any other.
func result(name string) func(*parsing, fhir.Param) error {
	switch name {
	case "_count":
		return (*parsing).count
	case "_sort":
		return (*parsing).sort
	case "_total":
		return (*parsing).total
	case "_summary":
		return (*parsing).summary
	case "_elements":
		return (*parsing).elements
	case "_include", "_revinclude":
		return (*parsing).include
	case "_explain":
		return (*parsing).explain
	case "_format", "_pretty":
		return (*parsing).keep
	case "_contained", "_containedType":
		return (*parsing).containing
	}
	return nil
}

// notBuilt says that a parameter of R4 search is refused, because leaving it out
// would answer another question.
func notBuilt(name string) bool {
	switch name {
	case "_text", "_content", "_list", "_filter", "_query":
		return true
	}
	return false
}

// single refuses a second, different value of a parameter that may stand once.
func (s *parsing) single(base string, p fhir.Param) error {
	if base == "_include" || base == "_revinclude" {
		return nil
	}
	if base != p.Name {
		return fhir.Errorf(400, fhir.CodeNotSupported, "search parameter %s takes no modifier", base)
	}
	if s.once.Has(p.Name) && s.once.Get(p.Name) != p.Value {
		return invalid(p.Name, "given twice with different values")
	}
	s.once = append(s.once, p)
	return nil
}

func (s *parsing) keep(p fhir.Param) error {
	if !slices.Contains(s.out.Used, p) {
		s.out.Used = append(s.out.Used, p)
	}
	return nil
}

func (s *parsing) count(p fhir.Param) error {
	n, err := strconv.ParseUint(p.Value, 10, 31)
	if err != nil {
		return invalid(p.Name, "a whole number from 0")
	}
	s.out.Count = min(int(n), s.opt.MaxCount)
	return nil
}

func (s *parsing) total(p fhir.Param) error {
	switch m := Mode(p.Value); m {
	case TotalNone, TotalEstimate, TotalAccurate:
		s.out.Total = m
		return s.keep(p)
	}
	return invalid(p.Name, "none, estimate or accurate")
}

func (s *parsing) summary(p fhir.Param) error {
	switch p.Value {
	case "true", "text", "data", "count", "false":
		s.out.Summary = p.Value
		return s.keep(p)
	}
	return invalid(p.Name, "true, text, data, count or false")
}

func (s *parsing) elements(p fhir.Param) error {
	for _, e := range strings.Split(p.Value, ",") {
		if e = strings.TrimSpace(e); e != "" {
			s.out.Elements = append(s.out.Elements, e)
		}
	}
	return s.keep(p)
}

func (s *parsing) explain(p fhir.Param) error {
	if p.Value != "true" && p.Value != "false" {
		return invalid(p.Name, "true or false")
	}
	s.out.Explain = p.Value == "true"
	return s.keep(p)
}

// sort reads param,-param,… ; what cannot be sorted by is ignored with a
// warning, or refused when strict.
func (s *parsing) sort(p fhir.Param) error {
	if len(s.out.Query.Sort) > 0 {
		return nil
	}
	var kept []string
	for _, key := range strings.Split(p.Value, ",") {
		code, desc := strings.CutPrefix(key, "-")
		by, err := s.find(s.types, code)
		if err != nil {
			return err
		}
		if by == nil || by.Type == Composite || by.Type == Special {
			if err := s.ignore(fhir.Param{Name: "_sort"}, "cannot sort by "+quoteName(code)); err != nil {
				return err
			}
			continue
		}
		s.out.Query.Sort = append(s.out.Query.Sort, store.Sort{Param: code, Desc: desc, Role: roleOf(s.types, by, by.Code, "")})
		kept = append(kept, key)
	}
	if len(kept) > 0 {
		s.out.Used = append(s.out.Used, fhir.Param{Name: "_sort", Value: strings.Join(kept, ",")})
	}
	return nil
}

// include reads Type:param[:target] of _include and _revinclude.
func (s *parsing) include(p fhir.Param) error {
	name, modifier, modified := strings.Cut(p.Name, ":")
	if modified && modifier != "iterate" {
		return fhir.Errorf(400, fhir.CodeNotSupported, "search parameter %s: modifier %s is not supported; it takes iterate", name, quoteName(modifier))
	}
	parts := strings.Split(p.Value, ":")
	every := p.Value == "*" && !modified
	if every {
		parts = []string{"", "*"}
	}
	if len(parts) < 2 || len(parts) > 3 {
		return invalid(p.Name, "use Type:parameter, Type:parameter:TargetType, Type:*, or, without :iterate, *")
	}
	read := s.included
	if every && name == "_revinclude" {
		read = s.pointers
	}
	found, err := read(p.Name, parts)
	if err != nil {
		return err
	}
	for i := range found {
		found[i].Iterate = modified
	}
	if name == "_include" {
		s.out.Includes = append(s.out.Includes, found...)
	} else {
		s.out.RevIncludes = append(s.out.RevIncludes, found...)
	}
	s.out.Used = append(s.out.Used, p)
	return nil
}

// included turns [type, parameter, target] into includes; the parameter * is
// every reference of the type, and no type those that are searched for.
func (s *parsing) included(name string, parts []string) ([]Include, error) {
	types, target := parts[:1], ""
	if types[0] == "" {
		if types = s.types; len(types) == 0 {
			return nil, invalid(name, "* needs types; name them with _type")
		}
	}
	if len(parts) == 3 {
		target = parts[2]
	}
	var out []Include
	for _, typ := range types {
		for _, by := range s.Params(typ) {
			if by.Type != Reference || parts[1] != "*" && parts[1] != by.Code {
				continue
			}
			if target == "" || slices.Contains(by.Targets, target) {
				s.noted(by)
				out = append(out, Include{Type: typ, Param: by.Code, Target: target})
			} else if parts[1] != "*" {
				return nil, invalid(name, "that parameter does not point to the target type")
			}
		}
	}
	if len(out) == 0 && parts[0] != "" {
		return nil, invalid(name, "that type has no such reference parameter")
	}
	return out, nil
}

// pointers are the references of any type that may point to what is searched for,
// but those of the records of access: each search would find the ones before it.
func (s *parsing) pointers(name string, _ []string) ([]Include, error) {
	if len(s.types) == 0 {
		return nil, invalid(name, "* needs types; name them with _type")
	}
	var out []Include
	for _, typ := range s.spec.Resources() {
		if typ == "AuditEvent" {
			continue
		}
		for _, by := range s.Params(typ) {
			if by.Type == Reference && slices.ContainsFunc(s.types, func(t string) bool { return slices.Contains(by.Targets, t) }) {
				s.noted(by)
				out = append(out, Include{Type: typ, Param: by.Code})
			}
		}
	}
	return out, nil
}
