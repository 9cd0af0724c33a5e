package authorize_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/authorize"
	"candela/smart/client"
)

func refreshOf(tokens map[string]any, more ...string) url.Values {
	v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}, "client_id": {"app"}}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

func (h *house) freshCode(t *testing.T, b *browser, change ...string) string {
	t.Helper()
	b.authorize(change...)
	if strings.Contains(b.last.body, "<h1>Sign in") {
		b.signIn("ada")
	}
	b.allow()
	return b.codeOf()
}

func TestT38_T56_CodeExchangeErrors(t *testing.T) {
	h := open(t)
	b := h.browser()
	for _, one := range []struct {
		name   string
		change []string
		status int
		code   string
	}{
		{"no verifier", []string{"code_verifier", ""}, 400, "invalid_request"},
		{"wrong verifier", []string{"code_verifier", strings.Repeat("a", 43)}, 400, "invalid_grant"},
		{"challenge as verifier", []string{"code_verifier", challenge}, 400, "invalid_grant"},
		{"verifier of 42", []string{"code_verifier", verifier[:42]}, 400, "invalid_grant"},
		{"verifier of 129", []string{"code_verifier", strings.Repeat("a", 129)}, 400, "invalid_grant"},
		{"no code", []string{"code", ""}, 400, "invalid_request"},
		{"bad code", []string{"code", "BAD_CODE"}, 400, "invalid_grant"},
		{"no redirect_uri", []string{"redirect_uri", ""}, 400, "invalid_request"},
		{"other redirect_uri", []string{"redirect_uri", "https://app.example.org/q?a=b"}, 400, "invalid_grant"},
		{"no client", []string{"client_id", ""}, 401, "invalid_client"},
		{"unknown client", []string{"client_id", "nobody"}, 401, "invalid_client"},
		{"confidential client without secret", []string{"client_id", "clinic"}, 401, "invalid_client"},
		{"other client (T40)", []string{"client_id", "once"}, 400, "invalid_grant"},
		{"other server", []string{"resource", "https://other.example/fhir"}, 400, "invalid_target"},
		{"no grant_type", []string{"grant_type", ""}, 400, "invalid_request"},
		{"password grant", []string{"grant_type", "password"}, 400, "unsupported_grant_type"},
		{"implicit", []string{"grant_type", "implicit"}, 400, "unsupported_grant_type"},
		{"backend without the grant", []string{"grant_type", "client_credentials", "scope", "system/*.rs"}, 400, "unauthorized_client"},
		{"secret of a public client", []string{"client_secret", strings.Repeat("x", 43)}, 401, "invalid_client"},
		{"assertion type", []string{"client_assertion_type", "not-an-assertion-type", "client_assertion", "a.b.c"}, 400, "invalid_client"},
	} {
		t.Run(one.name, func(t *testing.T) {
			b.post("/auth/token", exchange(h.freshCode(t, b), one.change...)).refused(t, one.status, one.code)
		})
	}
	code := h.freshCode(t, b)
	b.post("/auth/token", exchange(code), "Content-Type", "application/json").refused(t, 400, "invalid_request")
	b.post("/auth/token?"+exchange(code).Encode(), url.Values{}).refused(t, 400, "invalid_request") // nothing is read from the query
	twice := exchange(code)
	twice.Add("code", code)
	b.post("/auth/token", twice).refused(t, 400, "invalid_request")
	b.post("/auth/token", exchange(code, "code_verifier", strings.Repeat("a", 200<<10))).refused(t, 400, "invalid_request")
	if got := b.get("/auth/token?" + exchange(code).Encode()); got.StatusCode != 405 || got.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d", got.StatusCode)
	}
	h.clock.advance(61 * time.Second)
	b.post("/auth/token", exchange(code)).refused(t, 400, "invalid_grant")
}

// R9: a code is good once; who sends it again ends what it gave.
func TestR9_T41_CodeReuse(t *testing.T) {
	h := open(t)
	b := h.browser()
	code := h.freshCode(t, b)
	var mu sync.Mutex
	var good []string
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, h.url+"/auth/token", strings.NewReader(exchange(code).Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				return
			}
			defer response.Body.Close()
			var body map[string]any
			_ = json.NewDecoder(response.Body).Decode(&body)
			mu.Lock()
			defer mu.Unlock()
			if response.StatusCode == 200 {
				good = append(good, body["access_token"].(string))
			} else if body["error"] != "invalid_grant" {
				t.Errorf("%d %v", response.StatusCode, body)
			}
		})
	}
	group.Wait()
	if len(good) != 1 {
		t.Fatalf("%d of 64 had tokens", len(good))
	}
	if _, err := h.tokens.Check(t.Context(), good[0]); err == nil {
		t.Error("the tokens of a code that was sent twice are alive")
	}
}

func TestT42_T43_Refresh(t *testing.T) {
	h := open(t)
	b := h.browser()
	first := b.walk("scope", "launch/patient patient/Patient.rs patient/Observation.rs offline_access")
	for _, one := range [][]string{
		{"invalid_scope", "scope", "patient/*.rs"}, {"invalid_scope", "scope", "patient/Patient.cruds"}, {"invalid_scope", "scope", "patient/Patient.rs openid"},
		{"invalid_target", "resource", "https://other.example/fhir"}, {"invalid_target", "aud", h.url}, {"invalid_grant", "client_id", "once"},
		{"invalid_grant", "refresh_token", "INVALID_REFRESH"}, {"invalid_request", "refresh_token", ""}, {"invalid_grant", "refresh_token", first["access_token"].(string)},
	} {
		got := b.post("/auth/token", refreshOf(first, one[1:]...))
		if one[1] == "client_id" { // which may not refresh at all
			got.refused(t, 400, "unauthorized_client")
			continue
		}
		got.refused(t, 400, one[0])
	}
	narrow := b.post("/auth/token", refreshOf(first, "scope", "patient/Patient.rs"))
	again := b.post("/auth/token", refreshOf(first, "scope", "patient/Patient.rs"))
	if narrow.StatusCode != 200 || narrow.json(t)["scope"] != "patient/Patient.rs" || narrow.body == "" || again.json(t)["access_token"] == nil {
		t.Fatalf("%s %s", narrow.body, again.body)
	}
	second := again.json(t)
	third := b.post("/auth/token", refreshOf(second)).json(t)
	b.post("/auth/token", refreshOf(first)).refused(t, 400, "invalid_grant") // spent long ago: the family ends
	b.post("/auth/token", refreshOf(third)).refused(t, 400, "invalid_grant")
	if _, err := h.tokens.Check(t.Context(), third["access_token"].(string)); err == nil {
		t.Error("the family is alive")
	}
}

func TestR17_SymmetricClient(t *testing.T) {
	h := open(t)
	b := h.browser()
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	}
	ask := []string{"client_id", "clinic", "scope", "openid fhirUser launch/patient offline_access patient/*.rs"}
	good := b.post("/auth/token", exchange(h.freshCode(t, b, ask...), "client_id", ""), "Authorization", basic("clinic", h.secret))
	if good.StatusCode != 200 || good.json(t)["refresh_token"] == nil {
		t.Fatal(good.body)
	}
	posted := b.post("/auth/token", exchange(h.freshCode(t, b, ask...), "client_id", "clinic", "client_secret", h.secret))
	if posted.StatusCode != 200 {
		t.Fatal(posted.body)
	}
	for name, header := range map[string]string{"wrong": basic("clinic", strings.Repeat("x", 43)), "wrong id": basic("nobody", h.secret), "no colon": "Basic YQ==", "bearer": "Bearer x"} {
		got := b.post("/auth/token", exchange(h.freshCode(t, b, ask...), "client_id", ""), "Authorization", header)
		got.refused(t, 401, "invalid_client")
		if !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: challenge %q", name, got.Header.Get("WWW-Authenticate"))
		}
	}
	b.post("/auth/token", exchange(h.freshCode(t, b, ask...), "client_secret", h.secret, "client_id", "clinic"), "Authorization", basic("clinic", h.secret)).refused(t, 400, "invalid_client")
}

// backend registers a service with a key of its own.
func (h *house) backend(t *testing.T) (sign func(change map[string]any) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	h.must(err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES384", Use: "sig"}}})
	h.must(err)
	_, err = h.clients.Put(t.Context(), client.Client{ID: "service", Name: "Service", Kind: client.Asymmetric, Grants: []string{client.GrantBackend},
		Scopes: []string{"system/Patient.rs", "system/Observation.rs"}, JWKS: set, Introspect: true})
	h.must(err)
	n := 0
	return func(change map[string]any) string {
		n++
		claims := map[string]any{"iss": "service", "sub": "service", "aud": h.url + "/auth/token", "jti": "j" + string(rune('a'+n)), "exp": h.clock.Now().Add(5 * time.Minute).Unix()}
		for name, value := range change {
			claims[name] = value
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("JWT"))
		h.must(err)
		raw, _ := json.Marshal(claims)
		signed, err := signer.Sign(raw)
		h.must(err)
		text, err := signed.CompactSerialize()
		h.must(err)
		return text
	}
}

func credentials(assertion string, more ...string) url.Values {
	v := url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

func TestR24_R15_BackendServices(t *testing.T) {
	h := open(t)
	sign := h.backend(t)
	b := h.browser()
	backend := func(scope, assertion string) *answer {
		return b.post("/auth/token", credentials(assertion, "grant_type", "client_credentials", "scope", scope))
	}
	good := backend("system/*.rs", sign(nil)).json(t)
	if good["scope"] != "system/Patient.rs system/Observation.rs" || good["token_type"] != "Bearer" || good["expires_in"] != 300.0 || good["refresh_token"] != nil || good["patient"] != nil {
		t.Errorf("%v", good)
	}
	once := sign(nil)
	if got := backend("system/Patient.rs", once); got.StatusCode != 200 {
		t.Error(got.body)
	}
	backend("system/Patient.rs", once).refused(t, 401, "invalid_client") // T49
	backend("system/Condition.rs", sign(nil)).refused(t, 400, "invalid_scope")
	backend("patient/Patient.rs", sign(nil)).refused(t, 400, "invalid_scope")
	backend("user/Patient.rs system/Patient.rs", sign(nil)).refused(t, 400, "invalid_scope")
	backend("", sign(nil)).refused(t, 400, "invalid_scope")
	backend("system/Patient.rs", sign(map[string]any{"aud": h.base})).refused(t, 401, "invalid_client")
	backend("system/Patient.rs", sign(map[string]any{"aud": []string{h.url + "/auth/token", "https://other.example"}})).refused(t, 401, "invalid_client")
	backend("system/Patient.rs", sign(map[string]any{"exp": h.clock.Now().Add(time.Hour).Unix()})).refused(t, 401, "invalid_client")
	b.post("/auth/token", credentials(sign(nil), "grant_type", "not_a_grant_type", "scope", "system/Patient.rs")).refused(t, 400, "unsupported_grant_type")
	b.post("/auth/token", credentials(sign(nil), "grant_type", "client_credentials", "scope", "system/Patient.rs", "client_assertion_type", "not-one")).refused(t, 400, "invalid_client")
	start := time.Now()
	b.post("/auth/token", credentials(strings.Repeat(".", 10<<20), "grant_type", "client_credentials", "scope", "system/Patient.rs")).refused(t, 400, "invalid_request") // T52
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("10 MB of dots took %s", took)
	}
}

func TestR23_T57_Introspection(t *testing.T) {
	h := open(t)
	b := h.browser()
	sign := h.backend(t)
	got := b.walk("scope", "openid fhirUser launch/patient patient/*.rs offline_access")
	access := got["access_token"].(string)
	ask := func(token string, header ...string) *answer {
		return b.post("/auth/introspect", url.Values{"token": {token}}, header...)
	}
	byEHR := []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("ehr:"+h.secret))}
	active := ask(access, byEHR...).json(t)
	for name, want := range map[string]any{"active": true, "client_id": "app", "scope": got["scope"], "patient": "p1", "iss": h.base, "fhirUser": h.base + "/Patient/p1"} {
		if active[name] != want {
			t.Errorf("%s is %v, not %v", name, active[name], want)
		}
	}
	if active["exp"].(float64) <= float64(h.clock.Now().Unix()) || active["sub"] == nil {
		t.Errorf("%v", active)
	}
	for _, dead := range []string{"INVALID", got["refresh_token"].(string), access + "A", strings.Repeat("A", 60<<10)} {
		if found := ask(dead, byEHR...); found.StatusCode != 200 || found.body != `{"active":false}` {
			t.Errorf("%.20s: %d %s", dead, found.StatusCode, found.body)
		}
	}
	service := b.post("/auth/token", credentials(sign(nil), "grant_type", "client_credentials", "scope", "system/Patient.rs")).json(t)
	if found := ask(access, "Authorization", "Bearer "+service["access_token"].(string)); found.json(t)["active"] != true {
		t.Error(found.body)
	}
	if found := b.post("/auth/introspect", credentials(sign(nil), "token", access)); found.json(t)["active"] != true {
		t.Error(found.body)
	}
	ask(access, "Authorization", "Bearer "+access).refused(t, 403, "access_denied") // T57: any app's token
	ask(access, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("clinic:"+h.secret))).refused(t, 403, "access_denied")
	b.post("/auth/introspect", url.Values{"token": {access}, "client_id": {"app"}}).refused(t, 403, "access_denied")
	ask(access).refused(t, 401, "invalid_client")
	ask(access, "Authorization", "Bearer nonsense").refused(t, 401, "invalid_token")
	for _, bad := range []string{"Bearer ", "Bearer \t" + access, "Bearer  " + access, "Bearer " + strings.Repeat("A", 20<<10)} { // T55
		ask(access, "Authorization", bad).refused(t, 400, "invalid_request")
	}
	ask("", byEHR...).refused(t, 400, "invalid_request")
	h.clock.advance(time.Hour)
	if found := ask(access, byEHR...); found.body != `{"active":false}` {
		t.Error(found.body)
	}
}

func TestT55_TwoAuthorizationHeaders(t *testing.T) {
	h := open(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/auth/introspect", strings.NewReader("token=x"))
	h.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header["Authorization"] = []string{"Bearer a", "Bearer b"}
	h.browser().do(r).refused(t, 400, "invalid_request")
}

func TestR22_Revocation(t *testing.T) {
	h := open(t)
	b := h.browser()
	revoke := func(token string, more ...string) *answer {
		v := url.Values{"token": {token}, "client_id": {"app"}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return b.post("/auth/revoke", v)
	}
	got := b.walk("scope", "patient/*.rs offline_access")
	for _, token := range []string{"nonsense", got["access_token"].(string) + "x"} {
		if answer := revoke(token); answer.StatusCode != 200 {
			t.Errorf("unknown: %d", answer.StatusCode)
		}
	}
	revoke(got["access_token"].(string), "client_id", "once").refused(t, 400, "unauthorized_client")
	revoke(got["access_token"].(string), "client_id", "nobody").refused(t, 401, "invalid_client")
	revoke("").refused(t, 400, "invalid_request")
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err != nil {
		t.Fatal(err)
	}
	if answer := revoke(got["refresh_token"].(string), "token_type_hint", "refresh_token"); answer.StatusCode != 200 || answer.body != "" {
		t.Errorf("%d %q", answer.StatusCode, answer.body)
	}
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err == nil {
		t.Error("the access token is alive")
	}
	b.post("/auth/token", refreshOf(got)).refused(t, 400, "invalid_grant")
}

func TestR25_T59_Registration(t *testing.T) {
	h := open(t)
	b := h.browser()
	initial, err := h.clients.NewInitial(t.Context(), client.Permit{}, time.Hour)
	h.must(err)
	call := func(method, path, bearer, body string) *answer {
		r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		h.must(err)
		r.Header.Set("Content-Type", "application/json")
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		return b.do(r)
	}
	endpoint := b.get("/fhir/.well-known/smart-configuration").json(t)["registration_endpoint"].(string)
	const good = `{"client_name":"New","redirect_uris":["https://new.example.org/cb"],"token_endpoint_auth_method":"client_secret_basic","scope":"patient/*.rs launch/patient"}`
	call("POST", endpoint, "", good).refused(t, 401, "")
	call("POST", endpoint, "nonsense", good).refused(t, 401, "invalid_token")
	for _, bad := range []string{`{"redirect_uris":["javascript:alert(1)"]}`, `{"redirect_uris":["http://new.example.org/"]}`, `{"redirect_uris":["https://*.example.org/"]}`,
		`{"redirect_uris":["https://new.example.org/#x"]}`, `{"redirect_uris":["https://new.example.org/"],"scope":"system/*.*"}`,
		`{"redirect_uris":["https://new.example.org/"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://169.254.169.254/"}`, `[]`, `{`, strings.Repeat(" ", 200<<10)} {
		call("POST", endpoint, initial, bad).refused(t, 400, "invalid_client_metadata")
	}
	call("POST", endpoint, initial, strings.Repeat(" ", 300<<10)).refused(t, 400, "invalid_request")
	made := call("POST", endpoint, initial, good)
	if made.StatusCode != 201 || made.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", made.StatusCode, made.body)
	}
	record := made.json(t)
	uri, own := record["registration_client_uri"].(string), record["registration_access_token"].(string)
	if call("GET", uri, own, "").json(t)["client_id"] != record["client_id"] {
		t.Error(b.last.body)
	}
	call("GET", uri, initial, "").refused(t, 401, "invalid_token")
	id := record["client_id"].(string)
	b.authorize("client_id", id, "redirect_uri", "https://new.example.org/cb", "scope", "patient/*.rs")
	b.signIn("ada")
	b.allow()
	got := b.post("/auth/token", exchange(b.codeOf(), "client_id", id, "client_secret", record["client_secret"].(string), "redirect_uri", "https://new.example.org/cb")).json(t)
	if got["patient"] != "p1" {
		t.Fatalf("%v", got)
	}
	changed := call("PUT", uri, own, `{"client_id":"`+id+`","client_name":"Newer","redirect_uris":["https://new.example.org/cb"],"scope":"patient/Patient.rs"}`)
	if changed.StatusCode != 200 || changed.json(t)["client_name"] != "Newer" {
		t.Error(changed.body)
	}
	if gone := call("DELETE", uri, own, ""); gone.StatusCode != 204 {
		t.Error(gone.body)
	}
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err == nil {
		t.Error("a token outlived its client")
	}
	call("GET", uri, own, "").refused(t, 401, "invalid_token")
	off := open(t, func(c *authorize.Config) { c.Register = false })
	if got := off.browser().post("/auth/register", nil); got.StatusCode != 404 {
		t.Errorf("%d", got.StatusCode)
	}
	if doc := off.browser().get("/fhir/.well-known/smart-configuration").json(t); doc["registration_endpoint"] != nil {
		t.Error("it is announced")
	}
}

func TestR1_R2_R3_R4_Discovery(t *testing.T) {
	h := open(t, func(c *authorize.Config) {
		c.BrandID = authorize.Identifier{System: "urn:ietf:rfc:3986", Value: "https://clinic.example"}
	})
	b := h.browser()
	first := ""
	for _, path := range []string{"/fhir/.well-known/smart-configuration", "/fhir/.well-known/openid-configuration", "/fhir/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/fhir", "/.well-known/openid-configuration/fhir"} {
		for _, accept := range []string{"", "text/html", "application/fhir+xml", "image/png"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+path, nil)
			h.must(err)
			r.Header.Set("Accept", accept)
			r.Header.Set("Origin", "https://anybody.example")
			got := b.do(r)
			if first == "" {
				first = got.body
			}
			if got.StatusCode != 200 || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Access-Control-Allow-Origin") != "*" || got.body != first {
				t.Errorf("%s for %q: %d %v", path, accept, got.StatusCode, got.Header)
			}
		}
	}
	doc := b.last.json(t)
	for name, value := range doc {
		text, ok := value.(string)
		if ok && name != "issuer" && !strings.HasPrefix(text, h.url+"/auth/") {
			t.Errorf("%s is %v", name, value)
		}
		if ok && name != "issuer" { // each endpoint is there
			got := b.get(text)
			if got.StatusCode == 404 {
				t.Errorf("%s: nothing at %s", name, text)
			}
		}
	}
	has := func(name string, want ...string) {
		t.Helper()
		raw, _ := json.Marshal(doc[name])
		var list []string
		_ = json.Unmarshal(raw, &list)
		for _, one := range want {
			if !slices.Contains(list, one) {
				t.Errorf("%s has no %s: %v", name, one, list)
			}
		}
	}
	if doc["issuer"] != h.base || doc["authorization_response_iss_parameter_supported"] != true {
		t.Errorf("%v", doc)
	}
	has("grant_types_supported", "authorization_code", "client_credentials")
	has("token_endpoint_auth_methods_supported", "client_secret_basic", "client_secret_post", "private_key_jwt")
	has("token_endpoint_auth_signing_alg_values_supported", "RS384", "ES384")
	has("id_token_signing_alg_values_supported", "RS256")
	has("subject_types_supported", "public")
	has("response_types_supported", "code")
	has("capabilities", strings.Fields(`launch-standalone client-public client-confidential-symmetric client-confidential-asymmetric sso-openid-connect context-standalone-patient
		permission-offline permission-patient authorize-post permission-v2 permission-v1 launch-ehr context-banner context-style context-ehr-patient permission-user`)...)
	if raw, _ := json.Marshal(doc["code_challenge_methods_supported"]); string(raw) != `["S256"]` {
		t.Errorf("%s", raw)
	}
	for _, one := range doc["scopes_supported"].([]any) {
		if set, refused := h.scopes.Parse(one.(string)); len(refused) > 0 || len(set) != 1 {
			t.Errorf("scope %v does not work", one)
		}
	}
	brands := b.get(doc["user_access_brand_bundle"].(string))
	if brands.Header.Get("Access-Control-Allow-Origin") != "*" || brands.Header.Get("ETag") == "" || brands.json(t)["resourceType"] != "Bundle" {
		t.Errorf("%v", brands.Header)
	}
}

// v1 and v2 scopes are answered as they were asked.
func TestR18_VersionOneScopes(t *testing.T) {
	h := open(t)
	b := h.browser()
	if got := b.walk("scope", "launch/patient patient/Patient.read patient/Observation.* patient/Foo.read"); got["scope"] != "launch/patient patient/Patient.read patient/Observation.*" {
		t.Errorf("%v", got["scope"])
	}
}

func TestR5_T100_CORS(t *testing.T) {
	h := open(t)
	b := h.browser()
	call := func(method, path, origin string, form url.Values) *answer {
		r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(form.Encode()))
		h.must(err)
		r.Header.Set("Origin", origin)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return b.do(r)
	}
	const own = "https://app.example.org"
	for _, origin := range []string{own, "https://evil.example", "null", "https://app.example.org.evil.example", "https://evilapp.example.org", "http://app.example.org", "https://app.example.org:444"} {
		want := ""
		if origin == own {
			want = own
		}
		for _, path := range []string{"/auth/token", "/auth/revoke"} {
			pre := call(http.MethodOptions, path, origin, nil)
			if pre.StatusCode != 204 || pre.Header.Get("Access-Control-Allow-Origin") != want || pre.Header.Get("Access-Control-Allow-Credentials") != "" || pre.Header.Get("Vary") != "Origin" {
				t.Errorf("preflight of %s from %s: %d %v", path, origin, pre.StatusCode, pre.Header)
			}
		}
		if got := call(http.MethodPost, "/auth/token", origin, exchange("x")); got.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("from %s: %v", origin, got.Header)
		}
		for _, path := range []string{"/auth/launch", "/auth/introspect", "/auth/register"} {
			if got := call(http.MethodPost, path, origin, exchange("x")); got.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s from %s: %v", path, origin, got.Header)
			}
		}
		if got := call(http.MethodOptions, "/auth/consent", origin, nil); got.StatusCode != 405 || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("consent: %d", got.StatusCode)
		}
	}
	// An origin of one client is none of another.
	if got := call(http.MethodPost, "/auth/token", "https://clinic.example.org", exchange("x")); got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", got.Header)
	}
}

// Trouble of the moment is never told as if the grant were dead.
func TestR52_TransientTroubleIs503(t *testing.T) {
	h := open(t)
	b := h.browser()
	got := b.walk("scope", "patient/*.rs offline_access")
	code := h.freshCode(t, b)
	h.kv.down.Store(true)
	for _, one := range []*answer{
		b.post("/auth/token", exchange(code)), b.post("/auth/token", refreshOf(got)), b.post("/auth/revoke", url.Values{"token": {"x"}, "client_id": {"app"}}),
		b.post("/auth/introspect", url.Values{"token": {"x"}, "client_id": {"app"}}), b.authorize(), b.get("/auth/manage"),
	} {
		if one.StatusCode != 503 || one.Header.Get("Retry-After") == "" || strings.Contains(one.body, "invalid_") {
			t.Errorf("%s: %d %s", one.Request.URL.Path, one.StatusCode, one.body)
		}
	}
	h.kv.down.Store(false)
	if again := b.post("/auth/token", exchange(code)); again.StatusCode != 200 {
		t.Error(again.body)
	}
	if again := b.post("/auth/token", refreshOf(got)); again.StatusCode != 200 {
		t.Error(again.body)
	}
	b.authorize("scope", "launch/patient patient/*.rs")
	page := b.form("answer", "allow", "scope", "patient/*.rs")
	h.who.down.Store(true)
	if failed := b.post("/auth/consent", page); failed.StatusCode != 503 {
		t.Errorf("%d", failed.StatusCode)
	}
	h.who.down.Store(false)
	b.post("/auth/consent", page) // and it goes on
	b.codeOf()
}

// What cannot be put on record does not happen.
func TestR38_AuditFailureIs503(t *testing.T) {
	var fail bool
	h := open(t, func(c *authorize.Config) {
		c.Audit = func(context.Context, authorize.Event) error {
			if fail {
				return errors.New("disk full")
			}
			return nil
		}
	})
	b := h.browser()
	code := h.freshCode(t, b)
	b.authorize()
	page := b.form("answer", "allow", "scope", "patient/*.rs")
	fail = true
	if got := b.post("/auth/token", exchange(code)); got.StatusCode != 503 || strings.Contains(got.body, "access_token") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := b.post("/auth/consent", page); got.StatusCode != 503 || got.Header.Get("Location") != "" {
		t.Errorf("%d %s", got.StatusCode, got.Header.Get("Location"))
	}
}

// T104: a user is locked or a client disabled while tokens live.
func TestT104_LockedAndDisabled(t *testing.T) {
	h := open(t)
	b := h.browser()
	got := b.walk("scope", "patient/*.rs offline_access")
	code := h.freshCode(t, b)
	h.must(h.accounts.Lock(t.Context(), "ada"))
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err == nil {
		t.Error("the token of a locked user is alive")
	}
	b.post("/auth/token", refreshOf(got)).refused(t, 400, "invalid_grant")
	b.post("/auth/token", exchange(code)).refused(t, 400, "invalid_grant")
	b.authorize()
	b.shows("Sign in")
	h.must(h.accounts.Unlock(t.Context(), "ada"))
	code = h.freshCode(t, b)
	h.must(h.clients.Disable(t.Context(), "app", true))
	b.post("/auth/token", exchange(code)).refused(t, 401, "invalid_client")
}

func TestUnknownPathsAreNotServed(t *testing.T) {
	h := open(t, func(c *authorize.Config) { c.Launcher = false })
	b := h.browser()
	for _, path := range []string{"/auth", "/auth/", "/auth/nothing", "/auth/launcher", "/auth//token", "/auth/provider", "/auth/callback", "/auth/token/", "/auth/%74oken", "/auth/register/", "/auth/register/a/b"} {
		if got := b.get(path); got.StatusCode != 404 {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
}
