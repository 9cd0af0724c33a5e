package authorize_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/token"
)

// A patient lets an app in from a standalone launch, without a picker, for there
// is one record only; the tokens tell the context, refresh repeats it.
func TestR12_R13_StandaloneLaunchOfAPatient(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "openid fhirUser launch/patient patient/*.rs offline_access", "nonce", "n-1")
	b.signIn("ada")
	for _, words := range []string{"Growth &lt;Chart&gt;", "Ada Lovelace", "offline access", "away", "120 days", "patient/*.rs", "app.example.org"} {
		if !strings.Contains(b.last.body, words) {
			t.Errorf("the consent does not say %q", words)
		}
	}
	b.allow()
	to, values := b.last.location()
	if to != redirect || values.Get("state") != "a b&c=d/ä" || values.Get("iss") != h.base || len(values) != 3 {
		t.Fatalf("sent to %s", b.last.Header.Get("Location"))
	}
	got := b.post("/auth/token", exchange(b.codeOf()))
	if got.StatusCode != 200 || got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Pragma") != "no-cache" || got.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s", got.StatusCode, got.Header, got.body)
	}
	first := got.json(t)
	want := map[string]any{"token_type": "Bearer", "expires_in": 3600.0, "patient": "p1", "need_patient_banner": true,
		"scope": "openid fhirUser launch/patient patient/*.rs offline_access"}
	for name, value := range want {
		if first[name] != value {
			t.Errorf("%s is %v, not %v", name, first[name], value)
		}
	}
	h.identity(t, first["id_token"].(string), "n-1")
	if style := b.get(first["smart_style_url"].(string)); style.StatusCode != 200 || style.json(t)["color_text"] == nil {
		t.Error("no style")
	}
	second := b.post("/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first["refresh_token"].(string)}, "client_id": {"app"}}).json(t)
	for _, name := range []string{"patient", "scope", "need_patient_banner", "smart_style_url", "token_type"} {
		if second[name] != first[name] {
			t.Errorf("after a refresh %s is %v, not %v", name, second[name], first[name])
		}
	}
	if second["access_token"] == first["access_token"] || second["id_token"] == nil {
		t.Error("the refresh gave nothing new")
	}
	if want := []string{"allowed", "token-given", "token-given"}; !slices.Equal(h.whats(), want) {
		t.Errorf("told %v, not %v", h.whats(), want)
	}
}

// identity holds an id_token against the published keys, as an app would.
func (h *house) identity(t *testing.T, text, nonce string) {
	t.Helper()
	doc := h.browser().get("/fhir/.well-known/openid-configuration").json(t)
	keys := h.browser().get(doc["jwks_uri"].(string))
	var set jose.JSONWebKeySet
	h.must(json.Unmarshal([]byte(keys.body), &set))
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256})
	h.must(err)
	found := set.Key(signed.Signatures[0].Header.KeyID)
	if len(found) != 1 || !found[0].IsPublic() {
		t.Fatalf("%d keys of that name, or private ones", len(found))
	}
	raw, err := signed.Verify(found[0])
	h.must(err)
	var claims map[string]any
	h.must(json.Unmarshal(raw, &claims))
	if claims["iss"] != doc["issuer"] || claims["iss"] != h.base || claims["aud"] != "app" || claims["nonce"] != nonce || claims["fhirUser"] != h.base+"/Patient/p1" {
		t.Errorf("claims %s", raw)
	}
}

// An EHR starts an app with a patient and an encounter; who launched it signs in.
func TestR8_EHRLaunch(t *testing.T) {
	h := open(t)
	made := h.browser().post("/auth/launch", url.Values{"app": {"app"}, "user": {"doctor"}, "patient": {"p2"}, "encounter": {"e3"}, "intent": {"reconcile"},
		"need_patient_banner": {"false"}, "tenant": {"north"}, "fhirContext": {`[{"reference":"Observation/9"}]`}, "client_id": {"ehr"}, "client_secret": {h.secret}})
	if made.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", made.StatusCode, made.body)
	}
	launch := made.json(t)
	handle := launch["launch"].(string)
	if len(handle) < 22 || launch["iss"] != h.base || launch["expires_in"] != 300.0 ||
		launch["launch_url"] != "https://app.example.org/launch?"+(url.Values{"iss": {h.base}, "launch": {handle}}).Encode() {
		t.Fatalf("%s", made.body)
	}
	b := h.browser()
	b.authorize("scope", "openid fhirUser launch user/*.rs", "launch", handle)
	b.signIn("colleague")
	b.shows("Sign in") // another user than the one who launched it
	if !strings.Contains(b.last.body, "another user") {
		t.Error("it does not say why")
	}
	b.signIn("doctor")
	b.allow()
	got := b.post("/auth/token", exchange(b.codeOf())).json(t)
	for name, want := range map[string]any{"patient": "p2", "encounter": "e3", "intent": "reconcile", "tenant": "north", "need_patient_banner": false} {
		if got[name] != want {
			t.Errorf("%s is %v, not %v", name, got[name], want)
		}
	}
	raw, _ := json.Marshal(got["fhirContext"])
	if string(raw) != `[{"reference":"Observation/9"}]` {
		t.Errorf("fhirContext %s", raw)
	}
	again := h.browser()
	again.authorize("scope", "launch user/*.rs", "launch", handle)
	again.sentBack(t, "invalid_request")
}

// sentBack holds that the app was told no, with its state and who we are.
func (b *browser) sentBack(t *testing.T, code string) {
	t.Helper()
	to, values := b.last.location()
	if b.last.StatusCode != http.StatusSeeOther || to != redirect || values.Get("error") != code || values.Get("state") != "a b&c=d/ä" ||
		values.Get("iss") != b.base || values.Has("code") {
		t.Fatalf("not sent back with %s: %d %s %s", code, b.last.StatusCode, b.last.Header.Get("Location"), b.last.body)
	}
}

func (h *house) handle(t *testing.T, change ...string) string {
	t.Helper()
	v := url.Values{"app": {"app"}, "user": {"doctor"}, "patient": {"p1"}, "client_id": {"ehr"}, "client_secret": {h.secret}}
	for i := 0; i+1 < len(change); i += 2 {
		v.Set(change[i], change[i+1])
	}
	return h.browser().post("/auth/launch", v).json(t)["launch"].(string)
}

func TestT45_LaunchHandles(t *testing.T) {
	h := open(t)
	b := h.browser()
	old := h.handle(t)
	h.clock.advance(5*time.Minute + time.Second)
	foreign, good := h.handle(t, "app", "clinic"), h.handle(t)
	for _, one := range [][]string{
		{"expired", "launch", old},
		{"other client", "launch", foreign},
		{"other, again", "client_id", "clinic", "launch", foreign}, // who sent it used it up
		{"made up", "launch", strings.Repeat("A", 43)},
		{"long", "launch", strings.Repeat("A", 40<<10)},
		{"scope alone", "launch", ""},
		{"handle alone", "launch", good, "scope", "patient/*.rs"},
		{"empty handle", "launch", " "},
		{"wildcard name", "launch", "*"},
	} {
		t.Run(one[0], func(t *testing.T) {
			b.post("/auth/authorize", h.ask(append([]string{"scope", "launch patient/*.rs"}, one[1:]...)...))
			b.sentBack(t, "invalid_request")
		})
	}
	if big := b.post("/auth/authorize", h.ask("launch", strings.Repeat("A", 1<<20))); big.StatusCode != 400 || big.Header.Get("Location") != "" {
		t.Errorf("1 MB: %d", big.StatusCode)
	}
	b.authorize("scope", "launch patient/*.rs", "launch", good)
	b.shows("Sign in") // a wrong request does not use a handle up
}

func TestR8_WhoMayCreateALaunch(t *testing.T) {
	h := open(t)
	b := h.browser()
	good := url.Values{"app": {"app"}, "user": {"doctor"}, "patient": {"p1"}, "client_id": {"ehr"}, "client_secret": {h.secret}}
	for _, one := range []struct {
		name   string
		change []string
		status int
		code   string
	}{
		{"no EHR", []string{"client_id", "clinic"}, 403, "unauthorized_client"},
		{"public client", []string{"client_id", "app", "client_secret", ""}, 403, "unauthorized_client"},
		{"wrong secret", []string{"client_secret", strings.Repeat("x", 43)}, 401, "invalid_client"},
		{"nobody", []string{"user", "nobody"}, 400, "invalid_request"},
		{"no app", []string{"app", "nothing"}, 400, "invalid_request"},
		{"no patient", []string{"patient", "p9"}, 403, "access_denied"},
		{"patient that is not the user's", []string{"user", "ada", "patient", "p2"}, 403, "access_denied"},
		{"encounter of another", []string{"encounter", "e3"}, 403, "access_denied"},
		{"encounter alone", []string{"encounter", "e3", "patient", ""}, 400, "invalid_request"},
		{"context", []string{"fhirContext", `[{"reference":"Patient/p1"}]`}, 400, "invalid_request"},
		{"context no JSON", []string{"fhirContext", `[{`}, 400, "invalid_request"},
	} {
		t.Run(one.name, func(t *testing.T) {
			v := url.Values{}
			for name := range good {
				v.Set(name, good.Get(name))
			}
			for i := 0; i+1 < len(one.change); i += 2 {
				v.Set(one.change[i], one.change[i+1])
			}
			b.post("/auth/launch", v).refused(t, one.status, one.code)
		})
	}
}

// A doctor chooses the patient and the visit; what is sent instead of chosen is
// judged the same.
func TestR10_T46_Pickers(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "launch/patient launch/encounter patient/*.rs")
	b.signIn("doctor")
	b.shows("Choose a patient")
	if !strings.Contains(b.last.body, "Grace Hopper &lt;b&gt;&amp;") || !strings.Contains(b.last.body, "Alan Turing") {
		t.Error(b.last.body)
	}
	ask := b.form().Get("ask")
	b.get("/auth/continue?ask=" + ask + "&text=ADA")
	if !strings.Contains(b.last.body, "Ada Lovelace") || strings.Contains(b.last.body, "Alan Turing") {
		t.Error("the search finds others")
	}
	for _, bad := range []string{"p9", "", "../p1", "p1 OR 1", strings.Repeat("p", 65), "Patient/p1"} {
		b.get("/auth/continue?ask=" + ask)
		if got := b.fill("patient", "patient", bad); got.StatusCode != 403 {
			t.Errorf("patient %q: %d", bad, got.StatusCode)
		}
	}
	b.get("/auth/continue?ask=" + ask)
	b.fill("patient", "patient", "p1")
	b.shows("Choose a visit")
	if !strings.Contains(b.last.body, `value="e2"`) || strings.Contains(b.last.body, `value="e3"`) {
		t.Error(b.last.body)
	}
	if got := b.fill("encounter", "encounter", "e3"); got.StatusCode != 403 {
		t.Errorf("visit of another: %d", got.StatusCode)
	}
	b.get("/auth/continue?ask=" + ask)
	b.fill("encounter", "encounter", "e2")
	b.allow()
	got := b.post("/auth/token", exchange(b.codeOf())).json(t)
	if got["patient"] != "p1" || got["encounter"] != "e2" {
		t.Errorf("%v", got)
	}
	if n := len(slices.DeleteFunc(h.whats(), func(w string) bool { return w != "pick-refused" })); n != 7 {
		t.Errorf("%d refusals were told of, not 7", n)
	}
}

// A parent sees both children and nobody else, and cannot send another.
func TestT46_ProxyPicksOwnOnly(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "launch/patient patient/*.rs")
	b.signIn("parent")
	b.shows("Choose a patient")
	if !strings.Contains(b.last.body, `value="p2"`) || !strings.Contains(b.last.body, `value="p3"`) || strings.Contains(b.last.body, `value="p1"`) {
		t.Error(b.last.body)
	}
	ask := b.form().Get("ask")
	if got := b.fill("patient", "patient", "p1"); got.StatusCode != 403 || !slices.Contains(h.whats(), "pick-refused") {
		t.Errorf("%d %v", got.StatusCode, h.whats())
	}
	b.get("/auth/continue?ask=" + ask)
	b.fill("patient", "patient", "p3")
	b.allow()
	if got := b.post("/auth/token", exchange(b.codeOf())).json(t); got["patient"] != "p3" {
		t.Errorf("%v", got)
	}
}

// What the user may see is judged at the end once more.
func TestR10_ViewLostBeforeConsent(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "launch/patient patient/*.rs")
	b.signIn("parent")
	b.fill("patient", "patient", "p3")
	b.shows("Let ")
	page := b.form("answer", "allow", "scope", "patient/*.rs")
	u, err := h.accounts.Get(t.Context(), "parent")
	h.must(err)
	u.Patients = []string{"p2"}
	_, err = h.accounts.Put(t.Context(), u)
	h.must(err)
	if got := b.post("/auth/consent", page); got.StatusCode != 403 {
		t.Errorf("%d %s", got.StatusCode, got.Header.Get("Location"))
	}
}

func TestR10_SingleAndGranularScopes(t *testing.T) {
	const labs = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
	h := open(t)
	for _, one := range []struct {
		name   string
		ticked []string
		want   string
	}{
		{"dropped", []string{"patient/Patient.rs"}, "launch/patient patient/Patient.rs"},
		{"part", []string{"patient/Patient.rs", labs}, "launch/patient patient/Patient.rs " + labs},
		{"part beside the whole", []string{"patient/Observation.rs", labs}, "launch/patient patient/Observation.rs"},
		{"order is the app's", []string{"patient/Condition.rs", "patient/Patient.rs", "openid"}, "openid launch/patient patient/Patient.rs patient/Condition.rs"},
		{"no offline", []string{"patient/Patient.rs"}, "launch/patient patient/Patient.rs"},
	} {
		t.Run(one.name, func(t *testing.T) {
			b := h.browser()
			b.authorize("scope", "openid launch/patient patient/Patient.rs patient/Observation.rs patient/Condition.rs offline_access")
			b.signIn("ada")
			b.allow(one.ticked...)
			got := b.post("/auth/token", exchange(b.codeOf())).json(t)
			if got["scope"] != one.want || got["refresh_token"] != nil {
				t.Errorf("%v", got)
			}
		})
	}
	b := h.browser()
	b.authorize("scope", "patient/Patient.rs patient/Observation.r")
	b.signIn("ada")
	ask := b.form().Get("ask")
	for _, more := range []string{"patient/Condition.rs", labs, "patient/*.cruds", "user/*.rs", "offline_access", "openid", "patient/Patient.r"} {
		if got := b.allow("patient/Patient.rs", more); got.StatusCode != 403 {
			t.Errorf("%s was not asked for: %d %s", more, got.StatusCode, got.Header.Get("Location"))
		}
		b.get("/auth/continue?ask=" + ask)
	}
	if got := b.allow(); got.StatusCode != 303 {
		t.Errorf("%d", got.StatusCode)
	}
}

func TestR10_NothingTickedAsksAgain(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "launch/patient patient/Patient.rs offline_access")
	b.signIn("ada")
	if got := b.allow("offline_access"); got.StatusCode != 400 || !strings.Contains(got.body, "Nothing is ticked") {
		t.Errorf("%d", got.StatusCode)
	}
	b.fill("consent", "answer", "deny")
	b.sentBack(t, "access_denied")
}

// A user who is no resource gives no user/ scopes.
func TestR28_UserScopesNeedAUserWhoIsAResource(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "user/Patient.rs patient/Patient.rs fhirUser")
	b.signIn("parent")
	b.fill("patient", "patient", "p2")
	if got := b.boxes(); !slices.Equal(got, []string{"patient/Patient.rs"}) {
		t.Errorf("offers %v", got)
	}
	other := h.browser()
	other.authorize("scope", "user/Patient.rs fhirUser")
	other.signIn("parent")
	other.sentBack(t, "access_denied")
}

func TestR21_OnlineAccessEndsWithTheSession(t *testing.T) {
	h := open(t)
	b := h.browser()
	got := b.walk("scope", "launch/patient patient/*.rs online_access")
	renew := func() *answer {
		return h.browser().post("/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got["refresh_token"].(string)}, "client_id": {"app"}})
	}
	next := renew()
	if next.StatusCode != 200 {
		t.Fatal(next.body)
	}
	got = next.json(t)
	b.get("/auth/manage")
	b.fill("signout")
	b.shows("You are signed out")
	renew().refused(t, 400, "invalid_grant")
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err == nil {
		t.Error("the access token outlived the session")
	}
}

func TestR22_ManagePageEndsAccess(t *testing.T) {
	h := open(t)
	b := h.browser()
	got := b.walk("scope", "launch/patient patient/Patient.rs offline_access")
	b.get("/auth/manage")
	b.shows("Apps with access")
	for _, words := range []string{"Growth &lt;Chart&gt;", "Ada Lovelace", "see name, date of birth", "Last used"} {
		if !strings.Contains(b.last.body, words) {
			t.Errorf("the page does not say %q", words)
		}
	}
	stranger := h.browser()
	stranger.get("/auth/manage")
	stranger.signIn("parent")
	stranger.shows("Apps with access")
	theft := stranger.form("do", "end")
	theft.Set("grant", b.form().Get("grant"))
	stranger.post("/auth/manage", theft)
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err != nil {
		t.Fatalf("another user ended it: %v", err)
	}
	b.fill("manage", "do", "end")
	if !strings.Contains(b.last.body, "No app has access") || !strings.Contains(b.last.body, "The access was ended") {
		t.Error(b.last.body)
	}
	if _, err := h.tokens.Check(t.Context(), got["access_token"].(string)); err == nil {
		t.Error("the access token is alive")
	}
	b.post("/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got["refresh_token"].(string)}, "client_id": {"app"}}).refused(t, 400, "invalid_grant")
}

func TestLauncherPlaysTheEHR(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.get("/auth/launcher")
	b.signIn("doctor")
	b.shows("Launch an app")
	b.get("/auth/launcher?patient=p1")
	if !strings.Contains(b.last.body, "Ada Lovelace") || !strings.Contains(b.last.body, `value="e1"`) {
		t.Error(b.last.body)
	}
	b.fill("launch", "app", "app", "encounter", "e1", "need_patient_banner", "true")
	to, values := b.last.location()
	if to != "https://app.example.org/launch" || values.Get("iss") != h.base {
		t.Fatalf("%d %s", b.last.StatusCode, b.last.body)
	}
	b.authorize("scope", "launch patient/*.rs", "launch", values.Get("launch"))
	b.allow() // signed in already
	got := b.post("/auth/token", exchange(b.codeOf())).json(t)
	if got["patient"] != "p1" || got["encounter"] != "e1" || got["need_patient_banner"] != true {
		t.Errorf("%v", got)
	}
	b.get("/auth/launcher?patient=p1")
	_, values = b.fill("launch", "app", "app").location() // the box is not ticked
	b.authorize("scope", "launch patient/*.rs", "launch", values.Get("launch"))
	b.allow()
	if got := b.post("/auth/token", exchange(b.codeOf())).json(t); got["need_patient_banner"] != false {
		t.Errorf("%v", got)
	}
	if shut := h.browser().get("/auth/launcher?patient=p1"); !strings.Contains(shut.body, "<h1>Sign in") {
		t.Error("the launcher shows patients to nobody in particular")
	}
}

// The grant of a code is bound to this base.
func TestR7_TokenIsBoundToTheBase(t *testing.T) {
	h := open(t)
	b := h.browser()
	got := b.walk("aud", h.base+"/")
	info, err := h.tokens.Check(t.Context(), got["access_token"].(string))
	h.must(err)
	if info.Grant.Aud != h.base {
		t.Errorf("for %q", info.Grant.Aud)
	}
	elsewhere, err := token.Open(token.Config{KV: h.kv, Now: h.clock.Now, Secret: make([]byte, 32), Scopes: h.scopes, Issuer: "https://b.example/fhir", Base: "https://b.example/fhir"})
	h.must(err)
	if _, err := elsewhere.Check(t.Context(), got["access_token"].(string)); err == nil {
		t.Error("good at another base")
	}
}

// A public app need not say who it is to renew its tokens: they say so. One that
// has a secret has to prove itself, and a token that nobody holds is a bad grant.
func TestR21_RefreshWithoutAClientID(t *testing.T) {
	h := open(t)
	b := h.browser()
	first := b.walk("scope", "launch/patient patient/*.rs offline_access")
	silent := func(refresh string) *answer {
		return h.browser().post("/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	}
	second := silent(first["refresh_token"].(string))
	if second.StatusCode != 200 || second.json(t)["access_token"] == first["access_token"] {
		t.Fatalf("%d %s", second.StatusCode, second.body)
	}
	silent(strings.Repeat("x", len(first["refresh_token"].(string)))).refused(t, 400, "invalid_grant")
	silent("").refused(t, 401, "invalid_client")
	h.browser().post("/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {second.json(t)["refresh_token"].(string)},
		"client_secret": {h.secret}}).refused(t, 401, "invalid_client")

	b.authorize("client_id", "clinic", "scope", "launch/patient patient/*.rs offline_access")
	b.allow()
	got := b.post("/auth/token", exchange(b.codeOf(), "client_id", "clinic", "client_secret", h.secret)).json(t)
	silent(got["refresh_token"].(string)).refused(t, 401, "invalid_client")
	h.must(h.tokens.RevokeUser(t.Context(), "ada"))
	silent(got["refresh_token"].(string)).refused(t, 400, "invalid_grant")
}
