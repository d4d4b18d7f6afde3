package authserver_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
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
