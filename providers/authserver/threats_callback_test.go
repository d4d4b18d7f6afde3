package authserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

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
