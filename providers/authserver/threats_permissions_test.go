package authserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
)

func TestThreats_Permissions(t *testing.T) {
	cases := []struct {
		name    string
		person  authserver.Person
		scope   string
		granted string // empty: refused
		reason  providers.Reason
	}{
		{"row 27 an account without any scope", authserver.Person{Subject: "a"}, "notes:read", "",
			authserver.ReasonAccountNotAllowed},
		{"row 27 an account without any scope, and a client that asks for none", authserver.Person{Subject: "a"},
			"offline_access", "", authserver.ReasonAccountNotAllowed},
		{"row 31 scopes that the person does not have", authserver.Person{Subject: "a", Scopes: []string{"notes:read"}},
			"admin offline_access", "", authserver.ReasonScopesNotAllowed},
		{"row 31 some that the person has", authserver.Person{Subject: "a", Scopes: []string{"notes:read", "other"}},
			"notes:read notes:write admin offline_access", "notes:read offline_access", ""},
		{"row 31 a person that may have everything", authserver.Person{Subject: "a", Unrestricted: true},
			"admin", "admin", ""},
		{"row 31 the own scopes only", authserver.Person{Subject: "a", Scopes: []string{"notes:read"}},
			"openid offline_access", "openid offline_access", ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			b := openBroker(t)
			test.person.Credential = "upstream-rt"
			b.company.set(func(c *company) { c.person = test.person })
			a := b.navigate(response(b.approved("scope", test.scope)))
			event := b.events.last("signin.complete")
			if test.granted == "" {
				wantClientError(t, b, a, http.StatusForbidden, "access_denied", "account is not allowed")
				if event.Reason != test.reason || event.Subject != "a" || b.records.count(t) != 0 {
					t.Errorf("event %+v, %d records", event, b.records.count(t))
				}
				return
			}
			if got := strings.Join(event.Scopes, " "); got != test.granted || event.Reason != "" {
				t.Errorf("event %+v", event)
			}
			code := wantCode(t, b, a)
			tokens := b.post("/token", b.exchange(code, "client_id", "web", "redirect_uri", webCallback)).json(t)
			if tokens["scope"] != test.granted {
				t.Errorf("granted %v, want %q", tokens["scope"], test.granted)
			}
		})
	}
	t.Run("row 31 the scope of a registration is no grant", func(t *testing.T) {
		b := openBroker(t)
		id := b.postJSON("/register", map[string]any{"redirect_uris": []string{webCallback}, "scope": "admin",
			"token_endpoint_auth_method": "none"}).json(t)["client_id"].(string)
		a := b.navigate(response(b.approved("client_id", id, "scope", "admin")))
		wantClientError(t, b, a, http.StatusForbidden, "access_denied", "account is not allowed")
	})

	denied := func(match func(*providers.Identity) bool) func(*authserver.Config) {
		return func(c *authserver.Config) {
			c.Denied = func(id *providers.Identity) (providers.Reason, bool) { return "caller_denied", match(id) }
		}
	}
	t.Run("a denied person", func(t *testing.T) {
		b := openBroker(t, denied(func(id *providers.Identity) bool { return id.Subject == "00u1" }))
		a := b.navigate(response(b.approved()))
		wantClientError(t, b, a, http.StatusForbidden, "access_denied", "operator of this server has denied access")
		if e := b.events.last("signin.complete"); e.Reason != "caller_denied" || e.Subject != "00u1" {
			t.Errorf("event %+v", e)
		}
		if !slices.Equal(b.company.dismissed, []string{"upstream-rt"}) || b.records.count(t) != 0 {
			t.Errorf("dismissed %v, %d records", b.company.dismissed, b.records.count(t))
		}
	})
	t.Run("a denied client", func(t *testing.T) {
		b := openBroker(t, denied(func(id *providers.Identity) bool { return id.Client == "web" }))
		wantPage(t, b.ask(), http.StatusForbidden)
	})
	t.Run("a client that was denied during the sign-in", func(t *testing.T) {
		var mu sync.Mutex
		isDenied := false
		b := openBroker(t, denied(func(id *providers.Identity) bool {
			mu.Lock()
			defer mu.Unlock()
			return isDenied && id.Client == "web"
		}))
		login := b.approved()
		mu.Lock()
		isDenied = true
		mu.Unlock()
		a := b.navigate(response(login))
		wantPage(t, a, http.StatusForbidden)
		if refresh.MatchString(a.body) || link.MatchString(a.body) {
			t.Errorf("the browser goes to a client that is denied: %s", a.body)
		}
	})
}

func TestThreats_Outages(t *testing.T) {
	t.Run("row 54 the store is down at authorize, consent and callback", func(t *testing.T) {
		b := openBroker(t)
		b.records.fail(errors.New("connection refused by 10.0.0.7"))
		login := b.approved()
		a := b.navigate(response(login))
		wantClientError(t, b, a, http.StatusServiceUnavailable, "temporarily_unavailable", "cannot store it")
		if a.Header.Get("Retry-After") == "" || strings.Contains(a.body, "10.0.0.7") {
			t.Errorf("headers %v: %s", a.Header, a.body)
		}
		if e := b.events.last("signin.complete"); e.Reason != authserver.ReasonStoreUnavailable || e.Subject != "00u1" {
			t.Errorf("event %+v", e)
		}
		b.records.fail(nil)
		wantCode(t, b, b.navigate(response(b.approved())))
	})
	t.Run("row 55 the company is down at authorize", func(t *testing.T) {
		b := openBroker(t)
		b.company.set(func(c *company) { c.down = refusal("temporarily_unavailable") })
		_, fields := b.page()
		a := b.answer(fields, "approve")
		wantClientError(t, b, a, http.StatusServiceUnavailable, "temporarily_unavailable", "A sentence for the person.")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("headers %v", a.Header)
		}
		if e := b.events.last(authserver.EventComplete); e.Reason != "refused" || e.ClientID == "" {
			t.Errorf("event %+v", e)
		}
		b.company.set(func(c *company) { c.down = nil })
		wantCode(t, b, b.navigate(response(continues(t, b.answer(fields, "approve"), http.StatusOK))))
	})
	t.Run("row 55 the company is down at callback, and its code is not sent twice", func(t *testing.T) {
		b := openBroker(t)
		login := b.approved()
		b.company.set(func(c *company) { c.refuses = refusal("temporarily_unavailable") })
		wantClientError(t, b, b.navigate(response(login)), http.StatusServiceUnavailable, "temporarily_unavailable",
			"A sentence for the person.")
		wantPage(t, b.navigate(response(login)), http.StatusForbidden)
		if n := b.company.finishes(); n != 1 {
			t.Errorf("the code was sent %d times", n)
		}
	})
}

func TestThreats_Leaks(t *testing.T) {
	t.Run("row 62 the log, the pages and the events", func(t *testing.T) {
		b := openBroker(t)
		var pages strings.Builder
		secrets := []string{"st/ate&1", url.QueryEscape("st/ate&1"), "upstream-rt", challengeOf(verifier),
			"nonce-of-the-client"}
		see := func(a answer) answer {
			for _, c := range a.Cookies() {
				if c.Value != "" {
					secrets = append(secrets, c.Value)
				}
			}
			return a
		}
		page, fields := b.page("nonce", "nonce-of-the-client", "login_hint", "someone@example.com")
		see(page)
		approved := see(b.answer(fields, "approve"))
		login := continues(t, approved, http.StatusOK)
		state := login.Query().Get("state")
		attempt := b.company.attempts["code-"+state]
		secrets = append(secrets, state, attempt.Nonce, attempt.Verifier, fields.Get("request"), fields.Get("token"),
			"someone@example.com")
		secrets = append(secrets, wantCode(t, b, b.navigate(response(login))))
		pages.WriteString(b.navigate(response(login)).body)
		b.company.set(func(c *company) { c.refuses = refusal("access_denied") })
		refused := b.approved()
		b.navigate(response(refused) + "&error_description=text-of-the-company")
		pages.WriteString(b.other(t).answer(fields, "approve").body)
		pages.WriteString(b.ask("client_id", "unknown").body)
		secrets = append(secrets, refused.Query().Get("state"), "text-of-the-company")
		_, denied := b.page()
		b.answer(denied, "deny")

		log := b.log.String()
		if !strings.Contains(log, "sign-in failed") {
			t.Errorf("the log has no refusal: %s", log)
		}
		recorded := fmt.Sprintf("%+v", b.events.all)
		for _, secret := range secrets {
			for name, text := range map[string]string{"log": log, "events": recorded, "pages": pages.String()} {
				if secret != "" && strings.Contains(text, secret) {
					t.Errorf("the %s: %q", name, secret)
				}
			}
		}
		if jwt := regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}`); jwt.MatchString(log) {
			t.Error("the log has a token")
		}
	})
}
