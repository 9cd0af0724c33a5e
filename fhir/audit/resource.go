package audit

import (
	"encoding/base64"
	"iter"
	"strconv"

	"candela/fhir"
)

// pattern is how a kind of record looks as an AuditEvent.
type pattern struct {
	typ, subtype   term
	action         string
	client, server term
	profile        string // of BALP, for a success; with a patient, "Patient" stands in front
}

// term is a coding.
type term struct{ system, code, display string }

const (
	profiles   = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
	agentTypes = "https://profiles.ihe.net/ITI/BALP/CodeSystem/UserAgentTypes"
	ownEvents  = "https://candela.health/fhir/CodeSystem/audit"
)

func patternOf(what string) pattern {
	rest := term{eventType, "rest", "Restful Operation"}
	source, destination := term{dicom, "110153", "Source Role ID"}, term{dicom, "110152", "Destination Role ID"}
	self := term{restful, what, what}
	switch fhir.Interaction(what) {
	case fhir.Read, fhir.VRead:
		return pattern{rest, self, "R", destination, source, "Read"}
	case fhir.HistoryInstance, fhir.HistoryType, fhir.HistorySystem:
		return pattern{rest, self, "R", destination, source, ""}
	case fhir.Create:
		return pattern{rest, self, "C", source, destination, "Create"}
	case fhir.Update, fhir.Patch:
		return pattern{rest, self, "U", source, destination, "Update"}
	case fhir.Delete:
		return pattern{rest, self, "D", term{dicom, "110150", "Application"}, term{"http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian", "Custodian"}, "Delete"}
	case fhir.SearchType, fhir.SearchSystem, fhir.SearchCompart:
		return pattern{rest, self, "E", source, destination, "Query"}
	case fhir.Batch, fhir.Operation:
		return pattern{rest, self, "E", source, destination, ""}
	default:
		return eventPattern(fhir.EventKind(what), source, destination)
	}
}

func eventPattern(kind fhir.EventKind, source, destination term) pattern {
	signIn := term{dicom, "110114", "User Authentication"}
	alert := term{dicom, "110113", "Security Alert"}
	app, server := term{dicom, "110150", "Application"}, term{"http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver", "authorization server"}
	switch kind {
	case fhir.Login:
		return pattern{signIn, term{dicom, "110122", "Login"}, "E", app, server, ""}
	case fhir.Logout:
		return pattern{signIn, term{dicom, "110123", "Logout"}, "E", app, server, ""}
	case fhir.TokenIssued:
		return pattern{signIn, term{"urn:ihe:event-type-code", "ITI-71", "Get Access Token"}, "E", app, server, ""}
	case fhir.ConsentPermit, fhir.ConsentDeny:
		return pattern{alert, term{"https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType", "AuthZ-Consent", "Authorization Decision using Roles and Consent"}, "E", app, server, ""}
	case fhir.BreakGlass:
		return pattern{alert, term{dicom, "110127", "Emergency Override Started"}, "E", app, server, ""}
	case fhir.Disclosed:
		return pattern{term{dicom, "110106", "Export"}, term{"http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "disclose", "Disclose Record Lifecycle Event"}, "R", destination, source, "PrivacyDisclosure.Source"}
	default:
		return pattern{alert, term{ownEvents, string(kind), string(kind)}, "E", app, server, ""}
	}
}

// writer appends JSON: a comma goes before what does not come first.
type writer struct{ out []byte }

func (w *writer) comma() {
	if last := w.out[len(w.out)-1]; last != '{' && last != '[' {
		w.out = append(w.out, ',')
	}
}

func (w *writer) member(name string) {
	w.comma()
	w.out = append(append(append(w.out, '"'), name...), '"', ':')
}

func (w *writer) open(name string, bracket byte) {
	if name != "" {
		w.member(name)
	} else if len(w.out) > 0 {
		w.comma()
	}
	w.out = append(w.out, bracket)
}

func (w *writer) close(brackets string) { w.out = append(w.out, brackets...) }

// text writes a member, or nothing for "".
func (w *writer) text(name, value string) {
	if value != "" {
		w.member(name)
		w.out = fhir.AppendQuote(w.out, value)
	}
}

func (w *writer) flag(name string, value bool) {
	w.member(name)
	w.out = strconv.AppendBool(w.out, value)
}

func (w *writer) coding(name string, t term) {
	w.open(name, '{')
	w.text("system", t.system)
	w.text("code", t.code)
	w.text("display", t.display)
	w.close("}")
}

func (w *writer) concept(name string, t term) {
	w.open(name, '{')
	w.open("coding", '[')
	w.coding("", t)
	w.close("]}")
}

func (w *writer) purposes(name string, codes []string) {
	if len(codes) == 0 {
		return
	}
	w.open(name, '[')
	for _, code := range codes {
		w.concept("", term{system: actReason, code: code})
	}
	w.close("]")
}

// network is an address: type 2 is an IP address, 5 a URI.
func (w *writer) network(address, kind string) {
	w.open("network", '{')
	w.text("address", address)
	w.text("type", kind)
	w.close("}")
}

// outcome is the code of AuditEvent.outcome: 0 success, 4 refused, 8 failed.
func (r *record) outcome() string {
	switch {
	case r.status >= 500:
		return "8"
	case r.status >= 400:
		return "4"
	}
	return "0"
}

// event is the AuditEvent of the record about one of its patients ("": none) as
// compact JSON. The same record always gives the same bytes.
func (r *record) event(id, patient string) []byte {
	w := &writer{out: make([]byte, 0, 2<<10)}
	p := patternOf(r.what)
	ok := r.outcome() == "0"
	w.open("", '{')
	w.text("resourceType", auditEvent)
	w.text("id", id)
	if p.profile != "" && ok {
		w.profile(p.profile, patient)
	}
	if !ok {
		w.failure(r)
	}
	w.coding("type", p.typ)
	w.open("subtype", '[')
	w.coding("", p.subtype)
	if r.operation != "" {
		w.coding("", term{code: "$" + r.operation})
	}
	w.close("]")
	w.text("action", p.action)
	w.text("recorded", r.at.UTC().Format(fhir.InstantForm))
	w.text("outcome", r.outcome())
	w.text("outcomeDesc", r.reason)
	w.purposes("purposeOfEvent", r.purpose)
	w.agents(r, p)
	w.open("source", '{')
	w.text("site", r.base)
	w.open("observer", '{')
	w.text("display", serverName)
	w.close("}")
	w.open("type", '[')
	w.coding("", term{sourceType, "4", "Application Server"})
	w.close("]}")
	w.entities(r, patient, ok)
	w.close("}")
	return w.out
}

const (
	auditEvent = "AuditEvent"
	serverName = "Candela FHIR server"
)

func (w *writer) profile(name, patient string) {
	if patient != "" && name != "PrivacyDisclosure.Source" {
		name = "Patient" + name
	}
	w.open("meta", '{')
	w.open("profile", '[')
	w.comma()
	w.out = fhir.AppendQuote(w.out, profiles+name)
	w.close("]}")
}

// failure contains why: the code of the refusal, never its text.
func (w *writer) failure(r *record) {
	code := r.code
	if code == "" {
		code = fhir.CodeException
	}
	w.open("contained", '[')
	w.open("", '{')
	w.text("resourceType", "OperationOutcome")
	w.text("id", "outcome")
	w.open("issue", '[')
	w.open("", '{')
	w.text("severity", string(fhir.SevError))
	w.text("code", code)
	w.text("diagnostics", "HTTP "+strconv.Itoa(r.status))
	w.close("}]}]")
}

func (w *writer) agents(r *record, p pattern) {
	person := r.user != "" || r.token != ""
	w.open("agent", '[')
	w.open("", '{')
	w.concept("type", p.client)
	w.who(r, r.recipient == "")
	w.flag("requestor", !person)
	if r.address != "" {
		w.network(r.address, "2")
	} else {
		w.network(r.base, "5") // the server itself
	}
	w.close("}")
	w.open("", '{')
	w.concept("type", p.server)
	w.open("who", '{')
	w.text("display", serverName)
	w.close("}")
	w.flag("requestor", false)
	w.network(r.base, "5")
	w.close("}")
	if person {
		w.user(r)
	}
	w.close("]")
}

// who is the client, or who got what was disclosed.
func (w *writer) who(r *record, client bool) {
	w.open("who", '{')
	switch {
	case !client:
		w.text("display", r.recipient)
	case r.client != "":
		w.open("identifier", '{')
		w.text("value", r.client)
		w.close("}")
	case r.name != "":
		w.text("display", r.name)
	default:
		w.text("display", "unknown")
	}
	w.close("}")
}

// user is the person, or the token that a client came with (BALP, minimal use of
// an OAuth token: its public id, never the token).
func (w *writer) user(r *record) {
	w.open("", '{')
	w.open("type", '{')
	w.open("coding", '[')
	if r.token != "" {
		w.coding("", term{agentTypes, "UserOauthAgent", "User OAuth Agent participant"})
	}
	if r.user != "" {
		w.coding("", term{"http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", "information recipient"})
	}
	w.close("]}")
	if r.user != "" {
		w.open("who", '{')
		w.text("reference", r.user)
		w.close("}")
	} else {
		w.who(r, true)
	}
	w.text("name", r.name)
	w.flag("requestor", true)
	if r.token != "" {
		w.open("policy", '[')
		w.comma()
		w.out = fhir.AppendQuote(w.out, "urn:ietf:params:oauth:jti:"+r.token)
		w.close("]")
	}
	w.purposes("purposeOfUse", r.purpose)
	w.close("}")
}

func (w *writer) entities(r *record, patient string, ok bool) {
	if r.request == "" && r.typ == "" && r.query == "" && patient == "" && ok {
		return
	}
	w.open("entity", '[')
	if r.request != "" {
		w.open("", '{')
		w.open("what", '{')
		w.open("identifier", '{')
		w.text("value", r.request)
		w.close("}}")
		w.coding("type", term{balpEntity, "XrequestId", "X-Request-Id"})
		w.close("}")
	}
	if r.id != "" {
		what := r.typ + "/" + r.id
		if r.version != "" {
			what += "/_history/" + r.version
		}
		w.entity(what, term{entityType, "2", "System Object"}, term{objectRole, "4", "Domain Resource"})
	}
	if r.query != "" {
		w.open("", '{')
		w.coding("type", term{entityType, "2", "System Object"})
		w.coding("role", term{objectRole, "24", "Query"})
		w.text("query", base64.StdEncoding.EncodeToString([]byte(r.query)))
		w.close("}")
	}
	if patient != "" {
		w.entity("Patient/"+patient, term{entityType, "1", "Person"}, term{objectRole, "1", "Patient"})
	}
	if !ok {
		w.entity("#outcome", term{entityType, "4", "Other"}, term{})
	}
	w.close("]")
}

func (w *writer) entity(what string, typ, role term) {
	w.open("", '{')
	w.open("what", '{')
	w.text("reference", what)
	w.close("}")
	w.coding("type", typ)
	if role.code != "" {
		w.coding("role", role)
	}
	w.close("}")
}

// events are the AuditEvents of an entry of the journal, by id: one for each
// patient, or one; none of a seal.
func (r *record) events(writer string, number uint64) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		id := writer + "-" + strconv.FormatUint(number, 10)
		switch {
		case r.what == sealing || r.what == sealed:
		case len(r.patients) == 0:
			yield(id, r.event(id, ""))
		case len(r.patients) == 1:
			yield(id, r.event(id, r.patients[0]))
		default:
			for i, patient := range r.patients {
				one := id + "-" + strconv.Itoa(i+1)
				if !yield(one, r.event(one, patient)) {
					return
				}
			}
		}
	}
}
