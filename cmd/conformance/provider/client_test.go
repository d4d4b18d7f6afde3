package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// redirectURI is never requested: authorize reads the redirect.
const redirectURI = "http://127.0.0.1:17433/callback"

// preregistered uses the public client that is registered at the provider.
func preregistered(c *auth.AuthorizationCodeHandlerConfig) {
	c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "desktop"}
}

// dynamic uses dynamic client registration, as most clients do.
func dynamic(c *auth.AuthorizationCodeHandlerConfig) {
	c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{
		Metadata: &oauthex.ClientRegistrationMetadata{
			RedirectURIs: []string{redirectURI}, ClientName: "Test client", TokenEndpointAuthMethod: "none",
			GrantTypes: []string{"authorization_code", "refresh_token"},
		},
	}
}

// client is a signed-in client of the official SDK.
type client struct {
	session *mcp.ClientSession
	signIns int
	traffic *recorder
	oauth   *auth.AuthorizationCodeHandler
}

func connect(t *testing.T, protocol string, registration func(*auth.AuthorizationCodeHandlerConfig)) *client {
	t.Helper()
	c := &client{traffic: newRecorder()}
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, RequestRefreshToken: true, Client: &http.Client{Transport: network},
		AuthorizationCodeFetcher: func(ctx context.Context,
			args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			c.signIns++
			response, err := authorize(ctx, args.URL)
			return &auth.AuthorizationResult{Code: response.Get("code"), State: response.Get("state"),
				Iss: response.Get("iss")}, err
		},
	}
	registration(config)
	var err error
	if c.oauth, err = auth.NewAuthorizationCodeHandler(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c.session, err = mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx,
		&mcp.StreamableClientTransport{
			Endpoint: *resource, OAuthHandler: c.oauth, HTTPClient: &http.Client{Transport: c.traffic},
		}, &mcp.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.session.Close() })
	return c
}

// tryCall calls a tool and returns its structured content.
func (c *client) tryCall(tool string, arguments map[string]any) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	result, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return nil, err
	}
	content, ok := result.StructuredContent.(map[string]any)
	if !ok || result.IsError {
		return nil, fmt.Errorf("%s answered %+v", tool, result)
	}
	return content, nil
}

func (c *client) call(t *testing.T, tool string, arguments map[string]any) map[string]any {
	t.Helper()
	content, err := c.tryCall(tool, arguments)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// token returns the access token that the client would send now.
func (c *client) token(t *testing.T) string {
	t.Helper()
	source, err := c.oauth.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

// requestCounts returns the server's counts of requests by outcome.
func (c *client) requestCounts(t *testing.T) map[string]int {
	t.Helper()
	raw, err := json.Marshal(c.call(t, "server_stats", nil)["requests"])
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	if err := json.Unmarshal(raw, &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// authorize opens address as a browser does, with cookies, and returns the authorization response. The
// provider shows no page that needs input.
func authorize(ctx context.Context, address string) (url.Values, error) {
	jar, _ := cookiejar.New(nil) // never fails without options
	browser := &http.Client{Transport: network, Jar: jar,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), redirectURI+"?") {
				return http.ErrUseLastResponse
			}
			return nil
		}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	target, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("the sign-in ended at %s with %s", resp.Request.URL.Path, resp.Status)
	}
	response := target.Query()
	if response.Get("code") == "" {
		return nil, fmt.Errorf("the provider returned no code: %s, %s", response.Get("error"),
			response.Get("error_description"))
	}
	return response, nil
}
