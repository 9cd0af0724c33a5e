package r4

// CodeSet is the codes of a value set that a required binding names.
type CodeSet struct {
	URL string
	// Systems are the code systems that the codes come from. An incomplete set
	// names systems without codes (UCUM units, MIME types).
	Systems []SystemCodes

	systemOf map[string]string // code -> its system; "" when several have it
}

// SystemCodes are the codes of one system that are in a value set, sorted.
type SystemCodes struct {
	System string   `json:"system"`
	Codes  []string `json:"codes"`
}

// Has says whether code is in the set under any system.
func (c *CodeSet) Has(code string) bool {
	_, ok := c.systemOf[code]
	return ok
}

// HasIn says whether the code of that system is in the set.
func (c *CodeSet) HasIn(system, code string) bool {
	got, ok := c.systemOf[code]
	if !ok || got != "" {
		return ok && got == system
	}
	for _, s := range c.Systems {
		if s.System != system {
			continue
		}
		for _, one := range s.Codes {
			if one == code {
				return true
			}
		}
	}
	return false
}

// SystemOf is the system that a bare code (an element of type code) means, ""
// when the set leaves it open.
func (c *CodeSet) SystemOf(code string) string {
	if system, ok := c.systemOf[code]; ok || len(c.Systems) != 1 {
		return system
	}
	if len(c.Systems[0].Codes) == 0 {
		return c.Systems[0].System
	}
	return ""
}

// Codes finds the value set of a required binding by URL without version.
// Complete says whether its codes are all known: only then may a code be refused
// because it is not in the set. An unknown URL gives nil and false.
func (s *Spec) Codes(valueSet string) (set *CodeSet, complete bool) {
	set = s.codes[valueSet]
	return set, set != nil && len(set.systemOf) > 0
}

// CaseSensitive says whether case matters in the codes of a code system; known
// is false for a system that the specification does not define.
func (s *Spec) CaseSensitive(system string) (sensitive, known bool) {
	sensitive, known = s.caseRule[system]
	return sensitive, known
}

func (s *Spec) readCodes() error {
	var rows []struct {
		URL      string        `json:"url"`
		Complete bool          `json:"complete"`
		Systems  []SystemCodes `json:"systems"`
	}
	if err := unpack("value-sets", &rows); err != nil {
		return err
	}
	s.codes = make(map[string]*CodeSet, len(rows))
	for _, row := range rows {
		set := &CodeSet{URL: row.URL, Systems: row.Systems}
		if row.Complete {
			set.systemOf = index(row.Systems)
		}
		s.codes[row.URL] = set
	}
	return nil
}

func index(systems []SystemCodes) map[string]string {
	out := map[string]string{}
	for _, s := range systems {
		for _, code := range s.Codes {
			if _, twice := out[code]; twice {
				out[code] = ""
				continue
			}
			out[code] = s.System
		}
	}
	return out
}

func (s *Spec) readCaseRule() error {
	var rows struct {
		Sensitive []string `json:"sensitive"`
		Folded    []string `json:"folded"`
	}
	if err := unpack("code-systems", &rows); err != nil {
		return err
	}
	s.caseRule = make(map[string]bool, len(rows.Sensitive)+len(rows.Folded))
	for _, url := range rows.Sensitive {
		s.caseRule[url] = true
	}
	for _, url := range rows.Folded {
		s.caseRule[url] = false
	}
	return nil
}
