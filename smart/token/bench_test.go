package token_test

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/token"
	"candela/store/embedded"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

func benchTokens(b *testing.B, relaxed bool, change ...func(*token.Config)) *token.Tokens {
	b.Helper()
	s, err := embedded.Open(b.TempDir(), embedded.Options{Relaxed: relaxed})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return start(b, s, change...)
}

func signIn(b *testing.B, t *token.Tokens, g token.Grant) token.Answer {
	b.Helper()
	text, err := t.Code(b.Context(), g, redirect, challenge(verifier))
	if err != nil {
		b.Fatal(err)
	}
	a, err := t.Redeem(b.Context(), exchange(text))
	if err != nil {
		b.Fatal(err)
	}
	return a
}

func benchCheck(b *testing.B, t *token.Tokens) {
	a := signIn(b, t, grant())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Check(b.Context(), a.AccessToken); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckWarm(b *testing.B) { benchCheck(b, benchTokens(b, true)) }

func uncached(c *token.Config) { c.Cache = -1 }

func BenchmarkCheckCold(b *testing.B) { benchCheck(b, benchTokens(b, true, uncached)) }

func BenchmarkCheckColdMongo(b *testing.B) {
	s, err := mongo.Open(b.Context(), mongotest.URI(b), mongo.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	benchCheck(b, start(b, s, uncached))
}

func BenchmarkCheckForged(b *testing.B) {
	t := benchTokens(b, true)
	a := signIn(b, t, grant())
	forged := a.AccessToken[:40] + "AAAA" + a.AccessToken[44:]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Check(b.Context(), forged); err == nil {
			b.Fatal("taken")
		}
	}
}

func BenchmarkSignIn(b *testing.B) {
	t := benchTokens(b, false)
	b.ReportAllocs()
	for b.Loop() {
		signIn(b, t, grant())
	}
}

func BenchmarkRefresh(b *testing.B) {
	t := benchTokens(b, false)
	a := signIn(b, t, grant())
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if a, err = t.Refresh(b.Context(), token.Renewal{Client: app, Token: a.RefreshToken}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBackend(b *testing.B) {
	t := benchTokens(b, false)
	for b.Loop() {
		if _, err := t.Backend(b.Context(), app, "system/Patient.rs"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	t := benchTokens(b, true)
	for b.Loop() {
		if _, err := t.Sign(b.Context(), []byte(`{"iss":"https://candela.example"}`)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOutsideCheck(b *testing.B) {
	e := openOutside(b)
	for name, bearer := range map[string]string{"RS256": e.token(jose.RS256, "r", e.rsa, nil), "ES384": e.token(jose.ES384, "e", e.ec, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.good(bearer)
			}
		})
	}
}
