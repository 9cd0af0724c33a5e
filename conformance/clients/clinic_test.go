//go:build clients

package clients_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/cmd/app"
	"candela/cmd/demo"
	"candela/fhir"
	"candela/smart/account"
	"candela/smart/client"
)

const (
	password = "zebra-Violin-kettle-83-moss"
	patients = 6
)

// clinic is a server with people and patients, and an app beside it.
type clinic struct {
	base    string // FHIR base
	auth    string // where the pages of the authorization server are
	app     string // origin of the app
	secret  string // of the doctor's second factor
	patient []record
	rs, es  key // of the backend services
}

// record is a patient of the demo's making.
type record struct{ id, name, family, encounter string }

// key is the key of a backend service.
type key struct {
	id      string
	private crypto.Signer
}

// open starts all of it.
func open(t *testing.T) *clinic {
	t.Helper()
	c := &clinic{app: serveApp(t), rs: key{id: "r1"}, es: key{id: "e1"}}
	config := app.Defaults()
	config.Listen, config.Store = freePort(t), "embedded:"+filepath.Join(t.TempDir(), "store")
	config.Secret, config.Auth = []byte("the secret of the server of these tests"), "smart"
	config.Smart = app.Smart{Site: "Lakeside Clinic", Launcher: true}
	c.base, c.auth = "http://"+config.Listen+"/fhir", "http://"+config.Listen+"/auth"
	c.draw(t)
	c.enter(t, config)
	s, err := app.Start(t.Context(), config)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	c.fill(t, s.Door)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// serveApp serves the app: two pages of ours, and the client library.
func serveApp(t *testing.T) string {
	t.Helper()
	library := filepath.Join(npm(t), "node_modules", "fhirclient", "build", "fhir-client.js")
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join("testdata", "app"))))
	mux.HandleFunc("/fhir-client.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, library) })
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	must(t, err)
	return "http://localhost:" + port // another site than the server's, as apps are
}

// draw makes the patients and the keys.
func (c *clinic) draw(t *testing.T) {
	t.Helper()
	var err error
	c.rs.private, err = rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	c.es.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for n := range patients {
		bundle, err := fhir.ParseResource(demo.Patient(1, n, time.Now()), fhir.BundleLimits())
		must(t, err)
		var one record
		for entry := range bundle.Root().Get("entry").Elements() {
			got := entry.Get("resource")
			if got.Get("resourceType").Text() == "Patient" {
				name := got.Get("name").First()
				one = record{id: got.Get("id").Text(), family: name.Get("family").Text(), name: name.Get("given").First().Text() + " " + name.Get("family").Text()}
			}
		}
		c.patient = append(c.patient, one)
	}
}

// enter registers people and apps, before the server runs.
func (c *clinic) enter(t *testing.T, config app.Config) {
	t.Helper()
	// The code that confirms a second factor is used up. A clock that is behind takes
	// one from before, so that the browser need not wait for the next.
	late := func() time.Time { return time.Now().Add(-time.Minute) }
	config.Now = late
	r, err := app.OpenRegisters(t.Context(), config)
	must(t, err)
	defer func() { must(t, r.Close()) }()
	for _, u := range []account.User{
		{Name: "doctor", Display: "Dr. Mary Doe", Role: account.Practitioner, FHIRUser: fhir.ParseReference("Practitioner/mary-doe")},
		{Name: "patient", Display: c.patient[0].name, Role: account.Patient, FHIRUser: fhir.ParseReference("Patient/" + c.patient[0].id)},
	} {
		_, err := r.Accounts.Put(t.Context(), u)
		must(t, err)
		must(t, r.Accounts.SetPassword(t.Context(), u.Name, password))
	}
	e, err := r.Accounts.Enrol(t.Context(), "doctor")
	must(t, err)
	c.secret = e.Secret
	_, err = r.Accounts.Confirm(t.Context(), "doctor", code(t, e.Secret, late()))
	must(t, err)
	for _, one := range []client.Client{
		{ID: "chart", Name: "Growth chart", Kind: client.Public, Redirects: []string{c.app + "/index.html"}, Origins: []string{c.app}, LaunchURL: c.app + "/launch.html",
			Grants: []string{client.GrantCode, client.GrantRefresh},
			Scopes: []string{"launch", "launch/patient", "launch/encounter", "openid", "fhirUser", "offline_access", "patient/*.rs", "user/*.rs"}},
		{ID: "kit", Name: "Warehouse", Kind: client.Asymmetric, JWKS: c.rs.set(t), Grants: []string{client.GrantBackend}, Scopes: []string{"system/Patient.rs", "system/Observation.rs"}},
		{ID: "py", Name: "Registry", Kind: client.Asymmetric, JWKS: c.es.set(t), Grants: []string{client.GrantBackend}, Scopes: []string{"system/Patient.rs", "system/Observation.rs"}},
	} {
		_, err := r.Clients.Put(t.Context(), one)
		must(t, err)
	}
}

func (k key) set(t *testing.T) []byte {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k.private.Public(), KeyID: k.id, Use: "sig"}}})
	must(t, err)
	return raw
}

// pem is the private key as PEM (PKCS #8).
func (k key) pem(t *testing.T) string {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(k.private)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// code is what an authenticator app shows (RFC 6238).
func code(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	raw, err := base32.StdEncoding.DecodeString(secret)
	must(t, err)
	mac := hmac.New(sha1.New, raw)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&(1<<31-1)%1_000_000)
}

// fill loads the records of the demo and the doctor's own entry.
func (c *clinic) fill(t *testing.T, door fhir.Doer) {
	t.Helper()
	do := func(r fhir.Request) fhir.Response {
		r.Caller = fhir.Caller{Name: "load", Access: fhir.Full()}
		got, err := door.Do(context.Background(), r)
		must(t, err)
		return got
	}
	doctor, err := fhir.ParseResource([]byte(`{"resourceType":"Practitioner","id":"mary-doe","name":[{"family":"Doe","given":["Mary"]}]}`), fhir.DefaultLimits())
	must(t, err)
	do(fhir.Request{Interaction: fhir.Update, Type: "Practitioner", ID: "mary-doe", Resource: doctor})
	bundles := [][]byte{demo.Infrastructure()}
	for n := range patients {
		bundles = append(bundles, demo.Patient(1, n, time.Now()))
	}
	for _, raw := range bundles {
		bundle, err := fhir.ParseResource(raw, fhir.BundleLimits())
		must(t, err)
		do(fhir.Request{Interaction: fhir.Batch, Resource: bundle})
	}
	for i := range c.patient {
		got := do(fhir.Request{Interaction: fhir.SearchType, Type: "Encounter", Safe: true,
			Query: fhir.Params{{Name: "patient", Value: c.patient[i].id}, {Name: "_sort", Value: "-date"}, {Name: "_count", Value: "1"}}})
		bundle, err := fhir.ParseResource(got.Body, fhir.BundleLimits())
		must(t, err)
		c.patient[i].encounter = bundle.Root().Get("entry").First().Path("resource", "id").Text()
	}
}
