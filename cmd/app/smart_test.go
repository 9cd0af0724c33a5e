package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"candela/cmd/app"
	"candela/fhir"
	"candela/smart/account"
	"candela/smart/client"
	"candela/store/mongo/mongotest"
)

// hospital is a server with --auth smart, two patients and those who use it.
type hospital struct {
	*app.Server
	t    *testing.T
	root string
}

const longPassword = "zebra-Violin-kettle-83-moss"

func openHospital(t *testing.T, address string) *hospital {
	c := testConfig(address)
	c.Auth, c.Audit, c.Smart = "smart", "on", app.Smart{Launcher: true, Register: true}
	h := &hospital{Server: startWith(t, c), t: t}
	h.root = strings.TrimSuffix(h.Base, "/fhir")
	for _, body := range []string{
		`{"resourceType":"Patient","id":"a","name":[{"family":"Lovelace","given":["Ada"]}],"birthDate":"1815-12-10","identifier":[{"value":"4711"}]}`,
		`{"resourceType":"Patient","id":"b","name":[{"use":"old","text":"Nobody"},{"text":"Alan Turing"}]}`,
		`{"resourceType":"Encounter","id":"e","status":"finished","class":{"code":"AMB","display":"ambulatory"},"subject":{"reference":"Patient/a"},"period":{"start":"2026-03-01T10:00:00Z"}}`,
		`{"resourceType":"Encounter","id":"f","status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/b"}}`,
		`{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`,
		`{"resourceType":"Practitioner","id":"d","name":[{"text":"Dr. Mary Doe"}]}`,
	} {
		res, err := fhir.ParseResource([]byte(body), fhir.DefaultLimits())
		h.must(err)
		_, err = h.Door.Do(t.Context(), fhir.Request{Interaction: fhir.Update, Type: res.Root().Get("resourceType").Text(), ID: res.Root().Get("id").Text(),
			Resource: res, Base: h.Base, Caller: fhir.Caller{Name: "test", Access: fhir.Full()}})
		h.must(err)
	}
	r := h.Registers()
	for _, u := range []account.User{
		{Name: "ada", Role: account.Patient, FHIRUser: fhir.ParseReference("Patient/a")},
		{Name: "parent", Role: account.Proxy, Patients: []string{"a", "b"}},
	} {
		_, err := r.Accounts.Put(t.Context(), u)
		h.must(err)
		h.must(r.Accounts.SetPassword(t.Context(), u.Name, longPassword))
	}
	_, err := r.Clients.Put(t.Context(), client.Client{ID: "app", Name: "App", Kind: client.Public, Redirects: []string{"https://app.example.org/cb"},
		Scopes: []string{"openid", "fhirUser", "launch/patient", "launch/encounter", "launch", "offline_access", "patient/*.cruds", "user/*.cruds"},
		Grants: []string{client.GrantCode, client.GrantRefresh}, LaunchURL: "https://app.example.org/launch"})
	h.must(err)
	return h
}

func (h *hospital) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// visitor is a browser that shows one page.
type visitor struct {
	*hospital
	http *http.Client
	page string
	last *http.Response
}

func (h *hospital) visitor() *visitor {
	jar, _ := cookiejar.New(nil)
	v := &visitor{hospital: h, http: &http.Client{Jar: jar}}
	v.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), h.root) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return v
}

func (v *visitor) do(method, path string, form url.Values, header ...string) *visitor {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, path, strings.NewReader(form.Encode()))
	v.must(err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	v.last, err = v.http.Do(r)
	v.must(err)
	raw, err := io.ReadAll(v.last.Body)
	v.must(errors.Join(err, v.last.Body.Close()))
	v.page = string(raw)
	return v
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

func (v *visitor) fill(path string, more ...string) *visitor {
	v.t.Helper()
	form := url.Values{}
	for _, found := range hiddenField.FindAllStringSubmatch(v.page, -1) {
		form.Set(found[1], html.UnescapeString(found[2]))
	}
	for i := 0; i+1 < len(more); i += 2 {
		form.Add(more[i], more[i+1])
	}
	return v.do(http.MethodPost, v.root+"/auth/"+path, form)
}

func (v *visitor) begin(scope string) *visitor {
	v.t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {"https://app.example.org/cb"}, "scope": {scope}, "state": {"s"},
		"aud": {v.Base}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}
	return v.do(http.MethodGet, v.root+"/auth/authorize?"+q.Encode(), nil)
}

// tokens changes the code that the app got.
func (v *visitor) tokens() map[string]any {
	v.t.Helper()
	to, err := url.Parse(v.last.Header.Get("Location"))
	v.must(err)
	v.do(http.MethodPost, v.root+"/auth/token", url.Values{"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")},
		"redirect_uri": {"https://app.example.org/cb"}, "client_id": {"app"}, "code_verifier": {"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}})
	var out map[string]any
	v.must(json.Unmarshal([]byte(v.page), &out))
	if out["access_token"] == nil {
		v.t.Fatal(v.page)
	}
	return out
}

func (v *visitor) read(path string, tokens map[string]any) *visitor {
	v.t.Helper()
	return v.do(http.MethodGet, v.Base+path, nil, "Authorization", "Bearer "+tokens["access_token"].(string))
}

// A patient signs in, lets an app in, and it reads that record and no other.
func TestSMARTAgainstAWholeServer(t *testing.T) {
	test := func(t *testing.T, address string) {
		h := openHospital(t, address)
		v := h.visitor()
		for path, status := range map[string]int{"/metadata": 200, "/.well-known/smart-configuration": 200, "/Patient/a": 401, "/Patient": 401} {
			if v.do(http.MethodGet, h.Base+path, nil); v.last.StatusCode != status {
				t.Errorf("%s without a token: %d", path, v.last.StatusCode)
			}
		}
		if v.do(http.MethodGet, h.Base+"/Patient/a", nil); v.last.Header.Get("WWW-Authenticate") != `Bearer realm="`+h.Base+`"` {
			t.Errorf("challenge %q", v.last.Header.Get("WWW-Authenticate"))
		}
		v.begin("openid fhirUser launch/patient patient/Patient.rs patient/Observation.rs offline_access")
		v.fill("login", "user", "ada", "password", longPassword)
		if !strings.Contains(v.page, "Ada Lovelace") {
			t.Fatal(v.page)
		}
		v.fill("consent", "answer", "allow", "scope", "patient/Patient.rs", "scope", "patient/Observation.rs", "scope", "openid", "scope", "fhirUser")
		got := v.tokens()
		if got["patient"] != "a" || got["scope"] != "openid fhirUser launch/patient patient/Patient.rs patient/Observation.rs" {
			t.Errorf("%v", got)
		}
		for path, status := range map[string]int{"/Patient/a": 200, "/Patient/b": 404, "/Observation/o": 200, "/Encounter/e": 403, "/Encounter": 403, "/Observation?patient=a": 200} {
			if v.read(path, got); v.last.StatusCode != status {
				t.Errorf("%s: %d %s", path, v.last.StatusCode, v.page)
			}
		}
		if v.read("/Patient", got); !strings.Contains(v.page, "Lovelace") || strings.Contains(v.page, "Turing") {
			t.Error(v.page)
		}
		h.must(h.Registers().Accounts.Lock(t.Context(), "ada"))
		if v.read("/Patient/a", got); v.last.StatusCode != 401 || !strings.Contains(v.last.Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("locked: %d %v", v.last.StatusCode, v.last.Header)
		}
	}
	t.Run("embedded", func(t *testing.T) { test(t, "embedded:"+t.TempDir()) })
	t.Run("mongodb", func(t *testing.T) { test(t, mongotest.URI(t)) })
}

// The lists to choose from show what the user may see, in words.
func TestT46_PickersOverTheDoor(t *testing.T) {
	h := openHospital(t, "embedded:"+t.TempDir())
	u := account.User{Name: "doctor", Role: account.Practitioner, FHIRUser: fhir.ParseReference("Practitioner/d")}
	r := h.Registers()
	_, err := r.Accounts.Put(t.Context(), u)
	h.must(err)
	h.must(r.Accounts.SetPassword(t.Context(), "doctor", longPassword))
	v := h.visitor()
	v.begin("launch/patient launch/encounter patient/*.rs")
	v.fill("login", "user", "parent", "password", longPassword)
	for _, words := range []string{"Ada Lovelace", "born 1815-12-10, number 4711", "Alan Turing"} {
		if !strings.Contains(v.page, words) {
			t.Errorf("no %q in %s", words, v.page)
		}
	}
	v.fill("patient", "patient", "a")
	if !strings.Contains(v.page, "ambulatory") || !strings.Contains(v.page, "2026-03-01, finished") || strings.Contains(v.page, `value="f"`) {
		t.Error(v.page)
	}
	if v.fill("encounter", "encounter", "f"); v.last.StatusCode != 403 {
		t.Errorf("a visit of another: %d", v.last.StatusCode)
	}
	searched := h.visitor()
	searched.do(http.MethodGet, h.root+"/auth/launcher", nil)
	searched.fill("login", "user", "parent", "password", longPassword)
	if !strings.Contains(searched.page, "Alan Turing") {
		t.Error(searched.page)
	}
}

// Staff find patients by name or number.
func TestPickerSearch(t *testing.T) {
	h := openHospital(t, "embedded:"+t.TempDir())
	access, err := h.Registers().Scopes.Policy([]string{"Patient.rs"})
	h.must(err)
	d := app.DirectoryOf(h.Server)
	for text, want := range map[string]string{"": "a b", "ada": "a", "Lovelace ad": "a", "4711": "a", "turing": "b", "ada,turing": "", "nobody at all": "", `a\`: "a b"} {
		found, _, err := d.Patients(t.Context(), fhir.Caller{Name: "desk", Access: access}, text)
		h.must(err)
		var ids []string
		for _, one := range found {
			ids = append(ids, one.ID)
		}
		slices.Sort(ids)
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%q finds %q, not %q", text, got, want)
		}
	}
	if _, _, err := d.Patients(t.Context(), fhir.Caller{Name: "nobody"}, ""); err == nil {
		t.Error("who may nothing finds patients")
	}
	if found, err := d.Encounters(t.Context(), fhir.Caller{Name: "desk", Access: access}, "a"); err != nil || len(found) != 0 {
		t.Errorf("%v %v", found, err)
	}
}

func TestSmartSettings(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*app.Config){
		"auth":     func(c *app.Config) { c.Auth = "maybe" },
		"brands":   func(c *app.Config) { c.Smart.Brands = bad },
		"provider": func(c *app.Config) { c.Smart.Provider = bad },
		"egress":   func(c *app.Config) { c.Smart.Egress = []string{"http://x"} },
	} {
		c := testConfig("embedded:" + filepath.Join(dir, key))
		c.Auth = "smart"
		change(&c)
		if s, err := app.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--"+key) {
			t.Errorf("%s: %v", key, err)
			if s != nil {
				_ = s.Stop()
			}
		}
	}
}
