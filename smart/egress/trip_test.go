package egress

import (
	"net/http"
	"testing"
)

// TestT74_LookAlikes: hosts that no test may really call, judged by what the
// request would carry.
func TestT74_LookAlikes(t *testing.T) {
	keys, err := keyring([]Credential{{"https://tx.org", "Authorization", "Bearer s3cret"}, {"https://tx.org:443/", "X-Key", "k"}, {"https://tx.org:8443", "Authorization", "other"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	one := &trip{keys: keys}
	for target, want := range map[string]string{
		"https://tx.org":              "Bearer s3cret/k",
		"https://tx.org:443/x":        "Bearer s3cret/k",
		"https://tx.org:8443/x":       "other/",
		"https://tx.org.evil/":        "/",
		"https://tx.org.evil/tx.org":  "/",
		"https://evil-tx.org/":        "/",
		"https://sub.tx.org/":         "/",
		"https://tx.organic/":         "/",
		"https://tx.org:4430/":        "/",
		"https://tx.org:84430/":       "/",
		"http://tx.org/":              "/",
		"http://tx.org:443/":          "/",
		"https://TX.org/":             "/",
		"https://tx.org@evil.example": "/",
		"https://evil.example?tx.org": "/",
	} {
		req, err := http.NewRequest(http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		out := one.signed(req)
		if got := out.Header.Get("Authorization") + "/" + out.Header.Get("X-Key"); got != want {
			t.Errorf("%s gets %q", target, got)
		}
		if len(req.Header) != 0 {
			t.Error("the caller's request was changed")
		}
	}
}

// TestR44_NoProxy: a proxy of the environment would connect in our place.
func TestR44_NoProxy(t *testing.T) {
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	inner, ok := g.client.Transport.(*trip).next.(*http.Transport)
	if !ok || inner.Proxy != nil || inner.DialTLSContext != nil || inner.DialContext == nil || inner.TLSClientConfig.InsecureSkipVerify {
		t.Error("the transport has another way out than the guarded dial")
	}
}
