package authserver_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers/authserver"
)

func TestTokenResponse(t *testing.T) {
	issuer := open(t)
	a := issuer.post("/token", issuer.exchange(issuer.code()))
	answer := a.json(t)

	t.Run("AS-08 the response is JSON, Bearer and not stored", func(t *testing.T) {
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" ||
			answer["token_type"] != "Bearer" {
			t.Errorf("status %d, content type %q, answer %v", a.StatusCode, a.Header.Get("Content-Type"), answer)
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Pragma") != "no-cache" {
			t.Errorf("Cache-Control %q, Pragma %q", a.Header.Get("Cache-Control"), a.Header.Get("Pragma"))
		}
	})
	t.Run("AS-08b the token lives 10 minutes unless configured", func(t *testing.T) {
		if answer["expires_in"] != 600.0 {
			t.Errorf("expires_in %v", answer["expires_in"])
		}
	})
	t.Run("AS-09 the token is a JWT access token (RFC 9068) for alice, the client and the resource", func(t *testing.T) {
		header, claims := issuer.verify(answer["access_token"].(string))
		if header.ExtraHeaders["typ"] != "at+jwt" || header.Algorithm != "ES256" || header.KeyID == "" {
			t.Errorf("header %+v", header)
		}
		now := float64(issuer.clock.Now().Unix())
		want := map[string]any{
			"iss": issuer.url, "sub": "alice", "aud": issuer.resource, "client_id": "public",
			"scope": "notes:read offline_access",
			"name":  "Alice", "iat": now, "exp": now + 600,
		}
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("%s is %v, want %v", name, claims[name], value)
			}
		}
		if id, _ := claims["jti"].(string); len(id) < 20 {
			t.Errorf("jti %q", id)
		}
		if len(claims) != len(want)+1 {
			t.Errorf("claims %v", claims)
		}
	})
	t.Run("no ID token without openid", func(t *testing.T) {
		if answer["id_token"] != nil {
			t.Error("there is one")
		}
	})
	t.Run("every token has its own jti", func(t *testing.T) {
		_, one := issuer.verify(issuer.tokens()["access_token"].(string))
		_, two := issuer.verify(issuer.tokens()["access_token"].(string))
		if one["jti"] == two["jti"] {
			t.Error("they share it")
		}
	})
}

func TestIDToken(t *testing.T) {
	issuer := open(t)
	answer := issuer.tokens("scope", "openid notes:read", "nonce", "n-1")
	header, claims := issuer.verify(answer["id_token"].(string))
	hash, err := oidc.ClaimHash(answer["access_token"].(string), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"iss": issuer.url, "sub": "alice", "aud": "public", "nonce": "n-1", "at_hash": hash, "name": "Alice",
	} {
		if claims[name] != value {
			t.Errorf("%s is %v, want %v", name, claims[name], value)
		}
	}
	t.Run("it cannot pass for an access token: other typ, other audience, no scope", func(t *testing.T) {
		if header.ExtraHeaders["typ"] != "JWT" || claims["scope"] != nil || claims["client_id"] != nil {
			t.Errorf("header %+v, claims %v", header, claims)
		}
	})
}

func TestCodeExchangeRefusals(t *testing.T) {
	issuer := open(t)
	tests := []struct {
		name    string
		changes []string
		code    string
	}{
		{"AS-13 a wrong verifier is refused", []string{"code_verifier", strings.Repeat("x", 50)}, "invalid_grant"},
		{"AS-13 a missing verifier is refused", []string{"code_verifier", ""}, "invalid_grant"},
		{"AS-13 the challenge as verifier is refused", []string{"code_verifier", challengeOf(verifier)},
			"invalid_grant"},
		{"AS-15 another redirect URI is refused", []string{"redirect_uri", "https://app.example/cb?keep=1"},
			"invalid_grant"},
		{"AS-15 another port of the redirect URI is refused",
			[]string{"redirect_uri", "http://127.0.0.1:7778/callback"}, "invalid_grant"},
		{"AS-15 another client is refused", []string{"client_id", "other"}, "invalid_grant"},
		{"AS-16c another resource is refused", []string{"resource", issuer.url + "/other"}, "invalid_target"},
		{"AS-16c an unknown resource is refused", []string{"resource", "https://elsewhere.example/"},
			"invalid_target"},
		{"an unknown code is refused", []string{"code", "unknown"}, "invalid_grant"},
		{"a missing code is refused", []string{"code", ""}, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code := issuer.code()
			wantError(t, issuer.post("/token", issuer.exchange(code, test.changes...)), http.StatusBadRequest,
				test.code)
			if a := issuer.post("/token", issuer.exchange(code)); a.StatusCode != http.StatusOK {
				t.Errorf("the mistake burnt the code: %s", a.body)
			}
		})
	}
	t.Run("AS-15 the redirect URI may be omitted or empty", func(t *testing.T) {
		a := issuer.post("/token", issuer.exchange(issuer.code(), "redirect_uri", ""))
		if a.StatusCode != http.StatusOK {
			t.Errorf("left out: status %d: %s", a.StatusCode, a.body)
		}
		empty := issuer.exchange(issuer.code())
		empty["redirect_uri"] = []string{""}
		if a := issuer.post("/token", empty); a.StatusCode != http.StatusOK {
			t.Errorf("empty: status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("AS-13 a confidential client needs its verifier as well", func(t *testing.T) {
		code := issuer.code("client_id", "secretive")
		asClient := basic("secretive", "s3cret+&=%")
		wantError(t, issuer.post("/token", issuer.exchange(code, "client_id", "", "code_verifier", ""), asClient),
			http.StatusBadRequest, "invalid_grant")
		a := issuer.post("/token", issuer.exchange(code, "client_id", ""), asClient)
		if a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("AS-16c the resource may be omitted in the token request", func(t *testing.T) {
		a := issuer.post("/token", issuer.exchange(issuer.code("resource", issuer.url+"/other"), "resource", ""))
		if _, claims := issuer.verify(a.json(t)["access_token"].(string)); claims["aud"] != issuer.url+"/other" {
			t.Errorf("aud %v", claims["aud"])
		}
	})
	t.Run("AS-14b a failed client authentication does not use up the code", func(t *testing.T) {
		code := issuer.code("client_id", "secretive")
		wantError(t, issuer.post("/token", issuer.exchange(code, "client_id", ""), basic("secretive", "")),
			http.StatusUnauthorized, "invalid_client")
		wantError(t, issuer.post("/token", issuer.exchange(code, "client_id", ""), basic("secretive", "wrong")),
			http.StatusUnauthorized, "invalid_client")
		a := issuer.post("/token", issuer.exchange(code, "client_id", "secretive", "client_secret", "s3cret+&=%"))
		if a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("a public client that sends Basic with an empty secret is accepted", func(t *testing.T) {
		a := issuer.post("/token", issuer.exchange(issuer.code(), "client_id", ""), basic("public", ""))
		if a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("a public client that sends Basic with a secret is not", func(t *testing.T) {
		wantError(t, issuer.post("/token", issuer.exchange(issuer.code(), "client_id", ""), basic("public", "x")),
			http.StatusUnauthorized, "invalid_client")
	})
	t.Run("AS-14 a code is good for 60 seconds", func(t *testing.T) {
		early, late := issuer.code(), issuer.code()
		issuer.clock.forward(59 * time.Second)
		if a := issuer.post("/token", issuer.exchange(early)); a.StatusCode != http.StatusOK {
			t.Errorf("after 59 s: %s", a.body)
		}
		issuer.clock.forward(time.Second)
		wantError(t, issuer.post("/token", issuer.exchange(late)), http.StatusBadRequest, "invalid_grant")
	})
}

func TestReplayedCode(t *testing.T) {
	for _, after := range []time.Duration{0, 5 * time.Minute} {
		t.Run("AS-14 a replayed code is refused and revokes what was issued for it, after "+after.String(),
			func(t *testing.T) {
				issuer := open(t)
				code := issuer.code()
				answer := issuer.post("/token", issuer.exchange(code)).json(t)
				if !issuer.active(answer["access_token"]) {
					t.Fatal("the token is not active to begin with")
				}
				issuer.clock.forward(after)
				wantError(t, issuer.post("/token", issuer.exchange(code)), http.StatusBadRequest, "invalid_grant")
				if issuer.active(answer["access_token"]) {
					t.Error("the access token is still active")
				}
				wantError(t, issuer.refresh(answer["refresh_token"]), http.StatusBadRequest, "invalid_grant")
			})
	}
	t.Run("AS-14 another client cannot revoke it that way", func(t *testing.T) {
		issuer := open(t)
		code := issuer.code()
		answer := issuer.post("/token", issuer.exchange(code)).json(t)
		wantError(t, issuer.post("/token", issuer.exchange(code, "client_id", "other")), http.StatusBadRequest,
			"invalid_grant")
		if !issuer.active(answer["access_token"]) {
			t.Error("it did")
		}
	})
	t.Run("AS-14 of concurrent exchanges one succeeds", func(t *testing.T) {
		issuer := open(t)
		form := issuer.exchange(issuer.code())
		statuses := make([]int, 8)
		var group sync.WaitGroup
		for n := range statuses {
			group.Go(func() { statuses[n] = issuer.post("/token", form).StatusCode })
		}
		group.Wait()
		slices.Sort(statuses)
		if statuses[0] != http.StatusOK || statuses[1] != http.StatusBadRequest {
			t.Errorf("statuses %v", statuses)
		}
	})
}

func (issuer *testIssuer) refresh(token any, changes ...string) answer {
	issuer.t.Helper()
	value, _ := token.(string)
	return issuer.post("/token", with(url.Values{"grant_type": {"refresh_token"}, "client_id": {"public"},
		"refresh_token": {value}}, changes...))
}

func (issuer *testIssuer) introspect(token any) map[string]any {
	issuer.t.Helper()
	value, _ := token.(string)
	return issuer.post("/introspect", url.Values{"token": {value}},
		basic("service", "service-secret")).json(issuer.t)
}

func (issuer *testIssuer) active(token any) bool {
	issuer.t.Helper()
	return issuer.introspect(token)["active"] == true
}

func TestRefresh(t *testing.T) {
	issuer := open(t)
	t.Run("AS-21 a refresh token needs offline_access", func(t *testing.T) {
		if answer := issuer.tokens("scope", "notes:read"); answer["refresh_token"] != nil {
			t.Error("there is one without it")
		}
		if answer := issuer.tokens("scope", "notes:read offline_access"); answer["refresh_token"] == nil {
			t.Error("there is none with it")
		}
	})
	t.Run("AS-21 a refresh token needs the grant type", func(t *testing.T) {
		a := issuer.post("/token", issuer.exchange(issuer.code("client_id", "no-refresh"), "client_id",
			"no-refresh"))
		if a.StatusCode != http.StatusOK || a.json(t)["refresh_token"] != nil {
			t.Errorf("the answer is %s", a.body)
		}
	})
	t.Run("AS-21 each refresh gives a new refresh token and keeps audience and scope without parameters",
		func(t *testing.T) {
			code := issuer.code("resource", issuer.url+"/other")
			first := issuer.post("/token", issuer.exchange(code, "resource", "")).json(t)
			second := issuer.refresh(first["refresh_token"]).json(t)
			third := issuer.refresh(second["refresh_token"]).json(t)
			if first["refresh_token"] == second["refresh_token"] || second["refresh_token"] == third["refresh_token"] {
				t.Error("a refresh token was not replaced")
			}
			_, claims := issuer.verify(third["access_token"].(string))
			if claims["aud"] != issuer.url+"/other" || claims["scope"] != "notes:read offline_access" ||
				claims["sub"] != "alice" {
				t.Errorf("claims %v", claims)
			}
		})
	t.Run("AS-21 without a grace a repeated refresh token revokes the family", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) { c.RefreshGrace = 0 })
		first := issuer.tokens()
		second := issuer.refresh(first["refresh_token"]).json(t)
		wantError(t, issuer.refresh(first["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		wantError(t, issuer.refresh(second["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		if issuer.active(first["access_token"]) || issuer.active(second["access_token"]) {
			t.Error("an access token of the family is still active")
		}
	})
	t.Run("AS-21 another family stays valid", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) { c.RefreshGrace = 0 })
		one, two := issuer.tokens(), issuer.tokens()
		issuer.refresh(one["refresh_token"])
		issuer.refresh(one["refresh_token"])
		if a := issuer.refresh(two["refresh_token"]); a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	refusals := []struct {
		name    string
		changes []string
		code    string
	}{
		{"AS-21b more scope is refused", []string{"scope", "notes:read admin"}, "invalid_scope"},
		{"AS-16c another resource is refused", []string{"resource", issuer.url + "/other"}, "invalid_target"},
		{"another client is refused", []string{"client_id", "other"}, "invalid_grant"},
		{"a client without the grant type is refused", []string{"client_id", "no-refresh"}, "unauthorized_client"},
		{"a missing refresh token is refused", []string{"refresh_token", ""}, "invalid_request"},
	}
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			token := issuer.tokens()["refresh_token"]
			wantError(t, issuer.refresh(token, test.changes...), http.StatusBadRequest, test.code)
			if a := issuer.refresh(token); a.StatusCode != http.StatusOK {
				t.Errorf("the mistake burnt the token: %s", a.body)
			}
		})
	}
	t.Run("AS-21b less scope is for this access token only", func(t *testing.T) {
		first := issuer.tokens("scope", "notes:read notes:write offline_access")
		second := issuer.refresh(first["refresh_token"], "scope", "notes:read").json(t)
		if second["scope"] != "notes:read" {
			t.Errorf("scope %v", second["scope"])
		}
		third := issuer.refresh(second["refresh_token"]).json(t)
		if third["scope"] != "notes:read notes:write offline_access" {
			t.Errorf("scope %v", third["scope"])
		}
	})
	t.Run("an access token is no refresh token", func(t *testing.T) {
		wantError(t, issuer.refresh(issuer.tokens()["access_token"]), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("a refresh token ends with its lifetime", func(t *testing.T) {
		issuer := open(t, func(c *authserver.Config) { c.RefreshTokenLifetime = time.Hour })
		first := issuer.tokens()
		issuer.clock.forward(59 * time.Minute)
		a := issuer.refresh(first["refresh_token"])
		if a.StatusCode != http.StatusOK {
			t.Fatalf("after 59 minutes: %s", a.body)
		}
		issuer.clock.forward(time.Hour)
		wantError(t, issuer.refresh(a.json(t)["refresh_token"]), http.StatusBadRequest, "invalid_grant")
	})
}

// Clients repeat a refresh token because two processes share it or a response was lost.
func TestRepeatedRefresh(t *testing.T) {
	const grace = time.Minute
	refreshed := func(t *testing.T, issuer *testIssuer, token any) map[string]any {
		t.Helper()
		a := issuer.refresh(token)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", a.StatusCode, a.body)
		}
		return a.json(t)
	}
	wantFamily := func(t *testing.T, issuer *testIssuer, current any, alive bool) {
		t.Helper()
		if a := issuer.refresh(current); (a.StatusCode == http.StatusOK) != alive {
			t.Errorf("the current token gets status %d, want the family alive: %t", a.StatusCode, alive)
		}
	}
	t.Run("AS-21 the previous token gets the same successor and a new access token, as often as it is sent",
		func(t *testing.T) {
			issuer := open(t)
			first := issuer.tokens()
			second := refreshed(t, issuer, first["refresh_token"])
			seen := []any{second["access_token"]}
			issuer.clock.forward(grace - time.Second)
			for range 2 {
				again := refreshed(t, issuer, first["refresh_token"])
				if again["refresh_token"] != second["refresh_token"] {
					t.Error("it gets another successor")
				}
				if slices.Contains(seen, again["access_token"]) || !issuer.active(again["access_token"]) {
					t.Error("the access token is not a new one that is active")
				}
				seen = append(seen, again["access_token"])
			}
			wantFamily(t, issuer, second["refresh_token"], true)
		})
	t.Run("AS-21 concurrent refreshes all get the same successor", func(t *testing.T) {
		issuer := open(t)
		token := issuer.tokens()["refresh_token"]
		answers := make([]answer, 8)
		var group sync.WaitGroup
		for n := range answers {
			group.Go(func() { answers[n] = issuer.refresh(token) })
		}
		group.Wait()
		for _, a := range answers {
			if a.StatusCode != http.StatusOK || a.json(t)["refresh_token"] != answers[0].json(t)["refresh_token"] {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
		}
		wantFamily(t, issuer, answers[0].json(t)["refresh_token"], true)
	})
	t.Run("AS-21 after the grace the previous token revokes the family", func(t *testing.T) {
		issuer := open(t)
		first := issuer.tokens()
		second := refreshed(t, issuer, first["refresh_token"])
		issuer.clock.forward(grace)
		wantError(t, issuer.refresh(first["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		wantFamily(t, issuer, second["refresh_token"], false)
		if issuer.active(first["access_token"]) || issuer.active(second["access_token"]) {
			t.Error("an access token of the family is still active")
		}
	})
	t.Run("AS-21 once its successor was replaced a token revokes the family, even within the grace", func(t *testing.T) {
		issuer := open(t)
		first := issuer.tokens()
		third := refreshed(t, issuer, refreshed(t, issuer, first["refresh_token"])["refresh_token"])
		wantError(t, issuer.refresh(first["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		wantFamily(t, issuer, third["refresh_token"], false)
	})
	t.Run("AS-21 an older token is only refused within its grace, and revokes the family afterwards", func(t *testing.T) {
		issuer := open(t)
		first := issuer.tokens()
		third := refreshed(t, issuer, refreshed(t, issuer, first["refresh_token"])["refresh_token"])
		fourth := refreshed(t, issuer, third["refresh_token"])
		wantError(t, issuer.refresh(first["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		if !issuer.active(first["access_token"]) || !issuer.active(fourth["access_token"]) {
			t.Error("an access token of the family is no longer active")
		}
		fifth := refreshed(t, issuer, fourth["refresh_token"])
		issuer.clock.forward(grace)
		wantError(t, issuer.refresh(first["refresh_token"]), http.StatusBadRequest, "invalid_grant")
		wantFamily(t, issuer, fifth["refresh_token"], false)
	})
	t.Run("AS-21 the previous token of another client is refused, and nothing is revoked", func(t *testing.T) {
		issuer := open(t)
		first := issuer.tokens()
		second := refreshed(t, issuer, first["refresh_token"])
		wantError(t, issuer.refresh(first["refresh_token"], "client_id", "other"), http.StatusBadRequest,
			"invalid_grant")
		issuer.clock.forward(2 * grace)
		wantError(t, issuer.refresh(first["refresh_token"], "client_id", "other"), http.StatusBadRequest,
			"invalid_grant")
		wantFamily(t, issuer, second["refresh_token"], true)
	})
	t.Run("AS-21b a repeat cannot exceed the granted scope", func(t *testing.T) {
		issuer := open(t)
		first := issuer.tokens()
		refreshed(t, issuer, first["refresh_token"])
		wantError(t, issuer.refresh(first["refresh_token"], "scope", "admin"), http.StatusBadRequest,
			"invalid_scope")
		got := issuer.refresh(first["refresh_token"], "scope", "notes:read").json(t)
		if got["scope"] != "notes:read" {
			t.Errorf("scope %v", got["scope"])
		}
	})
	t.Run("a previous token is inactive at introspection, and revoking it ends the family", func(t *testing.T) {
		issuer := open(t)
		asClient := basic("secretive", "s3cret+&=%")
		first := issuer.post("/token", issuer.exchange(issuer.code("client_id", "secretive"), "client_id", ""),
			asClient).json(t)["refresh_token"].(string)
		renew := func(token string) answer {
			return issuer.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}},
				asClient)
		}
		second := renew(first).json(t)["refresh_token"].(string)
		for token, want := range map[string]bool{first: false, second: true} {
			if got := issuer.post("/introspect", url.Values{"token": {token}},
				asClient).json(t)["active"]; got != want {
				t.Errorf("active %v, want %t", got, want)
			}
		}
		issuer.post("/revoke", url.Values{"token": {first}}, asClient)
		wantError(t, renew(second), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("repeats are logged, without the token", func(t *testing.T) {
		log := new(lines)
		issuer := open(t, func(c *authserver.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
		first := issuer.tokens()["refresh_token"]
		second := refreshed(t, issuer, first)["refresh_token"]
		refreshed(t, issuer, first)
		third := refreshed(t, issuer, second)["refresh_token"]
		fourth := refreshed(t, issuer, third)["refresh_token"]
		issuer.refresh(first)  // three replacements
		issuer.refresh(second) // two replacements
		got := log.String()
		for _, want := range []string{"same successor returned", "nothing is revoked",
			"level=WARN msg=\"refresh token used twice"} {
			if strings.Count(got, want) != 1 {
				t.Errorf("the log does not say %q once: %s", want, got)
			}
		}
		for _, token := range []any{first, second, third, fourth} {
			if strings.Contains(got, token.(string)) {
				t.Error("the log contains a token")
			}
		}
	})
}

// lines is a log that is safe for concurrent writes.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *lines) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func TestClientCredentials(t *testing.T) {
	issuer := open(t)
	request := func(changes ...string) answer {
		return issuer.post("/token", with(url.Values{"grant_type": {"client_credentials"}}, changes...),
			basic("service", "service-secret"))
	}
	t.Run("the client is the subject and gets no refresh token", func(t *testing.T) {
		answer := request("scope", "notes:write offline_access openid", "resource", issuer.resource).json(t)
		_, claims := issuer.verify(answer["access_token"].(string))
		if claims["sub"] != "service" || claims["client_id"] != "service" || claims["aud"] != issuer.resource ||
			claims["scope"] != "notes:write" {
			t.Errorf("claims %v", claims)
		}
		if answer["refresh_token"] != nil || answer["id_token"] != nil || claims["name"] != nil {
			t.Errorf("answer %v", answer)
		}
	})
	t.Run("AS-16d AS-17 resource and scope have defaults", func(t *testing.T) {
		_, claims := issuer.verify(request().json(t)["access_token"].(string))
		if claims["aud"] != issuer.resource || claims["scope"] != "notes:read" {
			t.Errorf("claims %v", claims)
		}
	})
	t.Run("AS-16 an unknown resource is refused", func(t *testing.T) {
		wantError(t, request("resource", "https://elsewhere.example"), http.StatusBadRequest, "invalid_target")
	})
	t.Run("unknown scopes only are refused", func(t *testing.T) {
		wantError(t, request("scope", "root"), http.StatusBadRequest, "invalid_scope")
		wantError(t, request("scope", "openid"), http.StatusBadRequest, "invalid_scope")
	})
	t.Run("a confidential client without the grant is refused", func(t *testing.T) {
		a := issuer.post("/token", url.Values{"grant_type": {"client_credentials"}},
			basic("secretive", "s3cret+&=%"))
		wantError(t, a, http.StatusBadRequest, "unauthorized_client")
	})
}
