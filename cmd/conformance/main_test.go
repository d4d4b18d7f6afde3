package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
)

// The programs of run.sh work without npm: the fixtures refuse a request without a token, and the proxy adds
// one.
func TestProxySignsInForItsClient(t *testing.T) {
	fixtures, forwarding := freeAddress(t), freeAddress(t)
	resource := "http://" + fixtures + "/mcp"
	background(t, fixtures, "serve", "--resource="+resource, "--provider.auto_approve", "--log.level=warn")
	background(t, forwarding, "proxy", forwarding, resource)

	if got := status(t, resource, ""); got != http.StatusUnauthorized {
		t.Errorf("without the proxy a request gets %d, want 401", got)
	}
	if got := status(t, "http://"+forwarding+"/mcp", "evil.example"); got != http.StatusForbidden {
		t.Errorf("a foreign Host header gets %d through the proxy, want 403", got)
	}

	client := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil)
	session, err := client.Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: "http://" + forwarding + "/mcp"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(catalog(mcptools.ToolSettings{}, mcptools.Stats{}).Tools); len(tools.Tools) != want {
		t.Errorf("%d tools are listed, want %d: the token may lack a scope", len(tools.Tools), want)
	}
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "test_simple_text"})
	if err != nil || result.IsError {
		t.Errorf("test_simple_text answered %+v, %v", result, err)
	}
}

func TestUnsealRefusesAModifiedState(t *testing.T) {
	sealed := seal("step1")
	if value, ok := unseal(sealed); !ok || value != "step1" {
		t.Errorf("unseal returned %q, %t", value, ok)
	}
	for _, state := range []string{"", ".", sealed + "-TAMPERED", "x" + sealed, seal("")[1:]} {
		if value, ok := unseal(state); ok {
			t.Errorf("%q was unsealed as %q", state, value)
		}
	}
}

// background runs a command of this program until the test ends, and waits until it listens on address.
func background(t *testing.T, address string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
	})
	for range 100 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not listen on %s", args[0], address)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// status returns the status of a GET, with that Host header if it is not empty.
func status(t *testing.T, url, host string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// TestMain removes GATEHOUSE_LONG, which is for tests, from the environment: the fixtures read their settings
// from it.
func TestMain(m *testing.M) {
	_ = os.Unsetenv("GATEHOUSE_LONG")
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the local issuer's library logs there
	os.Exit(m.Run())
}
