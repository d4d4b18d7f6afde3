package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/server"
)

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main() // this process is the program itself, see [startProcess]
	}
	if variant := os.Getenv(runFixture); variant != "" {
		serveFixture(variant)
		os.Exit(0)
	}
	// zitadel/oidc logs a line for every route of every issuer.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// testServer is the complete server on a listener of its own, assembled from configuration as the command does it.
type testServer struct {
	*app.App
	url  string // of the MCP endpoint
	log  *syncBuffer
	stop func()
	// flags are the settings of its configuration.
	flags map[string]string
	// cancelled receives a value when a call of tool "wait" was cancelled.
	cancelled chan struct{}
	metrics   prometheus.Gatherer // nil unless telemetry.metrics is prometheus
}

// startServer serves [testTools] on a free port, with settings in addition to those below. HOST in a setting is
// replaced by the address. Each of prepare may change what configuration cannot express.
func startServer(t testing.TB, settings map[string]string, prepare ...func(*configs.Config)) *testServer {
	t.Helper()
	return startServerOf(t, nil, settings, prepare...)
}

// startServerOf is startServer for a catalog with options.
func startServerOf(
	t testing.TB, options func(*mcp.ServerOptions), settings map[string]string, prepare ...func(*configs.Config),
) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{
		"resource":  fmt.Sprintf("http://%s/mcp", ln.Addr()),
		"log.level": "debug",
		// From the built-in profile, for every kind of provider.
		"tools.demo": "true", "tools.show_all": "false", "scopes.required": "mcp:use",
		"scopes.initial": "mcp:use,greet:read", "server.drain_time": "0s",
		"server.allowed_origins": "http://localhost:*,http://127.0.0.1:*",
	}
	if kind := settings["provider.kind"]; kind == "" || kind == "local" {
		flags["provider.signing_algorithm"] = "ES256" // an RSA key takes half a second to generate
	}
	for k, v := range settings {
		flags[k] = strings.ReplaceAll(v, "HOST", ln.Addr().String())
	}
	cfg, err := configs.Load(configs.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(cfg)
	}
	log := &syncBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: cfg.Log.SlogLevel()}))
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := make(chan struct{}, 100)
	catalog := func(_ mcptools.ToolSettings, v mcptools.Stats) mcptools.Catalog {
		catalog := mcptools.Catalog{Tools: testTools(v, func() { cancelled <- struct{}{} }), Options: options}
		if cfg.Telemetry.IsOn() {
			addTraced(&catalog)
		}
		return catalog
	}
	exported, err := telemetry.New(cfg, "test")
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	a, err := app.New(ctx, cfg, catalog, logger, app.WithTelemetry(exported.Meter, exported.Tracer))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		l := a.Lifecycle()
		l.Closed = nil // the tests look at sessions first
		served <- server.Serve(ctx, ln, a.HTTP, cfg.Server, logger, l)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server did not stop in order: %v", err)
		}
		a.Close()
		ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := exported.Shutdown(ending); err != nil {
			t.Errorf("the last export failed: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log of the server:\n%s", log)
		}
	})
	return &testServer{
		App: a, url: cfg.Resource.String(), log: log, stop: stop, flags: flags, cancelled: cancelled,
		metrics: exported.Metrics,
	}
}

func (srv *testServer) origin() string { return strings.TrimSuffix(srv.url, "/mcp") }

// syncBuffer is a buffer that a logger and a test may use at the same time.
type syncBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
