package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/fhir/bulk"
)

type serveCommand struct{ serveFlags }

// Help is shown below the flags.
func (serveCommand) Help() string {
	return `Examples:
  candela serve
  candela serve --store mongodb://127.0.0.1:27017/candela?replicaSet=rs0 --analytics follow
  CANDELA_LISTEN=127.0.0.1:9090 candela serve --store embedded:/var/lib/candela

Beside /fhir it answers /healthz (the process), /readyz (the store) and /metrics (Prometheus).`
}

// Run serves until a signal comes.
func (c serveCommand) Run(ctx context.Context) error {
	server, err := app.Start(ctx, c.config())
	if err != nil {
		return err
	}
	return errors.Join(server.Wait(ctx), server.Stop())
}

type loadCommand struct {
	storeFlags
	logFlags
	To      string   `help:"Load into this server instead of a store: its FHIR base URL." placeholder:"URL"`
	Header  []string `help:"Header for every request to --to, for example 'Authorization: Bearer …'. May be repeated." sep:"none" placeholder:"NAME: VALUE"`
	Workers int      `help:"Files sent at once." default:"2"`
	Entries int      `help:"Cut transactions that are longer than this; cut ones are no longer atomic, and keep their urn:uuid as ids." default:"5000"`
	Again   bool     `help:"Forget what was loaded before and load everything."`
	Lenient bool     `help:"Keep unknown elements (only into a store)."`
	Quiet   bool     `help:"No progress bar." short:"q"`
	Paths   []string `arg:"" help:"Files (.json, .ndjson, .zip, each also .gz) and folders." name:"path"`
}

// Help is shown below the flags.
func (loadCommand) Help() string {
	return `Bundles that hold no patients (hospitals, practitioners) go first. An interrupted load goes on where it
stopped when it is started again with the same target. The end tells what was refused and why; the exit
status is 1 when something was.

Examples:
  candela load --to http://127.0.0.1:8080/fhir output/fhir
  candela load --store embedded:/var/lib/candela export.ndjson.gz`
}

// Run loads and prints the account.
func (c loadCommand) Run(ctx context.Context) error {
	load, closeTarget, err := c.target(ctx)
	if err != nil {
		return err
	}
	journal, err := bulk.OpenJournal(c.journalPath(), c.Again)
	if err != nil {
		return errors.Join(err, closeTarget())
	}
	bar := newBar(os.Stderr, c.Quiet)
	load.Journal, load.Workers, load.Entries, load.Progress = journal, c.Workers, c.Entries, bar.show
	sum, err := load.Run(ctx, c.Paths...)
	bar.end()
	fmt.Println(strings.Join(sum.Lines(), "\n"))
	if err == nil && sum.Refused > 0 {
		err = fmt.Errorf("%d resources were refused", sum.Refused)
	}
	return errors.Join(err, journal.Close(), closeTarget())
}

func (c loadCommand) target(ctx context.Context) (bulk.Load, func() error, error) {
	if c.To == "" {
		config := c.config(c.logFlags)
		config.MaxEntries, config.Lenient = max(c.Entries, config.MaxEntries), c.Lenient
		a, err := app.Open(ctx, config)
		if err != nil {
			return bulk.Load{}, nil, err
		}
		if err := a.Index.Finish(ctx); err != nil {
			return bulk.Load{}, nil, errors.Join(err, a.Close())
		}
		return bulk.Load{Door: a.Door, Caller: fhir.Caller{Name: "load", Access: fhir.Full()}}, a.Close, nil
	}
	header := http.Header{}
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return bulk.Load{}, nil, &app.KeyError{Key: "header", Why: "must be NAME: VALUE"}
		}
		header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	client := &http.Client{Timeout: 10 * time.Minute}
	return bulk.Load{Door: bulk.Remote{Base: strings.TrimSuffix(c.To, "/"), Client: client, Header: header}}, func() error { return nil }, nil
}

// journalPath is one file for each target.
func (c loadCommand) journalPath() string {
	target := c.To
	if target == "" {
		target = c.Store
	}
	sum := sha256.Sum256([]byte(target))
	return filepath.Join(app.DataDir(), "load", hex.EncodeToString(sum[:8])+".journal")
}

// bar draws one line of progress on a terminal and nothing elsewhere.
type bar struct {
	out   io.Writer
	start time.Time
	last  time.Time
	drawn bool
}

func newBar(out *os.File, quiet bool) *bar {
	info, err := out.Stat()
	if quiet || err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &bar{}
	}
	return &bar{out: out, start: time.Now()}
}

func (b *bar) show(s bulk.Summary) {
	if b.out == nil || time.Since(b.last) < 100*time.Millisecond {
		return
	}
	b.last, b.drawn = time.Now(), true
	const width = 30
	full := width * s.FilesDone / max(s.Files, 1)
	rate := float64(s.Stored) / time.Since(b.start).Seconds()
	_, _ = fmt.Fprintf(b.out, "\r[%s%s] %d/%d files  %d stored  %d refused  %.0f/s ", // a broken terminal stops no load
		strings.Repeat("=", full), strings.Repeat(" ", width-full), s.FilesDone, s.Files, s.Stored, s.Refused, rate)
}

func (b *bar) end() {
	if b.drawn {
		_, _ = fmt.Fprintln(b.out) // as above
	}
}

type analyzeCommand struct {
	storeFlags
	logFlags
}

// Help is shown below the flags.
func (analyzeCommand) Help() string {
	return `Follows the changes since its last run: patients whose records changed are scored again. What it writes
are ordinary resources (RiskAssessment, Group, Provenance): search them like all others. A run over
unchanged data writes nothing.`
}

// Run makes one pass.
func (c analyzeCommand) Run(ctx context.Context) error {
	a, err := app.Open(ctx, c.config(c.logFlags))
	if err != nil {
		return err
	}
	report, err := a.Runner.Run(ctx)
	if err == nil {
		fmt.Println(strings.Join(report.Lines(), "\n"))
	}
	return errors.Join(err, a.Close())
}

type reindexCommand struct {
	storeFlags
	logFlags
	Types []string `help:"Only these resource types." name:"type" placeholder:"TYPE"`
}

// Run renews all index entries.
func (c reindexCommand) Run(ctx context.Context) error {
	a, err := app.Open(ctx, c.config(c.logFlags))
	if err != nil {
		return err
	}
	if err := a.Index.Finish(ctx); err != nil {
		return errors.Join(err, a.Close())
	}
	done, err := bulk.Reindex{Store: a.Store, Search: a.Search}.Run(ctx, c.Types...)
	fmt.Printf("%d resources reindexed\n", done)
	return errors.Join(err, a.Close())
}

type healthCommand struct {
	URL string `help:"The server's readiness address." default:"http://127.0.0.1:8080/readyz"`
}

// Run is an error unless the server says that it is ready.
func (c healthCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return &app.KeyError{Key: "url", Why: err.Error()}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", res.Status)
	}
	return nil
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	fmt.Println("candela", app.VersionName())
	return nil
}
