package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

func TestThreats_ConsentPage(t *testing.T) {
	const disguised = "Micro\u202esoft\u200b sign-in\n<img src=x>"
	host := newDocumentHost(t)
	host.serve(host.document("redirect_uris", []string{webCallback, callback},
		"logo_uri", "https://evil.example/logo.png"))
	b := openBroker(t, func(c *authserver.Config) {
		c.ClientDocuments, c.AllowLoopbackClientDocuments, c.ClientDocumentRootCAs = true, true, host.roots
		c.Clients = append(c.Clients,
			authserver.Client{ID: "disguised", Name: disguised, RedirectURIs: []string{webCallback}},
			authserver.Client{ID: "long", Name: strings.Repeat("ü", 5000), RedirectURIs: []string{webCallback}})
	})
	has := func(t *testing.T, page answer, wanted ...string) {
		t.Helper()
		for _, want := range wanted {
			if !strings.Contains(page.body, want) {
				t.Errorf("the page does not say %q: %s", want, page.body)
			}
		}
	}
	t.Run("row 10 a name with hidden characters and HTML", func(t *testing.T) {
		page, _ := b.page("client_id", "disguised")
		has(t, page, `Micro\u202esoft\u200b sign-in\n&lt;img src=x&gt;`)
		if strings.ContainsAny(page.body, "\u202e\u200b") || strings.Contains(page.body, "<img") {
			t.Error("the page has the characters themselves")
		}
	})
	t.Run("row 10 a name of 10 kB", func(t *testing.T) {
		page, _ := b.page("client_id", "long")
		if n := strings.Count(page.body, "ü"); n == 0 || n > 60 {
			t.Errorf("the page shows %d characters of it", n)
		}
	})
	t.Run("row 10 the hosts stand out, and the name is what the client claims", func(t *testing.T) {
		page, _ := b.page("client_id", host.id())
		domain := strings.TrimPrefix(host.URL, "https://")
		has(t, page, "<strong>"+domain+"</strong>", "<strong>app.example</strong>",
			"It calls itself “<bdi>Document client</bdi>”", "the name is not")
		if strings.Contains(page.body, "evil.example") || strings.Contains(page.body, "logo") {
			t.Error("the page has the logo")
		}
		other, _ := b.page("client_id", b.registerPublic(webCallback))
		has(t, other, "It calls itself “<bdi>Claude</bdi>”", "its name is not verified", "<strong>app.example</strong>")
	})
	t.Run("row 11 a redirect to this computer", func(t *testing.T) {
		const warning = "a program on this computer"
		for _, id := range []string{host.id(), b.registerPublic(callback)} {
			page, _ := b.page("client_id", id, "redirect_uri", callback)
			has(t, page, warning, "<strong>127.0.0.1:7777</strong>")
		}
		if page, _ := b.page(); strings.Contains(page.body, warning) {
			t.Error("https has the warning, too")
		}
	})
	t.Run("row 31 it shows what is possible, with descriptions", func(t *testing.T) {
		page, _ := b.page("scope", "notes:read admin offline_access")
		has(t, page, "Read your notes <small>notes:read</small>", "<code>admin</code>", "Keep access while you are away",
			"those of them that your account has", b.resource)
	})
	t.Run("it says where the person signs in, and offers no one else", func(t *testing.T) {
		page, _ := b.page("client_id", b.registerPublic(webCallback), "login_hint", "alice")
		has(t, page, "You continue at <strong>login.example.com</strong>")
		for _, word := range []string{"emo", "alice", "Alice", `type="radio"`, "password"} {
			if strings.Contains(page.body, word) {
				t.Errorf("the page has %q", word)
			}
		}
	})
	t.Run("no page says demo", func(t *testing.T) {
		index := serve(t, b.Index()).get("/")
		login := b.approved()
		_, fields := b.page()
		for _, a := range []answer{
			index, b.ask("redirect_uri", "https://evil.example/"), b.get("/consent?request=x"), b.answer(fields, "approve"),
			b.navigate(response(login)), b.navigate(response(login)), b.navigate("/callback"),
		} {
			if strings.Contains(strings.ToLower(a.body), "demo") || !strings.Contains(a.body, "Sign-in service") &&
				!strings.Contains(a.body, "sign-in service") {
				t.Errorf("%s: %s", a.Request.URL.Path, a.body)
			}
		}
	})
	t.Run("row 14 it cannot be framed", func(t *testing.T) {
		page, fields := b.page()
		for _, a := range []answer{page, b.answer(fields, "approve"), b.navigate("/callback")} {
			policy := a.Header.Get("Content-Security-Policy")
			if !strings.Contains(policy, "frame-ancestors 'none'") || a.Header.Get("X-Frame-Options") != "DENY" ||
				!strings.Contains(policy, "default-src 'none'") || a.Header.Get("Cache-Control") != "no-store" ||
				a.Header.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("headers %v", a.Header)
			}
		}
		framed := func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "iframe") }
		for _, path := range []string{"/consent?request=" + fields.Get("request"), response(b.approved())} {
			wantPage(t, b.navigate(path, framed), http.StatusForbidden)
		}
	})
	t.Run("the form leads to this server and the client only", func(t *testing.T) {
		page, _ := b.page()
		if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy,
			"form-action 'self' https://app.example;") {
			t.Errorf("policy %s", policy)
		}
	})
}

func TestThreats_Consent(t *testing.T) {
	t.Run("row 13 consent each time, and no request to the company without a click", func(t *testing.T) {
		b := openBroker(t)
		wantCode(t, b, b.navigate(response(b.approved())))
		before := b.company.begun()
		for _, id := range []string{"web", b.registerPublic(webCallback)} {
			b.page("client_id", id)
		}
		if n := b.company.begun(); n != before {
			t.Errorf("%d attempts without a click", n-before)
		}
	})

	b := openBroker(t)
	edited := func(box string) string {
		at := len(box) / 2
		return box[:at] + string('A'+(box[at]-'A'+1)%26) + box[at+1:]
	}
	forged := []struct {
		name    string
		changes func(*broker, url.Values) []string
		request func(*http.Request)
		other   bool // from another browser
		text    string
	}{
		{"from another site", nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, false, "not sent"},
		{"from another host of the site", nil,
			func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, false, "not sent"},
		{"with a foreign Origin", nil, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, false,
			"not sent"},
		{"without the cookie", nil, nil, true, "not sent"},
		{"without a token", func(*broker, url.Values) []string { return []string{"token", ""} }, nil, false, "not sent"},
		{"with a short token", func(_ *broker, f url.Values) []string { return []string{"token", f.Get("token")[:32]} }, nil,
			false, "not sent"},
		{"with the token of another page", func(b *broker, _ url.Values) []string {
			_, other := b.page()
			return []string{"token", other.Get("token")}
		}, nil, false, "not sent"},
		{"with an edited request", func(_ *broker, f url.Values) []string {
			return []string{"request", edited(f.Get("request"))}
		}, nil, false, "was changed"},
		{"with half a request", func(_ *broker, f url.Values) []string {
			return []string{"request", f.Get("request")[:len(f.Get("request"))/2]}
		}, nil, false, "incomplete"},
		{"with a request of other secrets", func(_ *broker, _ url.Values) []string {
			_, other := openBroker(t).page()
			return []string{"request", other.Get("request")}
		}, nil, false, "other secrets"},
	}
	for _, test := range forged {
		t.Run("row 15 a form "+test.name, func(t *testing.T) {
			_, fields := b.page()
			sender, before := b, b.company.begun()
			if test.other {
				sender = b.other(t)
			}
			var changes []string
			if test.changes != nil {
				changes = test.changes(b, fields)
			}
			if test.request == nil {
				test.request = func(*http.Request) {}
			}
			a := sender.answer(with(fields, changes...), "approve", test.request)
			wantPage(t, a, http.StatusForbidden)
			if !strings.Contains(a.body, test.text) || refresh.MatchString(a.body) {
				t.Errorf("the page says %s", a.body)
			}
			if n := b.company.begun(); n != before {
				t.Error("it went to the company")
			}
			continues(t, b.answer(fields, "approve"), http.StatusOK) // the page is still good
		})
	}
	t.Run("row 15 a form with the cookie of another browser", func(t *testing.T) {
		_, fields := b.page()
		attacker := b.other(t)
		page := attacker.get("/consent?request=" + fields.Get("request"))
		a := b.answer(fieldsOf(page), "approve")
		wantPage(t, a, http.StatusForbidden)
	})
	t.Run("row 15 a page after 10 minutes", func(t *testing.T) {
		page, fields := b.page()
		b.clock.forward(10*time.Minute - 2*time.Second)
		continues(t, b.answer(fields, "approve", withCookies(page.Cookies())), http.StatusOK)
		b.clock.forward(2 * time.Second)
		for _, a := range []answer{
			b.answer(fields, "approve", withCookies(page.Cookies())), b.get("/consent?request=" + fields.Get("request")),
		} {
			wantPage(t, a, http.StatusForbidden)
			if !strings.Contains(a.body, "Sign-in expired") {
				t.Errorf("the page says %s", a.body)
			}
		}
	})
	t.Run("row 16 a double click", func(t *testing.T) {
		_, fields := b.page()
		one := continues(t, b.answer(fields, "approve"), http.StatusOK)
		two := continues(t, b.answer(fields, "approve"), http.StatusOK)
		if one.Query().Get("state") == two.Query().Get("state") {
			t.Error("they share a state")
		}
		wantCode(t, b, b.navigate(response(two)))
		wantCode(t, b, b.navigate(response(one)))
	})
	t.Run("row 16 the back button", func(t *testing.T) {
		page, fields := b.page()
		wantCode(t, b, b.navigate(response(continues(t, b.answer(fields, "approve"), http.StatusOK))))
		again := b.get(page.Request.URL.String())
		wantCode(t, b, b.navigate(response(continues(t, b.answer(fieldsOf(again), "approve"), http.StatusOK))))
		wantCode(t, b, b.navigate(response(continues(t, b.answer(fields, "approve"), http.StatusOK))))
	})
	t.Run("row 16 two tabs", func(t *testing.T) {
		one, two := b.approved("state", "1"), b.approved("state", "2")
		for want, login := range map[string]*url.URL{"1": one, "2": two} {
			if q := continues(t, b.navigate(response(login)), http.StatusOK).Query(); q.Get("state") != want {
				t.Errorf("state %q, want %q", q.Get("state"), want)
			}
		}
	})
	t.Run("row 18 the cookies can be set by this host only", func(t *testing.T) {
		for name, b := range map[string]*broker{"__Host-": openBroker(t), "": openPlainBroker(t)} {
			page, fields := b.page()
			for prefix, header := range map[string]string{
				"consent-": page.Header.Get("Set-Cookie"), "signin-": b.answer(fields, "approve").Header.Get("Set-Cookie"),
			} {
				for _, want := range []string{"; Path=/;", "; HttpOnly", "; SameSite=Lax", "; Max-Age=600"} {
					if !strings.Contains(header, want) {
						t.Errorf("%s lacks %s", header, want)
					}
				}
				if !strings.HasPrefix(header, name+prefix) || strings.Contains(header, "; Secure") != (name != "") ||
					strings.Contains(header, "Domain") {
					t.Errorf("%s: %s", name, header)
				}
			}
		}
	})
}
