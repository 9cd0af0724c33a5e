package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"slices"
	"strings"
	"time"

	"candela/fhir"
)

// Accounting asks who got data of a patient (45 CFR 164.528): who, when, what and
// why, for six years back. What was done for treatment, payment or operations, and
// what the patient got, is no part of it unless All asks for every access.
type Accounting struct {
	Door    fhir.Doer
	Request fhir.Request // whose caller asks; Base and RequestID are used too
	Patient string       // id
	Since   time.Time    // zero: six years before Now
	Now     time.Time
	All     bool
}

// Disclosure is one line of an accounting.
type Disclosure struct {
	Event     fhir.Node // the AuditEvent
	Time      string    // FHIR instant
	Recipient string    // who got data, by name or reference; the client beside it
	Client    string
	Address   string
	What      string // resource, query or operation
	Action    string // R, E, C, U, D
	Why       string // purposes of use, and the reason in words
}

const years = 6

// Do reads the AuditEvents through the door, oldest first, and hands on each one
// that counts.
func (a Accounting) Do(ctx context.Context, each func(Disclosure) error) error {
	since := a.Since
	if since.IsZero() {
		since = a.Now.AddDate(-years, 0, 0)
	}
	r := fhir.Request{Interaction: fhir.SearchType, Type: auditEvent, Base: a.Request.Base, RequestID: a.Request.RequestID, Caller: a.Request.Caller}
	r.Query = fhir.Params{
		{Name: "patient", Value: "Patient/" + a.Patient}, {Name: "date", Value: "ge" + since.UTC().Format(fhir.InstantForm)},
		{Name: "_sort", Value: "date"}, {Name: "_count", Value: "500"},
	}
	for {
		answer, err := a.Door.Do(ctx, r)
		if err != nil {
			return err
		}
		bundle := fhir.Stored(answer.Body).Root()
		for e := range bundle.Get("entry").Elements() {
			if d, counts := a.line(e.Get("resource")); counts {
				if err := each(d); err != nil {
					return err
				}
			}
		}
		next := nextOf(bundle)
		if next == "" {
			return nil
		}
		if r.Query, err = fhir.ParseParams(next); err != nil {
			return err
		}
	}
}

// nextOf is the query of the link to the next page.
func nextOf(bundle fhir.Node) string {
	for link := range bundle.Get("link").Elements() {
		if link.Get("relation").Text() == "next" {
			_, query, _ := strings.Cut(link.Get("url").Text(), "?")
			return query
		}
	}
	return ""
}

// usual are the purposes that an accounting leaves out (v3-ActReason).
var usual = [...]string{"TREAT", "HPAYMT", "HOPERAT"}

// line reads an AuditEvent. Writes and refusals gave nobody any data.
func (a Accounting) line(event fhir.Node) (d Disclosure, counts bool) {
	d = Disclosure{Event: event, Time: event.Get("recorded").Text(), Action: event.Get("action").Text()}
	var purposes []string
	for p := range event.Get("purposeOfEvent").Elements() {
		purposes = append(purposes, p.Path("coding", "code").Text())
	}
	d.Why = strings.Join(purposes, " ")
	if reason := event.Get("outcomeDesc").Text(); reason != "" {
		d.Why = strings.TrimSpace(d.Why + " " + reason)
	}
	d.agents(event)
	d.what(event)
	got := event.Get("outcome").Text() == "0" && (d.Action == "R" || d.Action == "E") && event.Path("type", "code").Text() != "110113" && event.Path("type", "code").Text() != "110114"
	switch {
	case !got:
		return d, false
	case a.All, d.export(): // what was recorded as a disclosure is one
		return d, true
	case d.Recipient == "Patient/"+a.Patient, strings.HasPrefix(d.What, auditEvent), strings.HasSuffix(d.What, "$disclosures"):
		return d, false // the patient's own, and accountings themselves
	}
	for _, p := range purposes {
		if !slices.Contains(usual[:], p) {
			return d, true
		}
	}
	return d, len(purposes) == 0
}

// export says that data left for somebody outside: they got it, not who sent it.
func (d *Disclosure) export() bool { return d.Event.Path("type", "code").Text() == "110106" }

func (d *Disclosure) agents(event fhir.Node) {
	for agent := range event.Get("agent").Elements() {
		who := agent.Get("who")
		name := who.Get("reference").Text()
		if name == "" {
			name = who.Path("identifier", "value").Text()
		}
		if name == "" {
			name = who.Get("display").Text()
		}
		switch code := agent.Path("type", "coding", "code").Text(); code {
		case "110152", "110153", "110150":
			if name != serverName && d.Client == "" {
				d.Client, d.Address = name, agent.Path("network", "address").Text()
			}
		case "UserOauthAgent", "IRCP":
			if !d.export() {
				d.Recipient = name
			}
		}
	}
	if d.Recipient == "" {
		d.Recipient = d.Client
	}
}

func (d *Disclosure) what(event fhir.Node) {
	for entity := range event.Get("entity").Elements() {
		switch entity.Path("role", "code").Text() {
		case "4":
			d.What = entity.Path("what", "reference").Text()
		case "24":
			if query, err := base64.StdEncoding.DecodeString(entity.Get("query").Text()); err == nil && d.What == "" {
				d.What = string(query)
			}
		}
	}
}

// Bundle is the accounting as a Bundle of the AuditEvents, as compact JSON.
func (a Accounting) Bundle(ctx context.Context) ([]byte, error) {
	out := []byte(`{"resourceType":"Bundle","type":"collection","timestamp":"` + a.Now.UTC().Format(fhir.InstantForm) + `"`)
	n := 0
	err := a.Do(ctx, func(d Disclosure) error {
		if n++; n == 1 {
			out = append(out, `,"entry":[`...)
		} else {
			out = append(out, ',')
		}
		out = append(out, `{"fullUrl":`...)
		out = fhir.AppendQuote(out, a.Request.Base+"/"+auditEvent+"/"+d.Event.Get("id").Text())
		out = append(append(append(out, `,"resource":`...), d.Event.Raw()...), '}')
		return nil
	})
	if n > 0 {
		out = append(out, ']')
	}
	return append(out, '}'), err
}

// CSV is the accounting as a table (RFC 4180) with a line of names first.
func (a Accounting) CSV(ctx context.Context) ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	if err := w.Write([]string{"date", "recipient", "client", "address", "action", "what", "why", "event"}); err != nil {
		return nil, err
	}
	err := a.Do(ctx, func(d Disclosure) error {
		row := []string{d.Time, d.Recipient, d.Client, d.Address, d.Action, d.What, d.Why, auditEvent + "/" + d.Event.Get("id").Text()}
		for i, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				row[i] = "'" + cell // a spreadsheet would run it
			}
		}
		return w.Write(row)
	})
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	return out.Bytes(), err
}

// Table is CSV as a Binary resource.
func Table(csv []byte) []byte {
	out := []byte(`{"resourceType":"Binary","contentType":"text/csv","data":"`)
	return append(base64.StdEncoding.AppendEncode(out, csv), `"}`...)
}
