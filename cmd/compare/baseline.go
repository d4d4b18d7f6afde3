package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server"
)

// What is compared with.
const (
	canned   = "canned"   // net/http alone, with an answer of one line
	bare     = "bare"     // the SDK's handler as its documentation shows it, without sessions and without any authentication
	sessions = "sessions" // the same with sessions
	gate     = "gate"     // the product's chain in front of the canned answer, with its log off
)

func serve(ctx context.Context, role, listen, issuer string) error {
	var handler http.Handler
	switch role {
	case canned:
		handler = oneLine{}
	case bare:
		handler = greeter(true)
	case sessions:
		handler = greeter(false)
	case gate:
		var err error
		if handler, err = gateway(ctx, listen, issuer); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q is none of the servers", role)
	}
	s := &http.Server{Addr: listen, Handler: handler}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// oneLine is the canned answer. It reads the body, as whoever answers has to.
type oneLine struct{}

func (oneLine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Hello, Ada!"}]}}`)
}

// Route implements server.Mount.
func (o oneLine) Route(*http.Request) ([]string, http.Handler) { return nil, o }

type greeting struct {
	Greeting string `json:"greeting"`
}

// greeter offers the product's tool on the SDK's own handler.
func greeter(stateless bool) http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "greet", Description: "Returns a greeting for a name."}, func(_ context.Context, _ *mcp.CallToolRequest, in struct {
		Name string `json:"name" jsonschema:"who is to be greeted"`
	}) (*mcp.CallToolResult, greeting, error) {
		out := greeting{fmt.Sprintf("Hello, %s!", strings.TrimSpace(in.Name))}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: out.Greeting}}}, out, nil
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: stateless})
}

func gateway(ctx context.Context, listen, issuer string) (http.Handler, error) {
	cfg, err := configs.Load(configs.Sources{Flags: map[string]string{
		"resource": "http://" + listen + "/mcp", "provider.kind": "oidc", "provider.issuer": issuer, "scopes.required": "mcp:use", "server.failed_auth_per_minute": "1000000",
	}})
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	provider, err := cfg.Provider.Open(ctx, providers.Site{Resource: cfg.Resource, Name: "gate", InitialScopes: cfg.Scopes.Required, Logger: logger})
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{Resource: cfg.Resource, Settings: cfg.Server, RequiredScopes: cfg.Scopes.Required, Logger: logger}, provider, oneLine{}), nil
}
