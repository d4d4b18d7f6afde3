package main

import (
	"cmp"
	"context"
	"fmt"
	"html"
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

// user is alice or bob with a browser: it follows links, reads the consent pages and answers them. The first page is
// that of the server; with kind broker, a second one is that of the company's provider.
type user struct {
	name     string // "" for the default choice
	decision string // approve or deny
	// atProvider is the decision on the second page; approve if empty.
	atProvider string

	mu       sync.Mutex
	pages    []string     // consent pages seen
	failures []string     // pages about a sign-in that failed, with their status
	requests []url.Values // authorization requests made
}

var (
	hiddenField = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	attribute   = regexp.MustCompile(`(name|value)="([^"]*)"`)
	nextPage    = regexp.MustCompile(`<meta http-equiv="refresh" content="\d+;\s*url=([^"]*)"`)
)

// browser is one sign-in: it ends when the browser is sent to the redirect URI of the client.
type browser struct {
	*http.Client
	callback *url.URL // nil until then
}

func newBrowser(redirect string) *browser {
	jar, _ := cookiejar.New(nil)
	b := &browser{Client: &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}}
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		r.Header.Del("Origin") // browsers send it with a form, and not with the GET after it
		if strings.HasPrefix(r.URL.String(), redirect) {
			b.callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

// visit sends a request as the navigation of a browser.
func (b *browser) visit(r *http.Request) (*http.Response, string, error) {
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	resp, err := b.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return resp, string(page), err
}

// signIn opens the authorization URL as a browser would, and returns what arrives at the client's redirect URI.
func (u *user) signIn(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	q, err := u.open(ctx, args.URL)
	if err != nil {
		return nil, err
	}
	if e := q.Get("error"); e != "" {
		return nil, fmt.Errorf("authorization refused: %s", e)
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

// open is signIn for any response to the client, whose parameters it returns.
func (u *user) open(ctx context.Context, address string) (url.Values, error) {
	authorization, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	redirect := authorization.Query().Get("redirect_uri")
	u.mu.Lock()
	u.requests = append(u.requests, authorization.Query())
	u.mu.Unlock()
	b := newBrowser(redirect)
	next, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	decision := u.decision
	const most = 10 // pages of one sign-in
	for range most {
		if err != nil {
			return nil, err
		}
		resp, page, err := b.visit(next)
		switch {
		case err != nil:
			return nil, err
		case b.callback != nil:
			return b.callback.Query(), nil
		}
		if next, err = u.answer(resp, page, decision); err != nil {
			return nil, err
		}
		if next.Method == http.MethodPost {
			decision = cmp.Or(u.atProvider, "approve")
		}
		if strings.HasPrefix(next.URL.String(), redirect) {
			return next.URL.Query(), nil
		}
	}
	return nil, fmt.Errorf("the sign-in did not return to %s", redirect)
}

// answer returns the next request on a page: that of its form, or where it continues by itself.
func (u *user) answer(resp *http.Response, page, decision string) (*http.Request, error) {
	ctx := resp.Request.Context()
	if to := nextPage.FindStringSubmatch(page); to != nil {
		if resp.StatusCode >= http.StatusBadRequest {
			u.mu.Lock()
			u.failures = append(u.failures, resp.Status+" "+page)
			u.mu.Unlock()
		}
		return http.NewRequestWithContext(ctx, http.MethodGet, html.UnescapeString(to[1]), nil)
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(page, "<form") {
		return nil, fmt.Errorf("the page at %s has status %s: %s", resp.Request.URL.Path, resp.Status, page)
	}
	return u.answerConsent(ctx, resp.Request.URL, page, decision)
}

// answerConsent returns the request of the form on the consent page at address.
func (u *user) answerConsent(
	ctx context.Context, address *url.URL, page, decision string,
) (*http.Request, error) {
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
	form.Set("decision", decision)
	action := address.ResolveReference(&url.URL{Path: "/consent"})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", address.Scheme+"://"+address.Host)
	return req, nil
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
