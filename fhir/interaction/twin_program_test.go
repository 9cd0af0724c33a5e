package interaction_test

import (
	"fmt"
	"strings"

	"candela/fhir"
)

var (
	ownTypes    = []string{"Observation", "Observation", "Observation", "Condition", "Encounter", "RelatedPerson", "List", "CareTeam", "Basic", "Device", "Task", "DocumentReference"}
	hiddenTypes = append([]string{"Patient", "Group", "Binary", "Provenance"}, ownTypes...)
	anyTypes    = append([]string{"Practitioner", "Organization"}, hiddenTypes...)
	ids         = []string{"v1", "v2", "m1", "h1", "h2", "f1", "new1", "none"}
	names       = []string{"Smith", "Jones"}
)

// random is a thing of a type with members from small pools, so that searches meet.
func random(d dice, typ, id string) thing {
	x := thing{typ: typ, id: id, subject: "Patient/a"}
	x.status = pick(d, "status", "final", "preliminary")
	x.code = pick(d, "code", "k1", "k2")
	x.category = pick(d, "category", "laboratory", "vital-signs")
	x.identifier = pick(d, "identifier", "X1", "X2", "X3", "X4")
	x.name = pick(d, "name", names...)
	x.tag = pick(d, "tag", "", "t1")
	x.value = d.roll(9, "value")
	for _, to := range []string{"Observation", "Encounter", "RelatedPerson", "Binary"} {
		if to == "Binary" || d.roll(2, "linked") == 0 {
			x.links = append(x.links, to+"/"+pick(d, "to", "v1", "h1", "h2", "m1"))
		}
	}
	x.links = append(x.links, "Practitioner/v1", "Observation/v1")
	return x
}

// witnesses are the callers that programs run as.
func witnesses() []witness {
	a := fhir.Reference{Type: "Patient", ID: "a"}
	p, err := parts()
	if err != nil {
		return nil
	}
	var chart fhir.Access
	for _, typ := range p.spec.Resources() {
		switch own, _ := p.spec.Ownership(typ); own.Belonging {
		case 1, 3: // owned, or through something that is
			chart = append(chart, fhir.Rule{Type: typ, Letters: "cruds", Compartment: a})
		case 2:
			chart = append(chart, fhir.Rule{Type: typ, Letters: "rs"})
		}
	}
	other := func(d dice, x *thing) {
		x.subject = pick(d, "whose", "Patient/b", "Patient/c")
		if x.typ == "Binary" && d.roll(2, "loose") == 0 {
			x.subject = ""
		}
		if x.typ == "Provenance" {
			x.links = []string{"Observation/h1"}
		}
	}
	secret := func(_ dice, x *thing) { x.security = "R" }
	withheld := fhir.Access{{Type: "*", Filter: "_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R"}}
	granular := fhir.Access{{Type: "Observation", Letters: "cruds", Compartment: a, Filter: "category=laboratory"}, {Type: "Patient", Letters: "rs", Compartment: a}}
	staff := fhir.Access{{Type: "Observation", Letters: "cruds", Filter: "status=final"}, {Type: "Patient", Letters: "rs", Filter: "family=Ann"}, {Type: "Practitioner", Letters: "rs"}}
	return []witness{
		{"chart", fhir.Caller{Client: "app", Patient: a, Access: chart}, other},
		{"granular", fhir.Caller{Client: "app", Patient: a, Access: granular}, func(d dice, x *thing) {
			if x.category = "vital-signs"; x.typ == "Patient" || d.roll(2, "whose") == 0 {
				other(d, x)
			}
		}},
		{"staff", fhir.Caller{Client: "ehr", Access: staff}, func(_ dice, x *thing) { x.status, x.name = "preliminary", "Jones" }},
		{"labels", fhir.Caller{Client: "ehr", Access: fhir.Access{{Type: "*", Letters: "cruds"}}, Deny: withheld}, secret},
		{"labels in the chart", fhir.Caller{Client: "app", Patient: a, Access: chart, Deny: withheld}, func(d dice, x *thing) {
			if d.roll(2, "how") == 0 {
				other(d, x)
			} else {
				x.security = "R"
			}
		}},
	}
}

// seen is the part of a pair that both stores have alike: things in view, and
// things in view that were out of it once.
func (w witness) seen(d dice) (common []thing) {
	ann := thing{typ: "Patient", id: "a", identifier: "X1", name: "Ann", value: 5, links: []string{"Practitioner/v1"}}
	common = append(common, thing{typ: "Practitioner", id: "v1", identifier: "X1"}, thing{typ: "Organization", id: "v1", identifier: "X2"}, ann)
	for _, typ := range append(ownTypes[2:], "Binary", "Provenance") {
		for _, id := range []string{"v1", "v2"} {
			x := random(d, typ, id)
			x.status, x.category = "final", "laboratory"
			if typ == "Provenance" {
				x.links = []string{"Observation/" + id}
			}
			common = append(common, x)
		}
	}
	return common
}

// moved are things in view whose first version was not.
func (w witness) moved(d dice) thing {
	x := random(d, pick(d, "moved", ownTypes...), "m1")
	x.status, x.category = "final", "laboratory"
	return x
}

// churn is what one store has, and lost, out of view.
func (w witness) churn(d dice) (out []asked) {
	for range d.roll(7, "hidden writes") {
		x := random(d, pick(d, "hidden type", hiddenTypes...), pick(d, "hidden id", "h1", "h2"))
		if x.typ == "Patient" {
			x.id = pick(d, "other", "b", "c")
		}
		if d.roll(4, "formerly seen") == 0 && x.typ != "Patient" && x.typ != "Group" {
			x.id = "f1" // was in view in the past of this store
			x.status, x.category = "final", "laboratory"
			out = append(out, asked{method: "PUT", url: x.typ + "/f1", body: x.json()})
		}
		w.hide(d, &x)
		out = append(out, asked{method: "PUT", url: x.typ + "/" + x.id, body: x.json()})
		if d.roll(4, "deleted") == 0 {
			out = append(out, asked{method: "DELETE", url: x.typ + "/" + x.id})
		}
	}
	return out
}

// step is one request of a program.
func step(d dice) asked {
	switch d.roll(16, "step") {
	case 0:
		return asked{method: "GET", url: instance(d)}
	case 1:
		return asked{method: "GET", url: instance(d) + "/_history/" + pick(d, "version", "1", "2", "3")}
	case 2:
		return asked{method: "GET", url: instance(d) + "/_history" + pick(d, "cut", "", "?_count=1", "?_count=0")}
	case 3:
		return asked{method: "GET", url: pick(d, "past of", pick(d, "type", anyTypes...)+"/", "") + "_history?_count=" + pick(d, "size", "0", "1", "2", "5", "50") + pick(d, "at", "", "", "&_at=2026")}
	case 4, 5, 6, 7:
		return asked{method: "GET", url: query(d)}
	case 8:
		return asked{method: "GET", url: nextPage}
	case 9:
		return asked{method: "GET", url: operationOf(d)}
	case 10:
		return creation(d)
	case 11:
		return replacement(d)
	case 12:
		return patched(d)
	case 13:
		return asked{method: "DELETE", url: pick(d, "deleted", instance(d), typed(d)+"?"+criteria(d)), ifMatch: pick(d, "if-match", "", "", `W/"1"`)}
	case 14:
		return asked{method: "GET", url: pick(d, "compartment", "Patient/a/", "Patient/b/", "Encounter/h1/", "Practitioner/v1/") + pick(d, "in it", "*", "Observation", "Condition", "Device") + "?_count=" + pick(d, "size", "2", "50")}
	default:
		return bundled(d)
	}
}

func typed(d dice) string { return pick(d, "type", anyTypes...) }

func instance(d dice) string {
	typ := typed(d)
	if typ == "Patient" {
		return "Patient/" + pick(d, "patient", "a", "b", "c", "none")
	}
	return typ + "/" + pick(d, "id", ids...)
}

func criteria(d dice) string {
	return pick(d, "criteria", "identifier=urn:s|"+pick(d, "value", "X1", "X2", "X3", "X4", "X9"), "_id="+pick(d, "id", ids...), "_tag=t1")
}

// query is a search that tries to learn from what is out of view.
func query(d dice) string {
	if d.roll(8, "contained") == 0 {
		return "Practitioner?" + criteria(d) + "&_contained=" + pick(d, "contained", "true", "both") + "&_containedType=" + pick(d, "as", "container", "contained") + pick(d, "cut", "", "&_count=1", "&_summary=count", "&_total=accurate")
	}
	typ := pick(d, "searched", "Observation", "Observation", "Patient", typed(d))
	ask := map[string][]string{
		"Observation": {"code=k1", "status=final", "status=preliminary", "subject=Patient/b", "subject=Patient/a", "patient.family=Smith", "subject:Patient.identifier=X2", "patient.birthdate=gt1953",
			"has-member.code=k1", "has-member.value-quantity=gt3", "_has:Observation:has-member:code=k2", "_has:Provenance:target:_id=h1", "_list=h1", "_list=v1", "encounter.identifier=X3", "has-member.encounter.identifier=X1", "_type=Observation", "performer:RelatedPerson.identifier=X1",
			"_filter=" + "code%20eq%20k1", "_filter=patient.family%20eq%20Smith", "value-quantity=gt4", "category=vital-signs", "_security=R", "code:not=k1", "has-member=Observation/h1", "subject:missing=true", "has-member:missing=false"},
		"Patient": {"family=Smith", "family=Ann", "_has:Observation:subject:code=k1", "_has:Observation:patient:value-quantity=gt5", "_has:Group:member:_id=h1", "_has:Encounter:patient:_has:Observation:encounter:code=k1", "birthdate=gt1952", "general-practitioner=Practitioner/v1"},
	}[typ]
	out := typ + "?" + pick(d, "asked", append(ask, criteria(d), "_id="+pick(d, "id", ids...))...)
	if d.roll(3, "two") == 0 {
		out += "&" + criteria(d)
	}
	if d.roll(2, "include") == 0 {
		out += "&" + pick(d, "along", "_include=Observation:subject", "_include=Observation:has-member", "_include:iterate=Observation:has-member", "_include=Observation:performer", "_include=*", "_revinclude=*",
			"_revinclude=Observation:subject", "_revinclude=Observation:has-member", "_revinclude:iterate=Observation:has-member", "_revinclude=Provenance:target", "_revinclude=List:item", "_revinclude=Group:member", "_include=DocumentReference:relatesto",
			"_revinclude=Condition:encounter", "_include=Task:focus", "_include=List:item")
	}
	return out + pick(d, "sorted", "", "", "&_sort=-_lastUpdated", "&_sort=identifier", "&_sort=-date") + pick(d, "cut", "", "", "&_count=1", "&_count=2", "&_summary=count", "&_elements=identifier") +
		pick(d, "total", "", "", "&_total=accurate", "&_total=estimate") + pick(d, "explained", "", "", "", "&_explain=true")
}

func operationOf(d dice) string {
	return pick(d, "operation", "Patient/a/$everything?_count="+pick(d, "size", "1", "3", "100"), "Patient/b/$everything", "Encounter/"+pick(d, "id", ids...)+"/$everything", "Observation/$lastn?patient="+pick(d, "whose", "a", "b")+"&max=2",
		"Observation/$stats?subject=Patient/"+pick(d, "whose", "a", "b")+"&system=urn:c&code=k1&statistic=average&include=true&duration=100000", "DocumentReference/$docref?patient="+pick(d, "whose", "a", "b"),
		instance(d)+"/$meta", typed(d)+"/$meta", "$meta", "?_type="+pick(d, "types", "Observation,Patient", "Condition,Encounter", "Group,Patient")+"&_count=3")
}

// written is content that somebody writes: their own, another's, or between.
func written(d dice, typ, id string) thing {
	x := random(d, typ, id)
	x.subject = pick(d, "subject", "Patient/a", "Patient/a", "Patient/a", "Patient/b", "Patient/none")
	x.security = pick(d, "security", "", "", "", "R", "N")
	if typ == "Provenance" {
		x.links = []string{"Observation/" + pick(d, "target", "v1", "h1", "none")}
	}
	return x
}

func creation(d dice) asked {
	typ := typed(d)
	return asked{method: "POST", url: typ, body: written(d, typ, "").json(), ifNoneExist: pick(d, "if-none-exist", "", "", criteria(d))}
}

func replacement(d dice) asked {
	at := instance(d)
	typ, id, _ := strings.Cut(at, "/")
	if d.roll(4, "by criteria") == 0 {
		return asked{method: "PUT", url: typ + "?" + criteria(d), body: written(d, typ, pick(d, "body id", "", id)).json()}
	}
	return asked{method: "PUT", url: at, body: written(d, typ, id).json(), ifMatch: pick(d, "if-match", "", "", `W/"1"`, `W/"2"`, `W/"1",W/"2"`, "*"), ifNoneMatch: pick(d, "if-none-match", "", "", "", "*", `W/"1"`)}
}

func patched(d dice) asked {
	edit := pick(d, "edit", `{"op":"replace","path":"/subject/reference","value":"Patient/b"}`, `{"op":"replace","path":"/subject/reference","value":"Patient/a"}`, `{"op":"replace","path":"/status","value":"amended"}`,
		`{"op":"add","path":"/meta","value":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"N"}]}}`, `{"op":"remove","path":"/identifier"}`, `{"op":"test","path":"/status","value":"final"}`)
	return asked{method: "PATCH", url: pick(d, "patched", instance(d), typed(d)+"?"+criteria(d)), body: "[" + edit + "]", format: "application/json-patch+json", ifMatch: pick(d, "if-match", "", "", `W/"1"`)}
}

// bundled is a batch or transaction of some other steps.
func bundled(d dice) asked {
	var entries []string
	kind, created := pick(d, "kind", "batch", "transaction"), false
	for i := range 1 + d.roll(3, "entries") {
		var one asked
		switch d.roll(6, "entry") {
		case 0:
			one = asked{method: "GET", url: instance(d)}
		case 1:
			one = asked{method: "GET", url: query(d)}
		case 2:
			one = creation(d)
		case 3:
			one = replacement(d)
		case 4:
			one = asked{method: "DELETE", url: instance(d)}
		default:
			one = creation(d)
			one.body = strings.Replace(one.body, `"Patient/b"`, `"`+pick(d, "conditional reference", "Patient?identifier=urn:s|X2", "Patient?identifier=urn:s|X1", "urn:uuid:0")+`"`, 1)
		}
		if kind == "batch" && one.method == "POST" {
			if created {
				continue // entries of a batch are done in no order: which one gets which id is chance
			}
			created = true
		}
		text := fmt.Sprintf(`{"fullUrl":"urn:uuid:%d","request":{"method":"%s","url":"%s"`, i, one.method, one.url)
		for name, value := range map[string]string{"ifNoneExist": one.ifNoneExist} {
			if value != "" {
				text += `,"` + name + `":"` + value + `"`
			}
		}
		text += "}"
		if one.body != "" {
			text += `,"resource":` + one.body
		}
		entries = append(entries, text+"}")
	}
	return asked{method: "POST", url: "", body: `{"resourceType":"Bundle","type":"` + kind + `","entry":[` + strings.Join(entries, ",") + `]}`}
}
