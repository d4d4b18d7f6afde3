package doctor_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
	"gatehouse/providers/providertest/scalekitenv"
)

// newScalekit returns an environment in which the server is registered at a fake Scalekit.
func newScalekit(t *testing.T) (*env, *scalekitenv.Environment) {
	t.Helper()
	e := newEnv(t)
	scalekit := scalekitenv.New(t, scalekitenv.Config{
		ServerURL: e.settings["resource"], Scopes: []string{"mcp:use", "notes:read", "notes:write", "notes:admin"},
	})
	e.noProvider = true
	e.settings["provider.kind"] = "scalekit"
	e.settings["provider.environment_url"] = scalekit.URL()
	e.settings["provider.resource_id"] = scalekit.ResourceID()
	e.settings["provider.client_id"] = scalekit.EnvironmentClient().ID
	e.secret = scalekit.EnvironmentClient().Secret
	return e, scalekit
}

func TestScalekitRegistrationWithoutAProblem(t *testing.T) {
	for name, change := range map[string]func(*env, *scalekitenv.Environment){
		"complete": func(*env, *scalekitenv.Environment) {},
		"no Server URL": func(_ *env, scalekit *scalekitenv.Environment) {
			scalekit.ChangeRecord(scalekitenv.Changes{"resource_uri": ""})
		},
		"registration off, documents on": func(_ *env, scalekit *scalekitenv.Environment) {
			scalekit.DisableRegistration(http.StatusForbidden)
		},
		"documents off, registration on": func(_ *env, scalekit *scalekitenv.Environment) {
			scalekit.DisableClientDocuments()
		},
		"a record with names only": func(_ *env, scalekit *scalekitenv.Environment) {
			scalekit.ChangeRecord(scalekitenv.Changes{"scopes": []any{
				map[string]any{"name": "mcp:use"}, map[string]any{"name": "notes:read"},
				map[string]any{"name": "notes:write"}, map[string]any{"name": "notes:admin"},
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, scalekit := newScalekit(t)
			change(e, scalekit)
			results := e.open().examine()
			if got := problems(results); len(got) > 0 {
				t.Errorf("%v:\n%s", got, text(results))
			}
			for _, check := range []string{"registration.credentials", "registration.record",
				"registration.server_url", "registration.scopes", "registration.clients"} {
				if r := find(results, check); r.Verdict != diagnostics.VerdictOK {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// Serving needs no secret, so a missing one is not a problem.
func TestScalekitRegistrationIsSkippedWithoutASecret(t *testing.T) {
	e, scalekit := newScalekit(t)
	e.secret = ""
	results := e.open().examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	skipped := 0
	for _, r := range results {
		if strings.HasPrefix(r.Name, "registration.") {
			skipped++
			if r.Verdict != diagnostics.VerdictSkipped || !strings.Contains(r.Reason, "provider.client_secret") &&
				!strings.Contains(r.Reason, "no API credentials") {
				t.Errorf("%+v", r)
			}
		}
	}
	if skipped != 5 || scalekit.Hits("/oauth/token") != 0 {
		t.Errorf("%d were skipped, and the token endpoint got %d requests", skipped, scalekit.Hits("/oauth/token"))
	}
}

func TestScalekitFaultsAreFoundByTheirCheckAndNoOther(t *testing.T) {
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
		change     func(*env, *scalekitenv.Environment)
		bad        []string
		found, fix string
	}{
		"a wrong secret": {
			func(e *env, _ *scalekitenv.Environment) { e.secret = "canary-wrong" },
			[]string{"registration.credentials failed"}, "rejects them (401)", "API Credentials",
		},
		"a token endpoint that is down": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/oauth/token", scalekitenv.Status(500))
			},
			[]string{"registration.credentials failed"}, "answered 500", "",
		},
		"a token endpoint that limits requests": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/oauth/token", scalekitenv.RateLimited())
			},
			[]string{"registration.credentials failed"}, "answered 429", "",
		},
		"an HTML page instead of a token": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/oauth/token", scalekitenv.HTMLPage())
			},
			[]string{"registration.credentials failed"}, "without a token", "",
		},
		"a response without a token": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/oauth/token", scalekitenv.JSON(200, changes{"token_type": "Bearer"}))
			},
			[]string{"registration.credentials failed"}, "without a token", "",
		},
		"an empty record": {
			func(e *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/api/v1/resources/"+scalekit.ResourceID(), scalekitenv.JSON(200, changes{}))
			},
			[]string{"registration.record failed"}, "is not an MCP server", "",
		},
		"an MCP server that is not registered": {
			func(e *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/api/v1/resources/"+scalekit.ResourceID(), scalekitenv.Status(404))
			},
			[]string{"registration.record failed"}, "there is no MCP server res_103100112351265282",
			"provider.resource_id",
		},
		"credentials that may not read it": {
			func(e *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/api/v1/resources/"+scalekit.ResourceID(), scalekitenv.Status(401))
			},
			[]string{"registration.record failed"}, "answered 401", "",
		},
		"an HTML page instead of the record": {
			func(e *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/api/v1/resources/"+scalekit.ResourceID(), scalekitenv.HTMLPage())
			},
			[]string{"registration.record failed"}, "is not an MCP server", "",
		},
		"the Server URL of another server": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeRecord(changes{"resource_uri": "https://other.example.com/mcp"})
			},
			[]string{"registration.server_url failed"}, `"https://other.example.com/mcp"`,
			"as the Server URL in the dashboard",
		},
		"the Server URL of Scalekit's guide for FastMCP": {
			func(e *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeRecord(changes{"resource_uri": e.proxy.URL + "/"})
			},
			[]string{"registration.server_url warning"}, "on the same host", "this server does not",
		},
		"a scope of first sign-in that is not registered": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeRecord(scopes("mcp:use", "notes:write", "notes:admin"))
			},
			[]string{"registration.scopes failed"}, "missing are notes:read", "scopes.initial",
		},
		"a scope of first sign-in that is disabled": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeRecord(scopes("-mcp:use", "notes:read", "notes:write", "notes:admin"))
			},
			[]string{"registration.scopes failed"}, "missing are mcp:use", "enable them",
		},
		"a scope of a tool that is not registered": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeRecord(scopes("mcp:use", "notes:read", "notes:admin"))
			},
			[]string{"registration.scopes warning"}, "missing are notes:write", "add them to the MCP server in the dashboard",
		},
		"no client registration": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.DisableRegistration(http.StatusNotFound)
				scalekit.DisableClientDocuments()
			},
			[]string{"registration.clients warning", "provider.registration warning"}, "both are switched off",
			"dashboard",
		},
		"metadata that still names the environment": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeMetadata(changes{"issuer": scalekit.URL()})
			},
			[]string{"provider.issuer warning"}, "from before the migration", "strict clients refuse",
		},
		"metadata of another MCP server": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.ChangeMetadata(changes{"issuer": scalekit.URL() + "/resources/res_1"})
			},
			[]string{"provider.issuer failed"}, "/resources/res_1", "provider.resource_id",
		},
		// This server finds it there, and clients do not request that address.
		"metadata appended only": {
			func(_ *env, scalekit *scalekitenv.Environment) { scalekit.ServeMetadata(scalekitenv.Appended) },
			[]string{"provider.clients failed"}, "the Go SDK finds none: the last address is",
			"/.well-known/oauth-authorization-server/resources/res_",
		},
		"no metadata of this MCP server": {
			func(_ *env, scalekit *scalekitenv.Environment) { scalekit.ServeMetadata(0) },
			[]string{"provider.metadata failed"}, "answered 404", "provider.environment_url",
		},
		"an environment that names its custom domain": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				domain := scalekitenv.JSON(200, changes{"issuer": "https://auth.example.com"})
				scalekit.Answer("/.well-known/oauth-authorization-server", domain)
				scalekit.Answer("/.well-known/openid-configuration", domain)
			},
			[]string{"provider.issuer failed"}, `"https://auth.example.com"`, "provider.issuers",
		},
		"an environment without metadata": {
			func(_ *env, scalekit *scalekitenv.Environment) {
				scalekit.Answer("/.well-known/oauth-authorization-server", scalekitenv.Status(404))
				scalekit.Answer("/.well-known/openid-configuration", scalekitenv.Status(404))
			},
			[]string{"provider.metadata warning"}, "answered 404", "provider.environment_url",
		},
		"an empty key set": {
			func(_ *env, scalekit *scalekitenv.Environment) { scalekit.Answer("/keys", scalekitenv.EmptyKeySet()) },
			[]string{"provider.keys failed", "server.ready failed"}, "no key that can verify",
			"provider.environment_url",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, scalekit := newScalekit(t)
			c.change(e, scalekit)
			results := e.open().examine()
			want := slices.Sorted(slices.Values(c.bad))
			if got := problems(results); !slices.Equal(got, want) {
				t.Fatalf("found %v, want %v:\n%s", got, want, text(results))
			}
			check, _, _ := strings.Cut(c.bad[0], " ")
			if r := find(results, check); !strings.Contains(r.Found, c.found) || !strings.Contains(r.Fix, c.fix) ||
				r.Fix == "" {
				t.Errorf("found %q, fix %q", r.Found, r.Fix)
			}
			e.showsNoCanary(results)
		})
	}
}

// The registration is not requested from an unreachable environment.
func TestScalekitRegistrationIsSkippedIfUnreachable(t *testing.T) {
	e, _ := newScalekit(t)
	e.settings["provider.environment_url"] = "http://" + closedAddress(t)
	results := e.open().examine()
	want := []string{"provider.tcp failed", "server.ready failed"}
	if got := problems(results); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if r := find(results, "registration.credentials"); r.Verdict != diagnostics.VerdictSkipped ||
		r.Reason != "provider.tcp failed" {
		t.Errorf("%+v", r)
	}
}
