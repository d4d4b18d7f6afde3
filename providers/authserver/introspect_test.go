package authserver_test

import (
	"net/http"
	"net/url"
	"reflect"
	"testing"
	"time"
)

func TestIntrospection(t *testing.T) {
	issuer := open(t)
	answer := issuer.tokens()
	t.Run("an access token is described", func(t *testing.T) {
		got := issuer.introspect(answer["access_token"])
		_, claims := issuer.verify(answer["access_token"].(string))
		want := map[string]any{"active": true, "token_type": "Bearer", "username": "Alice"}
		for _, name := range []string{"iss", "sub", "aud", "client_id", "scope", "exp", "iat", "jti"} {
			want[name] = claims[name]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	inactive := []struct {
		name  string
		token any
	}{
		{"an unknown token is inactive", "unknown"},
		{"a token with a changed signature is inactive", answer["access_token"].(string) + "x"},
		{"an ID token is inactive", issuer.tokens("scope", "openid")["id_token"]},
		{"another client's refresh token is inactive: a resource must not take it for an access token",
			answer["refresh_token"]},
		{"a token of another issuer is inactive", open(t).tokens()["access_token"]},
	}
	for _, test := range inactive {
		t.Run(test.name, func(t *testing.T) {
			if got := issuer.introspect(test.token); !reflect.DeepEqual(got, map[string]any{"active": false}) {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("a refresh token is described to its own client, without audience", func(t *testing.T) {
		asClient := basic("secretive", "s3cret+&=%")
		code := issuer.code("client_id", "secretive")
		token := issuer.post("/token", issuer.exchange(code, "client_id", ""),
			asClient).json(t)["refresh_token"].(string)
		got := issuer.post("/introspect", url.Values{"token": {token}}, asClient).json(t)
		if got["active"] != true || got["token_type"] != "refresh_token" || got["aud"] != nil ||
			got["sub"] != "alice" || got["client_id"] != "secretive" {
			t.Errorf("got %v", got)
		}
	})
	t.Run("an expired token is inactive", func(t *testing.T) {
		issuer := open(t)
		token := issuer.tokens()["access_token"]
		issuer.clock.forward(10*time.Minute - time.Second)
		if !issuer.active(token) {
			t.Error("it is inactive a second before its end")
		}
		issuer.clock.forward(time.Second)
		if issuer.active(token) {
			t.Error("it is active at its end")
		}
	})
	unauthenticated := []struct {
		name   string
		form   url.Values
		change func(*http.Request)
	}{
		{"no client", url.Values{}, func(*http.Request) {}},
		{"a public client", url.Values{"client_id": {"public"}}, func(*http.Request) {}},
		{"a public client with an empty secret", url.Values{}, basic("public", "")},
		{"a public client with a secret", url.Values{}, basic("public", "x")},
		{"a wrong secret", url.Values{}, basic("service", "wrong")},
		{"a confidential client without its secret", url.Values{}, basic("service", "")},
	}
	for _, test := range unauthenticated {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, issuer.post("/introspect", with(test.form, "token", answer["access_token"].(string)),
				test.change), http.StatusUnauthorized, "invalid_client")
		})
	}
	t.Run("a missing token is invalid_request", func(t *testing.T) {
		wantError(t, issuer.post("/introspect", url.Values{}, basic("service", "service-secret")),
			http.StatusBadRequest, "invalid_request")
	})
}

func TestRevocation(t *testing.T) {
	issuer := open(t)
	revoke := func(token any, client string) answer {
		return issuer.post("/revoke", url.Values{"token": {token.(string)}, "client_id": {client},
			"token_type_hint": {"access_token"}})
	}
	t.Run("a refresh token revokes its family, whatever the hint is", func(t *testing.T) {
		first := issuer.tokens()
		second := issuer.refresh(first["refresh_token"]).json(t)
		if a := revoke(second["refresh_token"], "public"); a.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", a.StatusCode, a.body)
		}
		wantError(t, issuer.refresh(second["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		if issuer.active(first["access_token"]) || issuer.active(second["access_token"]) {
			t.Error("an access token is still active")
		}
	})
	t.Run("an access token is revoked alone", func(t *testing.T) {
		answer := issuer.tokens()
		if a := revoke(answer["access_token"], "public"); a.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", a.StatusCode, a.body)
		}
		if issuer.active(answer["access_token"]) {
			t.Error("it is still active")
		}
		if a := issuer.refresh(answer["refresh_token"]); a.StatusCode != http.StatusOK {
			t.Errorf("the refresh token is gone: %s", a.body)
		}
	})
	t.Run("an unknown token is fine", func(t *testing.T) {
		if a := revoke("unknown", "public"); a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("another client's tokens stay", func(t *testing.T) {
		answer := issuer.tokens()
		wantError(t, revoke(answer["access_token"], "other"), http.StatusBadRequest, "invalid_grant")
		wantError(t, revoke(answer["refresh_token"], "other"), http.StatusBadRequest, "invalid_grant")
		if !issuer.active(answer["access_token"]) {
			t.Error("the access token is inactive")
		}
		if a := issuer.refresh(answer["refresh_token"]); a.StatusCode != http.StatusOK {
			t.Errorf("the refresh token is gone: %s", a.body)
		}
	})
	t.Run("an unknown client may not revoke", func(t *testing.T) {
		wantError(t, revoke("x", "unknown"), http.StatusUnauthorized, "invalid_client")
	})
}
