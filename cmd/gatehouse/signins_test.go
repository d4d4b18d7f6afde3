package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/signins"
	"gatehouse/server"
)

// useSignIns makes the provider of a server one whose authorization server reports its state, and an event of each kind
// when it is opened, with an unknown kind and an unknown reason. A reason of alerts must be in reasons.
func useSignIns(reasons ...providers.Reason) func(*configs.Config) {
	return func(cfg *configs.Config) { cfg.Provider = signInSettings{cfg.Provider, reasons} }
}

type signInSettings struct {
	providers.Settings
	reasons []providers.Reason
}

// Open implements [providers.Settings].
func (s signInSettings) Open(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
	p, err := s.Settings.Open(ctx, info)
	for _, kind := range append(authserver.EventKinds(), "canary") {
		info.Record(ctx, providers.SignInEvent{Kind: kind, Subject: "alice"})
		for _, reason := range append(s.reasons, "canary") {
			info.Record(ctx, providers.SignInEvent{Kind: kind, Subject: "alice", Reason: reason})
		}
	}
	return signInProvider{p}, err
}

type signInProvider struct{ providers.Provider }

// SignInStatus implements [signins.Reporter].
func (signInProvider) SignInStatus() signins.Status {
	return signins.Status{Store: "file", ProviderProblem: "canary", Confirmed: time.Now().Add(-time.Minute),
		KeyCreated: time.Now().Add(-time.Hour)}
}

// Routes, Keys and Tokens are those of the provider.
func (p signInProvider) Routes() []providers.Route {
	return p.Provider.(providers.RouteProvider).Routes()
}
func (p signInProvider) Keys() providers.KeyStatus { return p.Provider.(providers.KeyReporter).Keys() }
func (p signInProvider) Tokens() providers.TokenStatus {
	return p.Provider.(providers.TokenReporter).Tokens()
}

// Each event that the authorization server has is known where it is recorded and counted.
func TestSignIns_EventsAreThoseOfTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	sent, known := authserver.EventKinds(), server.SignInEvents()
	slices.Sort(sent)
	slices.Sort(known)
	if !slices.Equal(sent, known) {
		t.Errorf("the authorization server sends %v, and %v are known", sent, known)
	}
}
