package interaction_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"candela/conformance/script"
	"candela/fhir/interaction"
)

// fourPatients puts three men and a patient of the gender DDD.
const fourPatients = `
-- request --
POST

{"resourceType":"Bundle","type":"transaction","entry":[
 {"request":{"method":"PUT","url":"Patient/a"},"resource":{"resourceType":"Patient","id":"a","gender":"male"}},
 {"request":{"method":"PUT","url":"Patient/b"},"resource":{"resourceType":"Patient","id":"b","gender":"male"}},
 {"request":{"method":"PUT","url":"Patient/c"},"resource":{"resourceType":"Patient","id":"c","gender":"male"}},
 {"request":{"method":"PUT","url":"Patient/d"},"resource":{"resourceType":"Patient","id":"d","gender":"DDD"}}]}
-- response --
200
-- request --
`

// TestConditionalDeleteOfMany: item 22 for a server that deletes many: the
// count comes back, the bound holds, and within a transaction as well.
func TestConditionalDeleteOfMany(t *testing.T) {
	s := openAs(t, openStore(t, time.Now), time.Now, func(c *interaction.Config) { c.DeleteMany = 3 })
	four := fourPatients[:len(fourPatients)-len("-- request --\n")]
	four = strings.ReplaceAll(four, "DDD", "male")
	text := four + `
-- request --
DELETE Patient?gender=male
-- response --
412
fhirpath: OperationOutcome.issue.code = 'multiple-matches'
` + strings.ReplaceAll(fourPatients, "DDD", "female") + `DELETE Patient?gender=male
If-Match: W/"1"
-- response --
412
-- request --
DELETE Patient?gender=male
-- response --
200
ETag: !
fhirpath: OperationOutcome.issue.diagnostics = 'deleted 3 resources'
-- request --
GET Patient?gender=male,female&_count=0
-- response --
200
json /total: 1
-- request --
DELETE Patient?gender=male
-- response --
204
-- request --
DELETE Patient
-- response --
400
` + strings.ReplaceAll(fourPatients, "DDD", "female") + `POST

{"resourceType":"Bundle","type":"transaction","entry":[
 {"request":{"method":"DELETE","url":"Patient?gender=male"}},
 {"request":{"method":"PUT","url":"Patient/b"},"resource":{"resourceType":"Patient","id":"b"}}]}
-- response --
400
json /issue/0/code: "duplicate"
-- request --
POST

{"resourceType":"Bundle","type":"transaction","entry":[
 {"request":{"method":"GET","url":"Patient?_summary=count"}},
 {"request":{"method":"DELETE","url":"Patient?gender=male"}}]}
-- response --
200
json /entry/0/resource/total: 1
json /entry/1/response/status: "200 OK"
fhirpath: Bundle.entry[1].response.outcome.issue.diagnostics = 'deleted 3 resources'
`
	if err := (script.Runner{Base: s.base, Model: s.spec}).Run(context.Background(), []byte(text)); err != nil {
		t.Error(err)
	}
}
