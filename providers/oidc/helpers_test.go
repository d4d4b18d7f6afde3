package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
)

// newSettings returns settings of kind oidc for an issuer, changed by change.
func newSettings(t *testing.T, issuer string, change func(*oidc.Settings)) *oidc.Settings {
	t.Helper()
	s := oidc.Defaults()
	s.Issuer = issuer
	s.KeyRefetchInterval = 50 * time.Millisecond
	if change != nil {
		change(s)
	}
	return s
}

func open(t *testing.T, s *oidc.Settings, resource string) providers.Provider {
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

// withChanges returns claims with changes; a nil value removes one.
func withChanges(claims, changes map[string]any) map[string]any {
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

// lockedLog is a log that can be read while it is written to.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
