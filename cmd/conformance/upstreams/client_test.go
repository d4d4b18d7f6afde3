package upstreams

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

// redirectURI is never requested: signIn reads the redirect.
const redirectURI = "http://127.0.0.1:17433/callback"

// client is a signed-in client of the official SDK.
type client struct {
	*mcp.ClientSession
	signIns int
	scopes  string // that the last sign-in requested
}

// connect signs a person in and opens a session.
func (g *gate) connect(t *testing.T, person, protocol string, options *mcp.ClientOptions) *client {
	t.Helper()
	c := &client{}
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, Client: httpClient(),
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				RedirectURIs: []string{redirectURI}, ClientName: "Test client", TokenEndpointAuthMethod: "none",
				GrantTypes: []string{"authorization_code", "refresh_token"},
			},
		},
		AuthorizationCodeFetcher: func(ctx context.Context,
			args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			c.signIns++
			response, err := signIn(ctx, args.URL, person)
			if u, parseErr := url.Parse(args.URL); parseErr == nil {
				c.scopes = u.Query().Get("scope")
			}
			return &auth.AuthorizationResult{Code: response.Get("code"), State: response.Get("state"),
				Iss: response.Get("iss")}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c.ClientSession, err = mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, options).Connect(ctx,
		&mcp.StreamableClientTransport{Endpoint: g.url, OAuthHandler: handler, HTTPClient: httpClient()},
		&mcp.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if got := c.InitializeResult().ProtocolVersion; got != protocol {
		t.Errorf("the protocol version is %s, not %s", got, protocol)
	}
	return c
}

func httpClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}

// tools returns the sorted names of the listed tools.
func (c *client) tools(t *testing.T) []string {
	t.Helper()
	list, err := c.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return names
}

// call calls a tool and returns the texts of its result, and whether that is an error.
func (c *client) call(t *testing.T, tool string, arguments map[string]any) (text string, isError bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	result, err := c.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Errorf("%s: %v", tool, err)
		return "", true
	}
	return textOf(result), result.IsError
}

func textOf(result *mcp.CallToolResult) string {
	var texts []string
	for _, content := range result.Content {
		if text, ok := content.(*mcp.TextContent); ok {
			texts = append(texts, text.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// expect calls a tool, which must succeed with text in its result.
func (c *client) expect(t *testing.T, tool string, arguments map[string]any, text string) {
	t.Helper()
	if got, isError := c.call(t, tool, arguments); isError || !strings.Contains(got, text) {
		t.Errorf("%s answers %q, an error: %v; not %q", tool, got, isError, text)
	}
}

// signIn opens an authorization URL as a person with a browser, agrees, and returns the authorization response.
func signIn(ctx context.Context, address, person string) (url.Values, error) {
	jar, _ := cookiejar.New(nil) // never fails without options
	var callback *url.URL
	browser := httpClient()
	browser.Jar = jar
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURI+"?") {
			callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
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
		if err := agree(ctx, browser, resp.Request.URL, string(page), person); err != nil {
			return nil, err
		}
	}
	if callback == nil || callback.Query().Get("code") == "" {
		return nil, fmt.Errorf("the issuer returned no code: %v", callback)
	}
	return callback.Query(), nil
}

var (
	hiddenField = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`)
	attribute   = regexp.MustCompile(`(name|value)="([^"]*)"`)
)

// agree submits the form of the consent page.
func agree(ctx context.Context, browser *http.Client, address *url.URL, page, person string) error {
	form := url.Values{"person": {person}, "decision": {"approve"}}
	for _, field := range hiddenField.FindAllString(page, -1) {
		values := map[string]string{}
		for _, a := range attribute.FindAllStringSubmatch(field, -1) {
			values[a[1]] = a[2]
		}
		form.Set(values["name"], values["value"])
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		address.ResolveReference(&url.URL{Path: "/consent"}).String(), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", address.Scheme+"://"+address.Host)
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// token returns an access token of a person with exactly these scopes.
func (g *gate) token(t *testing.T, person string, scopes ...string) string {
	t.Helper()
	origin := strings.TrimSuffix(g.url, "/mcp")
	config := oauth2.Config{
		ClientID: "local-cli", RedirectURL: redirectURI, Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: origin + "/authorize", TokenURL: origin + "/token",
			AuthStyle: oauth2.AuthStyleInParams},
	}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, httpClient())
	verifier, resource := oauth2.GenerateVerifier(), oauth2.SetAuthURLParam("resource", g.url)
	response, err := signIn(ctx, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), resource), person)
	if err != nil {
		t.Fatal(err)
	}
	token, err := config.Exchange(ctx, response.Get("code"), oauth2.VerifierOption(verifier), resource)
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

// response is a raw response.
type response struct {
	status    int
	challenge string // WWW-Authenticate
	session   string // Mcp-Session-Id
	// message is the last message of the body, without the frame of an event.
	message string
}

// post sends a raw request. params are the members of the object. In the era before 2026-07-28, session is that of
// [gate.initialize].
func (g *gate) post(t *testing.T, token, protocol, session, method, params string) response {
	t.Helper()
	header := map[string]string{"Mcp-Protocol-Version": protocol}
	if protocol == modern {
		if params != "" {
			params += ","
		}
		params += `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
			`"io.modelcontextprotocol/clientInfo":{"name":"raw","version":"1"},` +
			`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}}`
		header["Mcp-Method"] = method
		var p struct{ Name string }
		if json.Unmarshal([]byte("{"+params+"}"), &p) == nil && p.Name != "" {
			header["Mcp-Name"] = p.Name
		}
	}
	if session != "" {
		header["Mcp-Session-Id"] = session
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":"same","method":%q,"params":{%s}}`, method, params)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := httpClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	message := string(text)
	if i := strings.LastIndex(message, "data: "); i >= 0 && resp.Header.Get("Content-Type") == "text/event-stream" {
		message = message[i+len("data: "):]
	}
	return response{resp.StatusCode, resp.Header.Get("WWW-Authenticate"), resp.Header.Get("Mcp-Session-Id"),
		strings.TrimSpace(message)}
}

// initialize opens a session of MCP 2025-11-25; for 2026-07-28 it returns "".
func (g *gate) initialize(t *testing.T, token, protocol string) (session string) {
	t.Helper()
	if protocol == modern {
		return ""
	}
	r := g.post(t, token, protocol, "", "initialize", `"protocolVersion":"2025-11-25","clientInfo":{"name":"raw",`+
		`"version":"1"},"capabilities":{"elicitation":{},"sampling":{},"roots":{}}`)
	if r.session == "" {
		t.Fatalf("no session: %+v", r)
	}
	return r.session
}
