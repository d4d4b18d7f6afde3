package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/server"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // zitadel/oidc logs each route of each issuer
	goleak.VerifyTestMain(m)
}

// catalog returns a tool without a scope, which returns the caller, and one with a scope.
func catalog(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog {
	type none = struct{}
	type caller struct {
		Subject string `json:"subject"`
	}
	return mcptools.Catalog{Tools: []mcptools.Tool{
		mcptools.Define(mcptools.Definition{Name: "caller", Description: "Returns the caller."},
			func(_ context.Context, req *mcp.CallToolRequest, _ none) (*mcp.CallToolResult, caller, error) {
				return nil, caller{mcptools.Caller(req).Subject}, nil
			}),
		mcptools.Define(mcptools.Definition{
			Name: "notes", Description: "Needs a scope.", Scopes: []string{"notes:read"},
		}, func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, none, error) {
			return nil, none{}, nil
		}),
	}}
}

// startServer serves the built-in profile, whose resource is at localhost:3002, on a free port, and returns
// the value of --connect-to that leads there.
func startServer(t *testing.T, settings map[string]string) (connectTo string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{
		"scopes.required": "mcp:use", "scopes.initial": "mcp:use,notes:read", "tools.show_all": "false",
	}
	maps.Copy(flags, settings)
	cfg, err := configs.Load(configs.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	h, err := app.New(ctx, cfg, catalog, logger)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, ln, h.HTTP, cfg.Server, logger,
			server.Lifecycle{Draining: h.Drain, Closing: h.MCP.CloseStreams})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		h.Close()
	})
	return "localhost:3002=" + ln.Addr().String()
}

func TestEveryRequestIsPrintedAndTheExitCodeIs0(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"a person approves": nil,
		"auto_approve":      {"provider.auto_approve": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := command(t.Context(), []string{"--connect-to=" + startServer(t, settings), "--tool=caller"},
				&stdout, &stderr); code != 0 {
				t.Errorf("exit code %d: %s", code, &stderr)
			}
			rest := stdout.String()
			for _, next := range []string{
				"POST http://localhost:3002/mcp  401 Unauthorized\n",
				"GET  http://localhost:3002/.well-known/oauth-protected-resource/mcp  200 OK\n",
				"GET  http://localhost:3002/.well-known/oauth-authorization-server  200 OK\n",
				"POST http://localhost:3002/register  201 Created\n",
				"GET  http://localhost:3002/authorize  ",
				"POST http://localhost:3002/token  200 OK\n",
				"POST http://localhost:3002/mcp  200 OK\n",
				"signed in as alice\n",
				"tools: caller notes\n",
				`caller: {"subject":"alice"}`,
			} {
				_, after, found := strings.Cut(rest, next)
				if !found {
					t.Fatalf("%q is missing, or not in this order:\n%s", next, &stdout)
				}
				rest = after
			}
			if strings.Contains(stdout.String(), "eyJ") || strings.Contains(stdout.String(), "code=") {
				t.Errorf("the output has a token or a code:\n%s", &stdout)
			}
		})
	}
}

func TestExitCodeIs1AfterAFailure(t *testing.T) {
	running := startServer(t, nil)
	unused := freeAddress(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no server":          {[]string{"--connect-to=localhost:3002=" + unused}, unused},
		"no such tool":       {[]string{"--connect-to=" + running, "--tool=nothing"}, "nothing"},
		"no such person":     {[]string{"--connect-to=" + running, "--person=mallory"}, "ended at /consent"},
		"no time left":       {[]string{"--connect-to=" + running, "--timeout=1ns"}, "deadline"},
		"a bad --connect-to": {[]string{"--connect-to=localhost:3002"}, "HOST:PORT=HOST:PORT"},
		"a missing --ca":     {[]string{"--ca=" + filepath.Join(t.TempDir(), "none")}, "--ca"},
		"an unknown flag":    {[]string{"--nothing"}, "--nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			if code := command(t.Context(), c.args, io.Discard, &stderr); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(stderr.String(), c.want) {
				t.Errorf("the output lacks %q: %s", c.want, &stderr)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return fmt.Sprint(ln.Addr())
}
