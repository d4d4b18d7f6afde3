package authserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/providers/authserver"
)

// The go-sdk's client signs in with every kind of client registration, from the challenge of a resource
// server.
func TestGoSDKClientSignsIn(t *testing.T) {
	const redirect = "http://127.0.0.1:5151/callback"
	d := newDocumentHost(t)
	tests := []struct {
		name   string
		config auth.AuthorizationCodeHandlerConfig
	}{
		{"AS-23 dynamic registration, public", auth.AuthorizationCodeHandlerConfig{
			DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
				Metadata: &oauthex.ClientRegistrationMetadata{
					RedirectURIs: []string{redirect}, TokenEndpointAuthMethod: "none",
					GrantTypes: []string{"authorization_code", "refresh_token"},
				}},
		}},
		{"AS-23 dynamic registration, confidential by default", auth.AuthorizationCodeHandlerConfig{
			DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
				Metadata: &oauthex.ClientRegistrationMetadata{
					RedirectURIs: []string{redirect}, GrantTypes: []string{"authorization_code", "refresh_token"},
				}},
		}},
		{"AS-25 AS-14b a client with a metadata document, which tries Basic with an empty secret first",
			auth.AuthorizationCodeHandlerConfig{
				ClientIDMetadataDocumentConfig: &auth.ClientIDMetadataDocumentConfig{URL: d.id()}, RedirectURL: redirect,
			}},
		{"a registered public client", auth.AuthorizationCodeHandlerConfig{
			PreregisteredClient: &oauthex.ClientCredentials{ClientID: "public"}, RedirectURL: redirect,
		}},
		{"a registered confidential client", auth.AuthorizationCodeHandlerConfig{
			PreregisteredClient: &oauthex.ClientCredentials{
				ClientID: "secretive", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "s3cret+&=%"},
			}, RedirectURL: redirect,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			protected := newProtectedResource(t)
			resource := protected.URL + "/mcp"
			issuer := open(t, d.trusted, func(c *authserver.Config) {
				c.Resources = []string{"http://localhost/default", resource}
				c.AccessTokenLifetime = 5 * time.Second
			})
			protected.issuer = issuer.url
			config := test.config
			config.RequestRefreshToken = true
			config.Client = issuer.browser
			config.AuthorizationCodeFetcher = func(_ context.Context,
				args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
				_, q := issuer.get(args.URL).location(t)
				return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
			}
			handler, err := auth.NewAuthorizationCodeHandler(&config)
			if err != nil {
				t.Fatal(err)
			}
			request := issuer.request(http.MethodPost, resource, nil)
			refused, err := issuer.browser.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if err := handler.Authorize(t.Context(), request, refused); err != nil {
				t.Fatal(err)
			}
			source, err := handler.TokenSource(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// The SDK renews a token 10 s before it expires, so each call refreshes, without a resource
			// parameter (AS-21).
			var seen []string
			for range 2 {
				token, err := source.Token()
				if err != nil {
					t.Fatal(err)
				}
				_, claims := issuer.verify(token.AccessToken)
				scopes := strings.Fields(claims["scope"].(string))
				slices.Sort(scopes) // the SDK sends them in any order
				if claims["aud"] != resource || !slices.Equal(scopes, []string{"notes:write", "offline_access"}) {
					t.Errorf("claims %v", claims)
				}
				seen = append(seen, token.RefreshToken)
			}
			if slices.Contains(seen, "") || seen[0] == seen[1] {
				t.Errorf("the token was not refreshed: %d different refresh tokens", len(slices.Compact(seen)))
			}
		})
	}
}

// protectedResource responds with a challenge to everything, and serves RFC 9728 metadata with the issuer.
type protectedResource struct {
	*httptest.Server
	issuer string
}

func newProtectedResource(t *testing.T) *protectedResource {
	t.Helper()
	p := new(protectedResource)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/oauth-protected-resource/mcp" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"resource": p.URL + "/mcp",
				"authorization_servers": []string{p.issuer}})
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+p.URL+
			`/.well-known/oauth-protected-resource/mcp", scope="notes:write"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(p.Close)
	return p
}
