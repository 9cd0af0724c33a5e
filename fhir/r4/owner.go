package r4

import "slices"

// Belonging says to whom the resources of a type belong.
type Belonging uint8

// The ways of belonging. The zero value is that of a type that nobody thought
// of: it is out of everybody's reach.
const (
	Unknown Belonging = iota
	Owned             // to the patients that Params name
	Shared            // to no patient, and all may read them: the site, its staff, its products, definitions
	Through           // to whom that belongs what Params[0] names
	Apart             // to no patient, and not for everybody: only a policy opens them
)

// Ownership is how a resource type lies to patients.
type Ownership struct {
	Belonging Belonging
	// Params are the search parameters that name patients (Owned), or the one that
	// names what decides (Through).
	Params []string
}

// Ownership says how a resource type lies to patients; false for what is no
// resource type. R4's Patient compartment decides, over all parameters that it
// lists, but for what the rows below say.
//
// A patient's compartment has, by its parameter link, other Patient resources
// that link to it.
func (s *Spec) Ownership(typ string) (Ownership, bool) {
	o, ok := s.owners[typ]
	return o, ok
}

// ownerships makes the table: a type that stands in no row has no ownership.
func (s *Spec) ownerships() {
	s.owners = make(map[string]Ownership, 160)
	for typ, params := range s.compartments["Patient"] {
		if len(params) > 0 {
			s.owners[typ] = Ownership{Owned, params}
		}
	}
	for _, row := range ownRules {
		s.owners[row.typ] = row.Ownership
	}
	for _, typ := range shared {
		s.owners[typ] = Ownership{Belonging: Shared}
	}
	for _, typ := range apart {
		s.owners[typ] = Ownership{Belonging: Apart}
	}
}

// ownRules are types that name a patient although R4 lists them in no
// compartment, types of which R4's compartment says too much, and types that
// belong where something else belongs.
var ownRules = [...]struct {
	typ string
	Ownership
}{
	{"Contract", Ownership{Owned, []string{"patient"}}},
	{"Device", Ownership{Owned, []string{"patient"}}},
	{"GuidanceResponse", Ownership{Owned, []string{"patient"}}},
	{"List", Ownership{Owned, []string{"subject"}}}, // who wrote a list need not be whom it is about
	{"Task", Ownership{Owned, []string{"patient"}}},
	{"Binary", Ownership{Through, []string{SecurityContext}}},
	{"DeviceMetric", Ownership{Through, []string{"source"}}},
	{"Provenance", Ownership{Through, []string{"target"}}},
}

// SecurityContext is the name under which Binary.securityContext is indexed: R4
// has no search parameter for it, and no search can give this name.
const SecurityContext = "securityContext:access"

// shared are the types that may be read by all.
var shared = [...]string{
	"ActivityDefinition", "CapabilityStatement", "CatalogEntry", "ChargeItemDefinition", "CodeSystem", "CompartmentDefinition", "ConceptMap",
	"DeviceDefinition", "EffectEvidenceSynthesis", "Endpoint", "EventDefinition", "Evidence", "EvidenceVariable", "ExampleScenario",
	"GraphDefinition", "HealthcareService", "ImplementationGuide", "InsurancePlan", "Library", "Location", "Measure", "Medication",
	"MedicationKnowledge", "MedicinalProduct", "MedicinalProductAuthorization", "MedicinalProductContraindication", "MedicinalProductIndication",
	"MedicinalProductIngredient", "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged",
	"MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "MessageDefinition", "NamingSystem", "ObservationDefinition",
	"OperationDefinition", "Organization", "OrganizationAffiliation", "PlanDefinition", "Practitioner", "PractitionerRole", "Questionnaire",
	"ResearchDefinition", "ResearchElementDefinition", "ResearchStudy", "RiskEvidenceSynthesis", "SearchParameter", "SpecimenDefinition",
	"StructureDefinition", "StructureMap", "Substance", "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein",
	"SubstanceReferenceInformation", "SubstanceSourceMaterial", "SubstanceSpecification", "TerminologyCapabilities", "TestScript", "ValueSet",
}

// apart are the types that no patient's token opens: a group lists other
// patients, an audit event tells who looked, a subscription where data is sent,
// and of others nothing says whose they are.
var apart = [...]string{
	"AuditEvent", "BiologicallyDerivedProduct", "Bundle", "EnrollmentResponse", "Group", "Linkage", "MessageHeader", "OperationOutcome",
	"Parameters", "PaymentNotice", "PaymentReconciliation", "Slot", "Subscription", "TestReport", "VerificationResult",
}

// OwnedTypes are the types that can belong to a patient, sorted.
func (s *Spec) OwnedTypes() []string {
	var out []string
	for typ, o := range s.owners {
		if o.Belonging == Owned || o.Belonging == Through {
			out = append(out, typ)
		}
	}
	slices.Sort(out)
	return out
}
