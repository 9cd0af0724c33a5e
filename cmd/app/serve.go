package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"candela/fhir"
	"candela/fhir/rest"
)

// Server is an App with a listener.
type Server struct {
	*App
	Base string // the FHIR base URL

	smart    *secured // nil with --auth off
	listener net.Listener
	http     *http.Server
	stopping atomic.Bool
	metrics  *metrics
	cancel   context.CancelFunc
	group    sync.WaitGroup
	failed   chan error
}

// Start listens, opens the app and serves. The server answers when Start returns.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, wrong("listen", "%v", err)
	}
	c.Listen = listener.Addr().String() // a port 0 has become a real one
	a, err := Open(ctx, c)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s, err := a.serve(ctx, listener)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), a.Close())
	}
	return s, nil
}

func (a *App) serve(ctx context.Context, listener net.Listener) (*Server, error) {
	s := &Server{App: a, Base: a.Config.baseURL(), listener: listener, metrics: newMetrics(), failed: make(chan error, 1)}
	var err error
	if s.smart, err = a.smart(); err != nil {
		return nil, err
	}
	handler, err := s.handler()
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.Config.Log.Handler(), slog.LevelDebug),
	}
	if err := s.secured(); err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.group.Go(s.listen)
	s.group.Go(func() { s.Index.Run(background) })
	if s.Audit != nil {
		s.group.Go(func() { s.Audit.Run(background) })
	}
	if s.Linker != nil {
		s.metrics.follow(s.Linker)
		s.group.Go(func() { s.Linker.Run(background) })
		a.Config.Log.Info("linking logical references", slog.String("paths", strings.Join(a.Config.Link, ",")))
	}
	if a.Config.Analytics == "follow" {
		s.group.Go(func() { s.follow(background) })
	}
	a.Config.Log.Info("serving", slog.String("base", s.Base), slog.String("version", VersionName()))
	return s, nil
}

func (s *Server) listen() {
	serve := s.http.Serve
	if s.http.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.failed <- err
	}
}

// follow keeps the analytics current. A failed run is tried again from its
// cursor; the server goes on serving.
func (s *Server) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.Runner.Follow(ctx)
		if ctx.Err() != nil {
			return
		}
		s.Config.Log.Error("analytics stopped; starting again from the last cursor", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

func (s *Server) handler() (http.Handler, error) {
	c := s.Config
	caller, origin := anyone, c.allows
	if s.smart != nil {
		caller, origin = s.smart.guard.Caller, s.smart.origin
	}
	fhirHandler, err := rest.New(rest.Config{
		Doer: s.Door, Base: s.Base, NewID: newID, Log: c.Log, Observe: s.metrics.observe, Timeout: c.Timeout,
		Resource: bodyLimits(fhir.DefaultLimits(), c.MaxBody), Bundle: bodyLimits(fhir.BundleLimits(), c.MaxBundle), InFlight: int64(c.InFlight),
		Caller: caller,
		Origin: origin,
	})
	if err != nil {
		return nil, err
	}
	return paced(newLimiter(c.Rate, c.Now).limited(c.direct(s.route(fhirHandler))), c.Timeout), nil
}

// anyone is a caller without authorization. The address is that of the connection:
// what headers say of it anybody could write.
func anyone(r *http.Request) (fhir.Caller, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return fhir.Caller{Name: "anyone", Address: host, Access: fhir.Full()}, nil
}

// route gives the operator's pages their fixed paths and everything below the
// path of the base to the API. A ServeMux would redirect paths with // or ..
// to what it takes for the clean form; a resource has one path only.
func (s *Server) route(api http.Handler) http.Handler {
	base, _ := url.Parse(s.Base) // Check has parsed it
	root, metrics := base.EscapedPath(), s.metrics.handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		below, ours := strings.CutPrefix(r.URL.EscapedPath(), root)
		switch path := r.URL.Path; {
		case path == "/healthz":
			say(w, 200, "ok")
		case path == "/readyz":
			s.ready(w, r)
		case path == "/metrics":
			metrics.ServeHTTP(w, r)
		case s.smart != nil && s.smart.Serves(r.URL.EscapedPath()):
			s.smart.ServeHTTP(w, r)
		case ours && (below == "" || below[0] == '/'):
			api.ServeHTTP(w, r)
		case path == "/":
			say(w, 200, fmt.Sprintf("Candela %s\nFHIR R4 base  %s\ncapabilities  %s/metadata\n", VersionName(), s.Base, s.Base))
		default:
			say(w, 404, "nothing is served at this path; the FHIR base is "+s.Base)
		}
	})
}

func bodyLimits(l fhir.Limits, bytes int) fhir.Limits {
	l.Bytes = bytes
	return l
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // a caller that is gone needs no answer
}

// ready is 200 while the store answers, the audit log takes records and no stop has begun.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		say(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := s.Store.Ping(ctx); err != nil {
		say(w, http.StatusServiceUnavailable, "the store does not answer")
		return
	}
	if s.Audit != nil && s.Audit.Healthy() != nil {
		say(w, http.StatusServiceUnavailable, "the audit log cannot be written")
		return
	}
	say(w, http.StatusOK, "ready")
}

// Wait blocks until ctx ends or the listener fails.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// Stop turns readiness off, lets running requests end (Config.Drain at most),
// stops the analytics and closes the store.
func (s *Server) Stop() error {
	s.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.Config.Drain)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.cancel()
	s.group.Wait()
	return errors.Join(err, s.Close())
}
