package store

// Of is the ordered text that v sorts by: a range or place by Lo, a text folded,
// the others by Name, then Space. A Tuple has none.
func (s Sort) Of(v *Value) (key string, ok bool) {
	switch v.Kind {
	case Range, Place:
		return string(v.Lo), true
	case Text:
		return v.Text, true
	case Code, Link, URI:
		if v.Space == "" {
			return v.Name, true
		}
		return v.Name + "\x00" + v.Space, true
	default:
		return "", false
	}
}

// Value is what a resource sorts by: of many values the least when ascending,
// the greatest when descending; ok is false when it has none.
func (s Sort) Value(entries []Entry) (key string, ok bool) {
	for i := range entries {
		if entries[i].Param == s.Param {
			key, ok = s.Better(key, ok, &entries[i].Value)
		}
	}
	return key, ok
}

// Better is the key of v where it goes before the one found so far.
func (s Sort) Better(key string, ok bool, v *Value) (string, bool) {
	k, has := s.Of(v)
	if !has || ok && (k >= key) != s.Desc {
		return key, ok
	}
	return k, true
}
