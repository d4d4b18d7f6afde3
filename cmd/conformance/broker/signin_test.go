package broker

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// TestSignIn signs in with the client of the go-sdk, with every request at another replica than the one before.
func TestSignIn(t *testing.T) {
	needPrograms(t, *scripts, *redis)
	t.Parallel()
	w := newWorld(t, inRedis)
	w.startReplica(t)
	w.startReplica(t)
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			who := w.person("alice")
			session, oauth := w.connect(t, who, protocol)
			result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "greet",
				Arguments: map[string]any{"name": "Ada"}})
			if err != nil || result.IsError {
				t.Fatalf("%+v, %v", result, err)
			}
			source, err := oauth.TokenSource(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			token, err := source.Token()
			if err != nil {
				t.Fatal(err)
			}
			w.seen.add("access token", token.AccessToken)
			w.seen.add("refresh token", token.RefreshToken)
			got := claims(t, token.AccessToken)
			if got["iss"] != strings.TrimSuffix(w.resource, "/mcp") || got["sub"] != "alice" || !isOnly(got["aud"],
				w.resource) ||
				!hasScopes(got["scope"], "greet:read", "mcp:use", "offline_access") {
				t.Errorf("the claims are %v", got)
			}
			names := slices.Sorted(maps.Keys(got))
			if want := []string{"aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"}; !slices.Equal(names, want) {
				t.Errorf("the token has the claims %q, not %q", names, want)
			}
			if pages := []string{"Sign in", "Approved", "Corp sign-in", "Signed in"}; !samePages(who.pages, pages) {
				t.Errorf("the pages are %q, not %q", who.pages, pages)
			}
		})
	}
	t.Run("a person whom the provider does not know", func(t *testing.T) {
		w.upstream.disable(t, "mallory")
		response, err := w.person("mallory").signIn(t.Context(), w.authorizeURL(w.register(t)))
		if err != nil || response.Get("error") != "access_denied" || response.Get("code") != "" ||
			strings.Contains(response.Encode(), "unknown") || response.Get("iss") == "" {
			t.Errorf("%v, %v", response, err)
		}
	})
	w.scanEverything(t)
}

// authorizeURL returns an authorization URL for a code that is not used.
func (w *world) authorizeURL(client string) string {
	query := url.Values{"client_id": {client}, "redirect_uri": {redirectURI}, "response_type": {"code"},
		"scope": {"mcp:use"}, "state": {"a state of the client"}, "resource": {w.resource},
		"code_challenge_method": {"S256"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}}
	return "http://" + w.front.address + "/authorize?" + query.Encode()
}

func isOnly(value any, want string) bool {
	list, ok := value.([]any)
	return value == want || ok && len(list) == 1 && list[0] == want
}

// hasScopes compares sorted scopes: the client requests them in any order.
func hasScopes(scope any, want ...string) bool {
	text, _ := scope.(string)
	return slices.Equal(slices.Sorted(slices.Values(strings.Fields(text))), want)
}

// samePages compares the beginnings of titles.
func samePages(titles, want []string) bool {
	return slices.EqualFunc(titles, want, strings.HasPrefix)
}

// connect signs a person in with the client of the go-sdk, and opens a session.
func (w *world) connect(t *testing.T, who *person, protocol string) (*mcp.ClientSession,
	*auth.AuthorizationCodeHandler) {
	t.Helper()
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: redirectURI, RequestRefreshToken: true, Client: w.via(""),
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				RedirectURIs: []string{redirectURI}, ClientName: "Test client", TokenEndpointAuthMethod: "none",
				GrantTypes: []string{"authorization_code", "refresh_token"},
			},
		},
		AuthorizationCodeFetcher: func(ctx context.Context,
			args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			response, err := who.signIn(ctx, args.URL)
			return &auth.AuthorizationResult{Code: response.Get("code"), State: response.Get("state"),
				Iss: response.Get("iss")}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.open(t, protocol, handler), handler
}

// open opens a session that signs in by handler.
func (w *world) open(t *testing.T, protocol string, handler auth.OAuthHandler) *mcp.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: w.via("").Transport} // without a time limit: for streams
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx,
		&mcp.StreamableClientTransport{Endpoint: w.resource, OAuthHandler: handler, HTTPClient: client},
		&mcp.ClientSessionOptions{ProtocolVersion: protocol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}
