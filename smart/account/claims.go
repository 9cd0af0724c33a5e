package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"candela/fhir"
	"candela/store"
)

// claims are what a verified id_token says, names exactly as they are.
type claims struct {
	subject string
	values  map[string]jsontext.Value
}

// UnmarshalJSON is how oidc hands the claims on. Names that are there twice are
// an error, whatever else reads them.
func (c *claims) UnmarshalJSON(raw []byte) error { return json.Unmarshal(raw, &c.values) }

func readClaims(token *oidc.IDToken, client string) (*claims, error) {
	c := &claims{subject: token.Subject}
	if err := token.Claims(c); err != nil {
		return nil, badLogin("the claims of the id_token cannot be read")
	}
	authorized := c.text("azp")
	switch {
	case c.text("sub") != c.subject || c.subject == "" || len(c.subject) > 255 || c.values["exp"] == nil || c.values["iat"] == nil:
		return nil, badLogin("the id_token has no sub, exp or iat")
	case authorized != "" && authorized != client || authorized == "" && len(token.Audience) > 1:
		return nil, badLogin("the id_token is for another client")
	}
	return c, nil
}

// text is a claim that is a text, else "".
func (c *claims) text(name string) string {
	var text string
	if value := c.values[name]; value.Kind() != '"' || json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// list is a claim that is a text or a list of texts.
func (c *claims) list(name string) []string {
	if text := c.text(name); text != "" {
		return []string{text}
	}
	var list []string
	if value := c.values[name]; value.Kind() != '[' || json.Unmarshal(value, &list) != nil {
		return nil
	}
	return list
}

// role is that of the first rule that fits.
func (p *Provider) role(c *claims) (string, bool) {
	for _, rule := range p.Roles {
		if slices.Contains(c.list(rule.Claim), rule.Value) {
			return rule.Role, true
		}
	}
	return "", false
}

// person is the fhirUser of the claims, where it is a resource of this server.
func (p *Provider) person(c *claims, role Role) fhir.Reference {
	r := fhir.ParseReference(c.text(p.Person))
	if r.Base != "" && r.Base == strings.TrimSuffix(p.accounts.Base, "/") {
		r.Base = ""
	}
	if !fits(role, r) {
		return fhir.Reference{}
	}
	return r
}

// Link lets a user that the operator keeps sign in through the provider as well,
// as the subject that the provider knows them by. A subject that is another
// user's is store.ErrConflict.
func (p *Provider) Link(ctx context.Context, name, subject string) error {
	a := p.accounts
	r, err := a.load(ctx, name)
	if err != nil {
		return err
	}
	if !a.roles[r.Role].Staff || subject == "" || len(subject) > 255 || r.Subject != "" {
		return badUser("only staff sign in through a provider, by one subject of up to 255 octets")
	}
	key := p.key(subject)
	if err := a.KV.KVSwap(ctx, bucketSubject, key, nil, []byte(r.Name), 0); err != nil {
		return fmt.Errorf("smart/account: write a subject: %w", err)
	}
	_, err = a.change(ctx, r.Name, func(r *record) error { r.Subject = key; return nil })
	return err
}

func (p *Provider) key(subject string) string {
	return p.accounts.digest("subject", p.Name, p.Issuer, subject)
}

// admit finds or makes the user of the claims.
func (p *Provider) admit(ctx context.Context, c *claims) (Signed, error) {
	r, err := p.member(ctx, c)
	if err != nil {
		return Signed{}, err
	}
	out := Signed{User: r.user(), Methods: []string{"federated"}, epoch: r.Epoch}
	if !r.May() {
		return out, denied()
	}
	if p.strong(c) {
		out.Methods = append(out.Methods, "mfa")
	} else {
		out.Needs = p.accounts.needs(r)
	}
	return out, nil
}

func denied() error {
	return &Error{Code: Denied, Description: "the user has no place here", Status: 403}
}

// member is the user of a subject, brought up to what the claims say now.
func (p *Provider) member(ctx context.Context, c *claims) (*record, error) {
	raw, err := p.accounts.KV.KVGet(ctx, bucketSubject, p.key(c.subject))
	if errors.Is(err, store.ErrNotFound) {
		return p.create(ctx, c, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("smart/account: read a subject: %w", err)
	}
	r, err := p.accounts.load(ctx, string(raw))
	if err == nil && r.Subject == p.key(c.subject) {
		return p.follow(ctx, r, c)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return p.create(ctx, c, raw)
}

// follow gives a user of the provider's the role that the claims say. Without
// one any more, all that the user has ends.
func (p *Provider) follow(ctx context.Context, r *record, c *claims) (*record, error) {
	if r.Provider != p.Name {
		return r, nil // the operator keeps it
	}
	name, ok := p.role(c)
	a := p.accounts
	if !ok {
		return nil, errors.Join(denied(), a.EndAll(ctx, r.Name), a.ended(ctx, r.Name))
	}
	u := r.user()
	role := a.roles[name]
	u.Role, u.FHIRUser = name, p.person(c, role)
	if display := c.text(p.Display); display != "" && printable(display) {
		u.Display = display
	}
	if u.Role == r.Role && u.FHIRUser == r.FHIRUser && u.Display == r.Display {
		return r, nil
	}
	u, err := a.Put(ctx, u)
	if errors.Is(err, store.ErrConflict) {
		return a.load(ctx, r.Name) // another sign-in of theirs was faster
	}
	if err != nil {
		return nil, err
	}
	return parse(u.read)
}

// create makes a user, if a rule gives them a role. stale is what stands where
// the subject is noted, of a user that is no more.
func (p *Provider) create(ctx context.Context, c *claims, stale []byte) (*record, error) {
	name, ok := p.role(c)
	if !ok {
		return nil, denied()
	}
	role := p.accounts.roles[name]
	r := &record{Epoch: random(12), Subject: p.key(c.subject)}
	r.User = User{Role: name, Provider: p.Name, FHIRUser: p.person(c, role), Created: p.accounts.Now().UTC()}
	if display := c.text(p.Display); printable(display) {
		r.Display = display
	}
	for _, name := range p.names(c) {
		if r.Name = name; p.accounts.check(&r.User) != nil {
			continue
		}
		_, err := p.accounts.store(ctx, r, nil, UserCreated, false)
		if errors.Is(err, store.ErrConflict) {
			continue // the name is taken, which gives no right to it
		}
		if err != nil {
			return nil, err
		}
		return p.note(ctx, r, stale)
	}
	return nil, fmt.Errorf("smart/account: no name is free for a user of %s: %w", p.Name, store.ErrUnavailable)
}

// names are the names that a new user may get. They end in the provider's, so
// that nobody gets the name of a user of ours by what a provider says.
func (p *Provider) names(c *claims) []string {
	tail := "@" + p.Name
	said, _, _ := strings.Cut(fold(c.text(p.Login)), "@")
	out := []string{strings.ToLower(p.key(c.subject)[:20]) + tail}
	if validName(said + tail) {
		out = append([]string{said + tail}, out...)
	}
	return out
}

// note binds the subject to its new user. When another sign-in of the same person
// was faster, theirs is the user.
func (p *Provider) note(ctx context.Context, r *record, stale []byte) (*record, error) {
	a := p.accounts
	err := a.KV.KVSwap(ctx, bucketSubject, r.Subject, stale, []byte(r.Name), 0)
	if err == nil {
		return r, nil
	}
	if !errors.Is(err, store.ErrConflict) {
		return nil, fmt.Errorf("smart/account: write a subject: %w", err)
	}
	if err := a.KV.KVDelete(ctx, bucketUser, r.Name); err != nil {
		return nil, fmt.Errorf("smart/account: delete a user: %w", err)
	}
	winner, err := a.KV.KVGet(ctx, bucketSubject, r.Subject)
	if err != nil {
		return nil, fmt.Errorf("smart/account: read a subject: %w", err)
	}
	return a.load(ctx, string(winner))
}
