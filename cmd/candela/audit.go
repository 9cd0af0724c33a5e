package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"candela/cmd/app"
	"candela/fhir"
	"candela/fhir/audit/journal"
)

// auditCommand is what an auditor asks of the log.
type auditCommand struct {
	Verify      auditVerify      `cmd:"" help:"Say whether anything on record was changed, dropped, moved or added, and name the first of each."`
	Export      auditExport      `cmd:"" help:"Print the signed heads of the log. Kept elsewhere, they prove later that nothing was lost."`
	Key         auditKey         `cmd:"" help:"Print the public keys that heads are signed with."`
	Disclosures auditDisclosures `cmd:"" help:"Account for disclosures of a patient's data: who got it, when, what and why."`
}

type auditVerify struct {
	storeFlags
	logFlags
	Heads string   `help:"File of heads that was exported before: the log must hold all that they name." placeholder:"FILE"`
	Key   []string `help:"Public key, hexadecimal, that is trusted beside those of the server's secret. May be repeated." placeholder:"HEX"`
}

// Help is shown below the flags.
func (auditVerify) Help() string {
	return `Reads the journal and all AuditEvents. A MongoDB store may be in use meanwhile; the server of an embedded one
must be stopped. The exit status is 1 when something is wrong. What was put on record since the last signed
head (a minute at most, nothing after a proper stop) could be cut off its end unseen; the next start links
to what is there.

Examples:
  candela audit export > heads.json
  candela audit verify --heads heads.json`
}

// Run verifies and prints.
func (c auditVerify) Run(ctx context.Context) error {
	config := c.config(c.logFlags)
	kept, err := readHeads(c.Heads)
	if err != nil {
		return &app.KeyError{Key: "heads", Why: err.Error()}
	}
	keys, err := readKeys(c.Key)
	if err != nil {
		return err
	}
	verdict, err := app.VerifyAudit(ctx, config, kept, keys)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries in %d blocks of %d chains; %d AuditEvents as they should be, %d not made yet; %d blocks since the last signed head\n",
		verdict.Entries, verdict.Blocks, verdict.Chains, verdict.Events, verdict.Pending, verdict.Tail)
	for _, f := range verdict.Findings {
		fmt.Println(f)
	}
	for _, w := range verdict.Wrong {
		fmt.Println(w)
	}
	if !verdict.Good() {
		return errors.New("the audit log is not as it was written")
	}
	fmt.Println("nothing is wrong")
	return nil
}

func readHeads(path string) (heads []journal.Head, err error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &heads)
	}
	return heads, err
}

func readKeys(texts []string) (keys []ed25519.PublicKey, err error) {
	for _, text := range texts {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, &app.KeyError{Key: "key", Why: "is not an Ed25519 public key of 64 hexadecimal digits"}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

type auditExport struct {
	storeFlags
	logFlags
}

// Run prints the heads as JSON.
func (c auditExport) Run(ctx context.Context) error {
	heads, _, err := app.AuditHeads(ctx, c.config(c.logFlags))
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(heads)
}

type auditKey struct {
	storeFlags
	logFlags
}

// Run prints a key on each line.
func (c auditKey) Run(ctx context.Context) error {
	_, keys, err := app.AuditHeads(ctx, c.config(c.logFlags))
	for _, k := range keys {
		fmt.Println(hex.EncodeToString(k.Public), k.Since.Format("2006-01-02"))
	}
	return err
}

type auditDisclosures struct {
	storeFlags
	logFlags
	Patient string `help:"Logical id of the Patient." required:"" placeholder:"ID"`
	Since   string `help:"Date to begin at; six years ago by default." placeholder:"DATE"`
	All     bool   `help:"Every access, also for treatment, payment and operations and by the patient."`
	Format  string `help:"csv or fhir." enum:"csv,fhir" default:"csv"`
}

// Run prints the accounting. It is on record itself.
func (c auditDisclosures) Run(ctx context.Context) error {
	a, err := app.Open(ctx, c.config(c.logFlags))
	if err != nil {
		return err
	}
	since, err := fhir.ParseDate(c.Since, nil)
	if err != nil && c.Since != "" {
		return errors.Join(&app.KeyError{Key: "since", Why: "is not a date, such as 2026-01-31"}, a.Close())
	}
	out, err := a.Disclosures(ctx, c.Patient, since, c.All, c.Format == "csv")
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	return errors.Join(err, a.Close())
}
