package authorize_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/smart/authorize"
)

// here holds that the user was told no here, and sent nowhere.
func (a *answer) here(t *testing.T, status int) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != "" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.Contains(a.body, "<h1>") {
		t.Errorf("%d, to %q: %s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
}

// Until client and redirect_uri are right, nobody is sent anywhere.
func TestT37_R6_RedirectURI(t *testing.T) {
	h := open(t)
	b := h.browser()
	for _, bad := range []string{
		"https://APP.example.org/back", "https://app.example.org/BACK", "HTTPS://app.example.org/back", "https://app.example.org/back/",
		"https://app.example.org//back", "https://app.example.org/x/../back", "https://app.example.org/./back", "https://user@app.example.org/back",
		"https://app.example.org@evil.example/back", "https://app.example.org/%62ack", "https://app.example.org/back%2e", "https://evil.app.example.org/back",
		"https://app.example.org.evil.example/back", "https://app.example.org/back#x", "https://app.example.org/back?x=y", "https://app.example.org:444/back",
		"http://app.example.org/back", "http://127.0.0.1/cb/x", "http://127.0.0.1:80a/cb", "http://127.0.0.2:81/cb", "http://localhost/cb", "//app.example.org/back",
		"/back", "javascript:alert(1)", "https://app.example.org/q", "https://app.example.org/q?a=b&c=d", "https://app.example.org/back\r\nX: y", " " + redirect, redirect + " ",
		strings.Repeat("a", 10000),
	} {
		b.authorize("redirect_uri", bad).here(t, 400)
	}
	twice := h.ask()
	twice.Add("redirect_uri", "https://evil.example/")
	b.get("/auth/authorize?"+twice.Encode()).here(t, 400)
	b.authorize("redirect_uri", "").here(t, 400)
	for _, id := range []string{"", "nobody", "App", "app ", strings.Repeat("a", 200), "a/b", "app\x00"} {
		b.authorize("client_id", id).here(t, 400)
	}
	twice = h.ask()
	twice.Add("client_id", "clinic")
	b.post("/auth/authorize", twice).here(t, 400)
	h.must(h.clients.Disable(t.Context(), "once", true))
	b.authorize("client_id", "once").here(t, 400)
	b.get("/auth/authorize?%zz").here(t, 400)
	b.post("/auth/authorize", h.ask(), "Content-Type", "application/json").here(t, 400)
	b.get("/auth/authorize?scope="+strings.Repeat("a", 70<<10)).here(t, 400)
}

// A native app says its port when it is started; a query that is registered stays.
func TestR6_RedirectsThatAreRight(t *testing.T) {
	h := open(t)
	for _, uri := range []string{"http://127.0.0.1:49152/cb", "https://app.example.org/q?a=b"} {
		b := h.browser()
		b.authorize("redirect_uri", uri)
		b.signIn("ada")
		b.allow()
		to, err := url.Parse(b.last.Header.Get("Location"))
		h.must(err)
		query := to.Query()
		if !strings.HasPrefix(to.String(), uri) || query.Get("code") == "" || strings.Contains(uri, "a=b") && query.Get("a") != "b" {
			t.Errorf("%s", to)
		}
		b.post("/auth/token", exchange(query.Get("code"), "redirect_uri", "http://127.0.0.1:1/cb")).refused(t, 400, "invalid_grant")
	}
}

// What is wrong behind that is told to the app, with its state.
func TestR7_T38_T39_T44_RequestErrors(t *testing.T) {
	h := open(t)
	b := h.browser()
	for _, one := range []struct {
		name   string
		change []string
		code   string
	}{
		{"no response_type", []string{"response_type", ""}, "invalid_request"},
		{"response_type token", []string{"response_type", "token"}, "unsupported_response_type"},
		{"response_type code token", []string{"response_type", "code token"}, "unsupported_response_type"},
		{"no scope", []string{"scope", ""}, "invalid_request"},
		{"scope of nothing", []string{"scope", "patient/Foo.rs patient/Observation.sr patient/Observation.dus patient/Observation."}, "invalid_scope"},
		{"system scope", []string{"scope", "system/*.rs"}, "invalid_scope"},
		{"user and system scope", []string{"scope", "user/*.rs system/*.rs"}, "invalid_scope"},
		{"only launch", []string{"scope", "launch"}, "invalid_request"},
		{"no aud", []string{"aud", ""}, "invalid_request"},
		{"aud of another", []string{"aud", "https://ehr.example.evil"}, "invalid_request"},
		{"aud twin", []string{"aud", h.base + ".evil"}, "invalid_request"},
		{"aud two slashes", []string{"aud", h.base + "//"}, "invalid_request"},
		{"aud case", []string{"aud", strings.ToUpper(h.base)}, "invalid_request"},
		{"aud parent", []string{"aud", h.url}, "invalid_request"},
		{"resource of another", []string{"resource", "https://ehr.example.evil"}, "invalid_target"},
		{"resource instead, wrong", []string{"aud", "", "resource", h.url}, "invalid_target"},
		{"no challenge", []string{"code_challenge", ""}, "invalid_request"},
		{"no method", []string{"code_challenge_method", ""}, "invalid_request"},
		{"no PKCE at all", []string{"code_challenge_method", "", "code_challenge", ""}, "invalid_request"},
		{"plain", []string{"code_challenge_method", "plain"}, "invalid_request"},
		{"method case", []string{"code_challenge_method", "s256"}, "invalid_request"},
		{"challenge short", []string{"code_challenge", challenge[:42]}, "invalid_request"},
		{"challenge long", []string{"code_challenge", challenge + "A"}, "invalid_request"},
		{"challenge padded", []string{"code_challenge", challenge + "="}, "invalid_request"},
		{"request object", []string{"request", "eyJ"}, "request_not_supported"},
		{"request_uri", []string{"request_uri", "https://evil.example/"}, "request_uri_not_supported"},
		{"response_mode", []string{"response_mode", "fragment"}, "invalid_request"},
		{"prompt unknown", []string{"prompt", "dance"}, "invalid_request"},
		{"prompt none and more", []string{"prompt", "none login"}, "invalid_request"},
		{"prompt none", []string{"prompt", "none"}, "login_required"},
		{"max_age", []string{"max_age", "-1"}, "invalid_request"},
		{"max_age no number", []string{"max_age", "1e3"}, "invalid_request"},
		{"long nonce", []string{"nonce", strings.Repeat("n", 1025)}, "invalid_request"},
	} {
		t.Run(one.name, func(t *testing.T) {
			b.authorize(one.change...)
			b.sentBack(t, one.code)
			b.post("/auth/authorize", h.ask(one.change...)) // POST is judged like GET
			b.sentBack(t, one.code)
		})
	}
	for _, name := range []string{"response_type", "scope", "aud", "code_challenge", "code_challenge_method", "launch", "nonce", "x"} {
		twice := h.ask(name, "a")
		twice.Add(name, "b")
		b.get("/auth/authorize?" + twice.Encode())
		b.sentBack(t, "invalid_request")
	}
	for _, states := range [][]string{nil, {""}, {"a", "b"}} {
		v := h.ask()
		v["state"] = states
		_, got := b.get("/auth/authorize?" + v.Encode()).location()
		if got.Get("error") != "invalid_request" || got.Has("state") {
			t.Errorf("state %v: %v", states, got)
		}
	}
}

// A confidential client without PKCE is refused as well; the query of a POST does
// not count.
func TestT39_NoDowngrade(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("client_id", "clinic", "code_challenge", "", "code_challenge_method", "")
	b.sentBack(t, "invalid_request")
	b.post("/auth/authorize?code_challenge="+challenge+"&code_challenge_method=S256", h.ask("code_challenge", "", "code_challenge_method", ""))
	b.sentBack(t, "invalid_request")
}

func TestR7_ResourceInPlaceOfAud(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("aud", "", "resource", h.base+"/")
	b.shows("Sign in")
	b.authorize("aud", h.base, "resource", h.base)
	b.shows("Sign in")
}

func TestR6_AuthorizeByPost(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.post("/auth/authorize", h.ask())
	if b.last.Request.Method != http.MethodGet { // 303, so the form is not posted on
		t.Error(b.last.Request.Method)
	}
	b.signIn("ada")
	b.allow()
	if b.last.StatusCode != http.StatusSeeOther {
		t.Error(b.last.StatusCode)
	}
	if got := b.post("/auth/token", exchange(b.codeOf())); got.StatusCode != 200 {
		t.Error(got.body)
	}
}

// T34: 500 granular scopes pass, and the token's answer tells them all.
func TestT34_ManyScopes(t *testing.T) {
	h := open(t)
	var scopes []string
	for range 500 {
		scopes = append(scopes, "patient/Observation.rs?category=http://example.org/fhir/CodeSystem/kinds|"+strings.Repeat("k", 5)+string(rune('a'+len(scopes)%26))+strings.Repeat("z", len(scopes)/26))
	}
	text := strings.Join(scopes, " ")
	if len(text) < 32<<10 {
		t.Fatal(len(text))
	}
	b := h.browser()
	b.post("/auth/authorize", h.ask("scope", text))
	b.signIn("ada")
	b.allow()
	got := b.post("/auth/token", exchange(b.codeOf())).json(t)
	if got["scope"] != text || len(got["access_token"].(string)) > 200 {
		t.Errorf("%d octets of scope, token %v", len(got["scope"].(string)), got["access_token"])
	}
}

// A client that is not registered for refresh is offered none.
func TestR21_NoRefreshWithoutTheGrant(t *testing.T) {
	h := open(t)
	b := h.browser()
	got := func() map[string]any {
		b.authorize("client_id", "once", "scope", "patient/Patient.rs offline_access")
		b.signIn("ada")
		b.allow()
		return b.post("/auth/token", exchange(b.codeOf(), "client_id", "once")).json(t)
	}()
	if got["refresh_token"] != nil || got["scope"] != "patient/Patient.rs" {
		t.Errorf("%v", got)
	}
}

func TestPromptAndMaxAge(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.walk()
	b.authorize()
	b.shows("Let ") // signed in already
	b.authorize("prompt", "none")
	b.sentBack(t, "consent_required")
	h.clock.advance(time.Minute)
	for _, one := range [][]string{{"prompt", "login"}, {"prompt", "select_account"}, {"max_age", "0"}, {"max_age", "30"}} {
		b.authorize(one...)
		b.shows("Sign in")
	}
	b.authorize("max_age", "30", "prompt", "none")
	b.sentBack(t, "login_required")
	b.authorize("max_age", "3600")
	b.shows("Let ")
	b.authorize("prompt", "login")
	b.signIn("ada")
	b.shows("Let ")
}

func TestT101_FormsOfOthers(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize()
	login := b.form("user", "ada", "password", password)
	evil := h.browser()
	if got := evil.post("/auth/login", login); got.StatusCode == 200 || got.StatusCode == 303 { // the ask is another browser's
		t.Errorf("%d", got.StatusCode)
	}
	for name, bend := range map[string]func(url.Values){
		"no token":    func(v url.Values) { v.Del("token") },
		"wrong token": func(v url.Values) { v.Set("token", strings.Repeat("A", 43)) },
		"no ask":      func(v url.Values) { v.Del("ask") },
		"other ask":   func(v url.Values) { v.Set("ask", strings.Repeat("A", 22)) },
		"two tokens":  func(v url.Values) { v.Add("token", v.Get("token")) },
	} {
		v := url.Values{}
		for key := range login {
			v.Set(key, login.Get(key))
		}
		bend(v)
		got := b.post("/auth/login", v)
		if got.StatusCode != 400 && got.StatusCode != 403 {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	if got := b.post("/auth/login", login, "Sec-Fetch-Site", "cross-site"); got.StatusCode != 403 {
		t.Errorf("cross-site: %d", got.StatusCode)
	}
	b.authorize()
	b.signIn("ada")
	consent := b.form("answer", "allow", "scope", "patient/*.rs")
	if got := b.post("/auth/consent", url.Values{"ask": {consent.Get("ask")}, "token": {login.Get("token")}, "answer": {"allow"}, "scope": {"patient/*.rs"}}); got.StatusCode != 403 {
		t.Errorf("the token of the page before: %d", got.StatusCode)
	}
	b.post("/auth/consent", consent)
	b.codeOf()
	if got := b.post("/auth/consent", consent); got.StatusCode != 400 || got.Header.Get("Location") != "" { // replayed
		t.Errorf("replay: %d", got.StatusCode)
	}
	if got := b.get("/auth/consent"); got.StatusCode != 405 || got.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d", got.StatusCode)
	}
	for _, path := range []string{"manage", "signout"} {
		if got := b.post("/auth/"+path, url.Values{"do": {"end"}, "grant": {"x"}}); got.StatusCode != 403 {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
		if got := h.browser().post("/auth/"+path, url.Values{"do": {"end"}}); got.StatusCode != 403 {
			t.Errorf("%s without a session: %d", path, got.StatusCode)
		}
	}
}

// A request that one browser began cannot be given to another to finish.
func TestT101_RequestOfAnotherBrowser(t *testing.T) {
	h := open(t)
	evil, victim := h.browser(), h.browser()
	evil.authorize()
	ask := evil.form().Get("ask")
	victim.walk()
	if got := victim.get("/auth/continue?ask=" + ask); got.StatusCode != 400 || strings.Contains(got.body, "Let ") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := victim.get("/auth/cancel?ask=" + ask); got.StatusCode != 400 {
		t.Errorf("%d", got.StatusCode)
	}
	evil.authorize()
	if got := evil.get("/auth/cancel?ask=" + evil.form().Get("ask")); got.StatusCode != 403 {
		t.Errorf("without token: %d", got.StatusCode)
	}
}

var cancel = regexp.MustCompile(`href="(/auth/cancel[^"]*)"`)

func TestCancelTellsTheApp(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize()
	link := strings.ReplaceAll(cancel.FindStringSubmatch(b.last.body)[1], "&amp;", "&")
	b.get(link)
	b.sentBack(t, "access_denied")
	if got := b.get(link); got.StatusCode != 400 {
		t.Errorf("again: %d", got.StatusCode)
	}
}

// Another user in the same browser chooses anew, and the session before is over.
func TestR10_AnotherUserChoosesAnew(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "launch/patient patient/*.rs")
	b.signIn("parent")
	b.fill("patient", "patient", "p3")
	b.shows("Let ")
	stale := b.form("answer", "allow", "scope", "patient/*.rs")
	h.clock.advance(time.Second)
	b.authorize("prompt", "login")
	b.signIn("ada")
	if got := b.post("/auth/consent", stale); got.StatusCode != 403 {
		t.Errorf("%d", got.StatusCode)
	}
	b.get("/auth/continue?ask=" + stale.Get("ask"))
	if !strings.Contains(b.last.body, "Ada Lovelace") || strings.Contains(b.last.body, "Grace") {
		t.Error(b.last.body)
	}
}

func TestR11_PagesAreShut(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize()
	h.shut(t, &b.last, "form-action 'self'")
	b.signIn("ada")
	h.shut(t, &b.last, "frame-ancestors 'none'")
	if b.last.Header.Get("Refresh") == "" {
		t.Error("the page stays open after the session is over")
	}
	h.clock.advance(15*time.Minute + 5*time.Second) // as the browser does then
	b.get(b.last.Request.URL.String())
	b.shows("Sign in")
	for _, one := range []string{"<script", "javascript:", " onclick", " style="} {
		if strings.Contains(strings.ToLower(b.last.body), one) {
			t.Errorf("the page has %q", one)
		}
	}
}

func (h *house) shut(t *testing.T, a *answer, more string) {
	t.Helper()
	policy := a.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", more} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s: %s", want, policy)
		}
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"} {
		if a.Header.Get(name) != want {
			t.Errorf("%s is %q", name, a.Header.Get(name))
		}
	}
	if strings.Contains(policy, "script") || strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
}

func TestR11_FramesByListOnly(t *testing.T) {
	h := open(t, func(c *authorize.Config) { c.Frames = []string{"https://ehr.example.org"} })
	got := h.browser().get("/auth/manage")
	if !strings.Contains(got.Header.Get("Content-Security-Policy"), "frame-ancestors https://ehr.example.org") || got.Header.Get("X-Frame-Options") != "" {
		t.Errorf("%v", got.Header)
	}
}

// Staff without a second factor are given one, and come no further without it.
func TestR11_StaffEnrolASecondFactor(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.authorize("scope", "launch/patient patient/*.rs")
	b.signIn("clerk")
	b.shows("Set up your second factor")
	ask := b.form().Get("ask")
	b.get("/auth/manage")
	b.shows("Set up your second factor") // nor elsewhere
	b.get("/auth/continue?ask=" + ask)
	if got := b.fill("enrol", "code", "000000"); got.StatusCode != 403 {
		t.Errorf("%d", got.StatusCode)
	}
	key := regexp.MustCompile(`<code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(b.last.body)
	b.fill("enrol", "code", totp(t, strings.ReplaceAll(key[1], " ", ""), h.clock.Now()))
	b.shows("Keep these codes")
	codes := regexp.MustCompile(`<code>([a-z2-7-]+)</code>`).FindAllStringSubmatch(b.last.body, -1)
	if len(codes) < 8 {
		t.Fatalf("%d codes", len(codes))
	}
	b.get("/auth/continue?ask=" + ask)
	b.shows("Choose a patient")
	other := h.browser()
	other.get("/auth/manage")
	other.fill("login", "user", "clerk", "password", password)
	other.shows("Your second factor")
	if got := other.fill("factor", "code", "123456"); got.StatusCode != 403 || !strings.Contains(got.body, "Your second factor") {
		t.Errorf("%d", got.StatusCode)
	}
	other.fill("factor", "code", codes[0][1])
	other.shows("Apps with access")
}

func TestT58_SignInTellsNothing(t *testing.T) {
	h := open(t)
	b := h.browser()
	var said []string
	for _, user := range []string{"ada", "nobody"} {
		b.authorize()
		got := b.fill("login", "user", user, "password", "not the password 1")
		if got.StatusCode != http.StatusForbidden {
			t.Errorf("%d", got.StatusCode)
		}
		said = append(said, regexp.MustCompile(`(?s)<p class="note bad".*?</p>`).FindString(got.body))
	}
	if said[0] == "" || said[0] != said[1] {
		t.Errorf("%q %q", said[0], said[1])
	}
	for range 60 {
		if got := b.fill("login", "user", "ada", "password", "not the password 1"); got.StatusCode == http.StatusTooManyRequests {
			if got.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return
		}
	}
	t.Error("no end of attempts")
}

func TestInvitationSetsAPassword(t *testing.T) {
	h := open(t)
	link, err := h.accounts.Invite(t.Context(), "parent", time.Hour)
	h.must(err)
	b := h.browser()
	b.get("/auth/password?link=" + link)
	const next = "quiet-Otter-lantern-51-fjord"
	if got := b.fill("password", "password", next, "again", next+"x"); got.StatusCode != 400 {
		t.Errorf("%d", got.StatusCode)
	}
	if got := b.fill("password", "password", "password1", "again", "password1"); got.StatusCode != 400 {
		t.Errorf("weak: %d", got.StatusCode)
	}
	b.fill("password", "password", next, "again", next)
	b.shows("Your password is set")
	if got := b.post("/auth/password", url.Values{"link": {link}, "password": {next}, "again": {next}}); got.StatusCode != 400 {
		t.Errorf("a link used twice: %d", got.StatusCode)
	}
	b.get("/auth/manage")
	b.fill("login", "user", "parent", "password", next)
	b.shows("Apps with access")
}

func TestRateLimitsAreAsked(t *testing.T) {
	var kinds []string
	h := open(t, func(c *authorize.Config) {
		c.Allow = func(kind string, _ *http.Request) (time.Duration, bool) {
			kinds = append(kinds, kind)
			return 7 * time.Second, kind != "token"
		}
	})
	b := h.browser()
	b.authorize()
	b.fill("login", "user", "ada", "password", password)
	got := b.post("/auth/token", exchange("x"))
	got.refused(t, 429, "slow_down")
	if got.Header.Get("Retry-After") != "8" || !slices.Equal(kinds, []string{"authorize", "login", "token"}) {
		t.Errorf("%s %v", got.Header.Get("Retry-After"), kinds)
	}
}

// Over https cookies are held to the host, and the browser is told to stay there.
func TestR11_CookiesOverHTTPS(t *testing.T) {
	h := open(t)
	c := h.config
	c.Base = "https://ehr.example.org/a/r4/"
	s, err := authorize.Open(c)
	h.must(err)
	v := h.ask("aud", "https://ehr.example.org/a/r4")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/a/auth/authorize?"+v.Encode(), nil))
	cookie := w.Header().Get("Set-Cookie")
	for _, want := range []string{"__Host-candela-ask-", "Path=/;", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("no %s in %q", want, cookie)
		}
	}
	if w.Code != 303 || !strings.HasPrefix(w.Header().Get("Location"), "/a/auth/continue?") || w.Header().Get("Strict-Transport-Security") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for path, want := range map[string]bool{"/a/auth/token": true, "/a/r4/.well-known/smart-configuration": true, "/.well-known/oauth-authorization-server/a/r4": true,
		"/a/r4/Patient": false, "/auth/token": false, "/a/authority": false} {
		if s.Serves(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}
