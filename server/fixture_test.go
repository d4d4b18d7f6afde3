package server_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// application is the protected application of these tests. Request headers control its scopes and behaviour.
type application struct {
	mu    sync.Mutex
	calls int
	// routing, if it is set, receives a value before Route reads the body.
	routing chan struct{}
}

func (a *application) Route(r *http.Request) ([]string, http.Handler, func()) {
	if a.routing != nil {
		a.routing <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.calls++
		a.mu.Unlock()
		switch r.Header.Get("X-Do") {
		case "panic":
			panic("canary-panic")
		case "drop":
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("X-Read") != "" {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, "no body", http.StatusBadRequest)
				return
			}
		}
		if wait, err := time.ParseDuration(r.Header.Get("X-Wait")); err == nil {
			select {
			case <-time.After(wait):
			case <-r.Context().Done():
				return // the caller is gone
			}
		}
		if len(r.Header.Values("Authorization")) > 0 {
			http.Error(w, "the token got through", http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Called", strings.Join(r.Header.Values("X-Request-Id"), ", "))
		_, _ = io.WriteString(w, "served")
	})
	return strings.Fields(r.Header.Get("X-Needs")), handler, func() {}
}

// testServer is a complete server on a real listener, with a real verifier and an issuer that the test
// controls.
type testServer struct {
	issuer   *providertest.Issuer
	app      *application
	resource providers.Resource
	echo     *echo.Echo
	log      *buffer
	address  string // host:port that listens
	stuck    atomic.Bool

	transport *http.Transport
}

type options struct {
	path      string // of the resource; default /mcp
	public    string // origin of the resource; default the listener's
	origins   []string
	drain     context.Context
	configure func(*echo.Echo)

	// provider replaces the default, which verifies tokens of the issuer.
	provider  providers.Settings
	settings  func(*server.Settings)
	implies   server.ScopeHierarchy
	known     []string // scopes that a rule of the server mentions
	tools     []string // scopes of tools
	routes    []providers.Route
	denials   server.Denials
	lifecycle server.Lifecycle
	telemetry *server.Telemetry
	stop      <-chan struct{} // stops the server before the test ends
}

func start(t *testing.T, o options) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.path == "" {
		o.path = "/mcp"
	}
	if o.public == "" {
		o.public = "http://" + ln.Addr().String()
	}
	resource, err := providers.ParseResource(o.public + o.path)
	if err != nil {
		t.Fatal(err)
	}
	f := &testServer{issuer: providertest.NewIssuer(t), app: &application{}, resource: resource,
		log: &buffer{}, address: ln.Addr().String(), transport: &http.Transport{}}
	t.Cleanup(f.transport.CloseIdleConnections)
	logger := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	provider := f.issuer.Provider(t, resource, "mcp:use", "greet:read")
	if o.provider != nil {
		if provider, err = o.provider.Open(ctx, providers.ServerInfo{Resource: resource, Logger: logger}); err != nil {
			cancel()
			t.Fatal(err)
		}
	}
	settings := server.DefaultSettings()
	settings.AllowedOrigins, settings.DrainTime = o.origins, 0
	if o.settings != nil {
		o.settings(&settings)
	}
	f.echo = server.New(server.Config{
		Resource: resource, Settings: settings, Implies: o.implies, RequiredScopes: []string{"mcp:use"},
		KnownScopes: o.known, ToolScopes: o.tools, Denials: o.denials, Routes: o.routes,
		Logger: logger, Draining: o.drain, IsStuck: f.stuck.Load, Telemetry: o.telemetry,
	}, provider, f.app)
	if o.configure != nil {
		o.configure(f.echo)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln, f.echo, settings, logger, o.lifecycle) }()
	if o.stop != nil {
		go func() {
			select {
			case <-o.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server did not stop cleanly: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", f.log)
		}
	})
	waitReady(t, provider)
	return f
}

func waitReady(t *testing.T, p providers.Provider) {
	t.Helper()
	for range 200 {
		if p.(providers.KeyReporter).Keys().Usable {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the keys were never fetched")
}

// token returns a valid token with these scopes.
func (f *testServer) token(scope string) string {
	return f.issuer.Token(f.resource.String(), map[string]any{"scope": scope})
}

type response struct {
	status int
	header http.Header
	body   string
	close  bool // the server asked the client to close the connection
}

// do sends one request to the listener. The header "Host" sets the host that the request names.
func (f *testServer) do(t *testing.T, method, path string, header map[string]string, body io.Reader) response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+f.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = f.resource.Host()
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	client := &http.Client{
		Transport:     f.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(content), resp.Close}
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

type buffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
