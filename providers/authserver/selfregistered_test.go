package authserver_test

import (
	"net/http"
	"strings"
	"testing"
)

// registerPublic registers a public client and returns its id.
func (issuer *testIssuer) registerPublic(redirectURIs ...string) string {
	issuer.t.Helper()
	a := issuer.postJSON("/register", map[string]any{
		"redirect_uris": redirectURIs, "client_name": "Claude", "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"},
	})
	if a.StatusCode != http.StatusCreated {
		issuer.t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	return a.json(issuer.t)["client_id"].(string)
}

func TestPublicRegistrationsAreNotStored(t *testing.T) {
	issuer := open(t)
	first := issuer.registerPublic(callback)
	t.Run("no number of registrations ends an earlier one", func(t *testing.T) {
		for range 1100 {
			if id := issuer.registerPublic(callback); strings.Contains(id, "eyJ") {
				t.Errorf("%s could be taken for a JWT", id)
			}
		}
		a := issuer.post("/token", issuer.exchange(issuer.code("client_id", first), "client_id", first))
		if a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("two registrations of the same metadata have two ids", func(t *testing.T) {
		if one, other := issuer.registerPublic(callback), issuer.registerPublic(callback); one == other {
			t.Error("they share one")
		}
	})
	t.Run("the registrations of real clients fit", func(t *testing.T) {
		for name, uris := range map[string][]string{
			"Claude Code": {"http://localhost:3118/callback"},
			"Codex":       {"http://127.0.0.1:5555/callback/Ituy_eN9X8PF"},
			"Cursor": {"http://localhost:8787/callback", "https://www.cursor.com/agents/mcp/oauth/callback",
				"cursor://anysphere.cursor-mcp/oauth/callback"},
			"VS Code": {"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/",
				"http://127.0.0.1:33418/"},
		} {
			for _, uri := range uris {
				_, q := issuer.authorize("client_id", issuer.registerPublic(uris...), "redirect_uri", uri).location(t)
				if q.Get("code") == "" {
					t.Errorf("%s, %s: %v", name, uri, q)
				}
			}
		}
	})
	t.Run("what does not fit into an id is refused for a public client only", func(t *testing.T) {
		long := "https://app.example/" + strings.Repeat("x", 680)
		a := issuer.postJSON("/register", map[string]any{"redirect_uris": []string{long},
			"token_endpoint_auth_method": "none"})
		wantError(t, a, http.StatusBadRequest, "invalid_client_metadata")
		if !strings.Contains(a.body, "700 bytes") {
			t.Errorf("it does not say how long it may be: %s", a.body)
		}
		if a := issuer.postJSON("/register",
			map[string]any{"redirect_uris": []string{long}}); a.StatusCode != http.StatusCreated {
			t.Errorf("confidential: status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("a damaged id is unknown", func(t *testing.T) {
		damaged := first[:len("reg1.")+20] + "AAAA" + first[len("reg1.")+24:]
		wantPage(t, issuer.authorize("client_id", damaged), http.StatusBadRequest)
		wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", damaged)), http.StatusUnauthorized,
			"invalid_client")
	})
	t.Run("a public client shows no secret", func(t *testing.T) {
		wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", ""), basic(first, "x")),
			http.StatusUnauthorized, "invalid_client")
	})
}

// Clients still have the ids of an earlier process. The key for their MAC is gone.
func TestClientIDsOfAnEarlierProcess(t *testing.T) {
	earlier, issuer := open(t), open(t, withConsent)
	const elsewhere = "https://app.example/cb"
	both, remote := earlier.registerPublic(callback, elsewhere), earlier.registerPublic(elsewhere)

	t.Run("one with a loopback redirect URI signs in, and the page shows that it has not registered", func(t *testing.T) {
		page, fields := issuer.consent("client_id", both)
		if !strings.Contains(page.body, "has not registered since") ||
			strings.Contains(page.body, "It registered dynamically") {
			t.Errorf("the page does not show it: %s", page.body)
		}
		_, q := issuer.decide(fields, "approve").location(t)
		first := issuer.post("/token", issuer.exchange(q.Get("code"), "client_id", both)).json(t)
		if a := issuer.refresh(first["refresh_token"], "client_id", both); a.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
	})
	t.Run("its other redirect URIs do not count", func(t *testing.T) {
		a := issuer.authorize("client_id", both, "redirect_uri", elsewhere)
		wantPage(t, a, http.StatusBadRequest)
		if !strings.Contains(a.body, "let it register again") {
			t.Errorf("the page does not say what to do: %s", a.body)
		}
	})
	t.Run("one that is answered elsewhere only is unknown, so that it registers again", func(t *testing.T) {
		wantPage(t, issuer.authorize("client_id", remote, "redirect_uri", elsewhere), http.StatusBadRequest)
		wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", remote)), http.StatusUnauthorized,
			"invalid_client")
	})
	t.Run("one that registers is shown as dynamically registered", func(t *testing.T) {
		if page, _ := issuer.consent("client_id", issuer.registerPublic(callback)); strings.Contains(page.body,
			"has not registered since") {
			t.Error("the page shows it as not registered")
		}
	})
}

func TestSignInRequiresTopLevelNavigation(t *testing.T) {
	issuer := open(t, withConsent)
	page, _ := issuer.consent()
	for _, address := range []string{"/authorize?" + issuer.authorization().Encode(),
		page.Request.URL.String()} {
		for destination, want := range map[string]bool{
			"": true, "document": true, "image": false, "iframe": false, "script": false, "empty": false,
			"object": false, "embed": false,
		} {
			r := issuer.request(http.MethodGet, address, nil)
			if destination != "" {
				r.Header.Set("Sec-Fetch-Dest", destination)
			}
			a := issuer.do(r)
			if !want {
				wantPage(t, a, http.StatusForbidden)
			} else if a.StatusCode != http.StatusFound && a.StatusCode != http.StatusOK {
				t.Errorf("%s as %q: status %d", r.URL.Path, destination, a.StatusCode)
			}
		}
	}
	t.Run("images of other pages do not end a sign-in", func(t *testing.T) {
		_, fields := issuer.consent()
		for range 1100 {
			r := issuer.request(http.MethodGet, "/authorize?"+issuer.authorization().Encode(), nil)
			r.Header.Set("Sec-Fetch-Dest", "image")
			issuer.do(r)
		}
		if a := issuer.decide(fields, "approve"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d", a.StatusCode)
		}
	})
	t.Run("neither do requests of the same client that programs send", func(t *testing.T) {
		_, fields := issuer.consent()
		for range 30 {
			issuer.authorize()
		}
		if a := issuer.decide(fields, "approve"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d", a.StatusCode)
		}
	})
}

func TestAutoApproveRequiresConsentForCrossSiteRequests(t *testing.T) {
	issuer := open(t)
	for site, approved := range map[string]bool{"": true, "none": true, "same-origin": true, "same-site": true,
		"cross-site": false, "new-value": false} {
		t.Run("Sec-Fetch-Site "+site, func(t *testing.T) {
			navigate := func(changes ...string) answer {
				r := issuer.request(http.MethodGet, "/authorize?"+issuer.authorization(changes...).Encode(), nil)
				if site != "" {
					r.Header.Set("Sec-Fetch-Site", site)
					r.Header.Set("Sec-Fetch-Dest", "document")
				}
				return issuer.do(r)
			}
			target, q := navigate().location(t)
			if approved != q.Has("code") || !approved && target != issuer.url+"/consent" {
				t.Errorf("it goes to %s with %v", target, q)
			}
			if !approved {
				wantRedirectedError(t, issuer, navigate("prompt", "none"), "login_required")
			}
		})
	}
}

// RFC 9700, section 4.11.2: a link to /authorize must not redirect to an address of the client's choice
// before a user has approved the client.
func TestUnapprovedErrorsAreRedirectedToTrustedURIsOnly(t *testing.T) {
	const elsewhere, app = "https://evil.example/cb", "com.example.evil:/cb"
	d := newDocumentHost(t)
	d.serve(d.document("redirect_uris", []string{callback, elsewhere}))
	issuer := open(t, d.trusted, withConsent)
	own := issuer.registerPublic(callback, elsewhere, app, "https://localhost/cb")
	confidential := issuer.postJSON("/register",
		map[string]any{"redirect_uris": []string{callback, elsewhere}}).json(t)["client_id"].(string)
	errors := map[string][]string{
		"login_required": {"prompt", "none"}, "invalid_request": {"code_challenge", ""},
		"invalid_scope":             {"scope", "root"},
		"invalid_target":            {"resource", "https://elsewhere.example/"},
		"unsupported_response_type": {"response_type", "token"},
		"request_not_supported":     {"request", "e30."},
		"request_uri_not_supported": {"request_uri", "https://x.example/"},
	}
	tests := []struct {
		name, client, redirectURI string
		redirected                bool
	}{
		{"a client that registered dynamically, elsewhere", own, elsewhere, false},
		{"a client that registered dynamically, a private-use scheme", own, app, false},
		{"a client that registered dynamically, loopback", own, callback, true},
		{"a client that registered dynamically, https on loopback", own, "https://localhost/cb", true},
		{"a confidential client that registered dynamically, elsewhere", confidential, elsewhere, false},
		{"a confidential client that registered dynamically, loopback", confidential, callback, true},
		{"a client with a metadata document, elsewhere", d.id(), elsewhere, false},
		{"a client with a metadata document, loopback", d.id(), callback, true},
		{"a client of the operator, elsewhere", "public", "https://app.example/cb?keep=1", true},
		{"a client of the operator, a private-use scheme", "public", "com.example.app:/cb", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for code, changes := range errors {
				a := issuer.authorize(append(changes, "client_id", test.client, "redirect_uri", test.redirectURI)...)
				if !test.redirected {
					wantPage(t, a, http.StatusBadRequest)
					if !strings.Contains(a.body, code) {
						t.Errorf("the page does not name %s: %s", code, a.body)
					}
					continue
				}
				if target, q := a.location(t); !strings.HasPrefix(test.redirectURI, target) || q.Get("error") != code ||
					q.Get("iss") != issuer.url {
					t.Errorf("%s goes to %s with %v", code, target, q)
				}
			}
		})
	}
	t.Run("a denial by the user is redirected to the client", func(t *testing.T) {
		_, fields := issuer.consent("client_id", own, "redirect_uri", elsewhere)
		if target, q := issuer.decide(fields, "deny").location(t); target != elsewhere ||
			q.Get("error") != "access_denied" {
			t.Errorf("it goes to %s with %v", target, q)
		}
	})
	t.Run("auto approval is no person", func(t *testing.T) {
		issuer := open(t)
		wantPage(t, issuer.authorize("client_id", issuer.registerPublic(elsewhere), "redirect_uri", elsewhere,
			"scope", "root"), http.StatusBadRequest)
	})
}
