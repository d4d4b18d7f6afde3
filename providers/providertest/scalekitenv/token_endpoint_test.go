package scalekitenv_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest/scalekitenv"
)

const tokenPath = "/resources/R/oauth/token"

func TestCodeExchange(t *testing.T) {
	env := open(t)
	client := env.Register(callback).ID
	for scope, c := range map[string]struct {
		granted         []any
		idToken, renews bool
	}{
		"openid offline_access todo:read": {[]any{"openid", "offline_access", "todo:read"}, true, true},
		"todo:write todo:read":            {[]any{"todo:write", "todo:read"}, false, false},
		"todo:read unknown":               {[]any{"todo:read"}, false, false},
		"unknown":                         {[]any{}, false, false},
		"":                                {[]any{"todo:read", "todo:write"}, false, false},
	} {
		for _, path := range []string{tokenPath, "/oauth/token"} {
			t.Run(scope+" at "+path, func(t *testing.T) {
				a := env.post(path, exchange(client, env.code(client, "scope", scope)))
				body := a.json(t)
				if a.StatusCode != http.StatusOK || body["token_type"] != "Bearer" || body["expires_in"] != 3600.0 ||
					a.Header.Get("Cache-Control") != "no-store" {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				_, claims := env.decode(a.text(t, "access_token"))
				if diff := cmp.Diff(c.granted, claims["scopes"]); diff != "" || claims["scope"] != body["scope"] ||
					claims["sub"] != "usr_1" || claims["client_id"] != client {
					t.Errorf("%v %s", claims, diff)
				}
				if (body["id_token"] != nil) != c.idToken || (body["refresh_token"] != nil) != c.renews {
					t.Errorf("%s", a.body)
				}
				if c.idToken {
					if _, id := env.decode(a.text(t, "id_token")); id["nonce"] != "n-1" ||
						!cmp.Equal(id["aud"], []any{client}) {
						t.Errorf("ID token %v", id)
					}
				}
			})
		}
	}
}

func TestCodeExchangeRefusesInvalidRequests(t *testing.T) {
	env := open(t)
	client, otherClient := env.Register(callback).ID, env.Register(callback).ID
	other := env.AddResource("http://localhost:3003/mcp")
	for name, c := range map[string]struct {
		path    string
		changes []string
		want    string
	}{
		"no code":               {tokenPath, []string{"code", ""}, "invalid_grant"},
		"an invented code":      {tokenPath, []string{"code", "invented"}, "invalid_grant"},
		"no verifier":           {tokenPath, []string{"code_verifier", ""}, "invalid_grant"},
		"another verifier":      {tokenPath, []string{"code_verifier", verifier + "x"}, "invalid_grant"},
		"no redirect_uri":       {tokenPath, []string{"redirect_uri", ""}, "invalid_grant"},
		"another redirect_uri":  {tokenPath, []string{"redirect_uri", callback + "/"}, "invalid_grant"},
		"another client":        {tokenPath, []string{"client_id", otherClient}, "invalid_grant"},
		"at another resource":   {"/resources/" + other.ResourceID() + "/oauth/token", nil, "invalid_grant"},
		"no grant_type":         {tokenPath, []string{"grant_type", ""}, "invalid_request"},
		"an unknown grant_type": {tokenPath, []string{"grant_type", "password"}, "unsupported_grant_type"},
	} {
		t.Run(name, func(t *testing.T) {
			a := env.post(c.path, exchange(client, env.code(client), c.changes...))
			if a.StatusCode != http.StatusBadRequest || a.text(t, "error") != c.want ||
				a.text(t, "error_description") == "" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	t.Run("a code that was used", func(t *testing.T) {
		code := env.code(client)
		if a := env.post(tokenPath, exchange(client, code)); a.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		if a := env.post(tokenPath, exchange(client, code)); a.text(t, "error") != "invalid_grant" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
}

func refreshing(client, token string, changes ...string) url.Values {
	return with(url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token}},
		changes...)
}

func TestRefreshTokensRotate(t *testing.T) {
	env := open(t)
	client, otherClient := env.Register(callback).ID, env.Register(callback).ID
	other := env.AddResource("http://localhost:3003/mcp")
	first := env.post(tokenPath, exchange(client, env.code(client)))
	token := first.text(t, "refresh_token")
	_, before := env.decode(first.text(t, "access_token"))

	for name, a := range map[string]answer{
		"another client":      env.post(tokenPath, refreshing(otherClient, token)),
		"at another resource": env.post("/resources/"+other.ResourceID()+"/oauth/token", refreshing(client, token)),
		"an invented token":   env.post(tokenPath, refreshing(client, "invented")),
	} {
		if a.StatusCode != http.StatusBadRequest || a.text(t, "error") != "invalid_grant" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	if a := env.post(tokenPath, refreshing(client, token, "scope", "todo:read todo:write")); a.text(t,
		"error") != "invalid_scope" {
		t.Errorf("more scopes: %d %s", a.StatusCode, a.body)
	}

	narrow := env.post(tokenPath, refreshing(client, token, "scope", "todo:read"))
	_, claims := env.decode(narrow.text(t, "access_token"))
	if claims["scope"] != "todo:read" || claims["sid"] != before["sid"] || claims["jti"] == before["jti"] {
		t.Errorf("after %v: %v", before, claims)
	}
	next := narrow.text(t, "refresh_token")
	if next == "" || next == token {
		t.Error("the refresh token did not rotate")
	}
	if a := env.post(tokenPath, refreshing(client, token)); a.text(t, "error") != "invalid_grant" {
		t.Errorf("the used one: %d %s", a.StatusCode, a.body)
	}
	if a := env.post("/oauth/token", refreshing(client, next)); a.text(t,
		"scope") != "openid offline_access todo:read" {
		t.Errorf("the next one: %d %s", a.StatusCode, a.body)
	}
}

func credentials(c scalekitenv.Client, changes ...string) url.Values {
	return with(url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID},
		"client_secret": {c.Secret}}, changes...)
}

func TestClientCredentialsByKindOfClient(t *testing.T) {
	env := open(t)
	other := env.AddResource("http://localhost:3003/mcp", "notes:read")
	forResource := []any{serverURL, env.ResourceID()}
	for name, c := range map[string]struct {
		client   scalekitenv.Client
		path     string
		audience any // nil: none; "refused": no token
	}{
		"of the resource, at its endpoint":      {env.MachineClient(), tokenPath, forResource},
		"of the resource, at the environment's": {env.MachineClient(), "/oauth/token", forResource},
		"of another resource, at the environment's": {other.MachineClient(), "/oauth/token",
			[]any{other.ServerURL(), other.ResourceID()}},
		"of another resource, at the resource's":      {other.MachineClient(), tokenPath, "refused"},
		"of an organization, at the environment's":    {env.OrgClient(), "/oauth/token", nil},
		"of an organization, at the resource's":       {env.OrgClient(), tokenPath, "refused"},
		"of the environment, at the environment's":    {env.EnvironmentClient(), "/oauth/token", []any{env.URL()}},
		"of the environment, at the resource's":       {env.EnvironmentClient(), tokenPath, "refused"},
		"a public client, which is not authenticated": {env.Register(callback), tokenPath, "refused"},
	} {
		for method, a := range map[string]answer{
			"form": env.post(c.path, credentials(c.client)),
			"Basic": env.post(c.path, credentials(c.client, "client_id", "", "client_secret", ""),
				basic(c.client.ID, c.client.Secret)),
		} {
			t.Run(name+", by "+method, func(t *testing.T) {
				if c.audience == "refused" {
					if a.StatusCode != http.StatusUnauthorized || a.text(t, "error") != "invalid_client" {
						t.Errorf("%d %s", a.StatusCode, a.body)
					}
					return
				}
				if a.StatusCode != http.StatusOK || a.text(t, "refresh_token") != "" {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				_, claims := env.decode(a.text(t, "access_token"))
				if diff := cmp.Diff(c.audience, claims["aud"]); diff != "" || claims["sub"] != c.client.ID ||
					claims["client_id"] != c.client.ID {
					t.Errorf("%v %s", claims, diff)
				}
			})
		}
	}
	t.Run("for fewer scopes", func(t *testing.T) {
		got := env.post(tokenPath, credentials(env.MachineClient(), "scope", "todo:read openid")).text(t, "scope")
		if got != "todo:read" {
			t.Errorf("scope %q", got)
		}
	})
}

func TestTokenEndpointAuthenticatesClients(t *testing.T) {
	const special = "s3cret+&=%:"
	env := open(t, func(c *scalekitenv.Config) {
		c.Clients = []scalekitenv.Client{{ID: "m2m_odd", Secret: special, RedirectURIs: []string{callback}}}
	})
	c, public := env.MachineClient(), env.Register(callback)
	for name, test := range map[string]struct {
		a      answer
		status int
		want   string
	}{
		"no client": {env.post(tokenPath, url.Values{"grant_type": {"client_credentials"}}), 401,
			"invalid_client"},
		"an unknown client": {env.post(tokenPath, credentials(c, "client_id", "m2m_9")), 401,
			"invalid_client"},
		"a wrong secret": {env.post(tokenPath, credentials(c, "client_secret", "x")), 401,
			"invalid_client"},
		"no secret": {env.post(tokenPath, credentials(c, "client_secret", "")), 401,
			"invalid_client"},
		"a wrong secret, Basic": {env.post(tokenPath, url.Values{}, basic(c.ID, "x")), 401, "invalid_client"},
		"a secret of a public client": {env.post(tokenPath,
			exchange(public.ID, env.code(public.ID), "client_secret", "x")), 401, "invalid_client"},
		"a code without a secret": {env.post(tokenPath, exchange("m2m_odd", env.code("m2m_odd"))), 401,
			"invalid_client"},
		"two secrets": {env.post(tokenPath, credentials(c), basic(c.ID, c.Secret)), 400,
			"invalid_request"},
		"two ids": {env.post(tokenPath, credentials(public, "client_secret", ""),
			basic(c.ID, c.Secret)), 400, "invalid_request"},
		"broken Basic": {env.post(tokenPath, url.Values{},
			func(r *http.Request) { r.SetBasicAuth("%zz", "") }), 400, "invalid_request"},
	} {
		if test.a.StatusCode != test.status || test.a.text(t, "error") != test.want {
			t.Errorf("%s: %d %s", name, test.a.StatusCode, test.a.body)
		}
		if challenged := test.a.Header.Get("WWW-Authenticate") != ""; challenged != strings.HasSuffix(name,
			", Basic") {
			t.Errorf("%s: a challenge: %v", name, challenged)
		}
	}
	for name, a := range map[string]answer{
		"a public client with an empty secret in Basic": env.post(tokenPath,
			exchange(public.ID, env.code(public.ID), "client_id", ""), basic(public.ID, "")),
		"a confidential client with special characters": env.post(tokenPath,
			exchange("m2m_odd", env.code("m2m_odd"), "client_secret", special)),
		"the same by Basic": env.post(tokenPath,
			exchange("m2m_odd", env.code("m2m_odd"), "client_id", ""), basic("m2m_odd", special)),
		"a confidential client with its id in the form too": env.post(tokenPath,
			exchange("m2m_odd", env.code("m2m_odd")), basic("m2m_odd", special)),
	} {
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}
