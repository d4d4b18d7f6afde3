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

	"go.uber.org/goleak"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/server"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // zitadel/oidc logs a line for every route of every issuer
	goleak.VerifyTestMain(m)
}

// startHouse serves the built-in profile as port 3002 of this computer, and returns what --connect-to needs to find it.
func startHouse(t *testing.T, settings map[string]string) (connectTo string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{"tools.demo": "true"}
	maps.Copy(flags, settings)
	cfg, err := configs.Load(configs.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	h, err := app.New(ctx, cfg, app.DefaultCatalog, logger)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, ln, h.HTTP, cfg.Server, logger, server.Lifecycle{Draining: h.Drain, Closing: h.MCP.CloseStreams})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		h.MCP.CloseSessions()
	})
	return "localhost:3002=" + ln.Addr().String()
}

func TestItShowsTheWholeWayAndExitsWith0(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"a person approves":      nil,
		"the issuer asks nobody": {"provider.auto_approve": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := command(t.Context(), []string{"--connect-to=" + startHouse(t, settings)}, &stdout, &stderr); code != 0 {
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
				"tools: ", "greet", "\n",
				`whoami: {`, `"subject":"alice"`,
			} {
				_, after, found := strings.Cut(rest, next)
				if !found {
					t.Fatalf("%q is missing, or not in its place:\n%s", next, &stdout)
				}
				rest = after
			}
			if strings.Contains(stdout.String(), "eyJ") || strings.Contains(stdout.String(), "code=") {
				t.Errorf("it shows a token or a code:\n%s", &stdout)
			}
		})
	}
}

func TestItExitsWith1(t *testing.T) {
	house := startHouse(t, nil)
	nobody := freeAddress(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"where nobody answers":                 {[]string{"--connect-to=localhost:3002=" + nobody}, nobody},
		"where there is no such tool":          {[]string{"--connect-to=" + house, "--tool=nothing"}, "nothing"},
		"where nobody is called that":          {[]string{"--connect-to=" + house, "--person=mallory"}, "no code came back"},
		"where time is up":                     {[]string{"--connect-to=" + house, "--timeout=1ns"}, "deadline"},
		"with an address that is none":         {[]string{"--connect-to=localhost:3002"}, "HOST:PORT=HOST:PORT"},
		"with certificates that are not there": {[]string{"--ca=" + filepath.Join(t.TempDir(), "none")}, "--ca"},
		"with a flag that is none":             {[]string{"--nothing"}, "--nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			if code := command(t.Context(), c.args, io.Discard, &stderr); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(stderr.String(), c.want) {
				t.Errorf("it does not say %q: %s", c.want, &stderr)
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
