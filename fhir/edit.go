package fhir

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Edit replaces the bytes [From, To) of a resource's raw JSON.
type Edit struct {
	From, To int
	With     []byte
}

// Quote is s as a JSON string literal, with the escapes JSON demands and no more.
func Quote(s string) []byte { return AppendQuote(make([]byte, 0, len(s)+2), s) }

// AppendQuote appends s as a JSON string literal; bytes that are no UTF-8
// become U+FFFD.
func AppendQuote(dst []byte, s string) []byte {
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		out, _ = jsontext.AppendQuote(dst, strings.ToValidUTF8(s, "\ufffd")) // valid now
	}
	return out
}

// Apply returns raw with all edits made; raw itself stays as it is. Edits must
// not overlap; order is free, but insertions at one place keep theirs. edits is
// sorted by the call.
func Apply(raw []byte, edits []Edit) []byte {
	if len(edits) == 0 {
		return raw
	}
	slices.SortStableFunc(edits, func(a, b Edit) int { return cmp.Or(a.From-b.From, a.To-b.To) })
	var out bytes.Buffer
	out.Grow(len(raw) + 64*len(edits))
	at := 0
	for _, e := range edits {
		out.Write(raw[at:e.From])
		out.Write(e.With)
		at = e.To
	}
	out.Write(raw[at:])
	return out.Bytes()
}

// SetID is the edit that gives a resource its logical id: the present value is
// replaced, else the member is put directly behind resourceType.
func SetID(r Resource, id string) Edit {
	if n := r.Root().Get("id"); n.Exists() {
		from, to := n.Span()
		return Edit{from, to, Quote(id)}
	}
	_, to := r.Root().Get("resourceType").Span()
	return Edit{to, to, append([]byte(`,"id":`), Quote(id)...)}
}

// DropServerMeta are the edits that take meta.versionId and meta.lastUpdated
// out: they belong to the store's Version and are stamped on the way out. A
// meta that held nothing else goes whole.
func DropServerMeta(r Resource) []Edit {
	meta := r.Root().Get("meta")
	if !meta.Exists() || meta.Kind() == Object && meta.Len() == 0 {
		return nil
	}
	kept := []byte{'{'}
	dropped := meta.Kind() != Object
	for key, value := range meta.Members() {
		if key == "versionId" || key == "lastUpdated" {
			dropped = true
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(kept, value.member()...)
	}
	switch {
	case !dropped:
		return nil
	case len(kept) == 1:
		return []Edit{dropMember(r.Raw(), meta)}
	default:
		from, to := meta.Span()
		return []Edit{{from, to, append(kept, '}')}}
	}
}

// dropMember removes a member of an object and one neighbouring comma.
func dropMember(raw []byte, value Node) Edit {
	_, to := value.Span()
	from := to - len(value.member())
	switch {
	case raw[to] == ',':
		to++
	case raw[from-1] == ',':
		from--
	}
	return Edit{from, to, nil}
}

// Stamp returns the resource's JSON with meta.versionId and meta.lastUpdated as
// given; everything else stays byte for byte.
func Stamp(r Resource, version int64, updated time.Time) []byte {
	raw := Apply(r.Raw(), DropServerMeta(r))
	return AppendStamped(make([]byte, 0, len(raw)+96), raw, version, updated)
}

// InstantForm is how we write instants: UTC, milliseconds.
const InstantForm = "2006-01-02T15:04:05.000Z"

// Edited is the resource with all edits made. Where every edit replaces one
// whole string by another (ids, references), the tree is shifted and not parsed
// again.
func (r Resource) Edited(edits []Edit) (Resource, error) {
	if len(edits) == 0 {
		return r, nil
	}
	raw := Apply(r.Raw(), edits) // sorts edits
	if tree, ok := r.Root().tree.shifted(raw, edits); ok {
		return Resource{tree}, nil
	}
	return ParseResource(raw, storedLimits)
}

// shifted moves every node of t to where it lies in raw; ok is false when an
// edit is not the exchange of a whole string, or when there are so many that a
// new parse is cheaper.
func (t *Tree) shifted(raw []byte, edits []Edit) (moved *Tree, ok bool) {
	if t == nil || len(edits) > 64 {
		return nil, false
	}
	moved = &Tree{raw: raw, nodes: make([]node, len(t.nodes))}
	done, gain := 0, 0 // edits that lie before the present node, and the bytes they added
	for i, d := range t.nodes {
		if done < len(edits) && uint32(edits[done].From) < d.from {
			return nil, false
		}
		from := d.from + uint32(gain)
		if d.kind == String && done < len(edits) && edits[done].replaces(d) {
			gain += len(edits[done].With) - int(d.to-d.from)
			done++
		}
		moved.nodes[i] = node{kind: d.kind, from: from, to: d.to + uint32(gain), next: d.next}
	}
	for i, d := range t.nodes {
		if d.kind == Object || d.kind == Array {
			moved.nodes[i].to = d.to + uint32(gainUpTo(edits, int(d.to)))
		}
	}
	return moved, done == len(edits)
}

func (e Edit) replaces(d node) bool {
	return e.From == int(d.from) && e.To == int(d.to) && len(e.With) > 1 && e.With[0] == '"'
}

func gainUpTo(edits []Edit, to int) int {
	gain := 0
	for _, e := range edits {
		if e.To > to {
			break
		}
		gain += len(e.With) - (e.To - e.From)
	}
	return gain
}

// AppendStamped appends compact JSON that this server stored, with
// meta.versionId and meta.lastUpdated put in: Stamp without a tree.
func AppendStamped(dst, raw []byte, version int64, updated time.Time) []byte {
	at, lead, tail := rawPlace(raw)
	dst = append(append(dst, raw[:at]...), lead...)
	dst = append(dst, `"versionId":"`...)
	dst = strconv.AppendInt(dst, version, 10)
	dst = append(dst, `","lastUpdated":"`...)
	dst = updated.UTC().AppendFormat(dst, InstantForm)
	dst = append(append(dst, '"'), tail...)
	return append(dst, raw[at:]...)
}

// rawPlace is where the stamp goes and what stands around it: into meta, else a
// meta behind id or resourceType. It walks the members of the outermost object.
func rawPlace(raw []byte) (at int, lead, tail string) {
	behind := 1
	for i := 1; i < len(raw) && raw[i] == '"'; {
		colon := skip(raw, i)
		end := skip(raw, colon+1)
		switch key := raw[i:colon]; {
		case nameIs(key, "meta") && raw[colon+1] == '{':
			if raw[colon+2] == '}' {
				return colon + 2, "", ""
			}
			return colon + 2, "", ","
		case nameIs(key, "id"), nameIs(key, "resourceType") && behind == 1:
			behind = end
		}
		i = end + 1
	}
	return behind, `,"meta":{`, "}"
}

// skip is the index behind the compact JSON value that starts at i.
func skip(raw []byte, i int) int {
	depth := 0
	for ; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = skipString(raw, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// skipString is the index behind the JSON string that starts at i.
func skipString(raw []byte, i int) int {
	for from := i + 1; ; {
		next := bytes.IndexByte(raw[from:], '"')
		if next < 0 {
			return len(raw)
		}
		from += next + 1
		slashes := 0
		for raw[from-2-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return from
		}
	}
}
