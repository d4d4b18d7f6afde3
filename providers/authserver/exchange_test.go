package authserver_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/authserver"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	idTokenType   = "urn:ietf:params:oauth:token-type:id_token"
	idJAGType     = "urn:ietf:params:oauth:token-type:id-jag"
)

// withCompanyClients adds clients that may exchange their ID tokens.
func withCompanyClients(c *authserver.Config) {
	for _, id := range []string{"agent", "second"} {
		c.Clients = append(c.Clients, authserver.Client{ID: id, Secret: "secret-of-" + id, RedirectURIs: []string{callback},
			GrantTypes: []string{"authorization_code", "refresh_token", authserver.GrantTokenExchange}})
	}
}

// signInWith returns the token response for a confidential client.
func (issuer *testIssuer) signInWith(id, secret string) map[string]any {
	issuer.t.Helper()
	code := issuer.code("client_id", id, "scope", "openid notes:read", "nonce", "n1")
	a := issuer.post("/token", issuer.exchange(code, "client_id", ""), basic(id, secret))
	if a.StatusCode != http.StatusOK {
		issuer.t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	return a.json(issuer.t)
}

func TestTokenExchange(t *testing.T) {
	issuer := open(t, withCompanyClients)
	tokens := issuer.signInWith("agent", "secret-of-agent")
	idToken := tokens["id_token"].(string)
	form := url.Values{"grant_type": {exchangeGrant}, "client_id": {"agent"}, "client_secret": {"secret-of-agent"},
		"subject_token": {idToken}, "subject_token_type": {idTokenType}, "requested_token_type": {idJAGType},
		"audience": {"https://mcp.example.com"}, "resource": {"https://mcp.example.com/mcp"},
		"scope": {"chat.read chat.history"}}

	t.Run("an ID token becomes an identity assertion", func(t *testing.T) {
		a := issuer.post("/token", form)
		got := a.json(t)
		if a.StatusCode != http.StatusOK || got["issued_token_type"] != idJAGType || got["token_type"] != "N_A" ||
			got["expires_in"] != 300.0 || got["scope"] != "chat.read chat.history" || got["refresh_token"] != nil ||
			a.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("status %d: %s", a.StatusCode, a.body)
		}
		header, claims := issuer.verify(got["access_token"].(string))
		if header.ExtraHeaders[jose.HeaderType] != "oauth-id-jag+jwt" {
			t.Errorf("header %v", header)
		}
		names := fmt.Sprint(slices.Sorted(maps.Keys(claims)))
		if names != "[aud auth_time client_id exp iat iss jti resource scope sub]" || claims["iss"] != issuer.url ||
			claims["sub"] != "alice" || claims["aud"] != "https://mcp.example.com" || claims["client_id"] != "agent" ||
			claims["resource"] != "https://mcp.example.com/mcp" || claims["scope"] != "chat.read chat.history" ||
			claims["exp"].(float64)-claims["iat"].(float64) != 300 {
			t.Errorf("claims %v", claims)
		}
	})
	t.Run("each assertion has an id of its own", func(t *testing.T) {
		one, two := issuer.post("/token", form).json(t), issuer.post("/token", form).json(t)
		_, first := issuer.verify(one["access_token"].(string))
		if _, second := issuer.verify(two["access_token"].(string)); first["jti"] == second["jti"] {
			t.Error("they share one")
		}
	})
	other := issuer.signInWith("second", "secret-of-second")["id_token"].(string)
	foreign := open(t, withCompanyClients).signInWith("agent", "secret-of-agent")["id_token"].(string)
	assertion := issuer.post("/token", form).json(t)["access_token"].(string)
	for name, test := range map[string]struct {
		changes []string
		code    string
	}{
		"another requested_token_type": {[]string{"requested_token_type", "urn:ietf:params:oauth:token-type:access_token"},
			"invalid_request"},
		"no requested_token_type":    {[]string{"requested_token_type", ""}, "invalid_request"},
		"another subject_token_type": {[]string{"subject_token_type", idJAGType}, "invalid_request"},
		"no subject_token_type":      {[]string{"subject_token_type", ""}, "invalid_request"},
		"an actor": {[]string{"actor_token", idToken, "actor_token_type", idTokenType},
			"invalid_request"},
		"no subject_token":               {[]string{"subject_token", ""}, "invalid_grant"},
		"an access token":                {[]string{"subject_token", tokens["access_token"].(string)}, "invalid_grant"},
		"an identity assertion":          {[]string{"subject_token", assertion}, "invalid_grant"},
		"the ID token of another client": {[]string{"subject_token", other}, "invalid_grant"},
		"the ID token of another issuer": {[]string{"subject_token", foreign}, "invalid_grant"},
		"a changed ID token":             {[]string{"subject_token", idToken[:len(idToken)-4] + "AAAA"}, "invalid_grant"},
		"no audience":                    {[]string{"audience", ""}, "invalid_target"},
		"this issuer as the audience":    {[]string{"audience", issuer.url}, "invalid_target"},
		"an audience that is no issuer":  {[]string{"audience", "https://mcp.example.com/mcp"}, "invalid_target"},
		"a plain http audience":          {[]string{"audience", "http://mcp.example.com"}, "invalid_target"},
		"no resource":                    {[]string{"resource", ""}, "invalid_target"},
		"a resource that is no URL":      {[]string{"resource", "mcp"}, "invalid_target"},
		"a resource with a fragment":     {[]string{"resource", "https://mcp.example.com/mcp#x"}, "invalid_target"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			wantError(t, issuer.post("/token", with(form, test.changes...)), http.StatusBadRequest, test.code)
		})
	}
	t.Run("refused: two resources", func(t *testing.T) {
		two := maps.Clone(form)
		two["resource"] = []string{"https://a.example/", "https://b.example/"}
		wantError(t, issuer.post("/token", two), http.StatusBadRequest, "invalid_target")
	})
	t.Run("refused: a client that does not authenticate, or may not", func(t *testing.T) {
		wantError(t, issuer.post("/token", with(form, "client_secret", "")), http.StatusUnauthorized, "invalid_client")
		wantError(t, issuer.post("/token", with(form, "client_secret", "x")), http.StatusUnauthorized, "invalid_client")
		wantError(t, issuer.post("/token", with(form, "client_id", "public", "client_secret", "")), http.StatusUnauthorized,
			"invalid_client")
		wantError(t, issuer.post("/token", with(form, "client_id", "secretive", "client_secret", "s3cret+&=%")),
			http.StatusBadRequest, "unauthorized_client")
	})
	t.Run("refused: an ID token that has expired", func(t *testing.T) {
		issuer.clock.forward(11 * time.Minute)
		wantError(t, issuer.post("/token", form), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("the metadata announces it where a client may", func(t *testing.T) {
		m := issuer.get("/.well-known/oauth-authorization-server").json(t)
		if fmt.Sprint(m["identity_chaining_requested_token_types_supported"]) != "["+idJAGType+"]" ||
			!slices.Contains(m["grant_types_supported"].([]any), any(exchangeGrant)) {
			t.Errorf("metadata %v", m)
		}
		without := open(t)
		m = without.get("/.well-known/oauth-authorization-server").json(t)
		if m["identity_chaining_requested_token_types_supported"] != nil {
			t.Errorf("metadata %v", m)
		}
		wantError(t, without.post("/token", with(form, "client_id", "secretive", "client_secret", "s3cret+&=%")),
			http.StatusBadRequest, "unsupported_grant_type")
	})
}
