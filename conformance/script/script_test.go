package script_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"candela/conformance/script"
	"candela/fhir/r4"
)

// world answers every request in the same way and says what it was asked.
func world(t *testing.T) (script.Runner, *atomic.Int64) {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("ETag", `W/"1"`)
		w.Header().Set("Asked", r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+" "+string(body))
		w.WriteHeader(201)
		_, _ = fmt.Fprint(w, `{"resourceType":"Patient","id":"7","active":true,"extension":[{"url":"u","valueDecimal":1.00}]}`)
	}))
	t.Cleanup(web.Close)
	return script.Runner{Base: web.URL + "/fhir", Model: spec}, &calls
}

func TestAsserts(t *testing.T) {
	run, _ := world(t)
	for _, c := range []struct {
		assert string
		holds  bool
	}{
		{"201", true}, {"200|201", true}, {"2xx", true}, {"200", false}, {"4xx", false},
		{"201\nETag: ^W/\"1\"$", true}, {"201\nETag: 2", false}, {"201\nETag: !", false}, {"201\nLocation: !", true}, {"201\nLocation: .", false},
		{"201\nbody: Patient", true}, {"201\nbody: !Patient", false}, {"201\nbody: !Group", true},
		{"201\nfhirpath: Patient.active", true}, {"201\nfhirpath: Patient.active.not()", false}, {"201\nfhirpath: Patient.name", false}, {"201\nfhirpath: Patient.nonsense(", false},
		{"201\njson /extension/0/valueDecimal: 1.00", true}, {"201\njson /extension/0/valueDecimal: 1.0", false}, {"201\njson /name: !", true}, {"201\njson /id: !", false},
		{"201\ncapture x: ETag \"(.)\"", true}, {"201\ncapture x: ETag (nothing)", false}, {"201\ncapture x: fhirpath Patient.name", false},
		{"201\nnonsense", false}, {"201\n# a remark", true}, {"201\njson /id: \"7\"\njson /id: \"8\"", false},
		{"201\nAsked: ^GET /fhir/Patient/1$", true},
	} {
		err := run.Run(context.Background(), []byte("-- request --\nGET Patient/1\n-- response --\n"+c.assert+"\n"))
		if (err == nil) != c.holds {
			t.Errorf("%q: %v", c.assert, err)
		}
	}
}

func TestVariablesAndRequests(t *testing.T) {
	run, calls := world(t)
	err := run.Run(context.Background(), []byte(`-- request --
GET Patient
-- response --
201
capture id: fhirpath Patient.id
capture e: ETag "(\d)"
-- request x3 --
POST Patient/${id}?a=http://b

{"v":"${e}"}
-- response --
201
Asked: ^POST /fhir/Patient/7\?a=http://b application/fhir\+json \{"v":"1"\}$
-- request --
PUT ${base}/Absolute
Content-Type: text/plain

${run}
-- response --
201
Asked: ^PUT /fhir/Absolute text/plain t[a-z0-9]{16}$
-- request --
POST

{}
-- response --
201
Asked: ^POST /fhir application
`))
	if err != nil {
		t.Error(err)
	}
	if calls.Load() != 6 {
		t.Errorf("%d calls, want 6", calls.Load())
	}
}

func TestMistakesInScripts(t *testing.T) {
	run, calls := world(t)
	for _, bad := range []string{"", "-- request --\nGET x\n", "-- response --\n200\n", "-- request xx --\nGET x\n-- response --\n200\n", "-- request --\nGET x\n-- request --\nGET x\n"} {
		if run.Run(context.Background(), []byte(bad)) == nil {
			t.Errorf("%q ran", bad)
		}
	}
	if calls.Load() != 0 {
		t.Error("a broken script sent requests")
	}
	err := run.Run(context.Background(), []byte("-- request --\nGET a\n-- response --\n201\n-- request --\nGET b\n-- response --\n404\n"))
	if err == nil || !strings.Contains(err.Error(), "step 2 (GET b)") || !strings.Contains(err.Error(), "status is 201, want 404") {
		t.Errorf("got %v", err)
	}
}
