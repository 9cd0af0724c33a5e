package guard_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/client"
	"candela/smart/guard"
	"candela/smart/token"
)

// refusalOf asks and gives status and challenge.
func (s *site) refusalOf(r *http.Request) (int, string) {
	s.t.Helper()
	c, err := s.Caller(r)
	if err == nil {
		s.t.Fatalf("let in as %+v", c)
	}
	own, ok := err.(*fhir.Error)
	if !ok {
		s.t.Fatalf("%T %v is no *fhir.Error", err, err)
	}
	return own.Status, own.Authenticate
}

func TestScopesWithinPolicy(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ token, want string }{
		{s.token("ann", "patient/*.rs", "a"), "a oa ra ca"},
		{s.token("ann", "patient/Observation.rs", "a"), "oa ra"},
		{s.token("ann", "patient/Observation.rs?code=urn:c|k2", "a"), "ra"},
		{s.token("ann", "user/*.rs", ""), "a oa ra ca"},
		{s.token("ruth", "user/*.rs", ""), "a b oa ob ra ca"},
		{s.token("nina", "user/*.rs", ""), "a b oa ob ca"},
		{s.token("ruth", "patient/*.rs", "b"), "b ob"},
		{s.token("fred", "user/*.rs", ""), "a b"},
		{s.backend("system/*.rs"), "a b oa ob ca"},
		{s.backend("system/Observation.rs"), "oa ob"},
	} {
		if got := s.sees(c.token); got != c.want {
			t.Errorf("sees %q, want %q", got, c.want)
		}
	}
}

// T2, R28: what lacks its context opens nothing.
func TestT2_MissingContextIs403(t *testing.T) {
	s := open(t)
	for name, g := range map[string]token.Grant{
		"patient/ without a patient":     {Client: "app", User: "ruth", FHIRUser: fhir.ParseReference("Practitioner/r"), Scope: "patient/*.rs", Aud: base},
		"user/ without a fhirUser":       {Client: "app", User: "ruth", Scope: "user/*.rs", Aud: base},
		"system/ of a user":              {Client: "app", User: "ruth", FHIRUser: fhir.ParseReference("Practitioner/r"), Scope: "system/*.rs", Aud: base},
		"nothing clinical":               {Client: "app", User: "ruth", FHIRUser: fhir.ParseReference("Practitioner/r"), Scope: "launch", Aud: base},
		"another's record":               {Client: "app", User: "ann", FHIRUser: fhir.ParseReference("Patient/a"), Scope: "patient/*.rs", Patient: "b", Aud: base},
		"a policy without any such type": {Client: "app", User: "fred", FHIRUser: fhir.ParseReference("Practitioner/f"), Scope: "user/Observation.rs", Aud: base},
	} {
		c, err := s.Caller(request(s.grant(g), "Observation"))
		if statusOf(err) != 403 {
			if status, text := s.do(c, "GET", "Observation", ""); name != "another's record" || strings.Contains(text, `"total":1`) || status == 200 && strings.Contains(text, "Observation/") {
				t.Errorf("%s: %v, %d %s", name, err, status, text)
			}
		}
	}
	for _, c := range []string{"patient/*.rs", "user/*.rs", "patient/*.rs system/*.rs"} {
		if _, err := s.Caller(request(s.backend(c), "Observation")); statusOf(err) != 403 {
			t.Errorf("a service with %s: %v", c, err)
		}
	}
}

// A service that is not registered as one any more has nothing.
func TestR24_ServiceLosesItsGrant(t *testing.T) {
	s := open(t)
	bearer := s.backend("system/*.rs")
	c, err := s.clients.Get(t.Context(), "service")
	s.must(err)
	c.Grants, c.Redirects = []string{client.GrantCode}, []string{redirect}
	c.Scopes = []string{"patient/*.rs"}
	_, err = s.clients.Put(t.Context(), c)
	s.must(err)
	if status, _ := s.refusalOf(request(bearer, "Patient")); status != 403 {
		t.Errorf("%d", status)
	}
}

func TestT55_BearerInTheWrongPlace(t *testing.T) {
	s := open(t)
	good := s.token("ann", "patient/*.rs", "a")
	with := func(values ...string) *http.Request {
		r := request("", "Patient/a")
		for _, v := range values {
			r.Header.Add("Authorization", v)
		}
		return r
	}
	for name, c := range map[string]struct {
		r    *http.Request
		want int
	}{
		"none": {request("", "Patient/a"), 401}, "in the query": {request("", "Patient/a?access_token="+good), 400}, "in both": {request(good, "Patient/a?_id=a&access_token="+good), 400},
		"two headers": {with("Bearer "+good, "Bearer "+good), 400}, "a tab": {with("Bearer\t" + good), 401}, "two spaces": {with("Bearer  " + good), 400}, "1 MB": {with("Bearer " + strings.Repeat("a", 1<<20)), 400},
		"empty": {with("Bearer "), 400}, "basic": {with("Basic " + good), 401}, "comma": {with("Bearer " + good + ", Bearer " + good), 400}, "escaped name": {request("", "Patient/a?access%5Ftoken="+good), 401},
	} {
		status, challenge := s.refusalOf(c.r)
		if status != c.want || !strings.HasPrefix(challenge, "Bearer realm=") || strings.Contains(challenge, good) {
			t.Errorf("%s: %d %q, want %d", name, status, challenge, c.want)
		}
	}
	if _, err := s.Caller(with("bearer " + good)); err != nil {
		t.Errorf("schemes know no case: %v", err)
	}
	if c, err := s.Caller(request("", "metadata")); err != nil || len(c.Access) != 0 {
		t.Errorf("metadata is open to all: %v %v", c, err)
	}
	for _, path := range []string{"metadata/", "Patient/metadata", "metadata/x", "Metadata"} {
		if status, _ := s.refusalOf(request("", path)); status != 401 {
			t.Errorf("%s without a token: %d", path, status)
		}
	}
}

func TestT56_TokensThatAreNot(t *testing.T) {
	s := open(t)
	good := s.token("ann", "patient/*.rs", "a")
	edited := []byte(good)
	edited[len(edited)-3] ^= 1
	for name, bearer := range map[string]string{"made up": "abc", "edited": string(edited), "a JWT": "eyJhbGciOiJub25lIn0.e30."} {
		if status, challenge := s.refusalOf(request(bearer, "Patient/a")); status != 401 || !strings.Contains(challenge, `error="invalid_token"`) {
			t.Errorf("%s: %d %s", name, status, challenge)
		}
	}
	s.clock.Advance(time.Hour + time.Second)
	if status, _ := s.refusalOf(request(good, "Patient/a")); status != 401 {
		t.Errorf("expired: %d", status)
	}
}

// A user who is shut out by somebody who cannot end tokens is out all the same.
func TestT104_WithoutTheTokensHelp(t *testing.T) {
	s := open(t)
	bearer := s.token("ann", "patient/*.rs", "a")
	u, err := s.accounts.Get(t.Context(), "ann")
	s.must(err)
	elsewhere, err := account.Open(account.Config{KV: s.store, Secret: s.accounts.Secret, Scopes: s.Scopes, Now: s.clock.Now, Hash: s.accounts.Hash})
	s.must(err)
	s.must(elsewhere.Disable(t.Context(), u.Name))
	if status, _ := s.refusalOf(request(bearer, "Patient/a")); status != 401 {
		t.Errorf("%d", status)
	}
}

func TestNewChecksItsConfiguration(t *testing.T) {
	s := open(t)
	good := s.Config
	for name, change := range map[string]func(*guard.Config){
		"no store": func(c *guard.Config) { c.Store = nil }, "no parameters": func(c *guard.Config) { c.Search = nil }, "no tokens": func(c *guard.Config) { c.Tokens = nil }, "no scopes": func(c *guard.Config) { c.Scopes = nil },
		"no accounts": func(c *guard.Config) { c.Accounts = nil }, "no clients": func(c *guard.Config) { c.Clients = nil }, "a relative base": func(c *guard.Config) { c.Base = "/fhir" }, "no base": func(c *guard.Config) { c.Base = "" },
	} {
		c := good
		change(&c)
		if g, err := guard.New(c); err == nil || g != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.Now = nil
	if _, err := guard.New(good); err != nil {
		t.Error(err)
	}
}

// T104, T108: who is shut out, or may less, is so within a second.
func TestT104_ShutOutWithinASecond(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		bearer string
		do     func() error
	}{
		"a user is locked":     {s.token("ann", "patient/*.rs", "a"), func() error { return s.accounts.Lock(ctx, "ann") }},
		"a client is disabled": {s.backend("system/*.rs"), func() error { return s.clients.Disable(ctx, "service", true) }},
		"a user is gone":       {s.token("fred", "user/*.rs", ""), func() error { return s.accounts.Delete(ctx, "fred") }},
	} {
		if _, err := s.Caller(request(c.bearer, "Patient")); err != nil {
			t.Errorf("before %s: %v", name, err)
		}
		s.must(c.do())
		s.clock.Advance(time.Second)
		if status, _ := s.refusalOf(request(c.bearer, "Patient")); status != 401 {
			t.Errorf("%s: %d", name, status)
		}
	}
	bearer := s.token("ruth", "user/*.rs", "")
	if got := s.sees(bearer); !strings.Contains(got, "ob") {
		t.Fatal(got)
	}
	u, err := s.accounts.Get(ctx, "ruth")
	s.must(err)
	u.Policy = []string{"Patient.rs"}
	_, err = s.accounts.Put(ctx, u)
	s.must(err)
	s.clock.Advance(time.Second)
	if got := s.sees(bearer); got != "a b" {
		t.Errorf("T108: after the policy was narrowed: %q", got)
	}
}

// R52: trouble of the moment is 503, never 401.
func TestR52_TroubleIs503(t *testing.T) {
	s := open(t)
	bearer := s.token("ann", "patient/*.rs", "a")
	s.store.kv.Store(true)
	if status, challenge := s.refusalOf(request(bearer, "Patient/a")); status != 503 || challenge != "" {
		t.Errorf("%d %q", status, challenge)
	}
	s.store.kv.Store(false)
	s.store.history.Store(true)
	if status, _ := s.refusalOf(request(bearer, "Patient/a")); status != 503 {
		t.Errorf("T27: consents cannot be read: %d", status)
	}
	s.store.history.Store(false)
	s.store1(consentOf("c", "a", `"type":"permit","provision":[{"type":"deny",`+byClinic+`}]`, ""))
	ruth := s.token("ruth", "user/*.rs", "")
	s.store.roles.Store(true)
	if status, _ := s.refusalOf(request(ruth, "Patient/a")); status != 503 {
		t.Errorf("T27: whom the caller stands for cannot be read: %d", status)
	}
}

// R34: labels above the clearance, and labels that are none, are withheld.
func TestR34_Clearance(t *testing.T) {
	s := open(t, func(c *guard.Config) { c.Clearance = map[string]string{account.Practitioner: "V", "": "U"} })
	if got := s.sees(s.token("ruth", "user/*.rs", "")); got != "a b oa ob ra va xa ca" {
		t.Errorf("V: %q", got)
	}
	if got := s.sees(s.token("ann", "patient/*.rs", "a")); got != "a oa ca" {
		t.Errorf("N by default: %q", got)
	}
	for _, bad := range []string{"", "Z", "NR"} {
		if _, err := guard.New(guard.Config{Base: base, Store: s.store, Search: s.Search, Tokens: s.tokens, Scopes: s.Scopes, Accounts: s.accounts, Clients: s.clients, Clearance: map[string]string{"x": bad}}); err == nil {
			t.Errorf("a clearance of %q", bad)
		}
	}
}

// R33: leave to change labels is its own.
func TestR33_RelabelIsItsOwnLeave(t *testing.T) {
	s := open(t, func(c *guard.Config) {
		c.Relabel = func(role, client string) bool { return role == account.Nurse || client == "service" }
	})
	labelled := observation("oa", "a", "k1", "N")
	for _, c := range []struct {
		who, bearer string
		want        int
	}{{"practitioner", s.token("ruth", "user/*.cruds", ""), 403}, {"patient", s.token("ann", "patient/*.cruds", "a"), 403}, {"nurse", s.token("nina", "user/*.cruds", ""), 200}, {"service", s.backend("system/*.cruds"), 200}} {
		caller, err := s.Caller(request(c.bearer, "Observation/oa"))
		s.must(err)
		s.store1(observation("oa", "a", "k1", ""))
		if status, text := s.do(caller, "PUT", "Observation/oa", labelled); status != c.want {
			t.Errorf("T23, %s: %d %s, want %d", c.who, status, text, c.want)
		}
	}
}

// R36, T98: the glass is broken by those who may, for a reason, for an hour, and
// on record.
func TestT98_BreakGlass(t *testing.T) {
	s := open(t)
	s.store1(consentOf("c1", "b", `"type":"deny"`, ""))
	btg := []string{guard.PurposeHeader, "BTG", guard.ReasonHeader, "unconscious in the emergency room"}
	ruth := s.token("ruth", "user/*.rs", "")
	if got := s.sees(ruth); got != "a oa ra ca" {
		t.Errorf("before: %q", got)
	}
	if got := s.sees(ruth, btg...); got != "a b oa ob ra va xa ca" {
		t.Errorf("with the glass broken: %q", got)
	}
	if len(s.events) == 0 || s.events[0].Kind != fhir.BreakGlass || s.events[0].Caller.Name != "ruth" || s.events[0].Reason != btg[3] || !slices.Equal(s.events[0].Caller.Purpose, []string{"BTG"}) {
		t.Errorf("on record: %+v", s.events)
	}
	if got := s.sees(ruth); got != "a oa ra ca" {
		t.Errorf("without the header again: %q", got)
	}
	few := s.token("ruth", "user/Patient.rs", "")
	if got := s.sees(few, btg...); got != "a b" {
		t.Errorf("scopes still hold: %q", got)
	}
	refused := func(name, bearer string, headers ...string) {
		t.Helper()
		if status, _ := s.refusalOf(request(bearer, "Patient/b", headers...)); status != 403 {
			t.Errorf("%s: %d, want 403", name, status)
		}
	}
	refused("a patient", s.token("ann", "patient/*.rs", "a"), btg...)
	refused("a service", s.backend("system/*.rs"), btg...)
	refused("a role that may not", s.token("fred", "user/*.rs", ""), btg...)
	for _, reason := range []string{"", "  ", "abc", strings.Repeat("x", 501), "a\x01bcd"} {
		refused("the reason "+reason, ruth, guard.PurposeHeader, "ETREAT", guard.ReasonHeader, reason)
	}
	if status, _ := s.refusalOf(request(ruth, "Patient/b", guard.PurposeHeader, "WHIM")); status != 400 {
		t.Errorf("a purpose that is none: %d", status)
	}
	if c, err := s.Caller(request(ruth, "Patient/b?"+url.QueryEscape(guard.PurposeHeader)+"=BTG&"+guard.ReasonHeader+"=because")); err != nil || c.Deny == nil {
		t.Errorf("T103: a switch in the URL: %v %+v", err, c)
	}
	s.clock.Advance(59 * time.Minute)
	if got := s.sees(ruth, btg...); !strings.Contains(got, "ob") {
		t.Errorf("within the hour: %q", got)
	}
	late := s.token("ruth", "user/*.rs", "")
	s.sees(late, btg...)
	before := len(s.events)
	s.clock.Advance(59*time.Minute + 30*time.Second)
	if got := s.sees(late, btg...); !strings.Contains(got, "ob") {
		t.Errorf("each grant has its hour: %q", got)
	}
	if len(s.events) == before {
		t.Error("a request under a broken glass is not on record")
	}
	s.refuse = context.DeadlineExceeded
	if status, _ := s.refusalOf(request(late, "Patient/b", btg...)); status != 503 {
		t.Errorf("R38: no record, no glass: %d", status)
	}
}

// The hour ends although the token lives on.
func TestT98_GlassOpensForAnHour(t *testing.T) {
	s := open(t)
	btg := []string{guard.PurposeHeader, "TREAT, http://terminology.hl7.org/CodeSystem/v3-ActReason|BTG", guard.ReasonHeader, "resuscitation"}
	first := s.token("ruth", "user/*.rs", "")
	s.sees(first, btg...)
	s.clock.Advance(time.Hour - time.Second)
	if got := s.sees(first, btg...); !strings.Contains(got, "va") {
		t.Errorf("a second before: %q", got)
	}
	s.store.Store = shifted{s.store.Store, -time.Hour}
	if status, _ := s.refusalOf(request(first, "Patient/b", btg...)); status != 403 {
		t.Errorf("after the hour: %d", status)
	}
	none := open(t, func(c *guard.Config) { c.Record = nil })
	if status, _ := none.refusalOf(request(none.token("ruth", "user/*.rs", ""), "Patient/b", btg...)); status != 403 {
		t.Errorf("without a record: %d", status)
	}
}

// Of is a user without an app, for the pages of the authorization server.
func TestOf(t *testing.T) {
	s := open(t)
	s.store1(consentOf("c1", "b", `"type":"deny"`, ""))
	for name, want := range map[string]string{"ruth": "404", "ann": "404", "otto": "200"} {
		u, err := s.accounts.Get(t.Context(), name)
		s.must(err)
		c, err := s.Of(t.Context(), u)
		s.must(err)
		if status, _ := s.do(c, "GET", "Patient/b", ""); want != map[int]string{200: "200", 404: "404"}[status] {
			t.Errorf("%s: %d, want %s", name, status, want)
		}
	}
}
