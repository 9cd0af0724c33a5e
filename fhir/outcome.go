package fhir

// OutcomeOf is an OperationOutcome over the issues, as compact JSON. Without
// issues it says that all went well, because issue is 1..*.
func OutcomeOf(issues ...Issue) []byte {
	if len(issues) == 0 {
		issues = []Issue{{Severity: Information, Code: CodeInformational, Diagnostics: "all OK"}}
	}
	out := make([]byte, 0, 64+160*len(issues))
	out = append(out, `{"resourceType":"OperationOutcome","issue":[`...)
	for i, one := range issues {
		if i > 0 {
			out = append(out, ',')
		}
		out = one.appendTo(out)
	}
	return append(out, `]}`...)
}

func (i Issue) appendTo(out []byte) []byte {
	out = append(out, `{"severity":`...)
	out = append(out, Quote(string(i.Severity))...)
	out = append(out, `,"code":`...)
	out = append(out, Quote(i.Code)...)
	if i.Diagnostics != "" {
		out = append(out, `,"diagnostics":`...)
		out = append(out, Quote(i.Diagnostics)...)
	}
	if i.Expression != "" {
		out = append(out, `,"expression":[`...)
		out = append(out, Quote(i.Expression)...)
		out = append(out, ']')
	}
	return append(out, '}')
}
