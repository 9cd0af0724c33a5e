package patch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/patch"
)

// repeated is open, n times one (with %d for its number), and end.
func repeated(open, one, end string, n int) []byte {
	var b strings.Builder
	b.WriteString(open)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.ReplaceAll(one, "%d", fmt.Sprint(i)))
	}
	b.WriteString(end)
	return []byte(b.String())
}

const deleteOne = `{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.active"}]}`

// costly patches, each of which would take minutes, gigabytes or the stack
// without a limit.
func costly() map[string][3]string {
	object := string(repeated("{", `"m%d":1`, "}", 1000))
	turned := func() string {
		members := strings.Split(object[1:len(object)-1], ",")
		for i := range len(members) / 2 {
			j := len(members) - 1 - i
			members[i], members[j] = members[j], members[i]
		}
		return "{" + strings.Join(members, ",") + "}"
	}()
	long := `{"resourceType":"Patient","a":` + string(repeated("[", "1", "]", 500_000)) + `}`
	objects := `{"resourceType":"Patient","a":` + string(repeated("[", object, "]", 400)) + `}`
	plain := `{"resourceType":"Patient","active":true}`
	names := `{"resourceType":"Patient","name":` + string(repeated("[", `{"text":"`+strings.Repeat("x", 1000)+`"}`, "]", 5000)) + `}`
	open, end := `{"resourceType":"Parameters","parameter":[`, `]}`
	return map[string][3]string{
		"100,000 operations":              {patch.JSON, plain, string(repeated("[", `{"op":"add","path":"/active","value":%d}`, "]", 100_000))},
		"100,000 FHIRPath operations":     {patch.FHIR, plain, string(repeated(open, deleteOne, end, 100_000))},
		"a resource copied into itself":   {patch.JSON, plain, string(repeated("[", `{"op":"copy","from":"","path":"/a%d"}`, "]", 60))},
		"a long text copied often":        {patch.JSON, `{"resourceType":"Patient","a":"` + strings.Repeat("x", 1<<19) + `"}`, string(repeated("[", `{"op":"copy","from":"/a","path":"/b%d"}`, "]", 1000))},
		"inserts before a long list":      {patch.JSON, long, string(repeated("[", `{"op":"add","path":"/a/0","value":0}`, "]", 10_000))},
		"tests of a long list":            {patch.JSON, long, string(repeated("[", `{"op":"test","path":"/a/499999","value":1}`, "]", 10_000))},
		"test of objects turned around":   {patch.JSON, objects, `[{"op":"test","path":"/a","value":` + string(repeated("[", turned, "]", 400)) + `}]`},
		"a large resource read too often": {patch.FHIR, names, string(repeated(open, `{"name":"operation","part":[{"name":"type","valueCode":"add"},{"name":"path","valueString":"Patient"},{"name":"name","valueString":"name"},{"name":"value","valueHumanName":{"text":"x"}}]}`, end, 1000))},
	}
}

func TestT86_CostlyPatchesAreRefusedInTime(t *testing.T) {
	for name, c := range costly() {
		t.Run(name, func(t *testing.T) {
			res := parsed(t, c[1])
			start := time.Now()
			_, err := patch.Apply(res, c[0], []byte(c[2]), model(t))
			var own *fhir.Error
			if !errors.As(err, &own) || own.Status != 413 {
				t.Fatalf("%v", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("%v in %v", err, took.Round(time.Millisecond))
			}
		})
	}
}

// What is near the limits and honest goes through.
func TestLargePatchesPass(t *testing.T) {
	res := parsed(t, `{"resourceType":"Patient","a":[]}`)
	got, err := patch.Apply(res, patch.JSON, repeated("[", `{"op":"add","path":"/a/0","value":%d}`, "]", 10_000), model(t))
	if err != nil || got.Root().Get("a").Len() != 10_000 || got.Root().Get("a").First().Text() != "9999" {
		t.Fatalf("%v", err)
	}
	res = parsed(t, `{"resourceType":"Patient","active":true}`)
	add := `{"name":"operation","part":[{"name":"type","valueCode":"add"},{"name":"path","valueString":"Patient"},{"name":"name","valueString":"name"},{"name":"value","valueHumanName":{"text":"%d"}}]}`
	got, err = patch.Apply(res, patch.FHIR, repeated(`{"resourceType":"Parameters","parameter":[`, add, `]}`, 1000), model(t))
	if err != nil || got.Root().Get("name").Len() != 1000 {
		t.Fatalf("%v", err)
	}
}

// Paths that FHIRPath can say and that would take hours or the memory.
func TestT86_CostlyPathsAreRefusedInTime(t *testing.T) {
	res := parsed(t, patient())
	for path, want := range map[string]string{
		"Patient.descendants().select(%resource.descendants().select(%resource.descendants()))":                         "413 operation 0 (delete)",
		"Patient" + strings.Repeat(".descendants()", 30):                                                                "413 operation 0 (delete)",
		"Patient.name.where(" + strings.Repeat("'#'.resolve().identifier.where(", 9) + "true" + strings.Repeat(")", 10): "413 operation 0 (delete)",
		"Patient.repeat(descendants())":                                                                                 "400 operation 0 (delete)",
		"Patient.descendants().aggregate($total & $total, 'aaaaaaaa')":                                                  "400 operation 0 (delete)",
		"Patient.descendants().aggregate($total.combine($total))":                                                       "400 operation 0 (delete)",
		"Patient.name.where('a'" + strings.Repeat(".replace('a','aaaaaaaaaa')", 50) + "='b')":                           "400 operation 0 (delete)",
		"Patient.name.where('a'.`replace` ('a','b')='b')":                                                               "400 operation 0 (delete)",
		"Patient.name.where('a'.replace /* ( */ ('a','b')='b')":                                                         "400 operation 0 (delete)",
		"Patient.identifier.where(" + strings.Repeat("value & ", 100) + "'x' = 'y')":                                    "413 operation 0 (delete)",
		"Patient.name" + strings.Repeat(".where(true)", 400):                                                            "400 operation 0 (delete)",
	} {
		start := time.Now()
		_, err := patch.Apply(res, patch.FHIR, parameters(t, `{"type":"delete","path":`+string(fhir.Quote(path))+`}`), model(t))
		wantError(t, err, want)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%.60s: took %v", path, took)
		}
	}
}

// What people write to name an element passes.
func TestUsualPathsPass(t *testing.T) {
	res := parsed(t, patient())
	for _, path := range []string{
		"Patient.name.where(use = 'official' and (family = 'A' or family = '/* % | & repeat( */')).given.first()",
		"Patient.identifier.where(system = 'http://hospital.example.org' and type.coding.exists(code = 'MR')).last()",
		"Patient.descendants().where(id = 'x')",
		"Patient.extension('http://example.org/x').value as Quantity",
		"(Patient.deceased as boolean)",
		"Patient.name.`given`[1]",
		"Patient.name.where($this.given contains 'B')",
		"Patient.contact.where(%resource.active)",
		"Patient.identifier.skip(3).take(1)",
	} {
		if _, err := patch.Apply(res, patch.FHIR, parameters(t, `{"type":"delete","path":`+string(fhir.Quote(path))+`}`), model(t)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDeepPatches(t *testing.T) {
	res := parsed(t, `{"resourceType":"Patient","a":1}`)
	deep := strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60)
	for _, c := range []struct {
		mediaType, body string
		want            string
	}{
		{patch.JSON, `[{"op":"add","path":"/a","value":` + deep + `},{"op":"add","path":"` + strings.Repeat("/a", 60) + `","value":` + deep + `}]`, "413 "},
		{patch.JSON, `[{"op":"add","path":"` + strings.Repeat("/a", 200) + `","value":1}]`, "422 operation 0 (add): path has more than 128 steps"},
		{patch.Merge, strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "413 "},
	} {
		_, err := patch.Apply(res, c.mediaType, []byte(c.body), model(t))
		wantError(t, err, c.want)
	}
}
