package scalekitenv_test

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest/scalekitenv"
)

func TestEnvironmentListensOnLoopbackUntilTheTestEnds(t *testing.T) {
	var address string
	t.Run("inside", func(t *testing.T) {
		env := open(t)
		u, err := url.Parse(env.URL())
		if err != nil {
			t.Fatal(err)
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() || u.Path != "" {
			t.Errorf("URL %s", env.URL())
		}
		address = u.Host
	})
	if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			c.Close()
		}
		t.Errorf("afterwards: %v", err)
	}
}

func TestEnvironmentMetadataHasNoRegistration(t *testing.T) {
	env := open(t)
	want := map[string]any{
		"issuer": env.URL(), "authorization_endpoint": env.URL() + "/oauth/authorize",
		"token_endpoint": env.URL() + "/oauth/token",
		"jwks_uri":       env.URL() + "/keys", "userinfo_endpoint": env.URL() + "/userinfo",
		"end_session_endpoint":     env.URL() + "/oidc/logout",
		"response_types_supported": []any{"code"}, "subject_types_supported": []any{"public"},
		"id_token_signing_alg_values_supported": []any{"RS256"},
		"scopes_supported":                      []any{"openid", "profile", "email", "offline_access"},
		"grant_types_supported":                 []any{"authorization_code", "refresh_token", "client_credentials"},
	}
	for _, path := range []string{"/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server"} {
		if diff := cmp.Diff(want, env.get(path).json(t)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func TestResourceMetadataMatchesCaptures(t *testing.T) {
	env := open(t)
	resource := env.URL() + "/resources/" + scalekitenv.DefaultResourceID
	want := map[string]any{
		"issuer": resource, "authorization_endpoint": resource + "/oauth/authorize",
		"token_endpoint": resource + "/oauth/token",
		"registration_endpoint": env.URL() + "/api/v1/resources/" + scalekitenv.DefaultResourceID +
			"/clients:register",
		"jwks_uri": env.URL() + "/keys", "client_id_metadata_document_supported": true,
		"code_challenge_methods_supported": []any{"S256"},
		"grant_types_supported":            []any{"authorization_code", "client_credentials", "refresh_token"},
		"scopes_supported":                 []any{"todo:read", "todo:write"},
		"response_types_supported":         []any{"code"},
	}
	for _, path := range []string{appended, inserted} {
		if diff := cmp.Diff(want, env.get(path).json(t)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

const (
	appended = "/resources/R/.well-known/oauth-authorization-server"
	inserted = "/.well-known/oauth-authorization-server/resources/R"
)

func TestResourceMetadataCanBeChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testEnv)
		want   map[string]int // status by path
	}{
		"both": {func(*testEnv) {}, map[string]int{appended: 200, inserted: 200}},
		"appended only": {func(env *testEnv) { env.ServeMetadata(scalekitenv.Appended) },
			map[string]int{appended: 200, inserted: 404}},
		"inserted only": {func(env *testEnv) { env.ServeMetadata(scalekitenv.Inserted) },
			map[string]int{appended: 404, inserted: 200}},
		"nowhere": {func(env *testEnv) { env.ServeMetadata(0) },
			map[string]int{appended: 404, inserted: 404}},
		"both again": {func(env *testEnv) {
			env.ServeMetadata(scalekitenv.Appended)
			env.ServeMetadata(scalekitenv.Appended | scalekitenv.Inserted)
		}, map[string]int{appended: 200, inserted: 200}},
		"one fails": {func(env *testEnv) {
			env.Answer(strings.ReplaceAll(inserted, "R", env.ResourceID()), scalekitenv.Status(502))
		}, map[string]int{appended: 200, inserted: 502}},
	} {
		t.Run(name, func(t *testing.T) {
			env := open(t)
			c.change(env)
			for path, want := range c.want {
				if got := env.get(path).StatusCode; got != want {
					t.Errorf("%s: %d, want %d", path, got, want)
				}
			}
		})
	}
	t.Run("with the previous issuer", func(t *testing.T) {
		env := open(t)
		env.ChangeMetadata(changes{"issuer": env.URL(), "jwks_uri": nil})
		for _, path := range []string{appended, inserted} {
			document := env.get(path).json(t)
			if _, ok := document["jwks_uri"]; ok || document["issuer"] != env.URL() ||
				document["token_endpoint"] == nil {
				t.Errorf("%s: %v", path, document)
			}
		}
		env.ChangeMetadata()
		if got := env.get(appended).text(t, "issuer"); got != env.AuthorizationServer() {
			t.Errorf("afterwards: %s", got)
		}
	})
}

func TestOtherPathsAreNotFound(t *testing.T) {
	env := open(t)
	for _, path := range []string{
		"/", "/resources/R", "/resources/R/", "/resources/R/keys", "/.well-known/jwks", "/.well-known/jwks.json",
		"/keys/", "//keys",
		"/resources/R/.well-known/openid-configuration", "/.well-known/openid-configuration/resources/R",
		"/resources/res_9/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/resources/res_9",
		"/resources/res_9/oauth/authorize", "/.well-known/oauth-protected-resource", "/oidc/logout",
		"//.well-known/openid-configuration", "/resources//.well-known/oauth-authorization-server",
	} {
		if a := env.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke", "/resources/res_9/oauth/token",
		"/api/v1/resources/res_9/clients:register", "/register"} {
		if a := env.post(path, url.Values{}); a.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, a.StatusCode)
		}
	}
}

func TestAnswerReplacesResponses(t *testing.T) {
	env := open(t)
	env.AnswerAll(scalekitenv.RateLimited())
	env.Answer("/keys", scalekitenv.Status(500))
	env.Answer("/nowhere", scalekitenv.JSON(200, "found"))
	for path, want := range map[string]int{"/keys": 500, "/nowhere": 200,
		"/.well-known/openid-configuration": 429, appended: 429, "/elsewhere": 429} {
		if got := env.get(path).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	env.AnswerAll(nil)
	env.Answer("/keys", nil)
	for path, want := range map[string]int{"/keys": 200, appended: 200, "/elsewhere": 404} {
		if got := env.get(path).StatusCode; got != want {
			t.Errorf("afterwards, %s: %d, want %d", path, got, want)
		}
	}
}

func TestEnvironmentCanBeChangedConcurrently(t *testing.T) {
	env := open(t)
	client := env.Register(callback).ID
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			env.ChangeTokens(changes{"n": i})
			env.ChangeMetadata(changes{"n": i})
			env.ServeMetadata(scalekitenv.Appended)
			env.Answer("/keys", nil)
			env.SignWith([]string{"snk_1", "snk_2"}[i%2])
			env.AddResource("http://localhost:3003/mcp").DisableRegistration(403)
			if env.Token() == "" || env.Hits("/keys") < 0 {
				t.Error("no token")
			}
		})
		all.Go(func() {
			for _, path := range []string{"/keys", appended,
				"/resources/R/oauth/authorize?" + authorization(client).Encode()} {
				response, err := env.HTTPClient().Do(env.request(http.MethodGet, path, ""))
				if err != nil {
					t.Error(err)
					continue
				}
				response.Body.Close()
				if response.StatusCode >= 400 {
					t.Errorf("%s: %d", path, response.StatusCode)
				}
			}
		})
	}
	all.Wait()
}

func TestProtectedResourceMetadata(t *testing.T) {
	for server, want := range map[string]string{
		"http://localhost:3002/": `"resource":"http://localhost:3002/",` +
			`"resource_documentation":"http://localhost:3002/docs"`,
		"http://localhost:3002/mcp": `"resource":"http://localhost:3002/mcp",` +
			`"resource_documentation":"http://localhost:3002/mcp/docs"`,
		"": `"resource":"<your-mcp-url>","resource_documentation":"<your-mcp-url>/docs"`,
	} {
		env := open(t, func(c *scalekitenv.Config) { c.ServerURL = server })
		want := `{"authorization_servers":["` + env.AuthorizationServer() +
			`"],"bearer_methods_supported":["header"],` + want + `,"scopes_supported":["todo:read","todo:write"]}`
		if got := string(env.ProtectedResourceMetadata()); got != want {
			t.Errorf("for %q:\n got %s\nwant %s", server, got, want)
		}
		if env.ServerURL() != server {
			t.Errorf("Server URL %q", env.ServerURL())
		}
	}
	t.Run("without scopes", func(t *testing.T) {
		env := open(t, func(c *scalekitenv.Config) { c.Scopes = []string{} })
		if got := string(env.ProtectedResourceMetadata()); !strings.Contains(got, `"scopes_supported":[]`) {
			t.Error(got)
		}
	})
}
