package demo

// Names are made up or common; any likeness is chance.
var (
	girls = []string{"Alva", "Bettina", "Carys", "Delia", "Esmara", "Fenna", "Greta", "Hollis", "Imara", "Junia",
		"Kestra", "Linnea", "Maris", "Nerys", "Odalys", "Petra", "Quilla", "Rosalba", "Sunniva", "Tamsin", "Ursa", "Vesna", "Wilma", "Ysolde", "Zadie"}
	boys = []string{"Anselm", "Bram", "Corin", "Dario", "Edric", "Florian", "Garrick", "Hale", "Ivo", "Jorin",
		"Kaspar", "Lorcan", "Matteo", "Niall", "Oskar", "Piran", "Quentin", "Ruben", "Stellan", "Tobias", "Ulric", "Viggo", "Wendell", "Yannick", "Zeno"}
	families = []string{"Ashgrove", "Brindle", "Calloway", "Dunmere", "Eastlake", "Fernsby", "Garroway", "Hartwell", "Inglemoor", "Jessamy",
		"Kestrel", "Larkspur", "Merriden", "Northcott", "Oakhurst", "Pendry", "Quillfeather", "Rosewarne", "Silverton", "Thornbury",
		"Underhill", "Vantongeren", "Whitlock", "Yarrow", "Zellweger", "Okonedo", "Marisol", "Takeda", "Farrokh", "Lindqvist"}
	streets = []string{"Mill Lane", "Harbour Street", "Orchard Way", "Station Road", "Chapel Hill", "Quarry Close", "Willow Avenue", "Lantern Street", "Foundry Row", "Meadow View"}
	towns   = []town{{"Candlewick", "02901"}, {"Port Merrow", "02902"}, {"Thistledown", "02903"}, {"Eastwater", "02904"}, {"Harrow Vale", "02905"}}

	races = []code{
		{"urn:oid:2.16.840.1.113883.6.238", "2106-3", "White", ""},
		{"urn:oid:2.16.840.1.113883.6.238", "2054-5", "Black or African American", ""},
		{"urn:oid:2.16.840.1.113883.6.238", "2028-9", "Asian", ""},
	}
	ethnicities = []code{
		{"urn:oid:2.16.840.1.113883.6.238", "2186-5", "Not Hispanic or Latino", ""},
		{"urn:oid:2.16.840.1.113883.6.238", "2135-2", "Hispanic or Latino", ""},
	}
	languages = []code{
		{"urn:ietf:bcp:47", "en", "English", ""},
		{"urn:ietf:bcp:47", "es", "Spanish", ""},
		{"urn:ietf:bcp:47", "pt", "Portuguese", ""},
		{"urn:ietf:bcp:47", "zh", "Chinese", ""},
	}
)

type town struct{ name, postal string }
