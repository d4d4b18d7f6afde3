package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/local"
)

// provider is the embedded issuer, and a listener for its routes.
type provider struct {
	providers.Provider
	resource providers.Resource
}

func openLocal(t *testing.T, change func(*local.Settings)) *provider {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l := &provider{resource: must(providers.ParseResource(server.URL + "/mcp"))}
	settings := local.Defaults()
	settings.ClientSecret = "service-secret-of-a-decent-length"
	if change != nil {
		change(settings)
	}
	settings.Validate(l.resource, func(p providers.Problem) { t.Fatalf("%+v", p) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	l.Provider, err = settings.Open(ctx, providers.ServerInfo{
		Resource: l.resource, Name: "Test server", InitialScopes: []string{"mcp:use"},
		KnownScopes: []string{"mcp:use", "files:read"},
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range l.Provider.(providers.RouteProvider).Routes() {
		mux.Handle(route.Path, route.Handler)
	}
	return l
}

// token requests a token with client_credentials.
func (l *provider) token(t *testing.T, scope string) string {
	t.Helper()
	req := must(http.NewRequest(http.MethodPost, l.resource.Origin()+"/token", strings.NewReader(url.Values{
		"grant_type": {"client_credentials"}, "scope": {scope}, "resource": {l.resource.String()},
	}.Encode())))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("local-service", "service-secret-of-a-decent-length")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	return answer.Token
}

func TestLocalTokensAreAccepted(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			l := openLocal(t, func(s *local.Settings) { s.SigningAlgorithm = alg })
			keys := l.Provider.(providers.KeyReporter)
			eventually(t, "its keys can be used", func() bool { return keys.Keys().Usable })
			id, err := l.Verify(t.Context(), l.token(t, "mcp:use files:read"))
			if err != nil {
				t.Fatal(err)
			}
			if id.Issuer != l.resource.Origin() || id.Client != "local-service" ||
				!slices.Equal(id.Audience, []string{l.resource.String()}) {
				t.Errorf("identity %+v", id)
			}
			if missing := id.Missing([]string{"mcp:use", "files:read", "admin"}); !slices.Equal(missing,
				[]string{"admin"}) {
				t.Errorf("missing scopes: %q", missing)
			}
			if left := time.Until(id.Expiry); left < 9*time.Minute || left > 10*time.Minute {
				t.Errorf("it expires in %s", left)
			}
		})
	}
}

// Each start generates new keys: tokens of another process are invalid.
func TestLocalRefusesTokensOfAnotherIssuer(t *testing.T) {
	one, other := openLocal(t, nil), openLocal(t, nil)
	_, err := one.Verify(t.Context(), other.token(t, "mcp:use"))
	if !errors.Is(err, providers.ErrInvalidToken) {
		t.Errorf("Verify = %v", err)
	}
}

func TestLocalMetadata(t *testing.T) {
	l := openLocal(t, nil)
	want := providers.Metadata{
		Resource:               l.resource.String(),
		AuthorizationServers:   []string{l.resource.Origin()},
		ScopesSupported:        []string{"mcp:use"},
		BearerMethodsSupported: []string{"header"},
		ResourceName:           "Test server",
	}
	if diff := cmp.Diff(want, l.Metadata()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Pages of any origin may read what a browser client needs, but not the pages on which a user decides.
func TestLocalRoutesWithAnyOrigin(t *testing.T) {
	want := map[string]bool{
		"/.well-known/oauth-authorization-server": true,
		"/.well-known/openid-configuration":       true,
		"/keys":                                   true,
		"/token":                                  true,
		"/register":                               true,
		"/revoke":                                 true,
		"/authorize":                              false,
		"/consent":                                false,
		"/introspect":                             false,
	}
	got := map[string]bool{}
	for _, route := range openLocal(t, nil).Provider.(providers.RouteProvider).Routes() {
		if route.Handler == nil {
			t.Errorf("%s has no handler", route.Path)
		}
		got[route.Path] = route.AnyOrigin
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, path := range authserver.Paths() {
		if _, ok := got[path]; !ok {
			t.Errorf("%s is not served", path)
		}
	}
}

func TestLocalSettingsValidate(t *testing.T) {
	for name, c := range map[string]struct {
		resource string
		change   func(*local.Settings)
		keys     []string
	}{
		"an algorithm it cannot do": {resource, func(s *local.Settings) { s.SigningAlgorithm = "PS256" },
			[]string{"signing_algorithm"}},
		"none": {resource, func(s *local.Settings) { s.SigningAlgorithm = "none" },
			[]string{"signing_algorithm"}},
		"a symmetric algorithm": {resource, func(s *local.Settings) { s.SigningAlgorithm = "HS256" },
			[]string{"signing_algorithm"}},
		"tokens that never live": {resource, func(s *local.Settings) { s.TokenLifetime = 0 },
			[]string{"token_lifetime"}},
		"tokens that live for ever": {resource, func(s *local.Settings) { s.TokenLifetime = 25 * time.Hour },
			[]string{"token_lifetime"}},
		"a negative refresh grace": {resource, func(s *local.Settings) { s.RefreshGrace = -time.Second },
			[]string{"refresh_grace"}},
		"a long refresh grace": {resource, func(s *local.Settings) { s.RefreshGrace = 11 * time.Minute },
			[]string{"refresh_grace"}},
		"no refresh grace": {resource, func(s *local.Settings) { s.RefreshGrace = 0 }, nil},
		"local documents without documents": {resource,
			func(s *local.Settings) { s.ClientDocuments, s.AllowLoopbackClientDocuments = false, true },
			[]string{"allow_loopback_client_documents"}},
		"a resource in public": {"https://mcp.example.com/mcp", nil, []string{"kind"}},
		"the same, dangerously allowed": {"https://mcp.example.com/mcp",
			func(s *local.Settings) { s.DangerouslyAllowPublicResource = true }, nil},
		"a resource on one of its own paths": {"http://localhost:3002/token", nil, []string{"kind"}},
		"everything at once": {"https://mcp.example.com/keys",
			func(s *local.Settings) { s.SigningAlgorithm, s.TokenLifetime = "", -1 },
			[]string{"signing_algorithm", "token_lifetime", "kind", "kind"}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := local.Defaults()
			if c.change != nil {
				c.change(settings)
			}
			var keys []string
			settings.Validate(must(providers.ParseResource(c.resource)), func(p providers.Problem) {
				if p.Reason == "" || p.Fix == "" {
					t.Errorf("no reason or no fix: %+v", p)
				}
				keys = append(keys, p.Key)
			})
			if diff := cmp.Diff(c.keys, keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

// Open does not rely on Validate: this guardrail keeps the demo issuer off public networks.
func TestLocalOpenRefusesPublicResource(t *testing.T) {
	kind, _ := configs.KindNamed("local")
	p, err := kind.Defaults().Open(t.Context(), providers.ServerInfo{
		Resource: must(providers.ParseResource("https://mcp.example.com/mcp")),
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err == nil {
		t.Errorf("Open = %v", p)
	}
}
