package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"go.uber.org/goleak"

	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/demo"
	"gatehouse/server"
)

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main() // this process is the program itself, see [startProcess]
	}
	// zitadel/oidc logs a line for every route of every issuer.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// running is the whole house on a real listener, built from configuration as the command does it.
type running struct {
	*house.House
	url  string // of the MCP endpoint
	log  *syncBuffer
	stop func()
}

// startHouse serves the demo tools with settings on top, on a port of its own. HOST in a setting stands for the
// address. Each of prepare may change what configuration cannot say.
func startHouse(t testing.TB, settings map[string]string, prepare ...func(*configs.Config)) *running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{
		"resource":  fmt.Sprintf("http://%s/mcp", ln.Addr()),
		"log.level": "debug",
		// Of the built-in profile, whatever the kind of provider is.
		"tools.demo": "true", "tools.show_all": "false", "scopes.required": "mcp:use", "scopes.initial": "mcp:use,greet:read", "server.drain_time": "0s",
		"server.allowed_origins": "http://localhost:*,http://127.0.0.1:*",
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
	h, err := house.Build(ctx, cfg, demoTools, logger)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, ln, h.HTTP, cfg.Server, logger, server.Lifecycle{Draining: h.Drain, Closing: h.MCP.CloseStreams})
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server did not stop in order: %v", err)
		}
		h.MCP.CloseSessions()
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log of the server:\n%s", log)
		}
	})
	return &running{House: h, url: cfg.Resource.String(), log: log, stop: stop}
}

// demoTools offers the demo tools and nothing else, so that no test depends on the tools of this server.
func demoTools(_ mcptools.ToolSettings, v mcptools.Stats) mcptools.Catalog {
	return mcptools.Catalog{Tools: demo.Tools(v)}
}

func (r *running) origin() string { return strings.TrimSuffix(r.url, "/mcp") }

// person is somebody in front of a browser: alice or bob, who follows links, reads the consent page and answers it.
type person struct {
	name     string // "" for the default choice
	decision string // approve or deny

	mu    sync.Mutex
	pages []string // consent pages seen
	asked []url.Values
}

var (
	hiddenField = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	attribute   = regexp.MustCompile(`(name|value)="([^"]*)"`)
)

// signIn opens the authorization URL as a browser would and returns what arrives at the client's redirect URI.
func (p *person) signIn(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	authorization, err := url.Parse(args.URL)
	if err != nil {
		return nil, err
	}
	redirect := authorization.Query().Get("redirect_uri")
	p.mu.Lock()
	p.asked = append(p.asked, authorization.Query())
	p.mu.Unlock()
	jar, _ := cookiejar.New(nil)
	var arrived *url.URL
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirect) {
			arrived = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	defer browser.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args.URL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return nil, err
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if arrived == nil {
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the sign-in page answered %s: %s", resp.Status, page)
		}
		if err := p.answer(ctx, browser, resp.Request.URL, string(page)); err != nil {
			return nil, err
		}
	}
	if arrived == nil {
		return nil, fmt.Errorf("the sign-in ended nowhere")
	}
	q := arrived.Query()
	if e := q.Get("error"); e != "" {
		return nil, fmt.Errorf("authorization refused: %s", e)
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

func (p *person) answer(ctx context.Context, browser *http.Client, address *url.URL, page string) error {
	p.mu.Lock()
	p.pages = append(p.pages, page)
	p.mu.Unlock()
	form := url.Values{}
	for _, field := range hiddenField.FindAllString(page, -1) {
		var name, value string
		for _, a := range attribute.FindAllStringSubmatch(field, -1) {
			if a[1] == "name" {
				name = a[2]
			} else {
				value = a[2]
			}
		}
		form.Set(name, value)
	}
	form.Set("person", p.name)
	form.Set("decision", p.decision)
	action := address.ResolveReference(&url.URL{Path: "/consent"})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", address.Scheme+"://"+address.Host)
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("the consent page answered %s: %s", resp.Status, body)
	}
	return nil
}

const redirectURI = "http://127.0.0.1:17433/callback" // nothing listens there; person looks at the redirect itself

// dynamic registers the client anew, as most clients do.
func dynamic(c *auth.AuthorizationCodeHandlerConfig) {
	c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
		RedirectURIs: []string{redirectURI}, ClientName: "Test client", TokenEndpointAuthMethod: "none",
		GrantTypes: []string{"authorization_code", "refresh_token"},
	}}
}

// connect signs p in with the real SDK client and opens an MCP session.
func connect(t testing.TB, endpoint, protocol string, p *person, options ...func(*auth.AuthorizationCodeHandlerConfig)) (*mcp.ClientSession, error) {
	t.Helper()
	return connectWith(t, endpoint, protocol, p, nil, options...)
}

func connectWith(t testing.TB, endpoint, protocol string, p *person, clientOptions *mcp.ClientOptions, options ...func(*auth.AuthorizationCodeHandlerConfig)) (*mcp.ClientSession, error) {
	t.Helper()
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, AuthorizationCodeFetcher: p.signIn, RequestRefreshToken: true,
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	for _, o := range options {
		o(config)
	}
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, clientOptions)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: endpoint, OAuthHandler: handler,
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}, &mcp.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = session.Close() })
	return session, nil
}

func call(t testing.TB, s *mcp.ClientSession, name string, arguments map[string]any) (*mcp.CallToolResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
}

func textOf(r *mcp.CallToolResult) string {
	for _, c := range r.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			return text.Text
		}
	}
	return ""
}

// syncBuffer is a buffer that a logger and a test may use at once.
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
