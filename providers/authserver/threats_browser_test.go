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
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
)

// The numbers are those of the table of threats of the broker.

func TestThreats_Authorize(t *testing.T) {
	b := openBroker(t)
	registered := b.registerPublic(webCallback)
	for name, id := range map[string]string{
		"unknown": "not-registered", "edited": registered[:len(registered)-30] + "A" + registered[len(registered)-29:],
		"cut": registered[:len(registered)-1], "with a line break": registered + "\n",
	} {
		t.Run("row 05 a client_id that is "+name, func(t *testing.T) {
			wantPage(t, b.ask("client_id", id), http.StatusBadRequest)
		})
	}
	for name, uri := range map[string]string{
		"an extra path": "https://app.example/cb/x?keep=1", "no query": "https://app.example/cb",
		"another query": webCallback + "&x=1", "capitals": "https://APP.example/cb?keep=1",
		"a port": "https://app.example:443/cb?keep=1", "an encoded dot": "https://app%2eexample/cb?keep=1",
		"a slash at the end": "https://app.example/cb/?keep=1", "a fragment": webCallback + "#x",
	} {
		t.Run("row 06 a redirect URI with "+name, func(t *testing.T) {
			wantPage(t, b.ask("redirect_uri", uri), http.StatusBadRequest)
		})
	}
	for name, changes := range map[string][]string{
		"no challenge": {"code_challenge", "", "code_challenge_method", ""}, "plain": {"code_challenge_method", "plain"},
		"no method": {"code_challenge_method", ""}, "a short challenge": {"code_challenge", "short"},
	} {
		t.Run("row 34 "+name, func(t *testing.T) {
			// The error is sent to programs on this computer, and not to a site that no one has approved.
			local := b.authorize(append([]string{"client_id", b.registerPublic(callback)}, changes...)...)
			if _, q := local.location(t); q.Get("error") != "invalid_request" || q.Has("code") {
				t.Errorf("loopback: %v", q)
			}
			wantPage(t, b.ask(append([]string{"client_id", registered}, changes...)...), http.StatusBadRequest)
		})
	}
	t.Run("row 34 a repeated challenge", func(t *testing.T) {
		form := b.authorization("client_id", registered, "redirect_uri", webCallback)
		form.Add("code_challenge", form.Get("code_challenge"))
		wantPage(t, b.get("/authorize?"+form.Encode()), http.StatusBadRequest)
	})
	t.Run("row 44 an error before the client is known, and logout", func(t *testing.T) {
		const evil = "https://evil.example/"
		for _, query := range []string{
			"?redirect_uri=" + evil, "?client_id=unknown&redirect_uri=" + evil + "&error=x",
			"?client_id=web&redirect_uri=" + evil, "?client_id=" + evil + "c.json&redirect_uri=" + evil,
			"?post_logout_redirect_uri=" + evil,
		} {
			wantPage(t, b.get("/authorize"+query), http.StatusBadRequest)
		}
		for _, path := range []string{"/logout", "/end_session", "/endsession"} {
			if a := b.get(path + "?post_logout_redirect_uri=" + evil); a.StatusCode != http.StatusNotFound {
				t.Errorf("%s: status %d", path, a.StatusCode)
			}
		}
		a := b.ask("post_logout_redirect_uri", evil)
		if strings.Contains(a.Header.Get("Location"), "evil") {
			t.Errorf("to %s", a.Header.Get("Location"))
		}
	})
	t.Run("row 45 a state of 100 kB", func(t *testing.T) {
		wantPage(t, b.ask("state", strings.Repeat("x", 100_000)), http.StatusBadRequest)
	})
	t.Run("row 45 a request that is too long for a cookie", func(t *testing.T) {
		a := b.ask("state", strings.Repeat("x", 3500))
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "too long") {
			t.Errorf("the page says %s", a.body)
		}
		long := b.approved("state", strings.Repeat("x", 2000))
		if q := continues(t, b.navigate(response(long)), http.StatusOK).Query(); len(q.Get("state")) != 2000 {
			t.Errorf("a state of 2000 bytes has %d", len(q.Get("state")))
		}
	})
	t.Run("row 45 a state that breaks lines stays one value", func(t *testing.T) {
		const state = "a\r\nSet-Cookie: x=1\r\n\r\n<script>"
		target := continues(t, b.navigate(response(b.approved("state", state))), http.StatusOK)
		if got := target.Query().Get("state"); got != state {
			t.Errorf("state %q", got)
		}
		wantPage(t, b.ask("state", "\xff"), http.StatusBadRequest)
	})
	t.Run("row 64 a forged Host", func(t *testing.T) {
		page, fields := b.page()
		forged := func(r *http.Request) {
			r.Host = "evil.example"
			r.Header.Set("X-Forwarded-Host", "evil.example")
			r.Header.Set("X-Forwarded-Proto", "http")
			r.Header.Set("Forwarded", "host=evil.example")
		}
		r := b.request(http.MethodGet, "/authorize?"+b.authorization("client_id", "web", "redirect_uri",
			webCallback).Encode(), nil)
		forged(r)
		a := b.do(r)
		if !strings.HasPrefix(a.Header.Get("Location"), b.config.Issuer+"/consent?") {
			t.Errorf("to %s", a.Header.Get("Location"))
		}
		// The jar has no cookies for the forged name.
		approved := b.answer(fields, "approve", forged, withCookies(page.Cookies()))
		login := continues(t, approved, http.StatusOK)
		wantCode(t, b, b.navigate(response(login), forged, withCookies(approved.Cookies())))
	})
	t.Run("row 13 prompt=none has no sign-in to continue", func(t *testing.T) {
		wantPage(t, b.ask("client_id", registered, "prompt", "none"), http.StatusBadRequest)
	})
	t.Run("1000 requests that are not approved store nothing", func(t *testing.T) {
		other := b.other(t)
		_, first := other.page()
		before := b.records.count(t)
		var group sync.WaitGroup
		slots := make(chan struct{}, 20)
		for range 1000 {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				a := b.ask()
				path, ok := strings.CutPrefix(a.Header.Get("Location"), b.config.Issuer)
				if page := b.get(path); !ok || page.StatusCode != http.StatusOK {
					t.Errorf("status %d, then %d", a.StatusCode, page.StatusCode)
				}
			})
		}
		group.Wait()
		if after := b.records.count(t); after != before {
			t.Errorf("%d records, %d before", after, before)
		}
		wantCode(t, b, other.navigate(response(continues(t, other.answer(first, "approve"), http.StatusOK))))
	})
}

func TestThreats_ConsentPage(t *testing.T) {
	const disguised = "Micro\u202esoft\u200b sign-in\n<img src=x>"
	host := newDocumentHost(t)
	host.serve(host.document("redirect_uris", []string{webCallback, callback}, "logo_uri", "https://evil.example/logo.png"))
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

func TestThreats_Callback(t *testing.T) {
	b := openBroker(t)
	t.Run("row 17 the attacker approves, and the victim signs in", func(t *testing.T) {
		before := b.records.count(t)
		login := b.other(t).approved()
		finished := b.company.finishes()
		a := b.navigate(response(login))
		wantPage(t, a, http.StatusForbidden)
		if b.company.finishes() != finished || b.records.count(t) != before {
			t.Error("the code was exchanged, or there is a grant")
		}
		if e := b.events.last("signin.complete"); e.Reason != authserver.ReasonForeignBrowser || e.SignIn == "" {
			t.Errorf("event %+v", e)
		}
	})
	t.Run("row 18 a cookie of another sign-in under this name", func(t *testing.T) {
		attacker := b.other(t)
		login := attacker.approved()
		planted := cookieOf(t, attacker)
		victim := b.other(t)
		other := victim.approved()
		target := cookieOf(t, victim)
		a := b.other(t).navigate(response(other), withCookies([]*http.Cookie{{Name: target.Name, Value: planted.Value}}))
		wantPage(t, a, http.StatusForbidden)
		wantCode(t, b, attacker.navigate(response(login)))
	})
	states := map[string]string{
		"no state": "/callback?code=x", "nothing": "/callback", "a foreign state": "/callback?code=x&state=abc",
		"an invented state": "/callback?code=x&state=AAAA-t5abc1-0123456789abcdef0123456789abcdef",
		"two states":        "/callback?code=x&state=a&state=b",
		"a long query":      "/callback?state=" + strings.Repeat("x", 9000),
		"a broken query":    "/callback?state=%zz",
	}
	for name, path := range states {
		t.Run("row 19 "+name, func(t *testing.T) {
			finished := b.company.finishes()
			a := b.navigate(path)
			wantPage(t, a, http.StatusBadRequest)
			if b.company.finishes() != finished {
				t.Error("the code was exchanged")
			}
		})
	}
	t.Run("row 19 a repeated parameter", func(t *testing.T) {
		wantPage(t, b.navigate(response(b.approved())+"&code=other"), http.StatusBadRequest)
	})
	t.Run("row 19 an expired state", func(t *testing.T) {
		login := b.approved()
		cookie := cookieOf(t, b)
		b.clock.forward(10 * time.Minute)
		finished := b.company.finishes()
		a := b.navigate(response(login), withCookies([]*http.Cookie{cookie}))
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "Sign-in expired") || b.company.finishes() != finished {
			t.Errorf("the page says %s", a.body)
		}
	})
	t.Run("row 19 a replay", func(t *testing.T) {
		b := b.other(t)
		login := b.approved()
		cookie := cookieOf(t, b)
		wantCode(t, b, b.navigate(response(login)))
		wantPage(t, b.navigate(response(login)), http.StatusForbidden) // the cookie is gone
		grants := b.records.count(t)
		a := b.navigate(response(login), withCookies([]*http.Cookie{cookie}))
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "Already signed in") || b.records.count(t) != grants {
			t.Errorf("the page says %s", a.body)
		}
	})
	t.Run("row 19 many responses at once make one grant", func(t *testing.T) {
		b := b.other(t)
		login := b.approved()
		cookie := cookieOf(t, b)
		var group sync.WaitGroup
		codes := make(chan string, 8)
		for range cap(codes) {
			group.Go(func() {
				a := b.other(t).navigate(response(login), withCookies([]*http.Cookie{cookie}))
				if a.StatusCode == http.StatusOK {
					codes <- continues(t, a, http.StatusOK).Query().Get("code")
				}
			})
		}
		group.Wait()
		if len(codes) != 1 {
			t.Errorf("%d codes", len(codes))
		}
	})
	t.Run("row 20 the attacker's code in the victim's response", func(t *testing.T) {
		attacker, victim := b.other(t), b.other(t)
		stolen := attacker.approved().Query().Get("state")
		own := victim.approved().Query().Get("state")
		path := "/callback?" + url.Values{"state": {own}, "code": {"code-" + stolen}}.Encode()
		wantClientError(t, b, victim.navigate(path), http.StatusBadGateway, "server_error", "The sign-in failed.")
		wantPage(t, victim.navigate("/callback?"+url.Values{"state": {stolen}, "code": {"code-" + stolen}}.Encode()),
			http.StatusForbidden)
	})
	outcomes := []struct {
		code, want string
		status     int
	}{
		{"access_denied", "access_denied", http.StatusForbidden},
		{"temporarily_unavailable", "temporarily_unavailable", http.StatusServiceUnavailable},
		{"server_error", "server_error", http.StatusBadGateway},
		{"interaction_required", "server_error", http.StatusBadGateway},
		{"<script>", "server_error", http.StatusBadGateway},
	}
	for _, test := range outcomes {
		t.Run("row 22 the company answers "+test.code, func(t *testing.T) {
			b := openBroker(t)
			b.company.set(func(c *company) { c.refuses = refusal(test.code) })
			path := response(b.approved()) + "&error=x&error_description=" + url.QueryEscape("<b>upstream text</b>")
			a := b.navigate(path)
			wantClientError(t, b, a, test.status, test.want, "A sentence for the person.")
			if strings.Contains(a.body, "upstream text") || strings.Contains(a.body, "details for the log") {
				t.Error("the page has text of the company")
			}
			if retry := a.Header.Get("Retry-After"); (retry != "") != (test.status == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After %q", retry)
			}
			if e := b.events.last("signin.complete"); e.Reason != "refused" {
				t.Errorf("event %+v", e)
			}
			b.company.set(func(c *company) { c.refuses = refusal(test.code) })
			program := b.get(response(b.approved())) // no browser
			if _, q := program.location(t); q.Get("error") != test.want || q.Get("state") != "st/ate&1" ||
				q.Get("iss") != b.config.Issuer || strings.Contains(q.Get("error_description"), "sentence") {
				t.Errorf("a program gets %v", q)
			}
		})
	}
}

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

func TestThreats_Cookies(t *testing.T) {
	t.Run("row 45 the cookies of 50 sign-ins", func(t *testing.T) {
		b := openBroker(t)
		var logins []*url.URL
		for n := range 50 {
			b.clock.forward(time.Second)
			logins = append(logins, b.approved("state", fmt.Sprint(n)))
			signIns, total, consents := 0, 0, 0
			for _, c := range b.browser.Jar.Cookies(siteOf(t, b)) {
				switch {
				case strings.HasPrefix(c.Name, "__Host-signin-"):
					signIns, total = signIns+1, total+len(c.Name)+len(c.Value)
				case strings.HasPrefix(c.Name, "__Host-consent-"):
					consents++
				}
			}
			if signIns > 4 || total >= 4096 || consents > 8 || signIns != min(n+1, 4) {
				t.Fatalf("after %d: %d transactions of %d bytes, %d pages", n+1, signIns, total, consents)
			}
		}
		wantPage(t, b.navigate(response(logins[45])), http.StatusForbidden) // the oldest were dropped
		for n, login := range logins[46:] {
			if q := continues(t, b.navigate(response(login)), http.StatusOK).Query(); q.Get("state") != fmt.Sprint(46+n) {
				t.Errorf("state %s, want %d", q.Get("state"), 46+n)
			}
		}
	})
	t.Run("row 45 long requests leave room for fewer", func(t *testing.T) {
		b := openBroker(t)
		for n := range 4 {
			b.clock.forward(time.Second)
			b.approved("state", strings.Repeat(fmt.Sprint(n), 1000))
			total := 0
			for _, c := range b.browser.Jar.Cookies(siteOf(t, b)) {
				if strings.HasPrefix(c.Name, "__Host-signin-") {
					total += len(c.Name) + len(c.Value)
				}
			}
			if total == 0 || total >= 4096 {
				t.Errorf("%d bytes", total)
			}
		}
	})
	t.Run("a cookie of a finished sign-in is removed", func(t *testing.T) {
		b := openBroker(t)
		wantCode(t, b, b.navigate(response(b.approved())))
		for _, c := range b.browser.Jar.Cookies(siteOf(t, b)) {
			if strings.HasPrefix(c.Name, "__Host-signin-") {
				t.Errorf("%s is left", c.Name)
			}
		}
	})
}

// cookieOf returns the only transaction cookie of the browser.
func cookieOf(t *testing.T, b *broker) *http.Cookie {
	t.Helper()
	var found []*http.Cookie
	for _, c := range b.browser.Jar.Cookies(siteOf(t, b)) {
		if strings.HasPrefix(c.Name, "__Host-signin-") {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		t.Fatal("the browser has no transaction")
	}
	return found[len(found)-1]
}

func TestThreats_Leaks(t *testing.T) {
	t.Run("row 62 the log, the pages and the events", func(t *testing.T) {
		b := openBroker(t)
		var pages strings.Builder
		secrets := []string{"st/ate&1", url.QueryEscape("st/ate&1"), "upstream-rt", challengeOf(verifier), "nonce-of-the-client"}
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

func TestSignIn_Rotation(t *testing.T) {
	t.Run("a sign-in goes on when a new secret is put first", func(t *testing.T) {
		b := openBroker(t)
		old := keysOf('a')
		b.config.Keys = old
		before := b.replica(t)
		b.config.Keys = keysOf('b', 'a')
		after := b.replica(t)
		_, fields := before.page()
		login := continues(t, after.answer(fields, "approve"), http.StatusOK)
		wantPage(t, before.navigate(response(login)), http.StatusBadRequest) // it does not know the new secret yet
		wantCode(t, b, after.navigate(response(login)))
		login = before.approved()
		wantCode(t, b, after.navigate(response(login)))
	})
}
