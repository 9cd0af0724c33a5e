package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"candela/analytics"
	"candela/cmd/app"
	"candela/cmd/demo"
	"candela/fhir"
)

type demoCommand struct {
	logFlags
	Patients int    `help:"How many synthetic patients." default:"200"`
	Seed     uint64 `help:"Another seed makes other patients; the same seed always the same." default:"1"`
	Listen   string `help:"Address to listen on; another port is taken when this one is in use." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Store    string `help:"Where data lives; a temporary folder, removed at the end, when left out." placeholder:"ADDRESS"`
	Once     bool   `help:"End after the report instead of serving on."`
}

// Help is shown below the flags.
func (demoCommand) Help() string {
	return `Starts a server on an embedded store in a temporary folder, loads synthetic patients of its own making,
runs the analytics and prints addresses to try. Ctrl-C ends it and removes the folder.`
}

// Run is the whole demo.
func (c demoCommand) Run(ctx context.Context) error {
	if c.Patients < 1 {
		return &app.KeyError{Key: "patients", Why: "must be 1 or greater"}
	}
	config, cleanup, err := c.config(ctx)
	if err != nil {
		return err
	}
	server, err := app.Start(ctx, config)
	if err != nil {
		return errors.Join(err, cleanup())
	}
	err = c.show(ctx, server)
	if err == nil && !c.Once {
		fmt.Println("\nServing until Ctrl-C.")
		err = server.Wait(ctx)
	}
	return errors.Join(err, server.Stop(), cleanup())
}

func (c demoCommand) config(ctx context.Context) (app.Config, func() error, error) {
	config := app.Defaults()
	config.Listen, config.Log = freeListen(ctx, c.Listen), c.quieter().logger()
	if c.Store != "" {
		config.Store = c.Store
		return config, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "candela-demo-")
	config.Store, config.Encrypt = "embedded:"+filepath.Join(dir, "store"), "off" // nobody's data, and gone in the end
	return config, func() error { return os.RemoveAll(dir) }, err
}

// quieter keeps routine messages out of the demo's own text.
func (c demoCommand) quieter() logFlags {
	l := c.logFlags
	if l.LogLevel == "info" {
		l.LogLevel = "warn"
	}
	return l
}

// freeListen is the wanted address, or a free port beside it when it is taken.
func freeListen(ctx context.Context, wanted string) string {
	probe, err := (&net.ListenConfig{}).Listen(ctx, "tcp", wanted)
	if err == nil {
		if probe.Close() == nil {
			return wanted
		}
	}
	host, _, err := net.SplitHostPort(wanted)
	if err != nil {
		return wanted
	}
	return net.JoinHostPort(host, "0")
}

func (c demoCommand) show(ctx context.Context, s *app.Server) error {
	start := time.Now()
	resources, err := c.load(ctx, s.Door)
	if err != nil {
		return err
	}
	took := time.Since(start)
	fmt.Printf("%d synthetic patients, %d resources, loaded in %.1f s (%.0f per second)\n",
		c.Patients, resources, took.Seconds(), float64(resources)/took.Seconds())
	report, err := s.Runner.Run(ctx)
	if err != nil {
		return err
	}
	printReport(s.Base, report)
	return nil
}

// load sends the bundles through the door, a few at once.
func (c demoCommand) load(ctx context.Context, door fhir.Doer) (int, error) {
	now := time.Now()
	total, err := send(ctx, door, demo.Infrastructure())
	if err != nil {
		return 0, err
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	numbers := make(chan int)
	for range 4 {
		group.Go(func() {
			for n := range numbers {
				count, err := send(ctx, door, demo.Patient(c.Seed, n, now))
				mu.Lock()
				total += count
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for n := range c.Patients {
		if ctx.Err() != nil {
			break
		}
		numbers <- n
	}
	close(numbers)
	group.Wait()
	return total, errors.Join(failed, ctx.Err())
}

func send(ctx context.Context, door fhir.Doer, bundle []byte) (int, error) {
	res, err := fhir.ParseResource(bundle, fhir.BundleLimits())
	if err != nil {
		return 0, err
	}
	_, err = door.Do(ctx, fhir.Request{Interaction: fhir.Batch, Resource: res, Caller: fhir.Caller{Name: "demo", Access: fhir.Full()}})
	return res.Root().Get("entry").Len(), err
}

func printReport(base string, report analytics.Report) {
	fmt.Println(strings.Join(report.Lines(), "\n"))
	fmt.Printf("\nFHIR base: %s\nTry:\n", base)
	for _, try := range [][2]string{
		{"the server's own description", "/metadata"},
		{"patients by name, oldest first", "/Patient?_sort=birthdate&_count=3"},
		{"one code, newest first", "/Observation?code=http://loinc.org|4548-4&_sort=-date&_count=5"},
		{"how many no-shows", "/Appointment?status=noshow&_summary=count"},
		{"blood pressures with their patients", "/Observation?code=85354-9&_include=Observation:subject&_count=2"},
		{"patients who have diabetes", "/Patient?_has:Condition:patient:code=44054006&_total=accurate&_count=1"},
		{"10-year cardiovascular risk, written by the analytics", "/RiskAssessment?_count=3"},
		{"the segment: hypertension, last systolic 130 or more", "/Group?type=person&_count=1"},
		{"which run wrote what, from which data", "/Provenance?_sort=-recorded&_count=1"},
	} {
		fmt.Printf("  # %s\n  curl '%s%s'\n", try[0], base, try[1])
	}
}
