package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// user is alice or bob with a browser: it follows links, reads the consent page and answers it.
type user struct {
	name     string // "" for the default choice
	decision string // approve or deny

	mu       sync.Mutex
	pages    []string     // consent pages seen
	requests []url.Values // authorization requests made
}

var (
	hiddenField = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	attribute   = regexp.MustCompile(`(name|value)="([^"]*)"`)
)

// signIn opens the authorization URL as a browser would, and returns what arrives at the client's redirect URI.
func (u *user) signIn(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	authorization, err := url.Parse(args.URL)
	if err != nil {
		return nil, err
	}
	redirect := authorization.Query().Get("redirect_uri")
	u.mu.Lock()
	u.requests = append(u.requests, authorization.Query())
	u.mu.Unlock()
	jar, _ := cookiejar.New(nil)
	var callback *url.URL
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirect) {
			callback = r.URL
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
	if callback == nil {
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the authorization endpoint returned %s: %s", resp.Status, page)
		}
		if err := u.answerConsent(ctx, browser, resp.Request.URL, string(page)); err != nil {
			return nil, err
		}
	}
	if callback == nil {
		return nil, fmt.Errorf("the sign-in did not return to %s", redirect)
	}
	q := callback.Query()
	if e := q.Get("error"); e != "" {
		return nil, fmt.Errorf("authorization refused: %s", e)
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

// answerConsent submits the form on the consent page at address.
func (u *user) answerConsent(ctx context.Context, browser *http.Client, address *url.URL, page string) error {
	u.mu.Lock()
	u.pages = append(u.pages, page)
	u.mu.Unlock()
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
	form.Set("person", u.name)
	form.Set("decision", u.decision)
	action := address.ResolveReference(&url.URL{Path: "/consent"})
	body := strings.NewReader(form.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", address.Scheme+"://"+address.Host)
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("the consent page returned %s: %s", resp.Status, text)
	}
	return nil
}

const redirectURI = "http://127.0.0.1:17433/callback" // nothing listens there; user reads the redirect itself

// dynamicClient registers a new client (RFC 7591), as most MCP clients do.
func dynamicClient(c *auth.AuthorizationCodeHandlerConfig) {
	c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{
		Metadata: &oauthex.ClientRegistrationMetadata{
			RedirectURIs: []string{redirectURI}, ClientName: "Test client", TokenEndpointAuthMethod: "none",
			GrantTypes: []string{"authorization_code", "refresh_token"},
		},
	}
}

// clientOption changes how a client authenticates.
type clientOption = func(*auth.AuthorizationCodeHandlerConfig)

// connect signs u in with the SDK's client and opens an MCP session.
func connect(t testing.TB, endpoint, protocol string, u *user, options ...clientOption) (*mcp.ClientSession, error) {
	t.Helper()
	return connectWith(t, endpoint, protocol, u, nil, options...)
}

func connectWith(
	t testing.TB, endpoint, protocol string, u *user, clientOptions *mcp.ClientOptions, options ...clientOption,
) (*mcp.ClientSession, error) {
	t.Helper()
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, AuthorizationCodeFetcher: u.signIn, RequestRefreshToken: true,
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

// textOf returns the first text in a result.
func textOf(r *mcp.CallToolResult) string {
	for _, c := range r.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			return text.Text
		}
	}
	return ""
}
