package demo

import "strconv"

type site struct{ number, name, phone string }

var (
	organizations = []site{{"ORG-1", "Candlewick Health", "555-0101"}}
	locations     = []site{
		{"LOC-1", "Candlewick Family Practice", "555-0111"},
		{"LOC-2", "Port Merrow Clinic", "555-0112"},
		{"LOC-3", "Eastwater Specialist Centre", "555-0113"},
		{"LOC-4", "Candlewick General Hospital, Emergency", "555-0114"},
		{"LOC-5", "Candlewick General Hospital, Ward 3", "555-0115"},
	}
	practitioners = []doctor{
		{"9999900016", "Harriet", "Calder"}, {"9999900024", "Emil", "Sandoval"}, {"9999900032", "Noor", "Ashdown"},
		{"9999900040", "Tomasz", "Reeve"}, {"9999900057", "Ingrid", "Okafor"}, {"9999900065", "Desmond", "Pryce"},
	}
)

type doctor struct{ npi, given, family string }

// find is a conditional reference, resolved by the server when the bundle is
// loaded.
func find(kind, system, value string) string {
	return kind + "?identifier=" + system + "|" + value
}

// Infrastructure is the bundle to load first: the organization, its locations,
// practitioners and the satisfaction questionnaire, each created only if it is
// not there yet.
func Infrastructure() []byte {
	d := newDoc(8 << 10)
	d.openBundle()
	for i, o := range organizations {
		d.place("Organization", o, fixed(1, i))
		d.flag("active", true)
		d.concepts("type", code{hl7 + "organization-type", "prov", "Healthcare Provider", ""})
		d.str("name", o.name)
		d.phone(o.phone)
		d.once("Organization", "identifier="+ownID+"|"+o.number)
	}
	for i, l := range locations {
		d.place("Location", l, fixed(2, i))
		d.str("status", "active")
		d.str("name", l.name)
		d.str("mode", "instance")
		d.phone(l.phone)
		d.local("managingOrganization", fixed(1, 0))
		d.once("Location", "identifier="+ownID+"|"+l.number)
	}
	for i, p := range practitioners {
		d.practitioner(p, fixed(3, i))
	}
	d.questionnaire()
	d.closeBundle()
	return d.buf
}

// fixed names the n-th entry of a kind inside the infrastructure bundle; it is
// no id, the server gives those.
func fixed(kind, n int) string {
	return "00000000-0000-4000-8000-00000000" + strconv.Itoa(1000*(kind)+n)
}

func (d *doc) place(kind string, s site, name string) {
	d.open("")
	d.str("fullUrl", "urn:uuid:"+name)
	d.open("resource")
	d.str("resourceType", kind)
	d.identifier(ownID, s.number)
}

func (d *doc) phone(number string) {
	d.list("telecom")
	d.open("")
	d.str("system", "phone")
	d.str("value", number)
	d.end(2)
}

// once closes an entry that is created only when nothing matches the criteria.
func (d *doc) once(kind, criteria string) {
	d.end(1)
	d.open("request")
	d.str("method", "POST")
	d.str("url", kind)
	d.str("ifNoneExist", criteria)
	d.end(2)
}

func (d *doc) practitioner(p doctor, name string) {
	d.open("")
	d.str("fullUrl", "urn:uuid:"+name)
	d.open("resource")
	d.str("resourceType", "Practitioner")
	d.identifier(npi, p.npi)
	d.flag("active", true)
	d.list("name")
	d.open("")
	d.str("family", p.family)
	d.list("given")
	d.str("", p.given)
	d.end(1)
	d.list("prefix")
	d.str("", "Dr.")
	d.end(3)
	d.once("Practitioner", "identifier="+npi+"|"+p.npi)
}

// questions of the satisfaction survey: linkId, text, type.
var questions = [][3]string{
	{"experience", "Overall, how was your experience of our service? (1 very poor to 5 very good)", "integer"},
	{"waiting", "How satisfied were you with the waiting time? (1 to 5)", "integer"},
	{"staff", "Did the staff listen to you and explain things clearly? (1 to 5)", "integer"},
	{"comment", "What could we do better?", "text"},
}

func (d *doc) questionnaire() {
	d.open("")
	d.str("fullUrl", "urn:uuid:"+fixed(4, 0))
	d.open("resource")
	d.str("resourceType", "Questionnaire")
	d.str("url", survey)
	d.str("version", "1")
	d.str("name", "VisitSatisfaction")
	d.str("title", "How was your visit?")
	d.str("status", "active")
	d.list("subjectType")
	d.str("", "Patient")
	d.end(1)
	d.list("item")
	for _, q := range questions {
		d.open("")
		d.str("linkId", q[0])
		d.str("text", q[1])
		d.str("type", q[2])
		d.end(1)
	}
	d.end(1)
	d.once("Questionnaire", "url="+survey)
}
