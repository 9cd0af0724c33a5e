package fhir

// Resource is one FHIR resource: its raw JSON, which is the truth, and the
// parsed tree over it. The zero Resource is no resource.
type Resource struct{ tree *Tree }

// ValidID says whether id has the form of the FHIR id data type: 1 to 64 of
// A-Z a-z 0-9 - and .
func ValidID(id string) bool {
	for i := range len(id) {
		if c := id[i]; !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '.' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// ParseResource reads a JSON body as a resource. It checks JSON and the
// presence of resourceType only; structure is the validator's work.
func ParseResource(body []byte, limits Limits) (Resource, error) {
	tree, err := ParseTree(body, limits)
	if err != nil {
		return Resource{}, err
	}
	return ResourceOf(tree)
}

// ResourceOf takes a parsed tree as a resource.
func ResourceOf(tree *Tree) (Resource, error) {
	root := tree.Root()
	if root.Kind() != Object {
		return Resource{}, Errorf(400, CodeStructure, "a resource must be a JSON object")
	}
	if root.Get("resourceType").Kind() != String {
		return Resource{}, Errorf(400, CodeStructure, "resourceType is missing or not a string").At("resourceType")
	}
	return Resource{tree}, nil
}

// storedLimits let pass whatever was once let in.
var storedLimits = Limits{Bytes: 1 << 31, Depth: 1 << 10, Tokens: 1 << 30, String: 1 << 30}

// Stored is a resource from compact JSON that this server wrote. It is parsed
// when someone first looks inside; Raw does not.
func Stored(raw []byte) Resource {
	return Resource{&Tree{raw: raw, late: &late{}}}
}

// ResourceAt takes an object inside a tree (a Bundle entry's resource) as a
// resource of its own, without parsing again.
func ResourceAt(n Node) (Resource, error) {
	if n.Kind() != Object {
		return Resource{}, Errorf(400, CodeStructure, "a resource must be a JSON object")
	}
	return ResourceOf(n.detach())
}

// Exists says whether there is a resource.
func (r Resource) Exists() bool { return r.tree != nil }

// Root is the resource's object.
func (r Resource) Root() Node {
	if r.tree == nil {
		return Node{}
	}
	return r.tree.Root()
}

// Raw is the resource as compact JSON. Do not change it.
func (r Resource) Raw() []byte {
	if r.tree == nil {
		return nil
	}
	return r.tree.raw
}

// Type is resourceType.
func (r Resource) Type() string { return r.Root().Get("resourceType").Text() }

// ID is the logical id, "" when absent.
func (r Resource) ID() string { return r.Root().Get("id").Text() }
