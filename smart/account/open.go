package account

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"time"

	"github.com/go-json-experiment/json"

	"candela/fhir"
	"candela/smart/scope"
	"candela/store"
)

// The buckets of the store.
const (
	bucketUser    = "smart.user"
	bucketSubject = "smart.subject" // digests of provider and sub: whose they are
	bucketSession = "smart.session"
	bucketAttempt = "smart.attempt" // digests of what is counted
	bucketKnown   = "smart.known"   // digests of user and address: signed in from there lately
	bucketLink    = "smart.link"    // digests of links to set a password
	bucketLogin   = "smart.login"   // digests of states of sign-ins at a provider
)

// Config is what Accounts work with. Zero values are the defaults named.
type Config struct {
	KV     store.KV
	Secret []byte           // keys digests, seals and passwords; 32 octets or more
	Scopes *scope.Grammar   // reads policies
	Now    func() time.Time // nil: time.Now
	Name   string           // what authenticator apps call this server; "": Candela
	Base   string           // our FHIR base: a provider may name users by it

	Hash     Hash          // what a password costs
	Parallel int           // passwords hashed at a time, each with Hash.Memory; GOMAXPROCS
	Idle     time.Duration // a session unused for so long is over; 15 min, which is the most
	Absolute time.Duration // and after so long in any case; 12 h, which is the most

	// Audit is told of each Event. Its error becomes the answer. nil: nobody is.
	Audit func(ctx context.Context, e Event) error
	// Ended is called when a user is locked, disabled or deleted or gets another
	// role or fhirUser: all tokens of the user are to end. nil: nothing is done.
	Ended func(ctx context.Context, user string) error
}

// Accounts are all users and sessions. They are safe for use by many goroutines,
// and several processes may share one store.
type Accounts struct {
	Config
	hasher   *hasher
	roles    map[string]Role
	policies map[string]fhir.Access // of the roles; nobody changes them
	seal     []byte
	ghost    []byte // a record like any other, in place of those that are not there
}

// Open checks the configuration.
func Open(c Config) (*Accounts, error) {
	if c.KV == nil || c.Scopes == nil {
		return nil, errors.New("smart/account: a store and a scope grammar are needed")
	}
	if len(c.Secret) < 32 {
		return nil, errors.New("smart/account: the secret has less than 32 octets")
	}
	if err := c.defaults(); err != nil {
		return nil, err
	}
	a := &Accounts{Config: c, roles: map[string]Role{}, policies: map[string]fhir.Access{}}
	for _, role := range Roles() {
		policy, err := c.Scopes.Policy(role.Policy)
		if err != nil {
			return nil, fmt.Errorf("smart/account: role %s: %w", role.Name, err)
		}
		a.roles[role.Name], a.policies[role.Name] = role, policy
	}
	var err error
	if a.seal, err = hkdf.Key(sha256.New, c.Secret, nil, "candela/smart/account/seal", 32); err != nil {
		return nil, fmt.Errorf("smart/account: derive a key: %w", err)
	}
	a.hasher = newHasher(c.Hash, c.Parallel)
	ghost := record{User: User{Display: "Nobody", Role: Practitioner}, Epoch: random(12), Password: a.hasher.dummy()}
	a.ghost, err = json.Marshal(&ghost)
	return a, err
}

func (c *Config) defaults() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Name == "" {
		c.Name = "Candela"
	}
	if c.Parallel == 0 {
		c.Parallel = runtime.GOMAXPROCS(0)
	}
	for value, usual := range map[*time.Duration]time.Duration{&c.Idle: 15 * time.Minute, &c.Absolute: 12 * time.Hour} {
		if *value == 0 {
			*value = usual
		}
		if *value < time.Second || *value > usual {
			return fmt.Errorf("smart/account: a session may last from 1 s to %s in this respect", usual)
		}
	}
	if c.Parallel < 1 || c.Parallel > 1024 {
		return errors.New("smart/account: 1 to 1024 passwords may be hashed at a time")
	}
	return c.Hash.check()
}

// record is all there is of a user.
type record struct {
	User
	Person   string    `json:"fhirUser,omitzero"`
	Password string    `json:"password,omitzero"` // see hasher; "": none
	Changed  time.Time `json:"changed,omitzero"`  // when the password was
	Epoch    string    `json:"epoch"`             // sessions of another epoch are over
	Factor   *factor   `json:"factor,omitzero"`
	Pending  *factor   `json:"pending,omitzero"` // enrolled, not confirmed yet
	Subject  string    `json:"subject,omitzero"` // key in bucketSubject
}

// load reads a user; store.ErrNotFound when there is none of that name.
func (a *Accounts) load(ctx context.Context, name string) (*record, error) {
	if name = fold(name); !validName(name) {
		return nil, fmt.Errorf("smart/account: %w", store.ErrNotFound)
	}
	raw, err := a.KV.KVGet(ctx, bucketUser, name)
	if err != nil {
		return nil, fmt.Errorf("smart/account: read a user: %w", err)
	}
	r, err := parse(raw)
	if err != nil || r.Name != name {
		return nil, fmt.Errorf("smart/account: the record of user %s: %w", name, store.ErrCorrupt)
	}
	return r, nil
}

func parse(raw []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("smart/account: %w: %w", store.ErrCorrupt, err)
	}
	r.FHIRUser, r.read = fhir.ParseReference(r.Person), raw
	if r.Person == "" {
		r.FHIRUser = fhir.Reference{}
	}
	return r, nil
}

func (r *record) bytes() ([]byte, error) {
	r.Person = r.FHIRUser.String()
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("smart/account: write a user: %w", err)
	}
	return raw, nil
}

// attempts are many more than a record is ever changed at the same moment.
const attempts = 24

// change replaces the record of a user by what next makes of it, again when
// another changed it in between. Nothing is written when next changes nothing.
func (a *Accounts) change(ctx context.Context, name string, next func(*record) error) (*record, error) {
	for try := range attempts {
		r, err := a.load(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := next(r); err != nil {
			return nil, err
		}
		raw, err := r.bytes()
		if err != nil || bytes.Equal(raw, r.read) {
			return r, err
		}
		err = a.KV.KVSwap(ctx, bucketUser, r.Name, r.read, raw, 0)
		if err == nil {
			r.read = raw
			return r, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("smart/account: write a user: %w", err)
		}
		if err := pause(ctx, try); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("smart/account: user %s is changed too often: %w", name, store.ErrUnavailable)
}

// pause waits a little, longer each time, not as long as others.
func pause(ctx context.Context, try int) error {
	timer := time.NewTimer(mathrand.N(time.Millisecond << min(try, 6)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("smart/account: wait: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}

// tell audits an event.
func (a *Accounts) tell(ctx context.Context, e Event) error {
	if a.Audit == nil {
		return nil
	}
	e.Time = a.Now()
	if err := a.Audit(ctx, e); err != nil {
		return fmt.Errorf("smart/account: audit: %w", err)
	}
	return nil
}

// random is a text of n random octets in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// digest is the keyed digest of texts; use tells apart what it is for.
func (a *Accounts) digest(use string, texts ...string) string {
	mac := hmac.New(sha256.New, a.Secret)
	mac.Write([]byte("candela/smart/account/" + use))
	for _, text := range texts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// same compares texts in a time that does not tell how nearly they are.
func same(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
