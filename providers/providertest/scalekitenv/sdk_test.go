package scalekitenv_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers/providertest/scalekitenv"
)

// protectedResource is an MCP server that is registered with its own address, and answers 401 to everything.
type protectedResource struct {
	*testEnv
	url string
}

func protect(t *testing.T, change ...func(*scalekitenv.Config)) *protectedResource {
	t.Helper()
	p := new(protectedResource)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/oauth-protected-resource/mcp" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(p.ProtectedResourceMetadata())
			return
		}
		metadata := strings.TrimSuffix(p.url, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+metadata+
			`", scope="todo:read offline_access"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL + "/mcp"
	p.testEnv = open(t, append(change, func(c *scalekitenv.Config) { c.ServerURL = p.url })...)
	return p
}

func omitIssuer(p *protectedResource) { p.OmitResponseIssuer() }

type authorizer interface {
	Authorize(context.Context, *http.Request, *http.Response) error
	TokenSource(context.Context) (oauth2.TokenSource, error)
}

// signIn passes the challenge of the resource to the SDK's client.
func (p *protectedResource) signIn(t *testing.T, a authorizer) (oauth2.TokenSource, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, err := p.HTTPClient().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Authorize(t.Context(), request, refused); err != nil {
		return nil, err
	}
	return a.TokenSource(t.Context())
}

// browser is the SDK's authorization code client; its browser follows the one redirect of the environment.
func (p *protectedResource) browser(t *testing.T, config auth.AuthorizationCodeHandlerConfig) authorizer {
	t.Helper()
	config.Client = p.HTTPClient()
	config.AuthorizationCodeFetcher = func(ctx context.Context,
		args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, args.URL, nil)
		if err != nil {
			return nil, err
		}
		_, q := p.do(r).location(t)
		return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
	}
	handler, err := auth.NewAuthorizationCodeHandler(&config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func registering() auth.AuthorizationCodeHandlerConfig {
	return auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName: "go-sdk", RedirectURIs: []string{callback},
				GrantTypes: []string{"authorization_code", "refresh_token"},
			}},
	}
}

// The go-sdk's client signs in with every kind of client registration, from the resource's challenge alone.
func TestGoSDKClientSignsIn(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*protectedResource)
		config  func(*protectedResource) auth.AuthorizationCodeHandlerConfig
	}{
		"dynamic registration, unannounced iss accepted": {nil,
			func(*protectedResource) auth.AuthorizationCodeHandlerConfig {
				config := registering()
				config.AcceptUnadvertisedIss = true
				return config
			}},
		"dynamic registration, iss announced": {func(p *protectedResource) {
			p.ChangeMetadata(changes{"authorization_response_iss_parameter_supported": true})
		}, func(*protectedResource) auth.AuthorizationCodeHandlerConfig { return registering() }},
		"dynamic registration, no iss": {omitIssuer, func(*protectedResource) auth.AuthorizationCodeHandlerConfig {
			return registering()
		}},
		"preregistered, public": {omitIssuer, func(p *protectedResource) auth.AuthorizationCodeHandlerConfig {
			return auth.AuthorizationCodeHandlerConfig{
				PreregisteredClient: &oauthex.ClientCredentials{ClientID: p.Register(callback).ID}, RedirectURL: callback,
			}
		}},
		"preregistered, confidential": {omitIssuer, func(*protectedResource) auth.AuthorizationCodeHandlerConfig {
			return auth.AuthorizationCodeHandlerConfig{
				PreregisteredClient: &oauthex.ClientCredentials{
					ClientID: "m2m_5", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "s3cret+&=%"},
				}, RedirectURL: callback,
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := protect(t, func(c *scalekitenv.Config) {
				c.AccessTokenLifetime = 5 * time.Second // the SDK renews a token 10 s before it expires: at each call
				c.Clients = []scalekitenv.Client{{ID: "m2m_5", Secret: "s3cret+&=%", RedirectURIs: []string{callback}}}
			})
			if c.prepare != nil {
				c.prepare(p)
			}
			source, err := p.signIn(t, p.browser(t, c.config(p)))
			if err != nil {
				t.Fatal(err)
			}
			var seen []string
			for range 2 {
				token, err := source.Token()
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, token.RefreshToken)
				_, claims := p.decode(token.AccessToken)
				if claims["sub"] != scalekitenv.User || !cmp.Equal(claims["aud"], []any{p.url, p.ResourceID()}) ||
					!slices.Contains(claims["scopes"].([]any), any("todo:read")) ||
					!slices.Contains(claims["scopes"].([]any), any("offline_access")) {
					t.Errorf("claims %v", claims)
				}
			}
			if slices.Contains(seen, "") || seen[0] == seen[1] {
				t.Error("the refresh token did not rotate")
			}
		})
	}
}

func TestGoSDKClientCredentials(t *testing.T) {
	p := protect(t)
	handler, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{
		Credentials: &oauthex.ClientCredentials{
			ClientID:         p.MachineClient().ID,
			ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: p.MachineClient().Secret},
		},
		HTTPClient: p.HTTPClient(),
	})
	if err != nil {
		t.Fatal(err)
	}
	source, err := p.signIn(t, handler)
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	_, claims := p.decode(token.AccessToken)
	id := p.MachineClient().ID
	if claims["sub"] != id || claims["client_id"] != id || claims["scope"] != "todo:read" {
		t.Errorf("claims %v", claims)
	}
}

// The known problems of clients with Scalekit are the same here.
func TestGoSDKClientReportsKnownProblems(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*protectedResource)
		problem string
	}{
		"unannounced iss": {func(*protectedResource) {}, "does not advertise RFC 9207"},
		"the previous issuer in the metadata": {
			func(p *protectedResource) { p.ChangeMetadata(changes{"issuer": p.URL()}) }, "does not match issuer URL"},
		"registration is off": {
			func(p *protectedResource) { p.DisableRegistration(http.StatusForbidden) },
			"no configured client registration methods"},
		"metadata by appended path alone": {
			func(p *protectedResource) { p.ServeMetadata(scalekitenv.Appended) }, "failed to register client"},
		"too many requests": {
			func(p *protectedResource) { p.AnswerAll(scalekitenv.RateLimited()) }, "failed to register client"},
	} {
		t.Run(name, func(t *testing.T) {
			p := protect(t)
			c.prepare(p)
			if _, err := p.signIn(t, p.browser(t, registering())); err == nil ||
				!strings.Contains(err.Error(), c.problem) {
				t.Errorf("%v, want %q", err, c.problem)
			}
		})
	}
}
