package profile

import (
	"slices"
	"strings"
	"time"
)

// The code systems that facts are named in.
const (
	loinc  = "http://loinc.org"
	snomed = "http://snomed.info/sct"
	rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
)

// Concept is a diagnosis by its codes: ICD-10 and ICD-10-CM prefixes (without
// dots) and SNOMED CT codes.
type Concept struct {
	Name   string
	ICD    []string
	SNOMED []string
}

// Diabetes is diabetes mellitus of any type; prediabetes is not.
func Diabetes() Concept {
	return Concept{"diabetes",
		[]string{"E08", "E09", "E10", "E11", "E12", "E13", "E14"},
		[]string{"73211009", "44054006", "46635009"}}
}

// Hypertension is arterial hypertension.
func Hypertension() Concept {
	return Concept{"hypertension",
		[]string{"I10", "I11", "I12", "I13", "I15", "I16"},
		[]string{"38341003", "59621000"}}
}

// Cardiovascular is any disease that a first cardiovascular event would be:
// coronary disease, stroke or transient ischaemic attack, heart failure,
// peripheral artery disease.
func Cardiovascular() Concept {
	return Concept{"cardiovascular-disease",
		[]string{"I20", "I21", "I22", "I23", "I24", "I25", "I50", "I110", "I130", "I132", "I63", "I64", "I69", "G45", "I702", "I739"},
		[]string{
			"22298006", "399211009", "401303003", "401314000", // infarction
			"53741008", "414545008", "414795007", "194828000", // coronary and ischaemic heart disease, angina
			"230690007", "266257000", "422504002", // stroke, TIA
			"84114007", "42343007", "88805009", // heart failure
			"400047006", // peripheral vascular disease
		}}
}

// Has says whether one of the codes names the concept.
func (c Concept) Has(codes []Code) bool {
	return slices.ContainsFunc(codes, func(code Code) bool {
		switch {
		case code.System == snomed:
			return slices.Contains(c.SNOMED, code.Code)
		case strings.HasPrefix(code.System, "http://hl7.org/fhir/sid/icd-10"):
			bare := strings.ReplaceAll(strings.ToUpper(code.Code), ".", "")
			return slices.ContainsFunc(c.ICD, func(prefix string) bool { return strings.HasPrefix(bare, prefix) })
		default:
			return false
		}
	})
}

// Present are the conditions of a concept that the patient has at a moment (the
// zero moment: by all that is known).
func (p Profile) Present(c Concept, asOf time.Time) []Condition {
	return p.conditions(c, asOf, func(one Condition) bool {
		if !one.Abated.IsZero() {
			return !asOf.IsZero() && one.Abated.After(asOf)
		}
		return one.Active
	})
}

// Ever are the conditions of a concept that the patient has or had: what once
// happened (a stroke) counts for good.
func (p Profile) Ever(c Concept, asOf time.Time) []Condition {
	return p.conditions(c, asOf, func(Condition) bool { return true })
}

func (p Profile) conditions(c Concept, asOf time.Time, counts func(Condition) bool) []Condition {
	var out []Condition
	for _, one := range p.Conditions {
		if !asOf.IsZero() && one.Onset.After(asOf) {
			continue
		}
		if c.Has(one.Codes) && counts(one) {
			out = append(out, one)
		}
	}
	return out
}

// Class is a class of medicines: RxNorm ingredients, clinical drugs (SCD) known
// to contain them, and ingredient names for codes that are not listed.
type Class struct {
	Name        string
	Ingredients map[string]string // RxNorm code -> name
	Drugs       map[string]string // RxNorm SCD code -> ingredient name
}

// Statins are the HMG-CoA reductase inhibitors.
func Statins() Class {
	return Class{"statin",
		map[string]string{
			"83367": "atorvastatin", "36567": "simvastatin", "301542": "rosuvastatin", "42463": "pravastatin",
			"6472": "lovastatin", "41127": "fluvastatin", "861634": "pitavastatin",
		},
		map[string]string{"314231": "simvastatin", "312961": "simvastatin"}}
}

// Antihypertensives are the medicines that lower blood pressure.
func Antihypertensives() Class {
	return Class{"antihypertensive",
		map[string]string{
			"29046": "lisinopril", "3827": "enalapril", "35296": "ramipril", "18867": "benazepril", "1998": "captopril", "35208": "quinapril",
			"52175": "losartan", "69749": "valsartan", "83818": "irbesartan", "214354": "candesartan", "73494": "telmisartan", "321064": "olmesartan",
			"17767": "amlodipine", "7417": "nifedipine", "3443": "diltiazem", "11170": "verapamil",
			"5487": "hydrochlorothiazide", "2409": "chlorthalidone", "5764": "indapamide", "4603": "furosemide", "9997": "spironolactone",
			"6918": "metoprolol", "1202": "atenolol", "20352": "carvedilol", "19484": "bisoprolol", "31555": "nebivolol", "8787": "propranolol",
			"5470": "hydralazine", "2599": "clonidine", "49276": "doxazosin",
		},
		map[string]string{"314076": "lisinopril", "310798": "hydrochlorothiazide", "308136": "amlodipine", "197361": "amlodipine"}}
}

// Has says whether one of the codes is a medicine of the class: by its code, or
// because its display names an ingredient ("60 … amLODIPine 5 MG / …").
func (c Class) Has(codes []Code) bool {
	for _, code := range codes {
		if code.System == rxnorm && (c.Ingredients[code.Code] != "" || c.Drugs[code.Code] != "") {
			return true
		}
		if c.named(code.Display) {
			return true
		}
	}
	return false
}

func (c Class) named(display string) bool {
	words := strings.FieldsFunc(strings.ToLower(display), func(r rune) bool { return r < 'a' || r > 'z' })
	for _, name := range c.Ingredients {
		if slices.Contains(words, name) {
			return true
		}
	}
	return false
}

// Taking are the medicines of a class that the patient takes at a moment.
func (p Profile) Taking(c Class, asOf time.Time) []Medication {
	var out []Medication
	for _, m := range p.Medications {
		if (asOf.IsZero() || !m.Since.After(asOf)) && c.Has(m.Codes) {
			out = append(out, m)
		}
	}
	return out
}
