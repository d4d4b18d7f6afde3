package token

import (
	"context"
	"testing"
	"time"

	"gatehouse/providers"
)

// Each accepted token is counted once: as remembered, or as checked. Refused ones are not.
func TestProvider_CountsAcceptedTokens(t *testing.T) {
	f := newVerifierFixture(t, "https://mcp.example.com/mcp")
	provider := NewProvider(Parts{Verifier: f.Verifier, Keys: f.keys.KeySet})
	good, other, expired := f.token(t, time.Hour), f.token(t, 2*time.Hour), f.token(t, -time.Hour)
	for _, token := range []string{good, good, good, other, expired, expired, "no.token.here"} {
		_, _ = provider.Verify(context.Background(), token) // the counts tell
	}
	want := providers.TokenStatus{Cached: 2, Limit: maxCachedTokens, FromCache: 2, Checked: 2}
	if got := provider.Tokens(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if keys := provider.Keys(); keys.Fetches != 1 || keys.FailedFetches != 0 {
		t.Errorf("%+v", keys)
	}
}
