package profile

import (
	"context"

	"candela/fhir"
)

// Of is the profile that records give which are at hand already: the Patient
// and what is about them, in any order. Medications that orders refer to are
// looked for among the records.
func Of(patient fhir.Resource, records ...fhir.Resource) (Profile, error) {
	p := Profile{ID: patient.ID()}
	p.describe(patient)
	ctx, r := context.Background(), Reader{Door: among(records)}
	var failed error
	order := r.medicine(ctx, &p, &failed, "authoredOn")
	statement := r.medicine(ctx, &p, &failed, "effectiveDateTime")
	for _, one := range records {
		root := one.Root()
		take := map[string]func(fhir.Node, string){
			"Observation": p.observe, "Condition": p.diagnose, "MedicationRequest": order, "MedicationStatement": statement,
		}[one.Type()]
		stopped := root.Get("status").Text() != "active" && (one.Type() == "MedicationRequest" || one.Type() == "MedicationStatement")
		if take != nil && !stopped {
			take(root, sourceOf(root))
		}
	}
	p.sort()
	return p, failed
}

// among is a door to a list of resources, for reading by id.
func among(records []fhir.Resource) fhir.Doer {
	return fhir.DoerFunc(func(_ context.Context, r fhir.Request) (fhir.Response, error) {
		for _, one := range records {
			if one.Type() == r.Type && one.ID() == r.ID {
				return fhir.Response{Resource: one}, nil
			}
		}
		return fhir.Response{}, fhir.Errorf(404, fhir.CodeNotFound, "not among the records")
	})
}
