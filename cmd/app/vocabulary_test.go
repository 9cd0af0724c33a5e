package app_test

import (
	"fmt"
	"strings"
)

// The kinds of resources of random worlds, by how often they are drawn. Ids and
// values come from a small vocabulary, so that searches hit often.
var kinds = []string{
	"Patient", "Patient", "Patient", "Practitioner", "Organization", "Organization", "Encounter", "Encounter", "Encounter",
	"Observation", "Observation", "Observation", "Observation", "Observation", "Observation", "Condition", "Condition", "Condition",
	"MedicationRequest", "Location", "Group", "ValueSet", "ValueSet", "RiskAssessment", "ChargeItem", "Provenance",
}

func (d dice) put(commit int, id string) step {
	typ := d.of(kinds...)
	return step{commit: commit, key: typ + "/" + id, raw: d.resource(typ, id)}
}

func (d dice) resource(typ, id string) string {
	inside := d.some(12, `"contained":[{"resourceType":"Patient","id":"c","name":[`+d.name()+`],"gender":"male"}]`)
	body := d.body(typ)
	for i := range body {
		if inside != "" { // some of the patients pointed to stand inside
			body[i] = strings.Replace(body[i], `"reference":"Patient/1"`, `"reference":"#c"`, 1)
		}
	}
	return object(append([]string{fmt.Sprintf(`"resourceType":%q,"id":%q`, typ, id), d.some(40, `"meta":`+d.meta()), inside}, body...)...)
}

func (d dice) body(typ string) []string {
	switch typ {
	case "Patient":
		return d.patient()
	case "Practitioner":
		return []string{d.identifiers(), d.names(), d.some(50, `"gender":"`+d.of("male", "female")+`"`), d.some(40, `"active":`+d.of("true", "false"))}
	case "Organization":
		return []string{d.identifiers(), d.some(80, `"name":"`+d.word()+`"`), d.some(30, `"alias":["`+d.word()+`","`+d.word()+`"]`),
			d.some(40, `"partOf":`+d.ref("Organization")), d.some(40, `"address":[`+d.address()+`]`), d.some(40, `"type":[`+d.concept()+`]`)}
	case "Encounter":
		return []string{`"status":"` + d.of("planned", "finished", "cancelled") + `"`, `"class":` + d.coding(), d.some(70, `"subject":`+d.ref("Patient")),
			d.some(60, `"period":`+d.period()), d.some(40, `"type":[`+d.concept()+`,`+d.concept()+`]`), d.some(40, `"serviceProvider":`+d.ref("Organization")),
			d.some(40, `"participant":[{"individual":`+d.ref("Practitioner")+`}]`), d.some(30, `"length":`+d.duration()), d.some(30, `"partOf":`+d.ref("Encounter"))}
	case "Observation":
		return d.observation()
	case "Condition":
		return []string{`"subject":` + d.ref("Patient"), d.some(70, `"code":`+d.concept()), d.onset(), d.some(50, `"recordedDate":"`+d.date()+`"`),
			d.some(50, `"clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"`+d.of("active", "resolved", "recurrence")+`"}]}`),
			d.some(40, `"encounter":`+d.ref("Encounter")), d.some(30, `"asserter":`+d.ref("Practitioner")), d.some(30, `"category":[`+d.concept()+`]`)}
	case "MedicationRequest":
		return []string{`"status":"` + d.of("active", "stopped", "draft") + `"`, `"intent":"` + d.of("order", "plan") + `"`, `"medicationCodeableConcept":` + d.concept(),
			`"subject":` + d.ref("Patient"), d.some(60, `"authoredOn":"`+d.date()+`"`), d.some(40, `"encounter":`+d.ref("Encounter"))}
	default:
		return d.rest(typ)
	}
}

func (d dice) rest(typ string) []string {
	switch typ {
	case "Location":
		return []string{d.some(70, `"name":"`+d.word()+`"`), d.some(70, fmt.Sprintf(`"position":{"longitude":%d.%d,"latitude":%d.5}`, 12+d.IntN(3), d.IntN(10), 51+d.IntN(3))),
			d.some(50, `"managingOrganization":`+d.ref("Organization")), d.some(40, `"address":`+d.address()), d.some(40, `"status":"active"`)}
	case "Group":
		return []string{`"type":"person"`, `"actual":` + d.of("true", "false"), d.some(60, `"member":[{"entity":`+d.ref("Patient")+`},{"entity":`+d.ref("Patient")+`}]`),
			d.some(60, `"characteristic":[{"code":`+d.concept()+`,"valueCodeableConcept":`+d.concept()+`,"exclude":false},{"code":`+d.concept()+`,"valueBoolean":true,"exclude":true}]`)}
	case "ValueSet":
		return []string{`"status":"` + d.of("draft", "active") + `"`, d.some(80, `"url":"`+d.url()+`"`), d.some(50, `"version":"`+d.of("1", "1.0", "2")+`"`), d.some(60, `"title":"`+d.word()+`"`),
			d.some(40, `"date":"`+d.date()+`"`), d.some(50, `"useContext":[{"code":`+d.coding()+`,"valueQuantity":`+d.quantity()+`},{"code":`+d.coding()+`,"valueCodeableConcept":`+d.concept()+`}]`),
			d.some(40, `"compose":{"include":[{"system":"`+d.url()+`"}]}`), d.some(40, `"jurisdiction":[`+d.concept()+`]`)}
	case "RiskAssessment":
		return []string{`"status":"final"`, `"subject":` + d.ref("Patient"), d.some(80, `"prediction":[{"probabilityDecimal":`+d.number()+`},{"probabilityDecimal":`+d.number()+`}]`),
			d.some(50, `"occurrenceDateTime":"`+d.date()+`"`), d.some(40, `"condition":`+d.ref("Condition")), d.some(40, `"encounter":`+d.ref("Encounter"))}
	case "ChargeItem":
		return []string{`"status":"billable"`, `"code":` + d.concept(), `"subject":` + d.ref("Patient"), d.some(60, `"factorOverride":`+d.number()),
			d.some(60, `"priceOverride":{"value":`+d.number()+`,"currency":"`+d.of("EUR", "USD")+`"}`), d.some(50, `"quantity":`+d.quantity()), d.some(50, `"occurrencePeriod":`+d.period())}
	default:
		return []string{`"target":[` + d.ref("Observation") + `,` + d.ref("Condition") + `]`, `"recorded":"` + d.instant() + `"`, `"agent":[{"who":` + d.ref("Practitioner") + `}]`,
			d.some(50, `"occurredPeriod":`+d.period())}
	}
}

func (d dice) patient() []string {
	return []string{d.identifiers(), d.names(), d.some(70, `"gender":"`+d.of("male", "female", "other")+`"`), d.some(70, `"birthDate":"`+d.day()+`"`),
		d.some(50, `"telecom":[{"system":"`+d.of("phone", "email")+`","value":"`+d.of("555-1", "555-2", "Ann@Example.org")+`","use":"home"}]`), d.some(50, `"address":[`+d.address()+`]`),
		d.some(40, `"managingOrganization":`+d.ref("Organization")), d.some(40, `"generalPractitioner":[`+d.ref("Practitioner")+`,`+d.ref("Organization")+`]`),
		d.some(30, d.of(`"deceasedBoolean":false`, `"deceasedBoolean":true`, `"deceasedDateTime":"`+d.date()+`"`)), d.some(25, `"link":[{"other":`+d.ref("Patient")+`,"type":"seealso"}]`),
		d.some(10, `"_active":{"extension":[{"url":"http://x.example/why","valueCode":"unknown"}]}`)}
}

func (d dice) observation() []string {
	value := d.of(`"valueQuantity":`+d.quantity(), `"valueQuantity":`+d.quantity(), `"valueCodeableConcept":`+d.concept(), `"valueString":"`+d.word()+`"`,
		`"valueDateTime":"`+d.date()+`"`, `"dataAbsentReason":`+d.concept(), "")
	effective := d.of(`"effectiveDateTime":"`+d.date()+`"`, `"effectiveDateTime":"`+d.date()+`"`, `"effectivePeriod":`+d.period(), `"effectiveInstant":"`+d.instant()+`"`,
		`"effectiveTiming":{"event":["`+d.date()+`","`+d.date()+`"]}`, "")
	part := func() string { return object(`"code":`+d.concept(), d.some(80, `"valueQuantity":`+d.quantity())) }
	return []string{`"status":"` + d.of("final", "amended", "preliminary") + `"`, `"code":` + d.concept(), value, effective, d.identifiers(),
		d.some(75, `"subject":`+d.ref(d.of("Patient", "Patient", "Patient", "Location", "Group"))), d.some(50, `"encounter":`+d.ref("Encounter")),
		d.some(50, `"category":[`+d.concept()+`]`), d.some(40, `"performer":[`+d.ref("Practitioner")+`,`+d.ref("Organization")+`]`),
		d.some(40, `"component":[`+part()+`,`+part()+`]`), d.some(30, `"hasMember":[`+d.ref("Observation")+`]`)}
}

func (d dice) onset() string {
	return d.of(`"onsetDateTime":"`+d.date()+`"`, `"onsetPeriod":`+d.period(), `"onsetAge":`+d.duration(), `"onsetString":"`+d.word()+`"`, "",
		`"onsetRange":{"low":`+simple(d.number())+`,"high":`+simple("100")+`}`)
}

func simple(number string) string {
	return `{"value":` + number + `,"unit":"mg","system":"http://unitsofmeasure.org","code":"mg"}`
}

func (d dice) meta() string {
	return object(d.some(50, `"tag":[`+d.coding()+`,`+d.coding()+`]`), d.some(40, `"security":[`+d.coding()+`]`),
		d.some(40, `"profile":["`+d.url()+`"]`), `"source":"`+d.url()+`"`)
}

func (d dice) identifiers() string {
	one := func() string {
		return object(d.some(60, `"system":"`+d.of("http://s.example/a", "http://s.example/b")+`"`), `"value":"`+d.of("1", "2", "Xy-7", "a,b|c$d")+`"`,
			d.some(30, `"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"`+d.of("MR", "SS")+`"}],"text":"`+d.word()+`"}`))
	}
	return d.of("", `"identifier":[`+one()+`]`, `"identifier":[`+one()+`,`+one()+`]`)
}

func (d dice) word() string {
	return d.of("Müller", "MULLER", "muller-lüdenscheidt", "Carreño Quiñones", "Quinones", "O'Brien", "Obrien", "de la Cruz", "Ærø", "Straße 5", "李", "x")
}

func (d dice) name() string {
	return object(d.some(80, `"family":"`+d.word()+`"`), `"given":["`+d.word()+`","`+d.word()+`"]`, d.some(30, `"text":"`+d.word()+` `+d.word()+`"`), `"use":"`+d.of("official", "usual")+`"`)
}

func (d dice) names() string {
	return d.of("", `"name":[`+d.name()+`]`, `"name":[`+d.name()+`]`, `"name":[`+d.name()+`,`+d.name()+`]`)
}

func (d dice) address() string {
	return object(`"line":["`+d.word()+`"]`, `"city":"`+d.word()+`"`, d.some(50, `"postalCode":"`+d.of("10115", "101", "20 095")+`"`), d.some(40, `"use":"`+d.of("home", "work")+`"`))
}

func (d dice) coding() string {
	return object(d.some(75, `"system":"`+d.of("http://loinc.org", "http://snomed.info/sct", "http://local.example/codes")+`"`),
		`"code":"`+d.of("8867-4", "8480-6", "ABC", "abc", "x")+`"`, d.some(50, `"display":"`+d.of("Heart rate", "Blood pressure", "Herzfrequenz à jour")+`"`))
}

func (d dice) concept() string {
	return d.of(`{"coding":[`+d.coding()+`]}`, `{"coding":[`+d.coding()+`]}`, `{"coding":[`+d.coding()+`,`+d.coding()+`],"text":"`+d.word()+`"}`, `{"text":"`+d.word()+`"}`)
}

func (d dice) number() string {
	return d.of("100", "100.0", "99.6", "1e2", "5.4", "5.40", "0.0054", "0", "-3", "7", "-0.5", "12345678901234567890.5")
}

func (d dice) quantity() string {
	value := `"value":` + d.number()
	if d.in(8) {
		value = `"extension":[{"url":"http://x.example/why","valueCode":"unknown"}]`
	}
	return object(value, d.some(15, `"comparator":"`+d.of("<", ">", "<=", ">=")+`"`),
		d.of("", `"unit":"mg"`, `"unit":"mg","system":"http://unitsofmeasure.org","code":"mg"`, `"unit":"gram","system":"http://unitsofmeasure.org","code":"g"`, `"code":"mg","system":"http://u.example"`))
}

func (d dice) duration() string {
	return `{"value":` + d.of("1", "36", "36.0", "40") + `,"unit":"year","system":"http://unitsofmeasure.org","code":"` + d.of("a", "h") + `"}`
}

func (d dice) day() string {
	return d.of("2020", "2020-02", "2020-02-29", "2019-12-31", "2021-01-01", "1970-01-01", "1958", "2020-03-01")
}

func (d dice) instant() string {
	return d.of("2020-02-29T10:00:00Z", "2020-02-29T12:00:00.123+02:00", "2019-12-31T23:59:59-01:00", "2021-01-01T00:00:00Z")
}

func (d dice) date() string { return d.of(d.day(), d.day(), d.instant()) }

func (d dice) period() string {
	from, to := d.date(), d.date()
	if strings.Compare(from[:4], to[:4]) >= 0 { // an end is never before its start
		to = "2022" + d.of("", "-05", "-05-06")
	}
	return d.of(object(`"start":"`+from+`"`), object(`"end":"`+to+`"`), object(`"start":"`+from+`"`, `"end":"`+to+`"`))
}

func (d dice) url() string {
	return d.of("http://v.example/a", "http://v.example/a/b", "http://v.example/a/b/c", "http://v.example/ab", "urn:oid:1.2.3", "http://v.example/a|1.0")
}

// ref points to a resource of the type: relative, absolute, versioned, to one
// that is not there, on another server, or by identifier only.
func (d dice) ref(typ string) string {
	to := fmt.Sprintf("%s/%d", typ, 1+d.IntN(10))
	switch d.IntN(12) {
	case 0:
		return `{"reference":"` + ownBase + "/" + to + `"}`
	case 1:
		return `{"reference":"` + to + `/_history/1"}`
	case 2:
		return `{"reference":"http://other.example/fhir/` + to + `"}`
	case 3:
		return `{"identifier":{"system":"http://s.example/a","value":"` + d.of("1", "2") + `"},"display":"` + d.word() + `"}`
	case 4:
		return `{"reference":"urn:uuid:6f3a1c52-1111-4222-8333-94444444444` + d.of("1", "2") + `"}`
	}
	return `{"reference":"` + to + `"}`
}
