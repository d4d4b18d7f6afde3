package authserver_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var permission = regexp.MustCompile(
	`<li>(<span class="new">new</span> )?(?:([^<]+) <small>([^<]+)</small>|<code>([^<]+)</code>)</li>`)

// permissions returns the scopes on a consent page, in their order, and what the page says of each.
func permissions(page answer) (scopes []string, text map[string]string, isNew map[string]bool) {
	text, isNew = map[string]string{}, map[string]bool{}
	for _, m := range permission.FindAllStringSubmatch(page.body, -1) {
		scope := m[3] + m[4]
		scopes = append(scopes, scope)
		text[scope], isNew[scope] = html.UnescapeString(m[2]), m[1] != ""
	}
	return scopes, text, isNew
}

func TestConsent_DescribesScopes(t *testing.T) {
	issuer := open(t, withConsent, describing)
	page, _ := issuer.consent("scope", "notes:read notes:write openid offline_access")
	scopes, text, isNew := permissions(page)
	if got := strings.Join(scopes, " "); got != "notes:read notes:write openid offline_access" {
		t.Fatalf("the scopes are %q", got)
	}
	for scope, want := range map[string]string{
		"notes:read": "Read <your> notes", "notes:write": "", "openid": "Know you",
		"offline_access": "Keep access while you are away",
	} {
		if text[scope] != want {
			t.Errorf("%s: %q, want %q", scope, text[scope], want)
		}
		if isNew[scope] {
			t.Errorf("%s is marked as new at a first sign-in", scope)
		}
	}
}

func TestConsent_StepUp(t *testing.T) {
	const narrow, wide = "notes:read", "notes:read notes:write admin"
	approve := func(issuer *testIssuer, person string, changes ...string) string {
		_, fields := issuer.consent(changes...)
		_, q := issuer.decide(with(fields, "person", person), "approve").location(t)
		return q.Get("code")
	}
	newOnes := func(issuer *testIssuer, changes ...string) string {
		page, _ := issuer.consent(changes...)
		scopes, _, isNew := permissions(page)
		var names []string
		for _, scope := range scopes {
			if isNew[scope] {
				names = append(names, scope)
			}
		}
		if len(names) > 0 && !strings.Contains(page.body, "has already granted") {
			t.Errorf("the page does not say who has granted the rest: %s", page.body)
		}
		return strings.Join(names, " ")
	}

	t.Run("marks the scopes that the user has not granted to the client, and shows them first", func(t *testing.T) {
		issuer := open(t, withConsent)
		approve(issuer, "alice", "scope", narrow)
		page, _ := issuer.consent("scope", wide)
		scopes, _, _ := permissions(page)
		if got := strings.Join(scopes, " "); got != "notes:write admin notes:read" {
			t.Errorf("the order is %s", got)
		}
		if got := newOnes(issuer, "scope", wide); got != "notes:write admin" {
			t.Errorf("new are %s", got)
		}
	})
	t.Run("counts every earlier sign-in", func(t *testing.T) {
		issuer := open(t, withConsent)
		approve(issuer, "alice", "scope", "notes:write")
		approve(issuer, "alice", "scope", narrow)
		if got := newOnes(issuer, "scope", wide); got != "admin" {
			t.Errorf("new are %s", got)
		}
	})
	t.Run("chooses the user who was the last to sign in, or whom the request names", func(t *testing.T) {
		issuer := open(t, withConsent)
		approve(issuer, "alice", "scope", wide)
		issuer.clock.forward(1)
		approve(issuer, "bob", "scope", narrow)
		page, _ := issuer.consent("scope", wide)
		if !strings.Contains(page.body, `value="bob" required checked`) ||
			!strings.Contains(page.body, "Bob has already granted") {
			t.Errorf("bob is not chosen: %s", page.body)
		}
		if got := newOnes(issuer, "scope", wide); got != "notes:write admin" {
			t.Errorf("for bob, new are %s", got)
		}
		if got := newOnes(issuer, "scope", wide, "login_hint", "alice"); got != "" {
			t.Errorf("for alice, new are %s", got)
		}
	})
	t.Run("ignores denials, other clients, other resources and revoked grants", func(t *testing.T) {
		issuer := open(t, withConsent)
		_, fields := issuer.consent("scope", narrow)
		issuer.decide(fields, "deny")
		approve(issuer, "alice", "scope", narrow, "client_id", "other")
		approve(issuer, "alice", "scope", narrow, "resource", issuer.url+"/other")
		if got := newOnes(issuer, "scope", wide); got != "" {
			t.Errorf("new are %s, although nothing is granted", got)
		}
		tokens := issuer.post("/token",
			issuer.exchange(approve(issuer, "alice", "scope", narrow+" offline_access"))).json(t)
		if newOnes(issuer, "scope", wide) == "" {
			t.Fatal("nothing is new after a grant")
		}
		a := issuer.post("/revoke", url.Values{"client_id": {"public"}, "token": {tokens["refresh_token"].(string)}})
		if a.StatusCode != http.StatusOK {
			t.Fatalf("revoke: status %d: %s", a.StatusCode, a.body)
		}
		if got := newOnes(issuer, "scope", wide); got != "" {
			t.Errorf("new are %s, although the grant is revoked", got)
		}
	})
}

func TestConsent_ShowsOneWarning(t *testing.T) {
	earlier, issuer := open(t), open(t, withConsent)
	for name, c := range map[string]struct {
		changes []string
		want    string // in the warning; empty for none
	}{
		"https redirect":    {[]string{"redirect_uri", "https://app.example/cb?keep=1"}, ""},
		"loopback redirect": {nil, "any program on it could receive the response"},
		"unregistered":      {[]string{"client_id", earlier.registerPublic(callback)}, "has not registered since"},
	} {
		page, _ := issuer.consent(c.changes...)
		warnings := regexp.MustCompile(`<p class="warn"[^>]*>([^<]*)</p>`).FindAllStringSubmatch(page.body, -1)
		switch {
		case c.want == "" && len(warnings) > 0, c.want != "" && len(warnings) != 1:
			t.Errorf("%s: the warnings are %q", name, warnings)
		case c.want != "" && !strings.Contains(warnings[0][1], c.want):
			t.Errorf("%s: the warning is %q", name, warnings[0][1])
		}
	}
}

func TestConsent_NamesTheApplication(t *testing.T) {
	issuer := open(t, withConsent)
	id := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback},
		"client_name": "Claude"}).json(t)["client_id"].(string)
	page, _ := issuer.consent("client_id", id)
	for _, want := range []string{"<title>Sign in", "<strong>Claude</strong>", "<small>" + id + "</small>"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %q: %s", want, page.body)
		}
	}
}
