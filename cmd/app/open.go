package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	"candela/analytics"
	"candela/analytics/risk"
	"candela/analytics/segment"
	"candela/conformance"
	"candela/fhir"
	"candela/fhir/audit"
	"candela/fhir/index"
	"candela/fhir/interaction"
	"candela/fhir/linking"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
	"candela/store/mongo"
)

// App is an opened server without a listener: a store and the engine over it.
type App struct {
	Config Config
	Store  store.Store
	Door   fhir.Doer
	Search *search.Registry
	Runner *analytics.Runner
	Index  *index.Keeper
	Linker *linking.Linker // nil where nothing is to be linked
	Audit  *audit.Log      // nil where it is off

	spec *r4.Spec
}

// Open wires store, specification, engine and analytics. Close the App.
func Open(ctx context.Context, c Config) (*App, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	a := &App{Config: c}
	err := a.load(ctx)
	if err == nil {
		err = a.audited(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if err := a.wire(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// load opens the store and reads the specification side by side: both take a
// good part of a cold start.
func (a *App) load(ctx context.Context) error {
	var group sync.WaitGroup
	var storeErr, specErr error
	group.Go(func() { a.Store, storeErr = openStore(ctx, a.Config) })
	group.Go(func() { specErr = a.specification() })
	group.Wait()
	return errors.Join(storeErr, specErr)
}

func (a *App) specification() error {
	spec, err := r4.Load()
	if err != nil {
		return fmt.Errorf("embedded specification: %w", err)
	}
	a.spec = spec
	a.Search, err = search.New(spec, a.Config.baseURL())
	return err
}

func openStore(ctx context.Context, c Config) (store.Store, error) {
	if c.embedded() {
		s, err := embedded.Open(c.folder(), c.embeddedOptions())
		if err != nil {
			return nil, storeError(err)
		}
		return s, nil
	}
	c.warnMongo()
	s, err := mongo.Open(ctx, c.Store, mongo.Options{Now: c.Now, Logger: c.Log})
	if err != nil {
		return nil, wrong("store", "%v", err)
	}
	return s, nil
}

func (a *App) wire(ctx context.Context) error {
	c := a.Config
	var allowed []string
	if c.Erase {
		allowed = append(allowed, "erase")
	}
	kept, door := a.Store, (func(fhir.Doer) fhir.Doer)(nil)
	if a.Audit != nil {
		allowed = append(allowed, "disclosures")
		kept, door = a.Audit.Witness(), a.Audit.Around
	}
	operations := operation.New(a.Search, a.spec.Resources(), c.Now, allowed...)
	engine, err := interaction.New(interaction.Config{
		Store: kept, Door: door, Search: a.Search, Structure: validate.New(a.spec), Elements: a.spec, Types: a.spec.Resources(),
		NewID: c.newID(), Now: c.Now, Lenient: c.Lenient, Log: c.Log, MaxEntries: c.MaxEntries, Workers: runtime.GOMAXPROCS(0),
		Operations: operations, Admit: a.Search.Admit, DeleteMany: c.DeleteMany,
		Capabilities: conformance.Statement{Software: VersionName(), Search: a.Search, Types: a.spec.Resources(), Operations: operations.Operations(), DeleteMany: c.DeleteMany > 1, Security: c.security(), OAuth: c.endpoints()}.Once(),
	})
	if err != nil {
		return err
	}
	if a.Linker, err = a.linker(engine); err != nil { // it goes by the specification's parameters, so before others come
		return err
	}
	a.Index, err = index.New(ctx, index.Config{Store: a.Store, Search: a.Search, Log: c.Log, Words: c.Words})
	if err != nil {
		return err
	}
	a.Door = a.Index.Door(engine)
	a.Runner, err = a.runner(engine)
	return err
}

// audited opens the audit log.
func (a *App) audited(ctx context.Context) error {
	if a.Config.Audit == "off" {
		return nil
	}
	secret, err := a.Config.secret()
	if err != nil {
		return err
	}
	a.Audit, err = audit.Open(ctx, audit.Config{
		Store: a.Store, Entries: a.Search.Entries, Secret: secret, Base: a.Config.baseURL(), Now: a.Config.Now, Log: a.Config.Log,
		Poll: a.Config.AuditEvery,
	})
	return err
}

// linker links the logical references that the configuration names.
func (a *App) linker(door fhir.Doer) (*linking.Linker, error) {
	paths, err := linking.Parse(a.spec, a.Search, a.Config.Link)
	if err != nil {
		return nil, wrong("link", "%v", err)
	}
	if len(paths) == 0 {
		return nil, nil
	}
	return linking.New(linking.Config{
		Store: a.Store, Door: door, Search: a.Search, Paths: paths, Version: VersionName(), Base: a.Config.baseURL(),
		Now: a.Config.Now, Log: a.Config.Log,
	})
}

// runner is the analytics over the engine, with the capabilities of this version.
func (a *App) runner(door fhir.Doer) (*analytics.Runner, error) {
	scores, err := risk.New(risk.Options{})
	if err != nil {
		return nil, err
	}
	return analytics.New(analytics.Config{
		Door: door, Store: a.Store, Base: a.Config.baseURL(), Now: a.Config.Now, Log: a.Config.Log, Version: VersionName(),
		Capabilities: []analytics.Capability{scores, segment.New(segment.Hypertension(time.Time{}))},
	})
}

func (c Config) newID() func() string {
	if c.NewID != nil {
		return c.NewID
	}
	return newID
}

// newID is a fresh logical id: a UUID in time order, so that neighbours in time
// are neighbours on disk.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // no entropy; a random one cannot be had either
		slog.Error("no random numbers for a new id", slog.String("error", err.Error()))
		return ""
	}
	return id.String()
}

// Close closes what Open opened, in reverse.
func (a *App) Close() error {
	if a.Store == nil {
		return nil
	}
	var err error
	if a.Audit != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = a.Audit.Close(ctx)
	}
	return errors.Join(err, a.Store.Close())
}
