package scalekitenv_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
	"gatehouse/providers/providertest/scalekitenv"
	"gatehouse/providers/token"
)

type changes = scalekitenv.Changes

// normalised blots out what differs from token to token: numbers, and ids behind their prefix.
func normalised(claims map[string]any) map[string]any {
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

func TestTokensAreAsCaptured(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		token string
		want  map[string]any
	}{
		"of a user": {h.Token(), map[string]any{
			"iss": h.URL(), "aud": []any{serverURL, h.ResourceID()}, "client_id": "m2m_", "sub": "usr_1", "oid": "org_1",
			"resid": "res_", "roles": []any{"admin"}, "sid": "ses_", "jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
			"scope":  "openid offline_access todo:read todo:write email profile",
			"scopes": []any{"openid", "offline_access", "todo:read", "todo:write", "email", "profile"},
		}},
		"of a machine": {h.MachineToken(), map[string]any{
			"iss": h.URL(), "aud": []any{serverURL, h.ResourceID()}, "client_id": "m2m_", "sub": "m2m_", "oid": "org_1",
			"resid": "res_", "jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
			"scope": "todo:read todo:write", "scopes": []any{"todo:read", "todo:write"},
		}},
		"of an organisation's machine": {h.OrgMachineToken(), map[string]any{
			"iss": h.URL(), "client_id": "m2morg_", "sub": "m2morg_", "oid": "org_1",
			"jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
			"scopes": []any{"deploy:applications", "read:deployments"},
		}},
		"for the management API": {h.ManagementToken(), map[string]any{
			"iss": h.URL(), "aud": []any{h.URL()}, "client_id": "skc_", "sub": "skc_",
			"jti": "tkn_", "exp": "NUMBER", "iat": "NUMBER", "nbf": "NUMBER",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			header, claims := h.decode(c.token)
			if header.Algorithm != "RS256" || header.KeyID != "snk_1" || header.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("header %+v", header)
			}
			if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 3600 || claims["nbf"] != claims["iat"] {
				t.Errorf("exp %v, iat %v, nbf %v", claims["exp"], claims["iat"], claims["nbf"])
			}
			if diff := cmp.Diff(c.want, normalised(claims)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("ID token", func(t *testing.T) {
		_, claims := h.decode(h.IDToken())
		client := claims["azp"].(string)
		if len(claims["nonce"].(string)) == 0 || len(claims["at_hash"].(string)) != 22 || len(claims["c_hash"].(string)) != 22 {
			t.Errorf("nonce %q, at_hash %q, c_hash %q", claims["nonce"], claims["at_hash"], claims["c_hash"])
		}
		for _, name := range []string{"nonce", "at_hash", "c_hash"} {
			delete(claims, name)
		}
		want := map[string]any{
			"iss": h.URL(), "aud": []any{client}, "azp": "m2m_", "sub": "usr_1", "oid": "org_1", "amr": []any{"conn_1"},
			"email": "usr_1@example.com", "exp": "NUMBER", "iat": "NUMBER",
		}
		if diff := cmp.Diff(want, normalised(claims)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("no two tokens are the same", func(t *testing.T) {
		_, one := h.decode(h.Token())
		_, two := h.decode(h.Token())
		if one["jti"] == two["jti"] {
			t.Errorf("both are %v", one["jti"])
		}
	})
}

func TestWithoutServerURLTheAudienceIsTheResourceID(t *testing.T) {
	h := open(t, func(c *scalekitenv.Config) {
		c.ServerURL = ""
		c.ResourceID = "res_7"
		c.AccessTokenLifetime = time.Minute
	})
	_, claims := h.decode(h.Token())
	if diff := cmp.Diff([]any{"res_7"}, claims["aud"]); diff != "" || claims["resid"] != "res_7" {
		t.Errorf("aud %v, resid %v", claims["aud"], claims["resid"])
	}
	if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 60 {
		t.Errorf("a lifetime of %v s", lifetime)
	}
}

// Each knob on a token makes the very difference that it is named for, in the eyes of the strict verifier.
func TestTokensMakeTheDifferenceThatTheyAreNamedFor(t *testing.T) {
	h := open(t)
	other := h.AddResource("http://localhost:3003/mcp", "notes:read")
	const good providers.Reason = ""
	for name, c := range map[string]struct {
		token string
		want  providers.Reason
	}{
		"issuer: environment":       {h.Token(), good},
		"issuer: resource":          {h.Token(changes{"iss": h.AuthorizationServer()}), good},
		"issuer: custom domain":     {h.Token(changes{"iss": "https://auth.example.com"}), token.ReasonIssuerMismatch},
		"issuer: environment and /": {h.Token(changes{"iss": h.URL() + "/"}), token.ReasonIssuerMismatch},
		"issuer: resource and /":    {h.Token(changes{"iss": h.AuthorizationServer() + "/"}), token.ReasonIssuerMismatch},
		"issuer: other resource":    {h.Token(changes{"iss": other.AuthorizationServer()}), token.ReasonIssuerMismatch},
		"issuer: elsewhere":         {h.Token(changes{"iss": "https://evil.example"}), token.ReasonIssuerMismatch},

		"aud: id alone":       {h.Token(changes{"aud": []string{h.ResourceID()}}), good},
		"aud: id as a string": {h.Token(changes{"aud": h.ResourceID()}), good},
		"aud: URL alone":      {h.Token(changes{"aud": []string{serverURL}}), token.ReasonAudienceMismatch},
		"aud: other resource": {h.Token(changes{"aud": []string{other.ResourceID()}}), token.ReasonAudienceMismatch},
		"aud: absent":         {h.Token(changes{"aud": nil}), token.ReasonAudienceMismatch},

		"exp past":   {h.Token(changes{"exp": scalekitenv.In(-time.Hour)}), token.ReasonExpired},
		"exp absent": {h.Token(changes{"exp": nil}), token.ReasonExpiryMissing},
		"nbf future": {h.Token(changes{"nbf": scalekitenv.In(time.Hour)}), token.ReasonNotYetValid},
		"iat future": {h.Token(changes{"iat": scalekitenv.In(time.Hour)}), token.ReasonNotYetValid},

		"an ID token":                     {h.IDToken(), token.ReasonAudienceMismatch},
		"an ID token for the resource":    {h.IDToken(changes{"aud": h.Audience()}), token.ReasonIDToken},
		"an organisation's machine token": {h.OrgMachineToken(), token.ReasonAudienceMismatch},
		"a management token":              {h.ManagementToken(), token.ReasonAudienceMismatch},
		"a machine token":                 {h.MachineToken(), good},
		"a token of another resource":     {other.Token(), token.ReasonAudienceMismatch},
		"a machine of another resource":   {other.MachineToken(), token.ReasonAudienceMismatch},
		"another typ":                     {h.Sign(changes{"typ": "at+jwt"}, h.UserClaims()), token.ReasonTypeRefused},
		"no typ":                          {h.Sign(changes{"typ": nil}, h.UserClaims()), token.ReasonTypeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := adapter(t, h.Environment, h.Resource).Verify(t.Context(), c.token)
			if providers.ReasonOf(err) != c.want || (err == nil) != (id != nil) {
				t.Errorf("Verify = %v, want %q", err, c.want)
			}
		})
	}
	t.Run("a custom domain that was configured", func(t *testing.T) {
		domain := func(r *token.Rules, _ *http.Client) { r.Issuers = append(r.Issuers, "https://auth.example.com") }
		if _, err := adapter(t, h.Environment, h.Resource, domain).Verify(t.Context(), h.Token(changes{"iss": "https://auth.example.com"})); err != nil {
			t.Error(err)
		}
	})
	t.Run("the other resource takes its own tokens", func(t *testing.T) {
		id, err := adapter(t, h.Environment, other).Verify(t.Context(), other.Token())
		if err != nil || !slices.Contains(id.Audience, other.ResourceID()) || len(id.Missing([]string{"notes:read"})) > 0 {
			t.Errorf("Verify = %+v, %v", id, err)
		}
	})
}

func TestScopesCanStandInEitherClaim(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		token string
		want  []string
	}{
		"both":        {h.Token(scalekitenv.Scopes("todo:read", "openid")), []string{"todo:read", "openid"}},
		"scope only":  {h.Token(scalekitenv.Scopes("todo:read"), changes{"scopes": nil}), []string{"todo:read"}},
		"scopes only": {h.Token(scalekitenv.Scopes("todo:read"), changes{"scope": nil}), []string{"todo:read"}},
		"none":        {h.Token(changes{"scope": nil, "scopes": nil}), nil},
		"empty":       {h.Token(scalekitenv.Scopes()), nil},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := adapter(t, h.Environment, h.Resource).Verify(t.Context(), c.token)
			if err != nil || !slices.Equal(id.Scopes, c.want) {
				t.Errorf("Verify = %+v, %v", id, err)
			}
		})
	}
	_, claims := h.decode(h.Token(scalekitenv.Scopes()))
	if diff := cmp.Diff([]any{}, claims["scopes"]); diff != "" {
		t.Errorf("an empty list: %s", diff)
	}
}

func TestChangedTokensStayChangedUntilTheyAreChangedAgain(t *testing.T) {
	h := open(t)
	other := h.AddResource("http://localhost:3003/mcp")
	h.ChangeTokens(changes{"iss": h.AuthorizationServer(), "roles": nil}, changes{"xoid": "customer-1"})
	for name, token := range map[string]string{"made": h.Token(), "issued": h.signIn("openid todo:read")} {
		_, claims := h.decode(token)
		if claims["iss"] != h.AuthorizationServer() || claims["roles"] != nil || claims["xoid"] != "customer-1" {
			t.Errorf("%s: %v", name, claims)
		}
	}
	if _, claims := h.decode(h.MachineToken()); claims["iss"] != h.AuthorizationServer() {
		t.Errorf("of a machine: %v", claims)
	}
	if _, claims := h.decode(h.Token(changes{"iss": "https://elsewhere.example"})); claims["iss"] != "https://elsewhere.example" {
		t.Errorf("the token's own changes count less: %v", claims)
	}
	if _, claims := h.decode(other.Token()); claims["iss"] != h.URL() {
		t.Errorf("another resource is migrated with it: %v", claims)
	}
	h.ChangeTokens()
	if _, claims := h.decode(h.Token()); claims["iss"] != h.URL() || claims["roles"] == nil {
		t.Errorf("afterwards: %v", claims)
	}
}

// signIn returns the access token that a new client gets for scopes.
func (h *house) signIn(scopes string) string {
	h.t.Helper()
	client := h.Register(callback).ID
	return h.post("/resources/R/oauth/token", exchange(client, h.code(client, "scope", scopes))).text(h.t, "access_token")
}
