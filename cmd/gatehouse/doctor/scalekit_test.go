package doctor_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
	"gatehouse/providers/providertest/scalekitenv"
)

// newScalekit is a world in which the server is registered in a fake Scalekit environment.
func newScalekit(t *testing.T) (*world, *scalekitenv.Environment) {
	t.Helper()
	w := newWorld(t)
	env := scalekitenv.New(t, scalekitenv.Config{
		ServerURL: w.settings["resource"], Scopes: []string{"mcp:use", "greet:read", "greet:write", "gatehouse:admin"},
	})
	w.noProvider = true
	w.settings["provider.kind"] = "scalekit"
	w.settings["provider.environment_url"] = env.URL()
	w.settings["provider.resource_id"] = env.ResourceID()
	w.settings["provider.client_id"] = env.EnvironmentClient().ID
	w.secret = env.EnvironmentClient().Secret
	return w, env
}

func TestAGoodRegistrationAtScalekitHasNothingToMend(t *testing.T) {
	for name, change := range map[string]func(*world, *scalekitenv.Environment){
		"as it should be": func(*world, *scalekitenv.Environment) {},
		"metadata appended only": func(_ *world, env *scalekitenv.Environment) {
			env.ServeMetadata(scalekitenv.Appended)
		},
		"no Server URL": func(_ *world, env *scalekitenv.Environment) {
			env.ChangeRecord(scalekitenv.Changes{"resource_uri": ""})
		},
		"registration off, documents on": func(_ *world, env *scalekitenv.Environment) { env.DisableRegistration(http.StatusForbidden) },
		"documents off, registration on": func(_ *world, env *scalekitenv.Environment) { env.DisableClientDocuments() },
		"a record in short": func(_ *world, env *scalekitenv.Environment) {
			env.ChangeRecord(scalekitenv.Changes{"scopes": []any{
				map[string]any{"name": "mcp:use"}, map[string]any{"name": "greet:read"}, map[string]any{"name": "greet:write"}, map[string]any{"name": "gatehouse:admin"},
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, env := newScalekit(t)
			change(w, env)
			results := w.open().examine()
			if got := bad(results); len(got) > 0 {
				t.Errorf("%v:\n%s", got, text(results))
			}
			for _, check := range []string{"registration.credentials", "registration.record", "registration.server_url", "registration.scopes", "registration.clients"} {
				if r := named(results, check); r.Verdict != diagnostics.VerdictOK {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// Serving needs no secret, and so the lack of one is nothing to mend.
func TestWithoutASecretTheRegistrationIsNotLookedAt(t *testing.T) {
	w, env := newScalekit(t)
	w.secret = ""
	results := w.open().examine()
	if got := bad(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	skipped := 0
	for _, r := range results {
		if strings.HasPrefix(r.Name, "registration.") {
			skipped++
			if r.Verdict != diagnostics.VerdictSkipped || !strings.Contains(r.Reason, "provider.client_secret") && !strings.Contains(r.Reason, "no API credentials") {
				t.Errorf("%+v", r)
			}
		}
	}
	if skipped != 5 || env.Hits("/oauth/token") != 0 {
		t.Errorf("%d were skipped, and the token endpoint was asked %d times", skipped, env.Hits("/oauth/token"))
	}
}

func TestFaultsAtScalekitAreFoundByTheirCheckAndNoOther(t *testing.T) {
	type changes = scalekitenv.Changes
	scopes := func(names ...string) changes {
		list := []any{}
		for _, name := range names {
			name, off := strings.CutPrefix(name, "-")
			list = append(list, map[string]any{"name": name, "enabled": !off})
		}
		return changes{"scopes": list}
	}
	for name, c := range map[string]struct {
		change     func(*world, *scalekitenv.Environment)
		bad        []string
		found, fix string
	}{
		"a secret that is not good": {
			func(w *world, _ *scalekitenv.Environment) { w.secret = "canary-wrong" },
			[]string{"registration.credentials failed"}, "rejects them (401)", "API Credentials",
		},
		"a token endpoint that is down": {
			func(_ *world, env *scalekitenv.Environment) { env.Answer("/oauth/token", scalekitenv.Status(500)) },
			[]string{"registration.credentials failed"}, "answered 500", "",
		},
		"a token endpoint that had enough": {
			func(_ *world, env *scalekitenv.Environment) { env.Answer("/oauth/token", scalekitenv.RateLimited()) },
			[]string{"registration.credentials failed"}, "answered 429", "",
		},
		"a page in place of a token": {
			func(_ *world, env *scalekitenv.Environment) { env.Answer("/oauth/token", scalekitenv.HTMLPage()) },
			[]string{"registration.credentials failed"}, "without a token", "",
		},
		"an answer without a token": {
			func(_ *world, env *scalekitenv.Environment) {
				env.Answer("/oauth/token", scalekitenv.JSON(200, changes{"token_type": "Bearer"}))
			},
			[]string{"registration.credentials failed"}, "without a token", "",
		},
		"a record of nothing": {
			func(w *world, env *scalekitenv.Environment) {
				env.Answer("/api/v1/resources/"+env.ResourceID(), scalekitenv.JSON(200, changes{}))
			},
			[]string{"registration.record failed"}, "is not an MCP server", "",
		},
		"an MCP server that is not there": {
			func(w *world, env *scalekitenv.Environment) {
				env.Answer("/api/v1/resources/"+env.ResourceID(), scalekitenv.Status(404))
			},
			[]string{"registration.record failed"}, "there is no MCP server res_103100112351265282", "provider.resource_id",
		},
		"credentials that may not read it": {
			func(w *world, env *scalekitenv.Environment) {
				env.Answer("/api/v1/resources/"+env.ResourceID(), scalekitenv.Status(401))
			},
			[]string{"registration.record failed"}, "answered 401", "",
		},
		"a page in place of the record": {
			func(w *world, env *scalekitenv.Environment) {
				env.Answer("/api/v1/resources/"+env.ResourceID(), scalekitenv.HTMLPage())
			},
			[]string{"registration.record failed"}, "is not an MCP server", "",
		},
		"the Server URL of another server": {
			func(_ *world, env *scalekitenv.Environment) {
				env.ChangeRecord(changes{"resource_uri": "https://other.example.com/mcp"})
			},
			[]string{"registration.server_url failed"}, `"https://other.example.com/mcp"`, "as the Server URL in the dashboard",
		},
		"the Server URL that Scalekit's guide for FastMCP wants": {
			func(w *world, env *scalekitenv.Environment) {
				env.ChangeRecord(changes{"resource_uri": w.front.URL + "/"})
			},
			[]string{"registration.server_url warning"}, "on the same host", "this server does not",
		},
		"a scope of first sign-in that is not registered": {
			func(_ *world, env *scalekitenv.Environment) {
				env.ChangeRecord(scopes("mcp:use", "greet:write", "gatehouse:admin"))
			},
			[]string{"registration.scopes failed"}, "missing are greet:read", "scopes.initial",
		},
		"a scope of first sign-in that is switched off": {
			func(_ *world, env *scalekitenv.Environment) {
				env.ChangeRecord(scopes("-mcp:use", "greet:read", "greet:write", "gatehouse:admin"))
			},
			[]string{"registration.scopes failed"}, "missing are mcp:use", "enable them",
		},
		"a scope of a tool that is not registered": {
			func(_ *world, env *scalekitenv.Environment) {
				env.ChangeRecord(scopes("mcp:use", "greet:read", "gatehouse:admin"))
			},
			[]string{"registration.scopes warning"}, "missing are greet:write", "no client can call these tools",
		},
		"no way for clients to get in": {
			func(_ *world, env *scalekitenv.Environment) {
				env.DisableRegistration(http.StatusNotFound)
				env.DisableClientDocuments()
			},
			[]string{"registration.clients warning", "provider.registration warning"}, "both are switched off", "dashboard",
		},
		"metadata that still names the environment": {
			func(_ *world, env *scalekitenv.Environment) { env.ChangeMetadata(changes{"issuer": env.URL()}) },
			[]string{"provider.issuer warning"}, "from before the migration", "strict clients refuse",
		},
		"metadata of another MCP server": {
			func(_ *world, env *scalekitenv.Environment) {
				env.ChangeMetadata(changes{"issuer": env.URL() + "/resources/res_1"})
			},
			[]string{"provider.issuer failed"}, "/resources/res_1", "provider.resource_id",
		},
		"no metadata of this MCP server": {
			func(_ *world, env *scalekitenv.Environment) { env.ServeMetadata(0) },
			[]string{"provider.metadata failed"}, "answered 404", "provider.environment_url",
		},
		"an environment that names its custom domain": {
			func(_ *world, env *scalekitenv.Environment) {
				domain := scalekitenv.JSON(200, changes{"issuer": "https://auth.example.com"})
				env.Answer("/.well-known/oauth-authorization-server", domain)
				env.Answer("/.well-known/openid-configuration", domain)
			},
			[]string{"provider.issuer failed"}, `"https://auth.example.com"`, "provider.issuers",
		},
		"an environment that says nothing of itself": {
			func(_ *world, env *scalekitenv.Environment) {
				env.Answer("/.well-known/oauth-authorization-server", scalekitenv.Status(404))
				env.Answer("/.well-known/openid-configuration", scalekitenv.Status(404))
			},
			[]string{"provider.metadata warning"}, "answered 404", "provider.environment_url",
		},
		"no keys": {
			func(_ *world, env *scalekitenv.Environment) { env.Answer("/keys", scalekitenv.EmptyKeySet()) },
			[]string{"provider.keys failed", "server.ready failed"}, "no key that can verify", "provider.environment_url",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, env := newScalekit(t)
			c.change(w, env)
			results := w.open().examine()
			want := slices.Sorted(slices.Values(c.bad))
			if got := bad(results); !slices.Equal(got, want) {
				t.Fatalf("found %v, want %v:\n%s", got, want, text(results))
			}
			check, _, _ := strings.Cut(c.bad[0], " ")
			if r := named(results, check); !strings.Contains(r.Found, c.found) || !strings.Contains(r.Fix, c.fix) || r.Fix == "" {
				t.Errorf("found %q, fix %q", r.Found, r.Fix)
			}
			w.showsNoCanary(results)
		})
	}
}

// Who cannot be reached is not asked for his records.
func TestARegistrationIsNotLookedAtWhereNobodyAnswers(t *testing.T) {
	w, _ := newScalekit(t)
	w.settings["provider.environment_url"] = "http://" + closed(t)
	results := w.open().examine()
	want := []string{"provider.tcp failed", "server.ready failed"}
	if got := bad(results); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if r := named(results, "registration.credentials"); r.Verdict != diagnostics.VerdictSkipped || r.Reason != "provider.tcp failed" {
		t.Errorf("%+v", r)
	}
}
