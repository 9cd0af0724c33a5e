package app

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is what a server can be told. Defaults gives good values for all.
type Config struct {
	Listen string // host:port
	Base   string // our own base URL as callers see it; "" is http(s)://LISTEN/fhir
	Store  string // embedded:DIR or mongodb://…
	// MasterKey opens the keys that the embedded store is encrypted with: file:PATH,
	// env:NAME or cmd:PROGRAM ARGUMENTS; "" is a file in its folder, made with it.
	MasterKey string
	Encrypt   string // "on" or "off", for the embedded store

	TLSCert, TLSKey string // PEM files of the listener's certificate, read again when they change
	BehindProxy     bool   // a proxy ends TLS: the listener is in the clear on any address

	Auth  string // "smart", or "off", which is for a loopback address only
	Smart Smart

	Lenient   bool   // keep unknown elements and answer with warnings
	Analytics string // "off" or "follow"

	MaxBody    int // bytes of one resource
	MaxBundle  int // bytes of one Bundle
	MaxEntries int // entries of one Bundle
	// Origins are the web origins whose pages may use the API (CORS), as
	// scheme://host:port; "*" is all. Without authorization a page that may could
	// read and write everything, so the default is none.
	Origins []string

	// Link are the elements whose logical references are linked, as
	// Type.element:Target (Observation.subject:Patient); none by default.
	Link []string

	Erase bool // serve Patient/[id]/$erase

	Audit string // "on", or "off": nothing is put on record
	// AuditEvery is how often AuditEvents are made of what is on record, in the
	// background; who searches for them always finds all. 0 is 2 s.
	AuditEvery time.Duration
	// Secret seals what must not be read in the store, such as signing keys; 32
	// octets or more. nil: that of SecretFile, which is made where there is none; ""
	// is server.secret beside the embedded store, or in the data directory.
	Secret     []byte
	SecretFile string

	DeleteMany int // resources that one DELETE by criteria may end; 0 and 1: one
	InFlight   int // bytes of request bodies handled at once
	Rate       int // requests per second and address; 0 is no limit

	Timeout time.Duration // one request
	Drain   time.Duration // a stop waits so long for running requests

	// Words is "on" or "off" to switch the index of words (_text and _content) of
	// the store, which remembers it; "" leaves it as it is.
	Words string

	Relaxed bool // the embedded store answers before its log is on disk
	CacheMB int  // block cache of the embedded store

	Log   *slog.Logger
	Now   func() time.Time
	NewID func() string // fresh logical ids; nil: time-ordered UUIDs
}

// Defaults are the values of a server that is told nothing.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:8080", Store: "embedded:" + DataDir(), Auth: "off", Encrypt: "on", Analytics: "off", Audit: "on",
		MaxBody: 10 << 20, MaxBundle: 50 << 20, MaxEntries: 5000, InFlight: 512 << 20,
		Timeout: time.Minute, Drain: 10 * time.Second, CacheMB: 64,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

// DataDir is Candela's folder in the user's data directory.
func DataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "candela")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "candela-data"
	}
	return filepath.Join(home, ".local", "share", "candela")
}

// A KeyError says which configuration key is wrong, why, and what would be right.
type KeyError struct{ Key, Why string }

func (e *KeyError) Error() string { return fmt.Sprintf("--%s: %s", e.Key, e.Why) }

func wrong(key, format string, args ...any) error {
	return &KeyError{key, fmt.Sprintf(format, args...)}
}

// Check refuses a configuration that cannot run, naming the key.
func (c Config) Check() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return wrong("listen", "%q is not host:port, for example 127.0.0.1:8080", c.Listen)
	}
	switch c.Auth {
	case "off":
		if !loopback(host) {
			return wrong("auth", "off is accepted only on a loopback address, because everybody who reaches %q "+
				"could read and write everything; use --listen 127.0.0.1:PORT", c.Listen)
		}
	case "smart":
	default:
		return wrong("auth", "%q is not known; smart or off", c.Auth)
	}
	if err := c.checkTransport(); err != nil {
		return err
	}
	if c.Analytics != "off" && c.Analytics != "follow" {
		return wrong("analytics", "%q is not known; off or follow", c.Analytics)
	}
	if c.Words != "" && c.Words != "on" && c.Words != "off" {
		return wrong("words", "%q is not known; on or off", c.Words)
	}
	if c.Audit != "on" && c.Audit != "off" {
		return wrong("audit", "%q is not known; on or off", c.Audit)
	}
	if err := c.checkBase(); err != nil {
		return err
	}
	if err := CheckStore(c.Store); err != nil {
		return err
	}
	if err := c.checkKeys(); err != nil {
		return err
	}
	if err := c.checkOrigins(); err != nil {
		return err
	}
	return c.checkLimits()
}

func (c Config) checkOrigins() error {
	for _, origin := range c.Origins {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host) {
			return wrong("origin", "%q is no web origin; use scheme://host:port or *", origin)
		}
	}
	return nil
}

func (c Config) allows(origin string) bool {
	return slices.Contains(c.Origins, "*") || slices.Contains(c.Origins, origin)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c Config) checkBase() error {
	if c.Base == "" {
		return nil
	}
	u, err := url.Parse(c.Base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return wrong("base", "%q is not an absolute http(s) URL without query", c.Base)
	}
	return nil
}

func (c Config) checkLimits() error {
	for key, value := range map[string]int{"max-body": c.MaxBody, "max-bundle": c.MaxBundle,
		"max-entries": c.MaxEntries, "in-flight": c.InFlight, "cache": c.CacheMB} {
		if value <= 0 {
			return wrong(key, "must be greater than 0")
		}
	}
	if c.InFlight < c.MaxBundle {
		return wrong("in-flight", "must be at least --max-bundle (%d), or such a Bundle could never be sent", c.MaxBundle)
	}
	if c.Rate < 0 {
		return wrong("rate", "must be 0 (no limit) or greater")
	}
	if c.Timeout <= 0 {
		return wrong("timeout", "must be greater than 0")
	}
	return nil
}

// CheckStore refuses a store address of no known form.
func CheckStore(address string) error {
	scheme, rest, found := strings.Cut(address, ":")
	switch {
	case found && scheme == "embedded" && rest != "":
		return nil
	case found && (scheme == "mongodb" || scheme == "mongodb+srv") && strings.HasPrefix(rest, "//"):
		return nil
	case found && scheme == "embedded":
		return wrong("store", "embedded: names no folder; use embedded:DIR")
	}
	return wrong("store", "%q is neither embedded:DIR nor mongodb://HOST/DATABASE", redacted(address))
}

// redacted keeps a password that was mistyped into an address out of messages.
func redacted(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return "…" + address[at:]
	}
	return address
}

// baseURL is the base that links are built with.
func (c Config) baseURL() string {
	if c.Base != "" {
		return strings.TrimSuffix(c.Base, "/")
	}
	if c.TLSCert != "" {
		return "https://" + c.Listen + "/fhir"
	}
	return "http://" + c.Listen + "/fhir"
}
