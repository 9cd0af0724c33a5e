// Command candela is a FHIR R4 server with analytics inside: it serves, loads
// files, runs the analytics and keeps its store in order.
//
// It knows flags and terminals. It must not know how anything works: cmd/app
// wires the rooms.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"candela/cmd/app"
)

// commands is the whole command line.
type commands struct {
	Config kong.ConfigFlag `help:"Read flags from this JSON file: {\"listen\": \"127.0.0.1:8080\", \"max-body\": 10485760}." placeholder:"FILE" env:"CANDELA_CONFIG"`

	Serve   serveCommand   `cmd:"" help:"Serve FHIR R4 over HTTP."`
	Demo    demoCommand    `cmd:"" help:"Try everything: serve synthetic patients from a temporary folder, analytics included."`
	Load    loadCommand    `cmd:"" help:"Load bundles, resources and NDJSON from files into a server or a store."`
	Analyze analyzeCommand `cmd:"" help:"Run the analytics over what changed and write results back as FHIR resources."`
	Reindex reindexCommand `cmd:"" help:"Renew the search index of every resource."`
	Audit   auditCommand   `cmd:"" help:"Verify what is on record, export its heads, account for disclosures."`
	User    userCommand    `cmd:"" help:"Keep the users who may sign in."`
	Client  clientCommand  `cmd:"" help:"Keep the apps and services that may ask for tokens."`
	Signing signingCommand `cmd:"" help:"Keep the keys that id_tokens are signed with."`
	Keys    keysCommand    `cmd:"" help:"The keys that the embedded store is encrypted with: status, rotation, new ones."`
	Health  healthCommand  `cmd:"" help:"Ask a running server whether it is ready; for container health checks."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// collectAt lets the heap grow to three and a half times what lives before it
// is collected: a quarter less CPU per loaded resource for memory that an idle
// server gives back. GOGC in the environment has the last word.
const collectAt = 250

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	os.Exit(run(os.Args[1:]))
}

// run is main with an exit status: 0 done, 1 failed, 2 wrong flags.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c commands
	parser, err := newParser(&c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "candela:", err)
		return 1
	}
	command, err := parser.Parse(args)
	if err == nil {
		command.BindTo(ctx, (*context.Context)(nil))
		err = command.Run()
	}
	return exitStatus(err)
}

func newParser(c *commands) (*kong.Kong, error) {
	return kong.New(c, kong.Name("candela"), kong.UsageOnError(),
		kong.Description("A FHIR R4 server with analytics inside.\n\n"+
			"Start with `candela demo`. With nothing configured, `candela serve` keeps data in a folder of your data "+
			"directory and listens on 127.0.0.1:8080. Every flag can stand in a JSON file (--config) or in the "+
			"environment as CANDELA_ and its name in capitals (CANDELA_LISTEN, CANDELA_MAX_BODY)."),
		kong.Configuration(strictJSON), kong.DefaultEnvars("CANDELA"),
		kong.Vars{"store": "embedded:" + app.DataDir()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
}

func exitStatus(err error) int {
	var flags *kong.ParseError
	var key *app.KeyError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &flags), errors.As(err, &key):
		fmt.Fprintln(os.Stderr, "candela:", err)
		return 2
	default:
		fmt.Fprintln(os.Stderr, "candela:", err)
		return 1
	}
}
