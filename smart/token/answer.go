package token

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"candela/fhir"
)

// launch is the context that stands beside a token (SMART App Launch 2.2.0,
// "Launch context arrives with your access_token").
type launch struct {
	Patient    string         `json:"patient,omitzero"`
	Encounter  string         `json:"encounter,omitzero"`
	NeedBanner *bool          `json:"need_patient_banner,omitzero"`
	Intent     string         `json:"intent,omitzero"`
	Tenant     string         `json:"tenant,omitzero"`
	StyleURL   string         `json:"smart_style_url,omitzero"`
	Context    jsontext.Value `json:"fhirContext,omitzero"`
}

func (g *Grant) launch() launch {
	out := launch{Patient: g.Patient, Encounter: g.Encounter, Intent: g.Intent, Tenant: g.Tenant, StyleURL: g.StyleURL, Context: g.Context}
	if len(g.Context) == 0 {
		out.Context = nil // an empty text is no JSON
	}
	if g.Patient != "" {
		out.NeedBanner = &g.NeedBanner
	}
	return out
}

// JSON is the body of the token endpoint's answer (RFC 6749 §5.1). It is sent
// with Cache-Control: no-store and Pragma: no-cache.
func (a Answer) JSON() ([]byte, error) {
	body := struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int64  `json:"expires_in"`
		Scope        string `json:"scope"`
		RefreshToken string `json:"refresh_token,omitzero"`
		IDToken      string `json:"id_token,omitzero"`
		launch
	}{a.AccessToken, "Bearer", int64(a.Expires / time.Second), a.Scope, a.RefreshToken, a.IDToken, a.Grant.launch()}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("smart/token: write an answer: %w", err)
	}
	return raw, nil
}

// ValidateContext says what a fhirContext breaks of SMART App Launch 2.2.0,
// "fhirContext experimental", as *Error invalid_request. nil or empty is none.
func ValidateContext(raw jsontext.Value) error {
	if len(raw) == 0 {
		return nil
	}
	var entries []map[string]jsontext.Value
	if err := json.Unmarshal(raw, &entries); err != nil || entries == nil {
		return invalidRequest("fhirContext is no array of objects")
	}
	for _, entry := range entries {
		if why := wrong(entry); why != "" {
			return invalidRequest("fhirContext: " + why)
		}
	}
	return nil
}

// wrong says what is wrong with an entry of a fhirContext.
func wrong(entry map[string]jsontext.Value) string {
	texts := map[string]string{}
	for name, value := range entry {
		switch name {
		case "reference", "canonical", "type", "role":
			var text string
			if value.Kind() != '"' || json.Unmarshal(value, &text) != nil || text == "" {
				return "reference, canonical, type and role are texts that are not empty"
			}
			texts[name] = text
		case "identifier":
			if value.Kind() != '{' {
				return "identifier is an object"
			}
		default:
			if !strings.HasPrefix(name, "__") && !absolute(name) {
				return "an extension is named by a full URI or begins with __"
			}
		}
	}
	if _, ok := entry["identifier"]; !ok && texts["reference"] == "" && texts["canonical"] == "" {
		return "an entry has a reference, a canonical or an identifier"
	}
	return wrongTexts(texts)
}

func wrongTexts(texts map[string]string) string {
	target := fhir.ParseReference(texts["reference"])
	role := texts["role"]
	switch {
	case texts["reference"] != "" && (target.Type == "" || target.Base != ""):
		return "a reference is relative, Type/id"
	case texts["canonical"] != "" && !absolute(texts["canonical"]):
		return "a canonical is an absolute URI"
	case role != "" && role != "launch" && !absolute(role):
		return "a role is launch or an absolute URI"
	case (target.Type == "Patient" || target.Type == "Encounter") && (role == "" || role == "launch"):
		return "the patient and the encounter of the launch have members of their own"
	}
	return ""
}

// absolute is a URI with a scheme and something behind it.
func absolute(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "") && !strings.ContainsAny(text, " \t\r\n")
}
