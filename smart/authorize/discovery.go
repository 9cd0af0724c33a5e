package authorize

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"candela/smart/client"
)

// capabilities are those of SMART App Launch 2.2.0, "Capabilities", that a test
// of this repository proves.
func capabilities() []string {
	return strings.Fields(`launch-ehr launch-standalone authorize-post client-public client-confidential-symmetric
		client-confidential-asymmetric sso-openid-connect context-banner context-style context-ehr-patient
		context-ehr-encounter context-standalone-patient context-standalone-encounter permission-offline
		permission-online permission-patient permission-user permission-v1 permission-v2`)
}

// document describes the server for SMART, OpenID Connect Discovery 1.0 and
// RFC 8414 alike: one text, so that they cannot disagree.
type document struct {
	Issuer         string      `json:"issuer"`
	JWKS           string      `json:"jwks_uri"`
	Authorize      string      `json:"authorization_endpoint"`
	Token          string      `json:"token_endpoint"`
	Management     string      `json:"management_endpoint"`
	Introspect     string      `json:"introspection_endpoint"`
	Revoke         string      `json:"revocation_endpoint"`
	Register       string      `json:"registration_endpoint,omitzero"`
	Grants         []string    `json:"grant_types_supported"`
	Methods        []string    `json:"token_endpoint_auth_methods_supported"`
	Algorithms     []string    `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntroMethods   []string    `json:"introspection_endpoint_auth_methods_supported"`
	RevokeMethods  []string    `json:"revocation_endpoint_auth_methods_supported"`
	IntroAlgs      []string    `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevokeAlgs     []string    `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	Scopes         []string    `json:"scopes_supported"`
	Responses      []string    `json:"response_types_supported"`
	ResponseModes  []string    `json:"response_modes_supported"`
	Challenges     []string    `json:"code_challenge_methods_supported"`
	Capabilities   []string    `json:"capabilities"`
	Subjects       []string    `json:"subject_types_supported"`
	IDAlgorithms   []string    `json:"id_token_signing_alg_values_supported"`
	Claims         []string    `json:"claims_supported"`
	Prompts        []string    `json:"prompt_values_supported"`
	Iss            bool        `json:"authorization_response_iss_parameter_supported"`
	RequestObjects bool        `json:"request_uri_parameter_supported"`
	Brands         string      `json:"user_access_brand_bundle,omitzero"`
	BrandID        *Identifier `json:"user_access_brand_identifier,omitzero"`
}

func (s *Server) describe() ([]byte, error) {
	methods := append(client.Methods(), "none")
	d := document{
		Issuer: s.Base, JWKS: s.root + "/jwks", Authorize: s.root + "/authorize", Token: s.root + "/token",
		Management: s.root + "/manage", Introspect: s.root + "/introspect", Revoke: s.root + "/revoke",
		Grants:  []string{client.GrantCode, client.GrantRefresh, client.GrantBackend},
		Methods: methods, Algorithms: client.Algorithms(), IntroMethods: client.Methods(), RevokeMethods: methods,
		IntroAlgs: client.Algorithms(), RevokeAlgs: client.Algorithms(), Scopes: offered(),
		Responses: []string{"code"}, ResponseModes: []string{"query"}, Challenges: []string{"S256"}, Capabilities: capabilities(),
		Subjects: []string{"public"}, IDAlgorithms: []string{"RS256"}, Prompts: []string{"none", "login", "consent", "select_account"},
		Claims: []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser"}, Iss: true,
	}
	if s.Config.Register {
		d.Register = s.root + "/register"
	}
	if s.Config.Brands != nil {
		d.Brands = s.root + "/brands"
		if s.BrandID != (Identifier{}) {
			d.BrandID = &s.BrandID
		}
	}
	return json.Marshal(&d)
}

// offered are scopes that work for a client and user who may have them; the
// wildcard stands for each resource type.
func offered() []string {
	return []string{"openid", "fhirUser", "launch", "launch/patient", "launch/encounter", "offline_access", "online_access",
		"patient/*.cruds", "patient/*.rs", "patient/*.read", "patient/*.write", "user/*.cruds", "user/*.rs", "user/*.read", "user/*.write",
		"system/*.cruds", "system/*.rs", "system/*.read", "system/*.write"}
}

// open lets pages of any origin read what everybody may know.
func open(w http.ResponseWriter) { w.Header().Set("Access-Control-Allow-Origin", "*") }

// discovery serves the document, whatever media type is asked for.
func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) error {
	open(w)
	w.Header().Set("Cache-Control", "public, max-age=300")
	return send(w, http.StatusOK, "application/json", s.known)
}

func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	raw, err := s.Tokens.JWKS(r.Context())
	if err != nil {
		return err
	}
	open(w)
	w.Header().Set("Cache-Control", "public, max-age=300")
	return send(w, http.StatusOK, "application/json", raw)
}

// brands serves the user access brands (SMART App Launch 2.2.0, "User-access
// Brands and Endpoints").
func (s *Server) brands(w http.ResponseWriter, r *http.Request) error {
	open(w)
	tag := `W/"` + fingerprint(s.Config.Brands) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Access-Control-Expose-Headers", "ETag")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return send(w, http.StatusOK, "application/fhir+json", s.Config.Brands)
}

// fixed serves content whose URL changes with it.
func fixed(media string, content []byte) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		open(w)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		return send(w, http.StatusOK, media, content)
	}
}

// ownStyle is the look of our pages, for apps that want to fit in (SMART App
// Launch 2.2.0, "smart_style_url").
const ownStyle = `{"color_background":"#f4f6f8","color_error":"#9b1c1c","color_highlight":"#0b5c8a","color_modal_backdrop":"rgba(23,33,43,0.5)",` +
	`"color_success":"#14532d","color_text":"#17212b","dim_border_radius":"6px","dim_font_size":"16px","dim_spacing_size":"16px",` +
	`"font_family_body":"system-ui, 'Segoe UI', Roboto, Arial, sans-serif","font_family_heading":"system-ui, 'Segoe UI', Roboto, Arial, sans-serif"}`

func fingerprint(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}
