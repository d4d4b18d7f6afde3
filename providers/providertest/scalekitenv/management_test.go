package scalekitenv_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest"
	"gatehouse/providers/providertest/scalekitenv"
)

const recordPath = "/api/v1/resources/R"

func TestManagementAPIDescribesTheResource(t *testing.T) {
	env := open(t)
	token := env.post("/oauth/token", credentials(env.EnvironmentClient())).text(t, "access_token")
	want := map[string]any{
		"id": env.ResourceID(), "name": "Fake MCP server", "resource_uri": serverURL,
		"resource_id": env.ResourceID(), "resource_type": "MCP_SERVER",
		"access_token_expiry": "3600", "refresh_token_expiry": "2592000",
		"disable_dynamic_client_registration": false, "enable_cimd": true,
		"xaa_enabled": false, "intersect_scopes_user_permission": false, "provider": "",
		"scopes": []any{
			map[string]any{"id": "scp_1", "name": "todo:read", "description": "todo:read", "enabled": true},
			map[string]any{"id": "scp_2", "name": "todo:write", "description": "todo:write", "enabled": true},
		},
		"protected_metadata": map[string]any{
			"authorization_servers": []any{env.AuthorizationServer()}, "bearer_methods_supported": []any{"header"},
			"resource":               serverURL,
			"resource_documentation": serverURL + "/docs", "scopes_supported": []any{"todo:read", "todo:write"},
		},
		"protected_metadata_uri": "http://localhost:3002/.well-known/oauth-protected-resource/mcp",
	}
	if diff := cmp.Diff(want, env.getAs(token, recordPath).json(t)["resource"]); diff != "" {
		t.Error(diff)
	}
	t.Run("as it was changed", func(t *testing.T) {
		env.DisableRegistration(http.StatusForbidden)
		env.DisableClientDocuments()
		env.ChangeRecord(changes{"resource_uri": "https://elsewhere.example/mcp", "access_token_expiry": 300,
			"provider": nil})
		record := env.getAs(token, recordPath).json(t)["resource"].(map[string]any)
		_, provider := record["provider"]
		if record["resource_uri"] != "https://elsewhere.example/mcp" || record["access_token_expiry"] != 300.0 ||
			provider ||
			record["disable_dynamic_client_registration"] != true || record["enable_cimd"] != false {
			t.Errorf("%v", record)
		}
	})
	t.Run("with placeholders if there is no Server URL", func(t *testing.T) {
		env := open(t, func(c *scalekitenv.Config) { c.ServerURL = "" })
		a := env.getAs(env.ManagementToken(), recordPath)
		record := a.json(t)["resource"].(map[string]any)
		if !strings.Contains(a.body, `"<your-mcp-url>"`) {
			t.Errorf("the placeholder is escaped: %s", a.body)
		}
		if got := record["protected_metadata"].(map[string]any)["resource"]; got != "<your-mcp-url>" ||
			record["resource_uri"] != "" {
			t.Errorf("%v", record)
		}
		if got := record["protected_metadata_uri"]; got != "/.well-known/oauth-protected-resource/<your-mcp-path>" {
			t.Errorf("protected_metadata_uri %v", got)
		}
	})
	t.Run("at the root", func(t *testing.T) {
		env := open(t, func(c *scalekitenv.Config) { c.ServerURL = "http://localhost:3002/" })
		record := env.getAs(env.ManagementToken(), recordPath).json(t)["resource"].(map[string]any)
		want := "http://localhost:3002/.well-known/oauth-protected-resource"
		if got := record["protected_metadata_uri"]; got != want {
			t.Errorf("protected_metadata_uri %v", got)
		}
	})
}

func TestManagementAPIRequiresEnvironmentCredentials(t *testing.T) {
	env := open(t)
	other := providertest.NewIssuer(t, providertest.WithKeyIDs("snk_1"))
	claims := changes{"client_id": env.EnvironmentClient().ID, "exp": scalekitenv.In(time.Minute)}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"a management token":             {env.ManagementToken(), 200},
		"nothing":                        {"", 401},
		"not a JWT":                      {"x", 401},
		"a user's token":                 {env.Token(), 401},
		"a machine's token":              {env.MachineToken(), 401},
		"an organization's token":        {env.OrgMachineToken(), 401},
		"a token of unknown credentials": {env.ManagementToken(changes{"client_id": "skc_9"}), 401},
		"an expired management token": {
			env.ManagementToken(changes{"exp": scalekitenv.In(-time.Minute)}), 401},
		"a management token that is not valid yet": {
			env.ManagementToken(changes{"nbf": scalekitenv.In(time.Minute)}), 401},
		"a management token without exp":       {env.ManagementToken(changes{"exp": nil}), 401},
		"an unsigned one":                      {env.Unsigned(claims), 401},
		"one by another key with the same kid": {other.Sign(nil, claims), 401},
		"one without a kid":                    {env.Sign(changes{"kid": nil}, claims), 401},
		"the same with a kid":                  {env.Sign(nil, claims), 200},
	} {
		t.Run(name, func(t *testing.T) {
			a := env.getAs(c.token, recordPath)
			if a.StatusCode != c.want {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			if c.want == 401 && (a.json(t)["code"] != 16.0 || a.text(t, "message") == "") {
				t.Errorf("%s", a.body)
			}
		})
	}
	if a := env.get(recordPath); a.StatusCode != 401 {
		t.Errorf("without a header: %d", a.StatusCode)
	}
	r := env.request(http.MethodGet, recordPath, "")
	r.Header.Set("Authorization", "Basic "+env.ManagementToken())
	if a := env.do(r); a.StatusCode != 401 {
		t.Errorf("by another scheme: %d", a.StatusCode)
	}
	if a := env.getAs(env.ManagementToken(), "/api/v1/resources/res_9"); a.StatusCode != 404 ||
		a.json(t)["code"] != 5.0 {
		t.Errorf("an unknown resource: %d %s", a.StatusCode, a.body)
	}
	old := env.ManagementToken()
	env.AddKey(jose.RS256)
	env.Signer.Withdraw("snk_1")
	for token, want := range map[string]int{old: 401, env.ManagementToken(): 200} {
		if a := env.getAs(token, recordPath); a.StatusCode != want {
			t.Errorf("after the rotation: %d, want %d", a.StatusCode, want)
		}
	}
}
