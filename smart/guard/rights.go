package guard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/client"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
)

// rights are what a token opens, before consents and emergencies. They are
// shared: nobody changes them.
type rights struct {
	caller   fhir.Caller // its Deny is what labels withhold
	role     string      // "" for backend services and users of others
	glass    bool        // the role may break the glass
	purposes []string    // what the caller is taken to ask for, when it does not say
	at       time.Time   // read
	foreign  bool
	memo     *memo // of what consents deny, for as long as the rights are believed; nil: none
}

// memo is what the consents denied at the last request, while there is no newer one.
type memo struct {
	mu       sync.Mutex
	read     bool
	seq      store.Seq
	purposes []string
	deny     fhir.Access
}

func (m *memo) get(seq store.Seq, purposes []string) (fhir.Access, bool) {
	if m == nil {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deny, m.read && m.seq == seq && slices.Equal(m.purposes, purposes)
}

func (m *memo) put(seq store.Seq, purposes []string, deny fhir.Access) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read, m.seq, m.purposes, m.deny = true, seq, purposes, deny
}

// who tells tokens apart: a server elsewhere names its tokens as it likes.
type who struct {
	foreign                           bool
	jti, scope, client, user, patient string
	person                            fhir.Reference
}

const (
	// believed is how long rights are not found out again.
	believed = time.Second
	maxKnown = 20_000
)

// errShut is the answer to tokens of users and clients that are shut out.
func errShut() error {
	return &token.Error{Code: "invalid_token", Description: "the token is not good any more", Status: http.StatusUnauthorized}
}

// rights are those of a token, found out at most once a second.
func (g *Guard) rights(ctx context.Context, info *token.Info, foreign bool, now time.Time) (rights, error) {
	key := who{foreign, info.JTI, info.Scope, info.Grant.Client, info.Grant.User, info.Grant.Patient, info.Grant.FHIRUser}
	g.mu.RLock()
	have, known := g.known[key]
	g.mu.RUnlock()
	if age := now.Sub(have.at); known && age >= 0 && age < believed {
		return have, nil
	}
	have, err := g.find(ctx, info, foreign)
	if err != nil {
		return rights{}, err
	}
	have.at, have.memo = now, new(memo)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxKnown {
		clear(g.known)
	}
	g.known[key] = have
	return have, nil
}

// find reads user and client of a token and joins what they allow. Everything
// that is missing, unknown or empty opens nothing.
func (g *Guard) find(ctx context.Context, info *token.Info, foreign bool) (rights, error) {
	grant := &info.Grant
	set, _ := g.Scopes.Parse(info.Scope)
	var have rights
	var err error
	if (grant.User != "" && !foreign || grant.FHIRUser.Type != "") && slices.Contains(set.Levels(), scope.System) {
		return rights{}, fhir.Errorf(http.StatusForbidden, fhir.CodeForbidden, "a user's token has no system/ scopes")
	}
	if foreign {
		have = g.foreigner(grant)
	} else if have, err = g.subject(ctx, grant, set); err != nil {
		return rights{}, err
	}
	c := &have.caller
	within := g.tables
	within.User, within.Policy = grant.FHIRUser, c.Access
	if grant.Patient != "" {
		within.Patient = fhir.Reference{Type: "Patient", ID: grant.Patient}
	}
	if c.Access, err = set.Access(within); err != nil {
		return rights{}, err
	}
	if len(c.Access) == 0 {
		return rights{}, fhir.Errorf(http.StatusForbidden, fhir.CodeForbidden, "the token opens nothing here")
	}
	if !foreign && g.Relabel(have.role, grant.Client) {
		relabel(c.Access)
	}
	c.Client, c.User, c.Patient, c.Token = grant.Client, grant.FHIRUser, within.Patient, info.JTI
	return have, nil
}

// relabel adds leave to change marks to every rule that writes.
func relabel(access fhir.Access) {
	for i := range access {
		if strings.ContainsAny(access[i].Letters, "cu") {
			access[i].Letters += "l"
		}
	}
}

// subject is whom a grant stands for, with the policy as its access.
func (g *Guard) subject(ctx context.Context, grant *token.Grant, set scope.Set) (rights, error) {
	app, err := g.Clients.Get(ctx, grant.Client)
	if errors.Is(err, store.ErrNotFound) || err == nil && app.Disabled {
		return rights{}, errShut()
	}
	if err != nil {
		return rights{}, err
	}
	if grant.User == "" {
		return g.service(app, set)
	}
	user, err := g.Accounts.Active(ctx, grant.User)
	if errors.Is(err, store.ErrNotFound) {
		return rights{}, errShut()
	}
	if err != nil {
		return rights{}, err
	}
	have, err := g.userRights(user)
	have.caller.Name = user.Name
	return have, err
}

// foreigner is who has a token of another server: what that says, within the
// policy for all of them.
func (g *Guard) foreigner(grant *token.Grant) rights {
	return rights{
		caller:   fhir.Caller{Name: grant.User, Access: g.OutsidePolicy, Deny: labels("N")},
		purposes: purposes(grant.FHIRUser.Type), foreign: true,
	}
}

// service is a backend service: system/ scopes and nothing else.
func (g *Guard) service(app client.Client, set scope.Set) (rights, error) {
	if !app.Has(client.GrantBackend) || slices.ContainsFunc(set.Levels(), func(l string) bool { return l != scope.System }) {
		return rights{}, fhir.Errorf(http.StatusForbidden, fhir.CodeForbidden, "a backend service has system/ scopes only")
	}
	return rights{caller: fhir.Caller{Name: app.ID, Access: cruds(), Deny: labels(g.clearance(""))}}, nil
}

// cruds is everything but leave to change marks.
func cruds() fhir.Access { return fhir.Access{{Type: "*", Letters: "cruds"}} }

// userRights are what the role and policy of a user allow.
func (g *Guard) userRights(u account.User) (rights, error) {
	policy, err := g.Accounts.Policy(u, g.tables)
	if err != nil {
		return rights{}, err
	}
	role, _ := account.RoleOf(u.Role)
	return rights{
		caller: fhir.Caller{Access: policy, Deny: labels(g.clearance(u.Role))},
		role:   u.Role, glass: role.BreakGlass && role.Staff, purposes: purposes(u.FHIRUser.Type),
	}, nil
}

func (g *Guard) clearance(role string) string {
	if code := g.Clearance[role]; code != "" {
		return code
	}
	return "N"
}

// purposes are what people of a kind are taken to ask for.
func purposes(typ string) []string {
	switch typ {
	case "Practitioner", "PractitionerRole":
		return []string{"TREAT"}
	case "Patient", "RelatedPerson", "Person":
		return []string{"PATRQT"}
	default:
		return nil
	}
}
