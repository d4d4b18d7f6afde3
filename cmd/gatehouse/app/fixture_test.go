package app

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const resource = "http://localhost:3002/mcp"

// fixture is an App on a test server. Its issuer signs the tokens.
type fixture struct {
	*App
	t        *testing.T
	issuer   *providertest.Issuer
	settings map[string]string
	prepare  []func(*configs.Config)
	url      string
	log      *buffer
	client   *http.Client
	slow     chan struct{} // a call of the tool "slow" ends when it can receive from it
	begun    chan struct{} // receives a value when one begins
}

func newIssuer(t *testing.T) *providertest.Issuer {
	return providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
}

// newFixture assembles an App whose provider is the issuer, with more settings.
// Each of prepare may change what configuration cannot express.
func newFixture(
	t *testing.T, issuer *providertest.Issuer, more map[string]string, prepare ...func(*configs.Config),
) *fixture {
	t.Helper()
	f := &fixture{
		t: t, issuer: issuer, prepare: prepare, log: &buffer{}, slow: make(chan struct{}), begun: make(chan struct{}, 10),
		client: &http.Client{Transport: &http.Transport{}}, settings: map[string]string{
			"resource": resource, "provider.kind": "oidc", "provider.issuer": issuer.URL(),
			"provider.jwks_url": issuer.KeysURL(), "scopes.required": "mcp:use", "provider.key_refetch_interval": "1s",
		},
	}
	maps.Copy(f.settings, more)
	ctx, cancel := context.WithCancel(t.Context())
	catalog := func(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog { return f.catalog() }
	var err error
	f.App, err = New(ctx, f.load(nil), catalog, slog.New(slog.NewTextHandler(f.log, nil)))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	srv := httptest.NewServer(f.HTTP)
	f.url = srv.URL
	t.Cleanup(func() {
		f.MCP.CloseStreams()
		srv.Close()
		f.Close()
		cancel()
		f.client.CloseIdleConnections()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if t.Failed() {
			t.Logf("log:\n%s", f.log)
		}
	})
	f.awaitReady()
	return f
}

func (f *fixture) catalog() mcptools.Catalog {
	return mcptools.Catalog{Tools: []mcptools.Tool{f.tool("quick", func() {}), f.tool("slow", func() {
		f.begun <- struct{}{}
		<-f.slow
	})}}
}

func (f *fixture) tool(name string, run func()) mcptools.Tool {
	return mcptools.Define(mcptools.Definition{Name: name, Description: "x"},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			run()
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil, nil
		})
}

// load returns the configuration of the fixture with changes.
func (f *fixture) load(changes map[string]string) *configs.Config {
	f.t.Helper()
	flags := maps.Clone(f.settings)
	maps.Copy(flags, changes)
	cfg, err := configs.Load(configs.Sources{Flags: flags})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range f.prepare {
		p(cfg)
	}
	return cfg
}

func (f *fixture) awaitReady() {
	f.t.Helper()
	for range 1000 {
		if resp, err := f.client.Get(f.url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Fatal("the server did not become ready")
}

// mustReload reloads with changes.
func (f *fixture) mustReload(changes map[string]string) []configs.Change {
	f.t.Helper()
	changed, err := f.Reload(f.t.Context(), f.load(changes))
	if err != nil {
		f.t.Fatal(err)
	}
	return changed
}

func token(issuer *providertest.Issuer, scope string) string {
	return issuer.Token(resource, map[string]any{"scope": scope})
}

// call calls a tool by a request of MCP 2026-07-28.
func (f *fixture) call(token, tool string) (status int, body string) {
	f.t.Helper()
	return f.callWith(token, tool, "{}")
}

func (f *fixture) callWith(token, tool, arguments string) (status int, body string) {
	f.t.Helper()
	r, err := http.NewRequest(http.MethodPost, f.url+"/mcp", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+arguments+`,"_meta":{`+
			`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},`+
			`"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}}}`))
	if err != nil {
		f.t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "application/json", "Mcp-Name": tool,
		"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call",
	} {
		r.Header.Set(name, value)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		f.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func (f *fixture) keys() providers.KeyStatus { return keyStatus(f.Provider()) }

// buffer is the output of a log.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
