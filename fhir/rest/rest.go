// Package rest is the RESTful API over HTTP: it makes a fhir.Request of an
// http.Request, has a Doer answer it, and writes the answer.
//
// It knows HTTP, media types, headers and body limits; gin lives here. It must
// not know what an interaction means, any store, or any resource type but
// Binary, whose content HTTP carries as it is.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/semaphore"

	"candela/fhir"
)

// Config is what the API is made of. Zero limits mean their defaults.
type Config struct {
	Doer fhir.Doer
	// Base is our own base URL, absolute, without trailing slash
	// ("https://fhir.example.org/fhir"). Links are made from it, never from
	// what a request says; its path is where the API answers.
	Base string
	// Caller says who asks, or refuses with a *fhir.Error.
	Caller func(*http.Request) (fhir.Caller, error)
	// Origin says whether pages of an origin ("https://app.example.org") may
	// use the API from a browser; nil: none may. metadata is open to all.
	Origin func(origin string) bool
	// Resource and Bundle bound bodies; a Bundle is what is posted to the base.
	Resource, Bundle fhir.Limits
	// InFlight bounds the bytes of all bodies being worked on; 0 is 512 MiB.
	InFlight int64
	// Timeout bounds one request, BundleTimeout one posted to the base; 0 is
	// 30 s and 5 min.
	Timeout, BundleTimeout time.Duration
	// NewID makes request ids for requests that bring none.
	NewID func() string
	Log   *slog.Logger
	// Observe is told of every request done: the interaction ("read", "other"),
	// the status and how long it took. nil: nobody.
	Observe func(route string, status int, took time.Duration)
}

// New is the API as a handler. It answers below the path of Base.
func New(c Config) (http.Handler, error) {
	base, err := url.Parse(c.Base)
	if err != nil || !base.IsAbs() || base.Host == "" || strings.HasSuffix(c.Base, "/") {
		return nil, fhir.Errorf(500, fhir.CodeException, "the base URL must be absolute and have no trailing slash")
	}
	if c.Doer == nil || c.Caller == nil || c.NewID == nil {
		return nil, fhir.Errorf(500, fhir.CodeException, "rest.Config needs Doer, Caller and NewID")
	}
	s := &server{Config: c.withDefaults(), root: base.EscapedPath()}
	s.room = semaphore.NewWeighted(s.InFlight)
	return s.engine()
}

func (c Config) withDefaults() Config {
	if c.Resource == (fhir.Limits{}) {
		c.Resource = fhir.DefaultLimits()
	}
	if c.Bundle == (fhir.Limits{}) {
		c.Bundle = fhir.BundleLimits()
	}
	if c.InFlight == 0 {
		c.InFlight = 512 << 20
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.BundleTimeout == 0 {
		c.BundleTimeout = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	return c
}

// server is a mounted Config.
type server struct {
	Config
	root    string // escaped path of Base
	room    *semaphore.Weighted
	packers sync.Pool // *gzip.Writer
}

// engine mounts the five path shapes of R4, each on the one handler. Which
// form a path is, fhir.Route says; gin is told to leave paths as they came.
func (s *server) engine() (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	if err := g.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	g.UseRawPath, g.UnescapePathValues = true, false
	g.RedirectTrailingSlash, g.RedirectFixedPath = false, false
	g.HandleMethodNotAllowed = true
	for _, shape := range []string{"", "/", "/:a", "/:a/:b", "/:a/:b/:c", "/:a/:b/:c/:d"} {
		if s.root+shape == "" {
			continue
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			g.Handle(method, s.root+shape, s.serve)
		}
	}
	g.NoRoute(s.serve)
	g.NoMethod(s.serve)
	return g, nil
}

// serve is the one handler.
func (s *server) serve(c *gin.Context) {
	started := time.Now()
	x := &exchange{server: s, w: c.Writer, r: c.Request, route: "other"}
	defer func() { s.Observe(x.route, c.Writer.Status(), time.Since(started)) }()
	defer x.recover()
	x.run()
}

// exchange is one request and its answer.
type exchange struct {
	*server
	w     gin.ResponseWriter
	r     *http.Request
	id    string // request id
	route string
	form  form // how to write the answer
	req   fhir.Request
}

func (x *exchange) run() {
	x.id = requestID(x.r.Header.Get("X-Request-Id"), x.NewID)
	x.w.Header().Set("X-Request-Id", x.id)
	// By Last-Modified alone a browser may keep an answer and show it again when the
	// access to it has ended (RFC 9111 §4.2.2).
	x.w.Header().Set("Cache-Control", "no-store")
	if x.preflight() {
		return
	}
	answer, err := x.answer()
	x.origin()
	if err != nil {
		answer = x.refuse(err)
	}
	x.write(answer)
}

func (x *exchange) answer() (fhir.Response, error) {
	var err error
	if err = x.decodeURL(); err != nil {
		return fhir.Response{}, err
	}
	x.route = string(x.req.Interaction)
	if x.req.Caller, err = x.Caller(x.r); err != nil {
		return fhir.Response{}, err
	}
	limit := x.Timeout
	if x.req.Interaction == fhir.Batch {
		limit = x.BundleTimeout
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), limit)
	defer cancel()
	x.hurry(limit)
	release, err := x.decodeBody(ctx)
	if err != nil {
		return fhir.Response{}, err
	}
	defer release()
	return x.Doer.Do(ctx, x.req)
}

// hurry cuts off a caller that sends or takes slower than the request may last.
// A test's recorder has no connection to cut.
func (x *exchange) hurry(limit time.Duration) {
	conn := http.NewResponseController(x.w)
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	_ = conn.SetWriteDeadline(time.Now().Add(2 * limit))
}

// recover answers a panic with 500 and logs it once, without what it said:
// that could be patient data.
func (x *exchange) recover() {
	fault := recover()
	if fault == nil {
		return
	}
	x.Log.Error("a request panicked", slog.String("request", x.id), slog.String("route", x.route), slog.String("stack", string(debug.Stack())))
	if !x.w.Written() {
		x.write(x.refuse(fhir.Errorf(500, fhir.CodeException, "an internal error; the operator has been told")))
	}
}

// requestID takes a caller's id when it is short and plain, else a new one.
func requestID(sent string, fresh func() string) string {
	if len(sent) == 0 || len(sent) > 128 {
		return fresh()
	}
	for _, c := range []byte(sent) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:", rune(c)) {
			return fresh()
		}
	}
	return sent
}
