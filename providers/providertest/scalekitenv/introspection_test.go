package scalekitenv_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/providertest/scalekitenv"
)

func TestIntrospectionAndRevocationExistOnDemand(t *testing.T) {
	h := open(t)
	c, public := h.MachineClient(), h.Register(callback)
	asking := func(c scalekitenv.Client, token string) url.Values {
		return with(url.Values{"client_id": {c.ID}, "token": {token}}, "client_secret", c.Secret)
	}
	if a := h.post("/oauth/introspect", asking(c, h.Token())); a.StatusCode != http.StatusNotFound {
		t.Errorf("introspection by default: %d", a.StatusCode)
	}
	h.EnableIntrospection()
	if a := h.post("/oauth/revoke", asking(c, h.Token())); a.StatusCode != http.StatusNotFound {
		t.Errorf("revocation by default: %d", a.StatusCode)
	}
	h.EnableRevocation()
	if active := h.post("/oauth/introspect", asking(c, h.Token())).json(t); active["active"] != true || active["sub"] != "usr_1" || active["token_type"] != "Bearer" {
		t.Errorf("%v", active)
	}
	if diff := cmp.Diff(map[string]any{"active": false}, h.post("/oauth/introspect", asking(c, h.Token(changes{"exp": 1}))).json(t)); diff != "" {
		t.Error(diff)
	}
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		for _, client := range []scalekitenv.Client{public, {ID: c.ID, Secret: "x"}} {
			if a := h.post(path, asking(client, "x")); a.StatusCode != http.StatusUnauthorized || a.text(t, "error") != "invalid_client" {
				t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
			}
		}
	}
}

func TestRevocationEndsRefreshTokensOfTheSameClient(t *testing.T) {
	confidential := scalekitenv.Client{ID: "m2m_5", Secret: "s", RedirectURIs: []string{callback}}
	h := open(t, func(c *scalekitenv.Config) { c.Clients = []scalekitenv.Client{confidential} })
	h.EnableRevocation()
	signedIn := h.post(tokenPath, exchange("m2m_5", h.code("m2m_5"), "client_secret", "s"))
	token := signedIn.text(t, "refresh_token")
	revoke := func(by scalekitenv.Client, token string) {
		t.Helper()
		a := h.post("/oauth/revoke", url.Values{"client_id": {by.ID}, "client_secret": {by.Secret}, "token": {token}})
		if a.StatusCode != http.StatusOK || a.body != "" {
			t.Errorf("by %s: %d %s", by.ID, a.StatusCode, a.body)
		}
	}
	revoke(h.MachineClient(), token)
	refreshed := h.post(tokenPath, refreshing("m2m_5", token, "client_secret", "s"))
	if refreshed.StatusCode != http.StatusOK {
		t.Fatalf("somebody else's client ended it: %s", refreshed.body)
	}
	token = refreshed.text(t, "refresh_token")
	revoke(confidential, token)
	if a := h.post(tokenPath, refreshing("m2m_5", token, "client_secret", "s")); a.text(t, "error") != "invalid_grant" {
		t.Errorf("it lives on: %d %s", a.StatusCode, a.body)
	}
	if a := h.getAs(signedIn.text(t, "access_token"), "/userinfo"); a.StatusCode != http.StatusOK {
		t.Errorf("access tokens are not recalled, but this one was: %d", a.StatusCode)
	}
}
