package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"time"

	"candela/fhir"
	"candela/fhir/audit"
	"candela/fhir/audit/journal"
)

// VerifyAudit holds the audit log of a store against itself, against heads that
// were kept elsewhere, and the AuditEvents against it. Without a secret at hand
// only the keys given are trusted.
func VerifyAudit(ctx context.Context, c Config, kept []journal.Head, keys []ed25519.PublicKey) (audit.Verdict, error) {
	secret, err := c.knownSecret()
	if err != nil {
		return audit.Verdict{}, err
	}
	s, err := openStore(ctx, c)
	if err != nil {
		return audit.Verdict{}, err
	}
	verdict, err := audit.Verify(ctx, s, audit.Evidence{Secret: secret, Keys: keys, Heads: kept})
	return verdict, errors.Join(err, s.Close())
}

// knownSecret is the secret where there is one; it makes none.
func (c Config) knownSecret() ([]byte, error) {
	if c.Secret != nil {
		return c.Secret, nil
	}
	secret, err := os.ReadFile(c.secretFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return secret, err
}

// AuditHeads are the signed heads of a store's audit log and the keys that signed
// them.
func AuditHeads(ctx context.Context, c Config) ([]journal.Head, []journal.Key, error) {
	s, err := openStore(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	heads, err := journal.Heads(ctx, s)
	keys, keyErr := journal.Keys(ctx, s, nil)
	return heads, keys, errors.Join(err, keyErr, s.Close())
}

// Disclosures is the accounting of disclosures of a patient, as CSV or as a Bundle.
func (a *App) Disclosures(ctx context.Context, patient string, since fhir.Date, all, asCSV bool) ([]byte, error) {
	asked := audit.Accounting{
		Door: a.Door, Patient: patient, Now: a.Config.Now(), All: all,
		Request: fhir.Request{Base: a.Config.baseURL(), Caller: fhir.Caller{Name: "candela audit disclosures", Client: "candela", Access: fhir.Full()}},
	}
	if since != (fhir.Date{}) {
		asked.Since = time.UnixMicro(since.Lo)
	}
	if asCSV {
		return asked.CSV(ctx)
	}
	return asked.Bundle(ctx)
}
