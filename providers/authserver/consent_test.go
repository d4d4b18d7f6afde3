package authserver_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

// consent sends an authorization request and returns the consent page and the fields of its form.
func (issuer *testIssuer) consent(changes ...string) (answer, url.Values) {
	issuer.t.Helper()
	a := issuer.authorize(changes...)
	if a.StatusCode != http.StatusFound {
		issuer.t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	page := issuer.get(a.Header.Get("Location"))
	fields := url.Values{"person": {"alice"}}
	for _, field := range regexp.MustCompile(
		`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(page.body, -1) {
		fields.Set(field[1], html.UnescapeString(field[2]))
	}
	if fields.Get("request") == "" || fields.Get("token") == "" {
		issuer.t.Fatalf("the page has no form: %d %s", page.StatusCode, page.body)
	}
	return page, fields
}

func (issuer *testIssuer) decide(fields url.Values, decision string, change ...func(*http.Request)) answer {
	issuer.t.Helper()
	return issuer.post("/consent", with(fields, "decision", decision), change...)
}

func TestConsentPage(t *testing.T) {
	issuer := open(t, withConsent)
	page, _ := issuer.consent("scope", "notes:read openid offline_access")

	t.Run("AS-20b it shows client, scopes, resource and redirect host", func(t *testing.T) {
		for _, want := range []string{
			"Public &lt;b&gt;client&lt;/b&gt;", "public", "notes:read", "openid", "offline_access", issuer.resource,
			"127.0.0.1:7777", issuer.url,
			"anyone can sign in as anyone",
		} {
			if !strings.Contains(page.body, want) {
				t.Errorf("it does not say %q", want)
			}
		}
	})
	t.Run("AS-20b it warns that any local program can receive a loopback redirect", func(t *testing.T) {
		const warning = "any program on it could receive the response"
		if !strings.Contains(page.body, warning) {
			t.Error("the page has no warning")
		}
		if other, _ := issuer.consent("redirect_uri", "https://app.example/cb?keep=1"); strings.Contains(other.body,
			warning) || !strings.Contains(other.body, "app.example") {
			t.Error("there is one for https, or no host")
		}
		if other, _ := issuer.consent("redirect_uri", "com.example.app:/cb"); !strings.Contains(other.body,
			"com.example.app:") {
			t.Error("the private-use scheme is not named")
		}
	})
	t.Run("AS-20b it shows that the name of a dynamically registered client is not verified", func(t *testing.T) {
		const remark = "its name is not verified"
		if strings.Contains(page.body, remark) {
			t.Error("it shows that for a preregistered client too")
		}
		id := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback},
			"client_name": "Claude"}).json(t)["client_id"].(string)
		if other, _ := issuer.consent("client_id", id); !strings.Contains(other.body, remark) ||
			!strings.Contains(other.body, "“Claude”") || !strings.Contains(other.body, id) {
			t.Errorf("it does not: %s", other.body)
		}
	})
	t.Run("alice is chosen, or whom the hint names", func(t *testing.T) {
		if !strings.Contains(page.body, `value="alice" required checked`) {
			t.Error("alice is not chosen")
		}
		if other, _ := issuer.consent("login_hint", "bob"); !strings.Contains(other.body,
			`value="bob" required checked`) {
			t.Error("bob is not chosen")
		}
	})
	t.Run("AS-20 it cannot be framed, loads and runs nothing, and is not stored", func(t *testing.T) {
		policy := page.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'; ", "frame-ancestors 'none'", "base-uri 'none'",
			"form-action 'self' http://127.0.0.1:7777;"} {
			if !strings.Contains(policy, want) {
				t.Errorf("policy %q lacks %q", policy, want)
			}
		}
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Referrer-Policy": "same-origin",
		} {
			if got := page.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if strings.Contains(page.body, "<script") || strings.Contains(page.body, " style=") ||
			regexp.MustCompile(`<[^>]* on[a-z]+=`).MatchString(page.body) {
			t.Error("it has scripts or inline styles")
		}
	})
	t.Run("the policy lets the page's own style sheet in, and no other", func(t *testing.T) {
		_, rest, _ := strings.Cut(page.body, "<style>")
		style, _, ok := strings.Cut(rest, "</style>")
		digest := sha256.Sum256([]byte(style))
		want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "';"
		if !ok || len(style) < 100 || !strings.Contains(page.Header.Get("Content-Security-Policy"), want) {
			t.Errorf("policy %q, want %q", page.Header.Get("Content-Security-Policy"), want)
		}
	})
	t.Run("the policy lets the form's answer reach other kinds of redirect URI", func(t *testing.T) {
		issuer := open(t, withConsent,
			func(c *authserver.Config) { c.Clients = append(c.Clients, authserver.DemoClients("")...) })
		for uri, want := range map[string]string{
			"https://app.example/cb?keep=1": "form-action 'self' https://app.example;",
			"com.example.app:/cb":           "form-action 'self' com.example.app:;",
		} {
			other, _ := issuer.consent("redirect_uri", uri)
			if !strings.Contains(other.Header.Get("Content-Security-Policy"), want) {
				t.Errorf("%s: policy %q", uri, other.Header.Get("Content-Security-Policy"))
			}
		}
		// CSP cannot express IPv6 addresses.
		if other, _ := issuer.consent("client_id", "local-cli", "redirect_uri",
			"http://[::1]:99/callback"); !strings.Contains(other.Header.Get("Content-Security-Policy"),
			"form-action 'self' http:;") {
			t.Errorf("IPv6: policy %q", other.Header.Get("Content-Security-Policy"))
		}
	})
	t.Run("AS-20d the cookie is HttpOnly and SameSite=Strict", func(t *testing.T) {
		cookie := page.Header.Get("Set-Cookie")
		for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/consent", "Max-Age=600"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("cookie %q lacks %s", cookie, want)
			}
		}
		if strings.Contains(cookie, "Secure") {
			t.Errorf("cookie %q is Secure on http, where a browser would drop it", cookie)
		}
	})
	t.Run("problem pages cannot be framed either and have no form", func(t *testing.T) {
		a := issuer.authorize("client_id", "unknown")
		if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'none'") ||
			!strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("policy %q", policy)
		}
	})
}

func TestConsentDecision(t *testing.T) {
	issuer := open(t, withConsent)
	t.Run("AS-20c approval redirects with 303, and the chosen user is the subject", func(t *testing.T) {
		_, fields := issuer.consent()
		a := issuer.decide(with(fields, "person", "bob"), "approve")
		target, q := a.location(t)
		if a.StatusCode != http.StatusSeeOther || target != callback || q.Get("state") != "st/ate&1" ||
			q.Get("iss") != issuer.url || q.Get("code") == "" {
			t.Fatalf("status %d to %q with %v", a.StatusCode, target, q)
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("headers %v", a.Header)
		}
		_, claims := issuer.verify(issuer.post("/token",
			issuer.exchange(q.Get("code"))).json(t)["access_token"].(string))
		if claims["sub"] != "bob" || claims["name"] != "Bob" {
			t.Errorf("claims %v", claims)
		}
	})
	t.Run("AS-18 AS-19 denial is access_denied with state and iss", func(t *testing.T) {
		_, fields := issuer.consent()
		a := issuer.decide(fields, "deny")
		target, q := a.location(t)
		if a.StatusCode != http.StatusSeeOther || target != callback || q.Get("error") != "access_denied" ||
			q.Get("state") != "st/ate&1" || q.Get("iss") != issuer.url || q.Has("code") {
			t.Errorf("status %d to %q with %v", a.StatusCode, target, q)
		}
	})
	t.Run("a request can be decided once, even with the cookie", func(t *testing.T) {
		page, fields := issuer.consent()
		issuer.decide(fields, "deny")
		a := issuer.decide(fields, "approve", func(r *http.Request) { r.AddCookie(page.Cookies()[0]) })
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "was already answered") {
			t.Errorf("the page has another text: %s", a.body)
		}
	})
	t.Run("a page can be answered for 10 minutes", func(t *testing.T) {
		_, early := issuer.consent()
		issuer.clock.forward(10*time.Minute - time.Second)
		if a := issuer.decide(early, "approve"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("just before: status %d", a.StatusCode)
		}
		page, late := issuer.consent()
		issuer.clock.forward(10 * time.Minute)
		wantPage(t, issuer.decide(late, "approve"), http.StatusBadRequest)
		wantPage(t, issuer.get(page.Request.URL.String()), http.StatusBadRequest)
	})
	t.Run("an unknown request is a problem page", func(t *testing.T) {
		wantPage(t, issuer.get("/consent"), http.StatusBadRequest)
		wantPage(t, issuer.get("/consent?request=unknown"), http.StatusBadRequest)
	})
	t.Run("two pages in one browser do not disturb each other", func(t *testing.T) {
		_, one := issuer.consent("state", "1")
		_, two := issuer.consent("state", "2")
		for _, fields := range []url.Values{one, two} {
			if a := issuer.decide(fields, "approve"); a.StatusCode != http.StatusSeeOther {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
		}
	})
	t.Run("a page that is loaded twice can be answered from either", func(t *testing.T) {
		page, fields := issuer.consent()
		issuer.get(page.Request.URL.String())
		if a := issuer.decide(fields, "approve"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	incomplete := []struct {
		name     string
		changes  []string
		decision string
	}{
		{"no decision", nil, ""},
		{"an unknown decision", nil, "maybe"},
		{"an unknown person", []string{"person", "mallory"}, "approve"},
		{"no person", []string{"person", ""}, "approve"},
	}
	for _, test := range incomplete {
		t.Run(test.name+" is refused, and the page can still be answered", func(t *testing.T) {
			_, fields := issuer.consent()
			wantPage(t, issuer.decide(with(fields, test.changes...), test.decision), http.StatusBadRequest)
			if a := issuer.decide(fields, "approve"); a.StatusCode != http.StatusSeeOther {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
		})
	}
}

func TestConsentCannotBeForged(t *testing.T) {
	issuer := open(t, withConsent)
	tests := []struct {
		name    string
		changes []string
		request func(*http.Request)
		cookies bool
	}{
		{"AS-20d a form without the form's token is refused", []string{"token", ""}, nil, true},
		{"AS-20d a form with another token is refused", []string{"token", strings.Repeat("0", 64)}, nil, true},
		{"AS-20d a form without the cookie is refused", nil, nil, false},
		{"AS-20d a form from another site is refused", nil,
			func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, true},
		{"AS-20d a form from another origin of the same site is refused", nil,
			func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, true},
		{"AS-20d a form with a foreign Origin is refused", nil,
			func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, true},
		{"AS-20d a form with Origin null is refused", nil, func(r *http.Request) { r.Header.Set("Origin", "null") },
			true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, fields := issuer.consent()
			forged := with(fields, append(test.changes, "decision", "approve")...)
			r := issuer.request(http.MethodPost, "/consent", strings.NewReader(forged.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if test.request != nil {
				test.request(r)
			}
			sender := issuer
			if !test.cookies {
				attacker := *issuer
				attacker.newBrowser(t)
				sender = &attacker
			}
			wantPage(t, sender.do(r), http.StatusForbidden)
			if a := issuer.decide(fields, "approve"); a.StatusCode != http.StatusSeeOther {
				t.Errorf("the forged answer used the page up: status %d", a.StatusCode)
			}
		})
	}
	t.Run("AS-20d the token of one request is not valid for another", func(t *testing.T) {
		_, one := issuer.consent()
		_, two := issuer.consent()
		wantPage(t, issuer.decide(with(two, "token", one.Get("token")), "approve"), http.StatusForbidden)
	})
	t.Run("AS-20d the form of the attacker's page is not accepted from the victim's browser", func(t *testing.T) {
		attacker := *issuer
		attacker.newBrowser(t)
		page, fields := attacker.consent()
		wantPage(t, issuer.decide(fields, "approve"), http.StatusForbidden)
		issuer.get(page.Request.URL.String()) // the victim may have opened the same page
		wantPage(t, issuer.decide(fields, "approve"), http.StatusForbidden)
	})
	t.Run("AS-20d the cookie of one request is not valid for another", func(t *testing.T) {
		page, one := issuer.consent()
		_, two := issuer.consent()
		attacker := *issuer
		attacker.newBrowser(t)
		moved := &http.Cookie{Name: "consent_" + two.Get("request"), Value: page.Cookies()[0].Value}
		a := attacker.decide(with(two, "token", one.Get("token")), "approve",
			func(r *http.Request) { r.AddCookie(moved) })
		wantPage(t, a, http.StatusForbidden)
	})
	t.Run("AS-20d the headers that browsers send for the same origin are accepted", func(t *testing.T) {
		for name, value := range map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": issuer.url} {
			_, fields := issuer.consent()
			if a := issuer.decide(fields, "approve",
				func(r *http.Request) { r.Header.Set(name, value) }); a.StatusCode != http.StatusSeeOther {
				t.Errorf("%s: status %d", name, a.StatusCode)
			}
		}
	})
	// Browsers omit the default port in Origin, whether the issuer contains it or not.
	for _, issuer := range []string{"https://issuer.example", "https://issuer.example:443"} {
		t.Run("AS-20d behind a proxy that changes Host the origin of "+issuer+
			" is still known, and its cookie is Secure", func(t *testing.T) {
			i, err := authserver.New(authserver.Config{
				Issuer: issuer, Resources: []string{"http://localhost/mcp"}, SigningAlgorithm: "ES256",
				Clients: []authserver.Client{{ID: "public", RedirectURIs: []string{callback}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			proxied := serve(t, i.Handler())
			proxied.resource = "http://localhost/mcp"
			a := proxied.authorize()
			page := proxied.get(strings.TrimPrefix(a.Header.Get("Location"), issuer))
			cookie, _, _ := strings.Cut(page.Header.Get("Set-Cookie"), ";")
			if !strings.Contains(page.Header.Get("Set-Cookie"), "; Secure") {
				t.Errorf("cookie %q", page.Header.Get("Set-Cookie"))
			}
			fields := url.Values{"person": {"alice"}}
			for _, field := range regexp.MustCompile(`name="(request|token)" value="([^"]*)"`).FindAllStringSubmatch(
				page.body, -1) {
				fields.Set(field[1], field[2])
			}
			answered := proxied.decide(fields, "approve", func(r *http.Request) {
				r.Header.Set("Cookie", cookie)
				r.Header.Set("Origin", "https://issuer.example")
			})
			if answered.StatusCode != http.StatusSeeOther {
				t.Errorf("status %d: %s", answered.StatusCode, answered.body)
			}
		})
	}
}
