package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"gatehouse/cmd/compare/canned"
	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server"
)

// application is the canned response behind the chain.
type application struct{ canned.Response }

// Route implements server.Mount.
func (a application) Route(*http.Request) ([]string, http.Handler, func()) { return nil, a, func() {} }

// serveChain serves the product's chain in front of the canned response, without a log.
func serveChain(ctx context.Context, listen, issuer string) error {
	cfg, err := configs.Load(configs.Sources{Flags: map[string]string{
		"resource": "http://" + listen + "/mcp", "provider.kind": "oidc", "provider.issuer": issuer,
		"scopes.required": "mcp:use",
	}})
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	provider, err := cfg.Provider.Open(ctx, providers.ServerInfo{Resource: cfg.Resource, Name: "chain",
		InitialScopes: cfg.Scopes.Required, Logger: logger})
	if err != nil {
		return err
	}
	chain := server.New(server.Config{Resource: cfg.Resource, Settings: cfg.Server,
		RequiredScopes: cfg.Scopes.Required, Logger: logger}, provider, application{})
	s := &http.Server{Addr: listen, Handler: chain}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
