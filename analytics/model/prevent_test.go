package model

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
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
		if _, err := os.Stat(filepath.Join(dir, "shared", "reference")); err == nil {
			return filepath.Join(dir, "shared")
		}
	}
	t.Fatal("no shared folder beside the repository; set CANDELA_SHARED")
	return ""
}

// person are the inputs in the order of the published worked examples.
func person(age, female, sbp, treated, total, hdl, statin, dm, smoking, egfr, bmi float64) Features {
	var f Features
	f.Add(Age, age, "a")
	f.Add(Female, female, "")
	f.Add(SystolicBP, sbp, "mm[Hg]")
	f.Add(BPTreatment, treated, "")
	f.Add(TotalChol, total, "mg/dL")
	f.Add(HDL, hdl, "mg/dL")
	f.Add(Statin, statin, "")
	f.Add(Diabetes, dm, "")
	f.Add(Smoking, smoking, "")
	f.Add(EGFR, egfr, "mL/min/{1.73_m2}")
	f.Add(BMI, bmi, "kg/m2")
	return f
}

func with(f Features, name Name, value float64) Features {
	return f.With(Input{Name: name, Value: value})
}

// TestWorkedExamples are the published example (Khan 2024, table S25) and seven
// more computed by an independent implementation: CVD, ASCVD, HF, CHD, stroke.
func TestWorkedExamples(t *testing.T) {
	s25f := person(50, 1, 160, 1, 200, 45, 0, 1, 0, 90, 35)
	s25m := person(50, 0, 160, 1, 200, 45, 0, 1, 0, 90, 35)
	old := person(66, 0, 148, 0, 188, 52, 1, 1, 1, 67, 30)
	oldF := with(with(person(66, 1, 148, 0, 188, 52, 1, 1, 1, 67, 30), HbA1c, 9), UACR, 75)
	young := person(40, 0, 105, 0, 160, 60, 0, 0, 0, 110, 22)
	for _, c := range []struct {
		name    string
		f       Features
		variant Variant
		years   int
		want    string
	}{
		{"S25 F", s25f, Base, 10, ".146839 .091951 .080561 .044097 .054008"},
		{"S25 F", s25f, Base, 30, ".529850 .354255 .389602 .198182 .221004"},
		{"S25 M", s25m, Base, 10, ".163171 .101944 .105911 .055661 .052071"},
		{"S25 M", s25m, Base, 30, ".514398 .348594 .423597 .215732 .197329"},
		{"66 M", old, Base, 10, ".224156 .142050 .137948 .083036 .071964"},
		{"66 M HbA1c", with(old, HbA1c, 7.5), WithHbA1c, 10, ".231005 .142333 .148586 .081956 .071444"},
		{"66 F no SDI", oldF, Full, 10, ".288436 .178147 .218328 .116532 .087367"},
		{"66 F SDI 8", with(oldF, SDIDecile, 8), Full, 10, ".297907 .188512 .226893 .123646 .093053"},
		{"40 M", young, Base, 10, ".007893 .004953 .003391 .002072 .003065"},
		{"40 M", young, Base, 30, ".057312 .033804 .027777 .015054 .021725"},
		{"72 F", person(72, 1, 135, 1, 220, 55, 1, 0, 0, 48, 33), Base, 10, ".190682 .108162 .143975 .057154 .058469"},
	} {
		t.Run(fmt.Sprintf("%s %s %d", c.name, c.variant, c.years), func(t *testing.T) {
			p, err := NewPrevent(c.variant, c.years)
			if err != nil {
				t.Fatal(err)
			}
			s, err := p.Score(c.f)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, chance := range s.Chances {
				got = append(got, strings.TrimPrefix(strconv.FormatFloat(chance.Probability, 'f', 6, 64), "0"))
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// TestCoefficients compares the embedded table with the published one, cell by
// cell: all 100 models, 2670 coefficients.
func TestCoefficients(t *testing.T) {
	file, err := os.Open(filepath.Join(shared(t), "reference", "tables", "prevent_coefficients.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all, err := loadPrevent()
	if err != nil {
		t.Fatal(err)
	}
	want := map[preventKey]map[float64]int{}
	for _, row := range rows[1:] {
		years, _ := strconv.Atoi(row[1])
		key := preventKey{Variant(row[0]), years, row[2] == "female", Outcome(row[3])}
		if want[key] == nil {
			want[key] = map[float64]int{}
		}
		if beta, err := strconv.ParseFloat(row[5], 64); err != nil {
			t.Fatal(err)
		} else if beta != 0 {
			want[key][beta]++
		}
		if strings.HasPrefix(row[4], "Age") && !strings.Contains(row[4], "*") && row[4] != "Age squared" && strconv.FormatFloat(all[key][0], 'f', -1, 64) != row[5] {
			t.Errorf("%v: age is %v, published %s", key, all[key][0], row[5])
		}
	}
	if len(want) != 100 || len(all) != 100 {
		t.Fatalf("%d published models, %d embedded; want 100", len(want), len(all))
	}
	for key, betas := range want {
		for _, beta := range all[key] {
			if beta != 0 {
				betas[beta]--
			}
		}
		for beta, left := range betas {
			if left != 0 {
				t.Errorf("%v: coefficient %v is off by %d", key, beta, left)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	p, err := NewPrevent(Base, 10)
	if err != nil {
		t.Fatal(err)
	}
	good := person(50, 1, 160, 1, 200, 45, 0, 1, 0, 90, 35)
	for _, r := range p.Ranges() {
		for _, v := range []float64{r.Low, r.High} {
			if _, err := p.Score(with(good, r.Name, v)); err != nil {
				t.Errorf("%s = %v is inside and was refused: %v", r.Name, v, err)
			}
		}
		for _, v := range []float64{r.Low - 0.1, r.High + 0.1, math.NaN(), math.Inf(1)} {
			refusal := refused(t, p, with(good, r.Name, v))
			if len(refusal.OutOfRange) != 1 || refusal.OutOfRange[0].Name != r.Name || len(refusal.Missing) != 0 {
				t.Errorf("%s = %v: refused for %v", r.Name, v, refusal)
			}
		}
	}
	refusal := refused(t, p, Features{})
	if len(refusal.Missing) != len(p.Ranges()) {
		t.Errorf("nothing given, missing are %v", refusal.Missing)
	}
	if got := refused(t, p, with(good, PriorDisease, 1)).Excluded; !slices.Equal(got, []Name{PriorDisease}) {
		t.Errorf("prior disease: excluded are %v", got)
	}
	thirty, err := NewPrevent(Base, 30)
	if err != nil {
		t.Fatal(err)
	}
	if got := refused(t, thirty, with(good, Age, 60)).OutOfRange; len(got) != 1 || got[0].High != 59 {
		t.Errorf("60 years for a horizon of 30: %v", got)
	}
	hba1c, err := NewPrevent(WithHbA1c, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := refused(t, hba1c, with(good, HbA1c, 3.9)).OutOfRange; len(got) != 1 || got[0].Name != HbA1c {
		t.Errorf("HbA1c 3.9: %v", got)
	}
	if s, err := hba1c.Score(good); err != nil || !slices.Equal(s.Missing, []Name{HbA1c}) {
		t.Errorf("no HbA1c: %v %v", s.Missing, err)
	}
	if _, err := NewPrevent(Base, 20); err == nil {
		t.Error("there is no 20-year model")
	}
}

func refused(t *testing.T, s Scorer, f Features) *Refusal {
	t.Helper()
	_, err := s.Score(f)
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("want a refusal, got %v", err)
	}
	return r
}

func TestReasons(t *testing.T) {
	p, err := NewPrevent(Base, 10)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Score(person(50, 0, 120, 0, 185, 50, 0, 1, 0, 90, 25))
	if err != nil {
		t.Fatal(err)
	}
	// Only diabetes differs from the reference: exp(DM + age*DM) at age 50.
	want := math.Exp(0.7692857 - 0.5*-0.2251948)
	if len(s.Reasons) != 1 || s.Reasons[0].Input.Name != Diabetes || math.Abs(s.Reasons[0].Factor-want) > 1e-9 {
		t.Errorf("reasons %v, want diabetes %v", s.Reasons, want)
	}
}

func TestKidney(t *testing.T) {
	for _, c := range []struct {
		creatinine, age float64
		female          bool
		want            string
	}{{1.0, 50, true, "68.63"}, {1.4, 60, false, "57.54"}, {0.6, 30, true, "123.76"}} {
		if got := strconv.FormatFloat(FiltrationRate(c.creatinine, c.age, c.female), 'f', 2, 64); got != c.want {
			t.Errorf("creatinine %v: %s, want %s", c.creatinine, got, c.want)
		}
	}
}

func TestPercent(t *testing.T) {
	for p, want := range map[float64]string{0: "0.0", 0.1465: "14.7", 0.14649999999: "14.6", 0.0005: "0.1", 0.00049: "0.0",
		0.9996: "100.0", 1: "100.0", 0.1: "10.0", 1e-9: "0.0", 0.2995: "30.0"} {
		if got := Percent(p); got != want {
			t.Errorf("%v is %s %%, want %s", p, got, want)
		}
	}
}

func TestBands(t *testing.T) {
	for p, want := range map[float64]Band{0: Low, 0.0299999: Low, 0.03: Borderline, 0.0499999: Borderline, 0.05: Intermediate, 0.0999999: Intermediate, 0.1: High, 1: High} {
		if got := BandOf(p); got != want {
			t.Errorf("%v is %s, want %s", p, got, want)
		}
	}
}

func BenchmarkPrevent(b *testing.B) {
	p, err := NewPrevent(Base, 10)
	if err != nil {
		b.Fatal(err)
	}
	f := person(50, 1, 160, 1, 200, 45, 0, 1, 0, 90, 35)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Score(f); err != nil {
			b.Fatal(err)
		}
	}
}
