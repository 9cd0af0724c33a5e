package analytics_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func shared(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "data")); err == nil {
			return filepath.Join(dir, "shared")
		}
	}
	t.Fatal("no shared folder beside the repository; set CANDELA_SHARED")
	return ""
}

// loadSynthea puts all shared Synthea bundles into a world, each resource under
// the id it has in its bundle, and gives the patients' records decoded.
func loadSynthea(t testing.TB, w world) map[string][]object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(shared(t), "data", "fhir", "synthea-2*", "*.gz"))
	if err != nil || len(files) != 18 {
		t.Fatalf("%d Synthea files, want 18 (%v)", len(files), err)
	}
	patients := map[string][]object{}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) }) // infra first
	for _, name := range files {
		bundle := unpack(t, name)
		if strings.Contains(name, "infra") {
			post(t, w, bundle)
			continue
		}
		who, raw, records := withOwnIDs(t, bundle)
		post(t, w, raw)
		patients[who] = records
	}
	return patients
}

func unpack(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// withOwnIDs makes every POST a PUT under the entry's own id.
func withOwnIDs(t testing.TB, bundle []byte) (who string, raw []byte, records []object) {
	t.Helper()
	var b struct {
		Entry []struct {
			FullURL  string          `json:"fullUrl"`
			Resource json.RawMessage `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	replace := []string{}
	entries := make([]string, len(b.Entry))
	for i, e := range b.Entry {
		var r struct{ ResourceType, ID string }
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		url := r.ResourceType + "/" + r.ID
		if r.ResourceType == "Patient" {
			who = r.ID
		}
		replace = append(replace, `"`+e.FullURL+`"`, `"`+url+`"`)
		entries[i] = fmt.Sprintf(`{"resource":%s,"request":{"method":"PUT","url":%q}}`, e.Resource, url)
		records = append(records, decode(t, string(e.Resource)))
	}
	text := strings.NewReplacer(replace...).Replace(strings.Join(entries, ","))
	return who, []byte(`{"resourceType":"Bundle","type":"transaction","entry":[` + text + `]}`), records
}

// hand computes a patient's risks from the raw records, sharing nothing with
// the product: its own reading, its own formula, coefficients typed off the
// publication. ok is false for who may not be scored.
func hand(t testing.TB, records []object) (percents []string, systolic float64, hypertensive, ok bool) {
	in := handRead(records)
	date := in.newest()
	age := math.Floor(float64(date.Year()*10000+int(date.Month())*100+date.Day()-in.born) / 10000)
	recent := date.AddDate(-2, 0, 0)
	for _, code := range []string{"8480-6", "2093-3", "2085-9", "creatinine", "39156-5", "72166-2"} {
		v, has := in.latest[code]
		if !has || v.at.Before(recent) {
			return nil, in.latest["8480-6"].value, in.htn, false
		}
	}
	k, al, f := 0.9, -0.302, 1.0
	if in.female {
		k, al, f = 0.7, -0.241, 1.012
	}
	cr := in.latest["creatinine"].value
	egfr := 142 * f * math.Pow(math.Min(cr/k, 1), al) * math.Pow(math.Max(cr/k, 1), -1.2) * math.Pow(0.9938, age)
	sbp, tc, hdl, bmi := in.latest["8480-6"].value, in.latest["2093-3"].value, in.latest["2085-9"].value, in.latest["39156-5"].value
	if in.dead || in.disease || age < 30 || age > 79 || sbp < 90 || sbp > 180 || tc < 130 || tc > 320 || hdl < 20 || hdl > 100 ||
		egfr < 15 || egfr > 140 || bmi < 18.5 || bmi > 39.9 {
		return nil, sbp, in.htn, false
	}
	for _, c := range handTable[in.female] {
		a, n, h := (age-55)/10, (tc-hdl)*0.02586-3.5, (hdl*0.02586-1.3)/0.3
		s, e := (math.Max(sbp, 110)-130)/20, (math.Min(egfr, 60)-60)/-15
		low, high := (math.Min(bmi, 30)-25)/5, (math.Max(bmi, 30)-30)/5
		dm, smk, bp, st := flag(in.diabetes), in.latest["72166-2"].value, flag(in.treated), flag(in.statin)
		x := c[0]*a + c[1]*n + c[2]*h + c[3]*(math.Min(sbp, 110)-110)/20 + c[4]*s + c[5]*dm + c[6]*smk + c[7]*low + c[8]*high +
			c[9]*e + c[10]*(math.Max(egfr, 60)-90)/-15 + c[11]*bp + c[12]*st + c[13]*bp*s + c[14]*st*n + c[15]*a*n + c[16]*a*h +
			c[17]*a*s + c[18]*a*dm + c[19]*a*smk + c[20]*a*high + c[21]*a*e + c[22]
		percents = append(percents, fmt.Sprintf("%.1f", math.Floor(1000/(1+math.Exp(-x))+0.5)/10))
	}
	return percents, sbp, in.htn, true
}

// handTable is table B of the publication: female and male; CVD, ASCVD, HF.
var handTable = map[bool][3][23]float64{
	true: {
		{0.7939329, 0.0305239, -0.1606857, -0.2394003, 0.3600781, 0.8667604, 0.5360739, 0, 0, 0.6045917, 0.0433769, 0.3151672, -0.1477655, -0.0663612, 0.1197879, -0.0819715, 0.0306769, -0.0946348, -0.27057, -0.078715, 0, -0.1637806, -3.307728},
		{0.719883, 0.1176967, -0.151185, -0.0835358, 0.3592852, 0.8348585, 0.4831078, 0, 0, 0.4864619, 0.0397779, 0.2265309, -0.0592374, -0.0395762, 0.0844423, -0.0567839, 0.0325692, -0.1035985, -0.2417542, -0.0791142, 0, -0.1671492, -3.819975},
		{0.8998235, 0, 0, -0.4559771, 0.3576505, 1.038346, 0.583916, -0.0072294, 0.2997706, 0.7451638, 0.0557087, 0.3534442, 0, -0.0981511, 0, 0, 0, -0.0946663, -0.3581041, -0.1159453, -0.003878, -0.1884289, -4.310409},
	},
	false: {
		{0.7688528, 0.0736174, -0.0954431, -0.4347345, 0.3362658, 0.7692857, 0.4386871, 0, 0, 0.5378979, 0.0164827, 0.288879, -0.1337349, -0.0475924, 0.150273, -0.0517874, 0.0191169, -0.1049477, -0.2251948, -0.0895067, 0, -0.1543702, -3.031168},
		{0.7099847, 0.1658663, -0.1144285, -0.2837212, 0.3239977, 0.7189597, 0.3956973, 0, 0, 0.3690075, 0.0203619, 0.2036522, -0.0865581, -0.0322916, 0.114563, -0.0300005, 0.0232747, -0.0927024, -0.2018525, -0.0970527, 0, -0.1217081, -3.500655},
		{0.8972642, 0, 0, -0.6811466, 0.3634461, 0.923776, 0.5023736, -0.0485841, 0.3726929, 0.6926917, 0.0251827, 0.2980922, 0, -0.0497731, 0, 0, 0, -0.1289201, -0.3040924, -0.1401688, 0.0068126, -0.1797778, -3.946391},
	},
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type handValue struct {
	value float64
	at    time.Time
}

type handInputs struct {
	born                                                  int // yyyymmdd
	female, dead, diabetes, disease, htn, treated, statin bool
	latest                                                map[string]handValue
	dates                                                 []time.Time
}

func (in *handInputs) newest() time.Time {
	var date time.Time
	for _, code := range []string{"8480-6", "2093-3", "2085-9", "creatinine", "39156-5", "72166-2"} {
		if v := in.latest[code]; v.at.After(date) {
			date = v.at
		}
	}
	for _, d := range in.dates {
		if d.After(date) {
			date = d
		}
	}
	return date.UTC()
}

func (in *handInputs) take(code string, at time.Time, value float64) {
	if code == "2160-0" || code == "38483-4" {
		code = "creatinine"
	}
	if old, has := in.latest[code]; !has || at.After(old.at) {
		in.latest[code] = handValue{value, at}
	}
}

func handRead(records []object) *handInputs {
	in := &handInputs{latest: map[string]handValue{}}
	drugs := map[string]string{}
	for _, r := range records {
		if r["resourceType"] == "Medication" {
			drugs[r["id"].(string)] = strings.ToLower(first(r["code"])["display"].(string))
		}
	}
	for _, r := range records {
		switch r["resourceType"] {
		case "Patient":
			in.female, in.dead = r["gender"] == "female", r["deceasedDateTime"] != nil
			fmt.Sscan(strings.ReplaceAll(r["birthDate"].(string), "-", ""), &in.born)
		case "Condition":
			in.condition(r)
		case "Observation":
			in.observation(r)
		case "MedicationRequest":
			in.medicine(r, drugs)
		}
	}
	return in
}

func first(concept any) object {
	codings := list(concept.(object)["coding"])
	if len(codings) == 0 {
		return object{"display": ""}
	}
	return codings[0].(object)
}

func when(r object, element string) time.Time {
	text, _ := r[element].(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, _ = time.Parse("2006-01-02", text)
	}
	return at
}

func (in *handInputs) condition(r object) {
	active := first(r["clinicalStatus"])["code"] == "active" && r["abatementDateTime"] == nil
	switch first(r["code"])["code"] {
	case "44054006", "73211009":
		if active {
			in.diabetes, in.dates = true, append(in.dates, when(r, "onsetDateTime"))
		}
	case "59621000", "38341003":
		in.htn = in.htn || active
	case "22298006", "53741008", "230690007", "84114007", "88805009", "414545008", "399211009", "401303003":
		in.disease, in.dates = true, append(in.dates, when(r, "onsetDateTime"))
	}
}

func (in *handInputs) observation(r object) {
	at := when(r, "effectiveDateTime")
	value := func(o object) float64 { return o["valueQuantity"].(object)["value"].(float64) }
	switch code := first(r["code"])["code"].(string); code {
	case "85354-9", "55284-4":
		for _, c := range list(r["component"]) {
			in.take(first(c.(object)["code"])["code"].(string), at, value(c.(object)))
		}
	case "72166-2":
		status := first(r["valueCodeableConcept"])["code"]
		in.take(code, at, flag(status == "449868002" || status == "77176002" || status == "428041000124106"))
	case "2093-3", "2085-9", "2160-0", "38483-4", "39156-5":
		in.take(code, at, value(r))
	}
}

func (in *handInputs) medicine(r object, drugs map[string]string) {
	if r["status"] != "active" {
		return
	}
	name := ""
	if c, has := r["medicationCodeableConcept"]; has {
		name = strings.ToLower(fmt.Sprint(first(c)["display"], " ", c.(object)["text"]))
	} else if ref, has := r["medicationReference"]; has {
		name = drugs[strings.TrimPrefix(ref.(object)["reference"].(string), "urn:uuid:")]
	}
	for _, drug := range []string{"lisinopril", "hydrochlorothiazide", "amlodipine", "verapamil", "metoprolol", "furosemide", "losartan", "carvedilol"} {
		if strings.Contains(name, drug) {
			in.treated, in.dates = true, append(in.dates, when(r, "authoredOn"))
		}
	}
	if strings.Contains(name, "vastatin") {
		in.statin, in.dates = true, append(in.dates, when(r, "authoredOn"))
	}
}

func TestSyntheaInMemory(t *testing.T) { synthea(t, newMemory()) }

// synthea checks every shared patient against the hand-made computation, that a
// second run writes nothing, and that one new observation changes one patient.
func synthea(t *testing.T, w world) {
	patients := loadSynthea(t, w)
	r := runner(t, w)
	report := run(t, r)
	t.Log(strings.Join(report.Lines(), "\n"))
	var scored, segment []string
	for who, records := range patients {
		want, systolic, hypertensive, ok := hand(t, records)
		if ok {
			scored = append(scored, who)
			t.Log(who, want)
		}
		if got := percents(t, w, who); !slices.Equal(got, want) {
			t.Errorf("patient %s: %v, by hand %v", who, got, want)
		}
		dead := slices.ContainsFunc(records, func(o object) bool { return o["deceasedDateTime"] != nil })
		if hypertensive && systolic >= 130 && !dead {
			segment = append(segment, "Patient/"+who)
		}
	}
	slices.Sort(segment)
	if got := members(t, w); !slices.Equal(got, segment) || len(segment) == 0 {
		t.Errorf("segment %v, by hand %v", got, segment)
	}
	if len(patients) != 16 || len(scored) < 3 || len(all(t, w, "RiskAssessment")) != len(scored) {
		t.Errorf("%d patients, %d scored by hand, %d assessments", len(patients), len(scored), len(all(t, w, "RiskAssessment")))
	}
	quiet(t, w, r)

	before, who := all(t, w, "RiskAssessment"), slices.Min(scored)
	send(t, w, map[string]string{"Observation/new": pressure("new", who, "2021-07-01T10:00:00Z", "171")})
	if report := run(t, r); report.Subjects != 1 {
		t.Errorf("one observation touched %d patients", report.Subjects)
	}
	after := all(t, w, "RiskAssessment")
	maps.DeleteFunc(after, func(id, raw string) bool { return before[id] == raw })
	if len(after) != 1 || after[assessmentID(who)] == "" || !bytes.Contains([]byte(after[assessmentID(who)]), []byte("171 mm[Hg]")) {
		t.Errorf("one observation of %s changed %d assessments", who, len(after))
	}
	quiet(t, w, r)
}
