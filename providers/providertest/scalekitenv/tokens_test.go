package scalekitenv_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest/scalekitenv"
)

type changes = scalekitenv.Changes

// normalized replaces what differs from token to token: numbers, and the digits of ids.
func normalized(claims map[string]any) map[string]any {
	for name, value := range claims {
		switch v := value.(type) {
		case float64:
			claims[name] = "NUMBER"
		case string:
			if prefix, digits, ok := strings.Cut(v, "_"); ok && len(digits) == 18 {
				claims[name] = prefix + "_"
			}
		}
	}
	return claims
}

func TestTokensMatchCaptures(t *testing.T) {
	env := open(t)
	for name, c := range map[string]struct {
		token string
		want  map[string]any
	}{
		"of a user": {env.Token(), map[string]any{
			"iss": env.URL(), "aud": []any{serverURL, env.ResourceID()}, "client_id": "m2m_", "sub": "usr_1",
			"oid":   "org_1",
			"resid": "res_", "roles": []any{"admin"}, "sid": "ses_", "jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER",
			"nbf":    "NUMBER",
			"scope":  "openid offline_access todo:read todo:write email profile",
			"scopes": []any{"openid", "offline_access", "todo:read", "todo:write", "email", "profile"},
		}},
		"of a machine": {env.MachineToken(), map[string]any{
			"iss": env.URL(), "aud": []any{serverURL, env.ResourceID()}, "client_id": "m2m_", "sub": "m2m_",
			"oid":   "org_1",
			"resid": "res_", "jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
			"scope": "todo:read todo:write", "scopes": []any{"todo:read", "todo:write"},
		}},
		"of an organization's machine": {env.OrgMachineToken(), map[string]any{
			"iss": env.URL(), "client_id": "m2morg_", "sub": "m2morg_", "oid": "org_1",
			"jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
			"scopes": []any{"deploy:applications", "read:deployments"},
		}},
		"for the management API": {env.ManagementToken(), map[string]any{
			"iss": env.URL(), "aud": []any{env.URL()}, "client_id": "skc_", "sub": "skc_",
			"jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			header, claims := env.decode(c.token)
			if header.Algorithm != "RS256" || header.KeyID != "snk_1" || header.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("header %+v", header)
			}
			if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 3600 ||
				claims["nbf"] != claims["iat"] {
				t.Errorf("exp %v, iat %v, nbf %v", claims["exp"], claims["iat"], claims["nbf"])
			}
			if diff := cmp.Diff(c.want, normalized(claims)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("ID token", func(t *testing.T) {
		_, claims := env.decode(env.IDToken())
		client := claims["azp"].(string)
		if len(claims["nonce"].(string)) == 0 || len(claims["at_hash"].(string)) != 22 ||
			len(claims["c_hash"].(string)) != 22 {
			t.Errorf("nonce %q, at_hash %q, c_hash %q", claims["nonce"], claims["at_hash"], claims["c_hash"])
		}
		for _, name := range []string{"nonce", "at_hash", "c_hash"} {
			delete(claims, name)
		}
		want := map[string]any{
			"iss": env.URL(), "aud": []any{client}, "azp": "m2m_", "sub": "usr_1", "oid": "org_1",
			"amr":   []any{"conn_1"},
			"email": "usr_1@example.com", "exp": "NUMBER", "iat": "NUMBER",
		}
		if diff := cmp.Diff(want, normalized(claims)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("no scopes give an empty list", func(t *testing.T) {
		_, claims := env.decode(env.Token(scalekitenv.Scopes()))
		if diff := cmp.Diff([]any{}, claims["scopes"]); diff != "" || claims["scope"] != "" {
			t.Errorf("scope %q, %s", claims["scope"], diff)
		}
	})
	t.Run("tokens are unique", func(t *testing.T) {
		_, one := env.decode(env.Token())
		_, two := env.decode(env.Token())
		if one["jti"] == two["jti"] {
			t.Errorf("both are %v", one["jti"])
		}
	})
}

func TestAudienceWithoutServerURLIsTheResourceID(t *testing.T) {
	env := open(t, func(c *scalekitenv.Config) {
		c.ServerURL = ""
		c.ResourceID = "res_7"
		c.AccessTokenLifetime = time.Minute
	})
	_, claims := env.decode(env.Token())
	if diff := cmp.Diff([]any{"res_7"}, claims["aud"]); diff != "" || claims["resid"] != "res_7" {
		t.Errorf("aud %v, resid %v", claims["aud"], claims["resid"])
	}
	if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 60 {
		t.Errorf("a lifetime of %v s", lifetime)
	}
}

func TestChangeTokens(t *testing.T) {
	env := open(t)
	other := env.AddResource("http://localhost:3003/mcp")
	env.ChangeTokens(changes{"iss": env.AuthorizationServer(), "roles": nil}, changes{"xoid": "customer-1"})
	for name, token := range map[string]string{"made": env.Token(), "issued": env.signIn("openid todo:read")} {
		_, claims := env.decode(token)
		if claims["iss"] != env.AuthorizationServer() || claims["roles"] != nil || claims["xoid"] != "customer-1" {
			t.Errorf("%s: %v", name, claims)
		}
	}
	if _, claims := env.decode(env.MachineToken()); claims["iss"] != env.AuthorizationServer() {
		t.Errorf("of a machine: %v", claims)
	}
	if _, claims := env.decode(env.Token(changes{
		"iss": "https://elsewhere.example"})); claims["iss"] != "https://elsewhere.example" {
		t.Errorf("the changes of one token do not win: %v", claims)
	}
	if _, claims := env.decode(other.Token()); claims["iss"] != env.URL() {
		t.Errorf("another resource is changed too: %v", claims)
	}
	env.ChangeTokens()
	if _, claims := env.decode(env.Token()); claims["iss"] != env.URL() || claims["roles"] == nil {
		t.Errorf("afterwards: %v", claims)
	}
}

// signIn returns the access token of a new client for scopes.
func (env *testEnv) signIn(scopes string) string {
	env.t.Helper()
	client := env.Register(callback).ID
	return env.post("/resources/R/oauth/token", exchange(client, env.code(client, "scope", scopes))).text(env.t,
		"access_token")
}
