package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
)

const testResource = "https://mcp.example.com/mcp"

// oidcSettings are the settings of kind oidc for an issuer, changed by change.
func oidcSettings(t *testing.T, issuer string, change func(*oidc.Settings)) *oidc.Settings {
	t.Helper()
	s := oidc.Defaults()
	s.Issuer = issuer
	s.KeyRefetchInterval = 50 * time.Millisecond
	if change != nil {
		change(s)
	}
	return s
}

func openOIDC(t *testing.T, s *oidc.Settings, resource string) providers.Provider {
	t.Helper()
	r, err := providers.ParseResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	p, err := s.Open(ctx, providers.ServerInfo{Resource: r, InitialScopes: []string{"mcp:use"},
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// changed returns claims with changes; a nil value removes one.
func changed(claims, changes map[string]any) map[string]any {
	for k, v := range changes {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	return claims
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// key returns a header that names a key.
func key(kid string) m { return m{"kid": kid} }
