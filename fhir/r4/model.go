package r4

// Child gives the JSON members that element name of type typ may stand in, and
// the FHIR type of each. Name is without [x] and without a type suffix: "value".
func (s *Spec) Child(typ, name string) (members, types []string, ok bool) {
	t, ok := s.types[typ]
	if !ok {
		return nil, nil, false
	}
	e, ok := t.Element(name)
	if !ok {
		return nil, nil, false
	}
	return e.Members, e.Types, true
}

// Children are the element names of a type in order, inherited ones included,
// without [x]. nil for an unknown type.
func (s *Spec) Children(typ string) []string {
	t, ok := s.types[typ]
	if !ok {
		return nil
	}
	names := make([]string, len(t.Elements))
	for i := range t.Elements {
		names[i] = t.Elements[i].Name
	}
	return names
}

// IsA says whether typ is base or specialises it, directly or not: "Age" is a
// "Quantity" and an "Element", "Patient" a "DomainResource",
// "Observation.component" a "BackboneElement".
func (s *Spec) IsA(typ, base string) bool {
	for typ != "" {
		if typ == base {
			return true
		}
		t, ok := s.types[typ]
		if !ok {
			return false
		}
		typ = t.Base
	}
	return false
}

// Many says whether element name of type typ repeats, so that it is written as
// a JSON array. false for unknown types and elements.
func (s *Spec) Many(typ, name string) bool {
	t, ok := s.types[typ]
	if !ok {
		return false
	}
	e, ok := t.Element(name)
	return ok && e.Many
}
