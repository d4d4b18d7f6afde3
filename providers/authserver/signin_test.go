package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

func TestSignIn(t *testing.T) {
	b := openBroker(t)
	_, fields := b.page()
	login := continues(t, b.answer(fields, "approve"), http.StatusOK)
	if !strings.HasPrefix(login.String(), companyLogin+"?") {
		t.Fatalf("the browser continues at %s", login)
	}
	code := wantCode(t, b, b.navigate(response(login)))
	tokens := b.post("/token", b.exchange(code, "client_id", "web", "redirect_uri", webCallback))
	if tokens.StatusCode != http.StatusOK {
		t.Fatalf("token: %d %s", tokens.StatusCode, tokens.body)
	}
	_, claims := b.verify(tokens.json(t)["access_token"].(string))
	if claims["sub"] != "00u1" || claims["aud"] != b.resource || claims["iss"] != b.config.Issuer {
		t.Errorf("claims %v", claims)
	}
	if e := b.events.last("signin.approve"); e.ClientID != "web" || e.Reason != "" {
		t.Errorf("approved: %+v", e)
	}
	if e := b.events.last("signin.complete"); e.Subject != "00u1" || e.SignIn == "" || e.Reason != "" ||
		strings.Join(e.Scopes, " ") != "notes:read offline_access" {
		t.Errorf("completed: %+v", e)
	}
	t.Run("a program is redirected", func(t *testing.T) {
		a := b.get(response(b.approved()))
		target, q := a.location(t)
		if a.StatusCode != http.StatusFound || target != "https://app.example/cb" || q.Get("code") == "" {
			t.Errorf("status %d to %s with %v", a.StatusCode, target, q)
		}
	})
	t.Run("a browser that does not say that it navigates gets the page to the company", func(t *testing.T) {
		_, fields := b.page()
		continues(t, b.decide(fields, "approve"), http.StatusOK)
	})
	t.Run("an app's own scheme", func(t *testing.T) {
		login := b.approved("client_id", "app", "redirect_uri", "com.example.app:/cb")
		target := continues(t, b.navigate(response(login)), http.StatusOK)
		if target.Scheme != "com.example.app" || target.Query().Get("code") == "" {
			t.Errorf("the page leads to %s", target)
		}
	})
	t.Run("a denial", func(t *testing.T) {
		_, fields := b.page()
		target := continues(t, b.answer(fields, "deny"), http.StatusOK)
		if q := target.Query(); q.Get("error") != "access_denied" || q.Get("state") != "st/ate&1" || q.Has("code") {
			t.Errorf("the page leads to %s", target)
		}
		if e := b.events.last("signin.approve"); e.Reason != authserver.ReasonDeniedByPerson {
			t.Errorf("event %+v", e)
		}
		a := b.decide(fields, "deny") // a program
		if _, q := a.location(t); a.StatusCode != http.StatusSeeOther || q.Get("error") != "access_denied" {
			t.Errorf("status %d with %v", a.StatusCode, q)
		}
	})
	t.Run("on http", func(t *testing.T) {
		b := openPlainBroker(t)
		wantCode(t, b, b.navigate(response(b.approved())))
	})
	t.Run("every path is served, and introspection is not", func(t *testing.T) {
		if got, want := strings.Join(b.Paths(), " "), strings.Join(authserver.ProviderPaths(), " "); got != want {
			t.Errorf("the paths are %s, want %s", got, want)
		}
		if a := b.post("/introspect", url.Values{}); a.StatusCode != http.StatusNotFound {
			t.Errorf("introspection: status %d", a.StatusCode)
		}
		if a := open(t).get("/callback"); a.StatusCode != http.StatusNotFound {
			t.Errorf("the demo has a callback: status %d", a.StatusCode)
		}
	})
}

func TestSignIn_Replicas(t *testing.T) {
	one := openBroker(t)
	two := one.replica(t)
	t.Run("consent on one and callback on the other", func(t *testing.T) {
		page := one.ask()
		_, rest, _ := strings.Cut(page.Header.Get("Location"), one.config.Issuer)
		fields := fieldsOf(two.get(rest))
		login := continues(t, one.answer(fields, "approve"), http.StatusOK)
		wantCode(t, one, two.navigate(response(login)))
	})
	t.Run("row 19 one state makes one grant on all replicas", func(t *testing.T) {
		login := one.approved()
		before := one.browser.Jar.Cookies(siteOf(t, one))
		wantCode(t, one, one.navigate(response(login)))
		a := two.other(t).navigate(response(login), withCookies(before))
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "Already signed in") {
			t.Errorf("the page says %s", a.body)
		}
		if e := one.events.last("signin.complete"); e.Reason != authserver.ReasonSignInRepeated {
			t.Errorf("event %+v", e)
		}
	})
}

// siteOf is a URL whose cookies the browser sends to the broker.
func siteOf(t *testing.T, b *broker) *url.URL {
	t.Helper()
	u, err := url.Parse(b.url + "/callback")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// withCookies sends these cookies.
func withCookies(cookies []*http.Cookie) func(*http.Request) {
	return func(r *http.Request) {
		for _, c := range cookies {
			r.AddCookie(c)
		}
	}
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
