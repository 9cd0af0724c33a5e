package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"candela/cmd/app"
)

// strictJSON resolves flags from a JSON object whose keys are flag names. A
// key that is no flag of any command is an error that names it.
func strictJSON(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	dec := json.NewDecoder(r)
	dec.UseNumber()
	if err := dec.Decode(&values); err != nil {
		return nil, fmt.Errorf("configuration file is not a JSON object: %w", err)
	}
	return fileValues(values), nil
}

type fileValues map[string]any

// Validate finds keys that no command knows.
func (f fileValues) Validate(root *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(root, func(n kong.Visitable, next kong.Next) error { // the visitor returns no errors
		if flag, ok := n.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for key := range f {
		if !known[key] {
			return fmt.Errorf("configuration file: %q is no setting; see candela serve --help", key)
		}
	}
	return nil
}

// Resolve gives the file's value of a flag.
func (f fileValues) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f[flag.Name]
	if !ok {
		return nil, nil
	}
	if number, ok := value.(json.Number); ok {
		return number.String(), nil
	}
	return value, nil
}

// storeFlags say where data lives; every verb that opens a store has them.
type storeFlags struct {
	Store     string `help:"Where data lives: embedded:DIR, or mongodb://HOST/DATABASE of a replica set." default:"${store}" placeholder:"ADDRESS"`
	Secret    string `help:"File with the server's secret, 32 octets or more; it seals signing keys. Made at the first start where there is none. Keep it apart from the data and its backups." placeholder:"FILE"`
	Audit     string `help:"on: whatever is done with data is on record, on disk before the answer goes out. off: nothing is." default:"on"`
	MasterKey string `help:"Master key of the encrypted embedded store: file:PATH, env:NAME or cmd:PROGRAM ARGUMENTS; 32 bytes in base64 or hex. Without it a key file is made in the store's folder, which protects nothing from who takes the whole disk." placeholder:"KEY"`
	Encrypt   string `help:"on, or off: the embedded store lies in the clear. A folder stays what it was made as." enum:"on,off" default:"on"`
	Cache     int    `help:"Block cache of the embedded store, MiB." default:"64"`
	Relaxed   bool   `help:"Embedded store: answer before the log is on disk. A power failure may lose the last writes."`
	Words     string `help:"on: index the words of narratives and of all strings, for _text and _content; about doubles the cost of a write. off: stop that. The store remembers; without this flag it stays as it is." enum:",on,off" default:"" placeholder:"on|off"`
}

// logFlags say how to log. Logs never hold patient data.
type logFlags struct {
	LogLevel  string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
}

func (l logFlags) logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(l.LogLevel))); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

func (s storeFlags) config(l logFlags) app.Config {
	c := app.Defaults()
	c.Store, c.CacheMB, c.Relaxed, c.Words, c.Log = s.Store, s.Cache, s.Relaxed, s.Words, l.logger()
	c.SecretFile, c.Audit = s.Secret, s.Audit
	c.MasterKey, c.Encrypt = s.MasterKey, s.Encrypt
	return c
}

// serveFlags are all settings of a server.
type serveFlags struct {
	storeFlags
	logFlags
	Listen      string `help:"Address to listen on." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Base        string `help:"FHIR base URL as callers see it, when a proxy stands in front. Links are built from it, never from request headers; the server answers below its path, so the proxy passes paths on unchanged." placeholder:"URL"`
	TLSCert     string `name:"tls-cert" help:"Serve HTTPS with this certificate chain (PEM); read again when it changes." placeholder:"FILE" type:"path"`
	TLSKey      string `name:"tls-key" help:"The certificate's private key (PEM)." placeholder:"FILE" type:"path"`
	BehindProxy bool   `help:"A proxy ends TLS: serve plain HTTP on an address that is not loopback."`
	Auth        string `help:"smart: SMART on FHIR; users, apps and tokens. off: everybody may do everything; accepted only on a loopback address." default:"off"`
	smartFlags
	Lenient    bool          `help:"Keep unknown elements and answer with warnings; a request asks for the same by Prefer: handling=lenient."`
	Analytics  string        `help:"follow: keep risk scores and segments current while serving; off: only candela analyze writes them." default:"off"`
	MaxBody    int           `help:"Largest resource, bytes." default:"10485760"`
	MaxBundle  int           `help:"Largest Bundle, bytes." default:"52428800"`
	MaxEntries int           `help:"Most entries of a Bundle." default:"5000"`
	Origin     []string      `help:"Web origin whose pages may use the API, scheme://host:port or *. May be repeated. None by default; metadata is open to all." placeholder:"ORIGIN"`
	Link       []string      `help:"Element whose logical references (an identifier without a reference) are linked once exactly one target has the identifier, as Type.element:Target, for example Observation.subject:Patient. May be repeated. Nothing is linked by default." placeholder:"ELEMENT:TARGET"`
	DeleteMany int           `help:"Most resources that one DELETE by criteria may end; 1 refuses criteria that match more." default:"1"`
	Erase      bool          `help:"Serve Patient/[id]/$erase, which takes a patient and all of its record away for good, with all versions; an AuditEvent tells of it."`
	InFlight   int           `help:"Request bodies handled at once, bytes in all; more are answered 503." default:"536870912"`
	Rate       int           `help:"Requests per second of one address; more are answered 429. 0: no limit." default:"0"`
	Timeout    time.Duration `help:"Longest time for one request." default:"1m"`
	Drain      time.Duration `help:"On a stop, running requests get this long to end." default:"10s"`
}

func (s serveFlags) config() app.Config {
	c := s.storeFlags.config(s.logFlags)
	c.Listen, c.Base, c.Auth, c.Lenient, c.Analytics = s.Listen, s.Base, s.Auth, s.Lenient, s.Analytics
	c.MaxBody, c.MaxBundle, c.MaxEntries, c.InFlight = s.MaxBody, s.MaxBundle, s.MaxEntries, s.InFlight
	c.DeleteMany, c.Origins, c.Link = s.DeleteMany, s.Origin, s.Link
	c.Erase, c.Smart = s.Erase, s.smart()
	c.TLSCert, c.TLSKey, c.BehindProxy = s.TLSCert, s.TLSKey, s.BehindProxy
	c.Rate, c.Timeout, c.Drain = s.Rate, s.Timeout, s.Drain
	return c
}
