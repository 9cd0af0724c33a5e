package conformance

// The part of CapabilityStatement (R4) that this server fills, in the order of
// its elements.

type capabilityStatement struct {
	ResourceType   string         `json:"resourceType"`
	Name           string         `json:"name"`
	Title          string         `json:"title"`
	Status         string         `json:"status"`
	Date           string         `json:"date"`
	Publisher      string         `json:"publisher"`
	Description    string         `json:"description"`
	Kind           string         `json:"kind"`
	Instantiates   []string       `json:"instantiates,omitempty"`
	Software       software       `json:"software"`
	Implementation implementation `json:"implementation"`
	FHIRVersion    string         `json:"fhirVersion"`
	Format         []string       `json:"format"`
	PatchFormat    []string       `json:"patchFormat"`
	Rest           []rest         `json:"rest"`
}

type software struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type implementation struct {
	Description string `json:"description"`
	URL         string `json:"url,omitempty"`
}

type rest struct {
	Mode          string `json:"mode"`
	Documentation string `json:"documentation"`
	Security      struct {
		Extension   []oauth   `json:"extension,omitempty"`
		Cors        bool      `json:"cors"`
		Service     []concept `json:"service,omitempty"`
		Description string    `json:"description"`
	} `json:"security"`
	Resource    []resource `json:"resource"`
	Interaction []code     `json:"interaction"`
	Operation   []offer    `json:"operation,omitempty"`
	Compartment []string   `json:"compartment,omitempty"`
}

type resource struct {
	Type              string        `json:"type"`
	Profile           string        `json:"profile"`
	Interaction       []code        `json:"interaction"`
	Versioning        string        `json:"versioning"`
	ReadHistory       bool          `json:"readHistory"`
	UpdateCreate      bool          `json:"updateCreate"`
	ConditionalCreate bool          `json:"conditionalCreate"`
	ConditionalRead   string        `json:"conditionalRead"`
	ConditionalUpdate bool          `json:"conditionalUpdate"`
	ConditionalDelete string        `json:"conditionalDelete"`
	ReferencePolicy   []string      `json:"referencePolicy"`
	SearchInclude     []string      `json:"searchInclude,omitempty"`
	SearchRevInclude  []string      `json:"searchRevInclude,omitempty"`
	SearchParam       []searchParam `json:"searchParam,omitempty"`
	Operation         []offer       `json:"operation,omitempty"`
}

// offer is an operation and its canonical definition.
type offer struct {
	Name       string `json:"name"`
	Definition string `json:"definition"`
}

// Endpoint is an endpoint of the authorization server: token, authorize, register,
// manage, introspect or revoke.
type Endpoint struct {
	Name string `json:"url"`
	URL  string `json:"valueUri"`
}

type oauth struct {
	URL       string     `json:"url"`
	Extension []Endpoint `json:"extension"`
}

type concept struct {
	Coding []coding `json:"coding"`
}

type coding struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display"`
}

type code struct {
	Code string `json:"code"`
}

type searchParam struct {
	Name       string `json:"name"`
	Definition string `json:"definition"`
	Type       string `json:"type"`
}
