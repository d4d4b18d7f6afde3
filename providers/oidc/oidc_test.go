package oidc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// metadataServer serves metadata documents by path. It replaces ISSUER in them by its address.
func metadataServer(t *testing.T, documents map[string]string) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := documents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.ReplaceAll(document, "ISSUER", s.URL))
	}))
	t.Cleanup(s.Close)
	return s
}

const testResource = "https://mcp.example.com/mcp"

func TestOIDCFindsMetadata(t *testing.T) {
	const realmDocument = `{"issuer":"ISSUER/realms/a","jwks_uri":"KEYS"}`
	authority := providertest.NewIssuer(t)
	for name, c := range map[string]struct {
		path      string // of the issuer
		documents map[string]string
		change    func(*oidc.Settings)
	}{
		"RFC 8414, an issuer without a path": {"",
			map[string]string{"/.well-known/oauth-authorization-server": `{"issuer":"ISSUER","jwks_uri":"KEYS"}`},
			nil},
		"OpenID only": {"",
			map[string]string{"/.well-known/openid-configuration": `{"issuer":"ISSUER","jwks_uri":"KEYS"}`}, nil},
		"RFC 8414, between host and path": {"/realms/a",
			map[string]string{"/.well-known/oauth-authorization-server/realms/a": realmDocument}, nil},
		"RFC 8414, after the path": {"/realms/a",
			map[string]string{"/realms/a/.well-known/oauth-authorization-server": realmDocument}, nil},
		"OpenID, after the path": {"/realms/a",
			map[string]string{"/realms/a/.well-known/openid-configuration": realmDocument}, nil},
		"an issuer that ends in a slash": {"/",
			map[string]string{"/.well-known/openid-configuration": `{"issuer":"ISSUER/","jwks_uri":"KEYS"}`}, nil},
		"a document of another issuer is passed over": {"", map[string]string{
			"/.well-known/oauth-authorization-server": `{"issuer":"https://evil.example","jwks_uri":"ISSUER/evil"}`,
			"/.well-known/openid-configuration":       `{"issuer":"ISSUER","jwks_uri":"KEYS"}`,
		}, nil},
		"a configured URL": {"", map[string]string{"/elsewhere": `{"issuer":"ISSUER","jwks_uri":"KEYS"}`},
			func(s *oidc.Settings) { s.DiscoveryURL = s.Issuer + "/elsewhere" }},
		"keys that were configured": {"/no/metadata", nil,
			func(s *oidc.Settings) { s.JWKSURL = authority.KeysURL() }},
	} {
		t.Run(name, func(t *testing.T) {
			for path, document := range c.documents {
				c.documents[path] = strings.ReplaceAll(document, "KEYS", authority.KeysURL())
			}
			issuer := metadataServer(t, c.documents).URL + c.path
			p := open(t, newSettings(t, issuer, c.change), testResource)
			token := authority.Token(testResource, map[string]any{"iss": issuer})
			id, err := p.Verify(context.Background(), token)
			if err != nil || id.Subject != "alice" || id.Issuer != issuer {
				t.Fatalf("got %+v, %v", id, err)
			}
			if got := p.Metadata().AuthorizationServers; len(got) != 1 || got[0] != issuer {
				t.Errorf("clients are sent to %v", got)
			}
			if !p.(providers.KeyReporter).Keys().Usable {
				t.Error("the keys are not reported as usable")
			}
		})
	}
}

func TestOIDCRefusesUnsafeMetadata(t *testing.T) {
	for name, c := range map[string]struct{ document, problem string }{
		"another issuer": {`{"issuer":"https://evil.example","jwks_uri":"ISSUER/keys"}`,
			"its issuer is"},
		"the issuer with a slash": {`{"issuer":"ISSUER/","jwks_uri":"ISSUER/keys"}`, "its issuer is"},
		"no issuer":               {`{"jwks_uri":"ISSUER/keys"}`, "its issuer is"},
		"no keys":                 {`{"issuer":"ISSUER"}`, "names no keys"},
		"keys inside the network": {`{"issuer":"ISSUER","jwks_uri":"http://169.254.169.254/latest/meta-data"}`,
			"plain http"},
		"keys of another kind":      {`{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}`, "not an https URL"},
		"a page instead of JSON":    {`<html>canary-upstream</html>`, "not a JSON object"},
		"keys that are no text":     {`{"issuer":"ISSUER","jwks_uri":["ISSUER/keys"]}`, "names no keys"},
		"an issuer that is no text": {`{"issuer":["ISSUER"],"jwks_uri":"ISSUER/keys"}`, `its issuer is ""`},
	} {
		t.Run(name, func(t *testing.T) {
			server := metadataServer(t, map[string]string{"/.well-known/openid-configuration": c.document,
				"/keys": `{"keys":[]}`})
			p := open(t, newSettings(t, server.URL, nil), testResource)
			authority := providertest.NewIssuer(t)
			_, err := p.Verify(context.Background(), authority.Token(testResource, map[string]any{"iss": server.URL}))
			if !errors.Is(err, providers.ErrUnavailable) {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
			problem := p.(providers.KeyReporter).Keys().Problem
			if !strings.Contains(problem, c.problem) || strings.Contains(problem, "canary") {
				t.Errorf("the problem is %q, want %q and no text from the provider", problem, c.problem)
			}
		})
	}
}

func TestOIDCSettingsDecideWhatIsAccepted(t *testing.T) {
	authority := providertest.NewIssuer(t)
	for name, c := range map[string]struct {
		change       func(*oidc.Settings)
		header, with map[string]any
		want         providers.Reason // "" means accepted
	}{
		"a token as RFC 9068 has it": {nil, nil, nil, ""},
		"typ JWT, not named":         {nil, map[string]any{"typ": "JWT"}, nil, token.ReasonTypeRefused},
		"typ JWT, named": {func(s *oidc.Settings) { s.TokenTypes = []string{"JWT"} },
			map[string]any{"typ": "JWT"}, nil, ""},
		"no typ, named": {func(s *oidc.Settings) { s.TokenTypes = []string{"absent"} },
			map[string]any{"typ": nil}, nil, ""},
		"an ID token although JWT is named": {func(s *oidc.Settings) { s.TokenTypes = []string{"JWT"} },
			map[string]any{"typ": "JWT"}, map[string]any{"nonce": "n"}, token.ReasonIDToken},
		"another audience": {nil, nil, map[string]any{"aud": "api://x"},
			token.ReasonAudienceMismatch},
		"another audience, named": {func(s *oidc.Settings) { s.Audiences = []string{"api://x"} }, nil,
			map[string]any{"aud": "api://x"}, ""},
		"the resource when another is named": {func(s *oidc.Settings) { s.Audiences = []string{"api://x"} }, nil,
			nil, token.ReasonAudienceMismatch},
		"scp, a list": {nil, nil, map[string]any{"scope": nil, "scp": []string{"mcp:use"}},
			""},
		"an algorithm that is not named": {func(s *oidc.Settings) { s.Algorithms = []string{"ES256"} }, nil,
			nil, token.ReasonAlgorithmRefused},
		"a token of 10 KiB": {func(s *oidc.Settings) { s.MaxTokenBytes = 4096 }, nil,
			map[string]any{"x": strings.Repeat("x", 10<<10)}, token.ReasonTooLong},
		"expired within the leeway": {func(s *oidc.Settings) { s.Leeway = 5 * time.Minute }, nil,
			map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()}, ""},
		"expired beyond the leeway": {nil, nil,
			map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()}, token.ReasonExpired},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, newSettings(t, authority.URL(), func(s *oidc.Settings) {
				s.JWKSURL = authority.KeysURL()
				if c.change != nil {
					c.change(s)
				}
			}), testResource)
			claims := authority.Claims(testResource)
			for k, v := range c.with {
				if claims[k] = v; v == nil {
					delete(claims, k)
				}
			}
			id, err := p.Verify(context.Background(), authority.Sign(c.header, claims))
			if got := providers.ReasonOf(err); got != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, %v; want %q", id, err, c.want)
			}
		})
	}
}

func TestOIDCValidateReportsAllProblems(t *testing.T) {
	resource, err := providers.ParseResource(testResource)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		want   string
		hint   string
	}{
		"good as they are":           {func(*oidc.Settings) {}, "", ""},
		"a slash at the end is kept": {func(s *oidc.Settings) { s.Issuer = "https://tenant.example/" }, "", ""},
		"no issuer":                  {func(s *oidc.Settings) { s.Issuer = "" }, "issuer", ""},
		"an issuer without https://": {func(s *oidc.Settings) { s.Issuer = "tenant.example" }, "issuer",
			"did you mean https://tenant.example?"},
		"an issuer with a query": {func(s *oidc.Settings) { s.Issuer = "https://tenant.example?x=1" }, "issuer",
			""},
		"a plain http issuer": {func(s *oidc.Settings) { s.Issuer = "http://tenant.example" }, "issuer", ""},
		"the same, allowed by name": {func(s *oidc.Settings) {
			s.Issuer, s.HTTPAllowedHosts = "http://issuer:9000",
				[]string{"issuer"}
		}, "", ""},
		"a plain http back channel": {func(s *oidc.Settings) { s.JWKSURL = "http://issuer:9000/keys" }, "jwks_url",
			""},
		"keys with a query": {func(s *oidc.Settings) { s.JWKSURL = "https://tenant.example/keys?p=policy" }, "",
			""},
		"an http server for clients": {func(s *oidc.Settings) {
			s.AuthorizationServers, s.HTTPAllowedHosts = []string{"http://issuer"}, []string{"issuer"}
		}, "authorization_servers", ""},
		"HS256": {func(s *oidc.Settings) { s.Algorithms = []string{"HS256", "none", "RS256"} },
			"algorithms algorithms", ""},
		"nothing accepted at all": {func(s *oidc.Settings) {
			s.Algorithms, s.TokenTypes, s.ScopeClaims = nil, nil,
				nil
		}, "algorithms token_types scope_claims", ""},
		"an empty audience": {func(s *oidc.Settings) { s.Audiences = []string{" "} }, "audiences", ""},
		"a required type that no access token has": {func(s *oidc.Settings) {
			s.RequiredClaims = []string{"token_use=id",
				"typ=Bearer", "tid=id"}
		}, "required_claims", "token_use=access"},
		"times that cannot be right": {func(s *oidc.Settings) {
			s.Leeway, s.KeyRefetchInterval, s.KeyMaxAge, s.KeyMaxStale = time.Hour, 0, 0, -1
		}, "leeway key_refetch_interval key_max_age key_max_stale", ""},
		"a token of no length": {func(s *oidc.Settings) { s.MaxTokenBytes = 0 }, "max_token_bytes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSettings(t, "https://tenant.example", c.change)
			if s.KeyRefetchInterval == 50*time.Millisecond {
				s.KeyRefetchInterval = 30 * time.Second
			}
			var keys, fixes []string
			s.Validate(resource, func(p providers.Problem) {
				if p.Reason == "" || p.Fix == "" {
					t.Errorf("no reason or no fix: %+v", p)
				}
				keys, fixes = append(keys, p.Key), append(fixes, p.Fix)
			})
			if strings.Join(keys, " ") != c.want || !strings.Contains(strings.Join(fixes, " "), c.hint) {
				t.Errorf("reported %v (%v), want %s", keys, fixes, c.want)
			}
		})
	}
}

func TestOIDCWarnsIfOtherTokenTypesAreAccepted(t *testing.T) {
	const warned = "refresh tokens included"
	resource := must(providers.ParseResource(testResource))
	for name, c := range map[string]struct {
		change func(*oidc.Settings)
		warns  bool
	}{
		"at+jwt alone": {nil, false},
		"JWT":          {func(s *oidc.Settings) { s.TokenTypes = []string{"JWT"} }, true},
		"JWT as a media type": {func(s *oidc.Settings) { s.TokenTypes = []string{"at+jwt", "application/jwt"} },
			true},
		"no typ": {func(s *oidc.Settings) { s.TokenTypes = []string{"absent"} }, true},
		"JWT and a required claim": {func(s *oidc.Settings) {
			s.TokenTypes, s.RequiredClaims = []string{"JWT"}, []string{"token_use=access"}
		}, false},
		"JWT by a preset": {func(s *oidc.Settings) { s.TokenTypes, s.Preset = []string{"JWT"}, "hydra" },
			false},
		"JWT, where no token is one": {func(s *oidc.Settings) {
			s.TokenTypes, s.Introspection = []string{"JWT"},
				"always"
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // no request is sent
			var log lockedLog
			settings := newSettings(t, "https://tenant.example", c.change)
			info := providers.ServerInfo{Resource: resource, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			if _, err := settings.Open(ctx, info); err != nil {
				t.Fatal(err)
			}
			line := log.String()
			if strings.Contains(line, warned) != c.warns {
				t.Errorf("the log is %q", line)
			}
			for _, part := range []string{"level=WARN", "setting=provider.token_types", "provider.required_claims"} {
				if c.warns && !strings.Contains(line, part) {
					t.Errorf("%q has no %s", line, part)
				}
			}
			examined := slices.ContainsFunc(settings.Diagnose(info).Checks,
				func(x diagnostics.Check) bool { return x.Name == "provider.token_types" })
			if examined != c.warns {
				t.Errorf("doctor has the check: %t", examined)
			}
		})
	}
}
