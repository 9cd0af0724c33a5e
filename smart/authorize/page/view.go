package page

// Form is what each form of a page carries beside its own fields.
type Form struct {
	Ask    string // which request it belongs to; "" for the pages of our own
	Token  string // proves that the form came from us
	Cancel string // URL path that ends the request; "" where it cannot be ended
}

// Message is a page that only says something.
type Message struct {
	Title, Text string
	Details     []string
}

func (Message) template() string { return "message" }
func (m Message) title() string  { return m.Title }

// Login asks who the user is.
type Login struct {
	Form
	App      string // the app that wants access; "" for pages of our own
	User     string // what was typed before
	Problem  string // why the last try failed; "" at first
	Provider string // name of the provider staff may sign in with; "" for none
	Through  string // URL path that begins there
}

func (Login) template() string { return "login" }
func (Login) title() string    { return "Sign in" }

// Person is a patient to choose.
type Person struct {
	ID, Name, Detail string
}

// Patients lets a user choose the patient that an app is to see.
type Patients struct {
	Form
	App, User string
	Text      string // what was searched for
	Found     []Person
	More      bool // there are more than those found
}

func (Patients) template() string { return "patients" }
func (Patients) title() string    { return "Choose a patient" }

// Visit is an encounter to choose.
type Visit struct {
	ID, Name, Detail string
}

// Visits lets a user choose the encounter.
type Visits struct {
	Form
	App, User, Patient string
	Found              []Visit
}

func (Visits) template() string { return "visits" }
func (Visits) title() string    { return "Choose a visit" }

// Choice is something an app asked for and a narrower thing that may be given instead.
type Choice struct {
	Scope  string // the scope's text, the value of the box
	Label  string
	Narrow []Choice
}

// Consent asks the user what of the things that an app asked for it may have.
type Consent struct {
	Form
	App, User, Host string // Host: where the user is sent back to
	Patient         string // the patient in context, by name; "" for none
	Record, Work    []Choice
	Identity        []Choice
	Offline, Online bool   // the app asked to go on while the user is away, or as long as signed in
	Life            string // how long it may go on unused, in words
	Problem         string
}

func (Consent) template() string  { return "consent" }
func (c Consent) title() string   { return "Let " + c.App + " in?" }
func (c Consent) Anything() bool  { return len(c.Record)+len(c.Work) > 0 }
func (c Consent) Sections() []Sec { return []Sec{{c.recordTitle(), c.Record}, {workTitle, c.Work}} }

// Sec is a headed list of choices.
type Sec struct {
	Title   string
	Choices []Choice
}

const workTitle = "With all records that you may use yourself, it may"

func (c Consent) recordTitle() string {
	if c.Patient == "" {
		return "With the record of the patient, it may"
	}
	return "With the record of " + c.Patient + ", it may"
}

// App is an app that has access.
type App struct {
	Grant, Name, Patient, Since, Used, Until string
	May                                      []string
	Offline                                  bool
}

// Manage shows a user which apps have access and lets them end it.
type Manage struct {
	Form
	User string
	Apps []App
	Done string // what was just done; "" for nothing
}

func (Manage) template() string { return "manage" }
func (Manage) title() string    { return "Apps with access" }

// Option is an entry of a list to choose from.
type Option struct {
	Value, Label string
	Chosen       bool
}

// Launcher starts an app as an EHR would.
type Launcher struct {
	Form
	User, Text           string
	Patient, PatientName string // who was chosen; "" for nobody yet
	Apps                 []Option
	Found                []Person
	Visits               []Visit
	Problem              string
}

func (Launcher) template() string { return "launcher" }
func (Launcher) title() string    { return "Launch an app" }

// Factor asks for a code of the second factor.
type Factor struct {
	Form
	User, Problem string
}

func (Factor) template() string { return "factor" }
func (Factor) title() string    { return "Your second factor" }

// Enrol gives a user a second factor.
type Enrol struct {
	Form
	User, Secret, Problem string
}

func (Enrol) template() string { return "enrol" }
func (Enrol) title() string    { return "Set up your second factor" }

// Recovery shows the recovery codes of a second factor, once.
type Recovery struct {
	Codes []string
	Next  string // URL path to go on to
}

func (Recovery) template() string { return "recovery" }
func (Recovery) title() string    { return "Keep these codes" }

// Password sets the password of a user who has a link for it.
type Password struct {
	Link, Problem string
}

func (Password) template() string { return "password" }
func (Password) title() string    { return "Set your password" }
