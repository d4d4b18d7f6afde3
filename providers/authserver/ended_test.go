package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

// wantExplained checks that a page with that heading explains why the sign-in does not continue.
func wantExplained(t *testing.T, a answer, title string) {
	t.Helper()
	wantPage(t, a, http.StatusBadRequest)
	if !strings.Contains(a.body, "<h1>"+title+"</h1>") || !strings.Contains(a.body, `role="alert"`) {
		t.Errorf("the page is not %q: %s", title, a.body)
	}
}

// withCookie sends the cookie of a consent page: the second request of a double click leaves before the answer to
// the first one has changed it.
func withCookie(page answer) func(*http.Request) {
	return func(r *http.Request) { r.AddCookie(page.Cookies()[0]) }
}

func TestConsent_RepeatedAnswer(t *testing.T) {
	issuer := open(t, withConsent)
	for _, decision := range []string{"approve", "deny"} {
		t.Run(decision+" twice is redirected twice, to the same address", func(t *testing.T) {
			_, fields := issuer.consent()
			first := issuer.decide(fields, decision)
			issuer.clock.forward(5 * time.Second)
			again := issuer.decide(fields, decision)
			if again.StatusCode != http.StatusSeeOther || again.Header.Get("Location") != first.Header.Get("Location") {
				t.Errorf("status %d to %q, first %q", again.StatusCode, again.Header.Get("Location"),
					first.Header.Get("Location"))
			}
		})
	}
	t.Run("all of many at the same time get the same redirect", func(t *testing.T) {
		page, fields := issuer.consent()
		var group sync.WaitGroup
		targets := make([]string, 8)
		for i := range targets {
			group.Go(func() { targets[i] = issuer.decide(fields, "approve", withCookie(page)).Header.Get("Location") })
		}
		group.Wait()
		for _, target := range targets {
			if target == "" || target != targets[0] {
				t.Fatalf("the redirects are %q", targets)
			}
		}
	})
	t.Run("after the client has used the code, a page is shown: a used code would revoke the token", func(t *testing.T) {
		_, fields := issuer.consent()
		_, q := issuer.decide(fields, "approve").location(t)
		tokens := issuer.post("/token", issuer.exchange(q.Get("code"))).json(t)
		a := issuer.decide(fields, "approve")
		wantPage(t, a, http.StatusOK)
		if !strings.Contains(a.body, "<h1>Signed in</h1>") {
			t.Errorf("another page: %s", a.body)
		}
		if a := issuer.refresh(tokens["refresh_token"]); a.StatusCode != http.StatusOK {
			t.Errorf("refresh: status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("another answer changes nothing", func(t *testing.T) {
		_, fields := issuer.consent()
		issuer.decide(fields, "approve")
		wantExplained(t, issuer.decide(fields, "deny"), "Already approved")
		wantExplained(t, issuer.decide(with(fields, "person", "bob"), "approve"), "Already approved")
	})
	t.Run("the redirect is repeated for 10 seconds", func(t *testing.T) {
		page, fields := issuer.consent()
		issuer.decide(fields, "deny")
		issuer.clock.forward(10 * time.Second)
		wantExplained(t, issuer.decide(fields, "deny", withCookie(page)), "Already denied")
	})
	t.Run("AS-20d it is repeated for the browser of the page only", func(t *testing.T) {
		_, fields := issuer.consent()
		issuer.decide(fields, "approve")
		attacker := *issuer
		attacker.newBrowser(t)
		wantPage(t, attacker.decide(fields, "approve"), http.StatusForbidden)
		wantPage(t, issuer.decide(with(fields, "token", strings.Repeat("0", 64)), "approve"), http.StatusForbidden)
	})
}

func TestConsent_EndedRequest(t *testing.T) {
	issuer := open(t, withConsent)
	both := func(t *testing.T, issuer *testIssuer, page answer, fields url.Values, title string) {
		t.Helper()
		wantExplained(t, issuer.decide(fields, "approve", withCookie(page)), title)
		wantExplained(t, issuer.get("/consent?request="+fields.Get("request")), title)
	}
	t.Run("answered", func(t *testing.T) {
		page, fields := issuer.consent()
		issuer.decide(fields, "approve")
		issuer.clock.forward(time.Minute)
		both(t, issuer, page, fields, "Already approved")
	})
	t.Run("expired", func(t *testing.T) {
		page, fields := issuer.consent()
		issuer.clock.forward(10 * time.Minute)
		both(t, issuer, page, fields, "Sign-in expired")
	})
	t.Run("of an issuer that has restarted", func(t *testing.T) {
		page, fields := open(t, withConsent).consent()
		both(t, issuer, page, fields, "Sign-in interrupted")
		wantExplained(t, issuer.get("/consent?request="+fields.Get("request")[:20]), "Sign-in interrupted")
		wantExplained(t, issuer.get("/consent"), "Sign-in interrupted")
	})
	t.Run("removed by a flood of sign-ins of the same client", func(t *testing.T) {
		page, fields := issuer.consent()
		for range 20 {
			issuer.consent()
		}
		both(t, issuer, page, fields, "Sign-in removed")
	})
}

func TestConsent_ProblemShowsRequestID(t *testing.T) {
	issuer := open(t)
	chain := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "0123456789abcdef")
		issuer.Handler().ServeHTTP(w, r)
	}))
	for name, a := range map[string]answer{
		"client":   chain.authorize("client_id", "unknown"),
		"redirect": chain.authorize("redirect_uri", "https://evil.example/"),
		"request":  chain.get("/consent?request=unknown"),
	} {
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "<code>0123456789abcdef</code>") || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("unknown %s: %s", name, a.body)
		}
	}
}

func TestIndex(t *testing.T) {
	issuer := open(t)
	index := serve(t, issuer.Index())
	page := index.get("/")
	wantPage(t, page, http.StatusOK)
	for _, want := range []string{
		"This is the demo issuer", issuer.resource, "Alice or Bob",
		`href="` + issuer.url + `/.well-known/oauth-authorization-server"`,
		`href="` + issuer.url + `/.well-known/openid-configuration"`,
	} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if a := index.post("/", nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
}

func describing(c *authserver.Config) {
	c.ScopeDescriptions = map[string]string{"notes:read": "Read <your> notes", "openid": "Know you"}
}
