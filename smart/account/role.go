package account

import (
	"slices"
	"strings"

	"candela/fhir"
	"candela/smart/scope"
)

// The names of the roles.
const (
	Practitioner   = "practitioner"
	Nurse          = "nurse"
	FrontDesk      = "frontdesk"
	Administrator  = "administrator"
	PrivacyOfficer = "privacy-officer"
	Analyst        = "analyst"
	Patient        = "patient"
	Proxy          = "proxy"
)

// Role is a named policy.
type Role struct {
	Name    string
	Display string
	Policy  []string // scopes without a level
	// Staff must have a second factor, and may sign in through a provider.
	Staff bool
	// Own confines the policy to the records of the user's own patients.
	Own        bool
	BreakGlass bool // may ask for what is withheld, in an emergency
}

// Roles are all roles, those of staff first.
func Roles() []Role {
	return []Role{
		{Name: Practitioner, Display: "Practitioner", Staff: true, BreakGlass: true,
			Policy: each("cruds", chart, orders, person, care, visits, "List Binary Basic Consent Group", "rs", directory, knowledge, money, "Provenance RiskAssessment")},
		{Name: Nurse, Display: "Nurse", Staff: true, BreakGlass: true,
			Policy: each("crus", chart, care, visits, "List Binary", "rus", person, "rs", orders, directory, knowledge, "Consent Coverage Provenance RiskAssessment Group")},
		{Name: FrontDesk, Display: "Front desk", Staff: true,
			Policy: each("crus", person, visits, money, "rs", directory, "Consent")},
		{Name: Administrator, Display: "Administrator", Staff: true,
			Policy: each("cruds", directory, knowledge, "Subscription")},
		{Name: PrivacyOfficer, Display: "Privacy officer", Staff: true,
			Policy: each("cruds", "Consent", "rs", "AuditEvent Provenance", person, directory)},
		{Name: Analyst, Display: "Analyst", Staff: true,
			Policy: each("cruds", "Group MeasureReport", "rs", chart, orders, person, care, visits, directory, knowledge, money, "RiskAssessment")},
		{Name: Patient, Display: "Patient", Own: true, Policy: own()},
		{Name: Proxy, Display: "Proxy of a patient", Own: true, Policy: own()},
	}
}

// RoleOf finds a role by its name.
func RoleOf(name string) (Role, bool) {
	roles := Roles()
	i := slices.IndexFunc(roles, func(r Role) bool { return r.Name == name })
	if i < 0 {
		return Role{}, false
	}
	return roles[i], true
}

// The types that roles deal with, by what they are about.
const (
	person = "Patient RelatedPerson Person"
	chart  = "AdverseEvent AllergyIntolerance BodyStructure ClinicalImpression Communication Composition Condition DetectedIssue DiagnosticReport " +
		"DocumentManifest DocumentReference FamilyMemberHistory Flag GuidanceResponse ImagingStudy Immunization ImmunizationEvaluation " +
		"ImmunizationRecommendation Media MedicationAdministration MedicationDispense MedicationStatement MolecularSequence Observation Procedure " +
		"QuestionnaireResponse Specimen DeviceUseStatement"
	orders    = "DeviceRequest MedicationRequest NutritionOrder RequestGroup ServiceRequest SupplyDelivery SupplyRequest VisionPrescription"
	care      = "CarePlan CareTeam CommunicationRequest Goal Task"
	visits    = "Appointment AppointmentResponse Encounter EpisodeOfCare Schedule Slot"
	money     = "Account ChargeItem Claim ClaimResponse Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse ExplanationOfBenefit Invoice"
	directory = "Device DeviceDefinition DeviceMetric Endpoint HealthcareService InsurancePlan Location Medication MedicationKnowledge Organization " +
		"OrganizationAffiliation Practitioner PractitionerRole Substance"
	knowledge = "ActivityDefinition CapabilityStatement CodeSystem ConceptMap Library Measure NamingSystem OperationDefinition PlanDefinition " +
		"Questionnaire SearchParameter StructureDefinition StructureMap ValueSet"
)

// each writes a policy: letters, then the types they are for, and again.
func each(parts ...string) []string {
	var out []string
	letters := ""
	for _, part := range parts {
		if strings.Trim(part, "cruds") == "" {
			letters = part
			continue
		}
		for typ := range strings.FieldsSeq(part) {
			out = append(out, typ+"."+letters)
		}
	}
	return out
}

// own is what people do with a record that is theirs: read all of it, and add
// what they know themselves.
func own() []string {
	return append(each("cu", "Appointment AppointmentResponse CarePlan Consent Goal MedicationStatement Observation QuestionnaireResponse RelatedPerson",
		"c", "AllergyIntolerance Communication Condition DocumentReference Immunization Media", "u", "Patient", "cud", "Basic"), "*.rs")
}

// Policy is what a user may do at most. c gives the tables of types that the
// chart of a patient or proxy is made of; its Patient, User and Policy are not
// looked at. A user that is shut out, has no known role, or a policy that cannot
// be read, may nothing: a 403.
func (a *Accounts) Policy(u User, c scope.Context) (fhir.Access, error) {
	role, known := a.roles[u.Role]
	if !known || !u.May() {
		return nil, fhir.Errorf(403, fhir.CodeForbidden, "the user is shut out")
	}
	policy, err := a.policies[u.Role], error(nil)
	if u.Policy != nil {
		if policy, err = a.Scopes.Policy(u.Policy); err != nil {
			return nil, fhir.Errorf(403, fhir.CodeForbidden, "the policy of the user cannot be read")
		}
	}
	if !role.Own {
		return slices.Clone(policy), nil
	}
	var all fhir.Access
	for _, id := range u.Own() {
		c.Patient = fhir.Reference{Type: "Patient", ID: id}
		one, err := scope.Chart(c)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return scope.Intersect(all, policy), nil
}
