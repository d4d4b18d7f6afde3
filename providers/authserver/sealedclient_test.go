package authserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

// elsewhere is a provider at which people sign in, for tests of what comes before that.
type elsewhere struct{}

func (elsewhere) Choices() []authserver.Person { return nil }
func (elsewhere) Begin(context.Context, authserver.Attempt) (*authserver.Person, string, error) {
	return nil, "https://idp.example/authorize", nil
}
func (elsewhere) Finish(context.Context, authserver.Attempt, url.Values) (authserver.Person, error) {
	return authserver.Person{}, authserver.ErrGone
}
func (elsewhere) Renew(context.Context, authserver.Person) (authserver.Renewal, error) {
	return authserver.Renewal{}, authserver.ErrGone
}
func (elsewhere) Dismiss(context.Context, authserver.Person) {}

func secretOf(letter string) []byte { return []byte(strings.Repeat(letter, 32)) }

// signInElsewhere makes an issuer that of people who sign in at another provider.
func signInElsewhere(c *authserver.Config) {
	c.SignIn, c.AutoApprove, c.Clients = elsewhere{}, false, nil
	c.Keys = seal.FromSecrets([][]byte{secretOf("a")})
}

// sealedBy replaces the secrets.
func sealedBy(letters ...string) func(*authserver.Config) {
	return func(c *authserver.Config) {
		var secrets [][]byte
		for _, letter := range letters {
			secrets = append(secrets, secretOf(letter))
		}
		c.Keys = seal.FromSecrets(secrets)
	}
}

// replicaOf gives an issuer the identifier and the clock of another one.
func replicaOf(other *testIssuer) func(*authserver.Config) {
	return func(c *authserver.Config) {
		c.Issuer, c.Resources, c.Now = other.url, []string{other.resource}, other.clock.Now
	}
}

func publicClient(redirectURIs ...string) map[string]any {
	return map[string]any{"redirect_uris": redirectURIs, "client_name": "Agent", "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}}
}

// registered registers a client and returns the response.
func (issuer *testIssuer) registered(metadata map[string]any) map[string]any {
	issuer.t.Helper()
	a := issuer.postJSON("/register", metadata)
	if a.StatusCode != http.StatusCreated {
		issuer.t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	return a.json(issuer.t)
}

// registeredID registers a client and returns its id.
func (issuer *testIssuer) registeredID(metadata map[string]any) string {
	issuer.t.Helper()
	return issuer.registered(metadata)["client_id"].(string)
}

// wantConsent checks that the client and its redirect URI are accepted: the next page is the consent page.
func wantConsent(t *testing.T, a answer) {
	t.Helper()
	if a.StatusCode == http.StatusFound && strings.Contains(a.Header.Get("Location"), "/consent") ||
		a.StatusCode == http.StatusOK && strings.Contains(a.body, "<form") {
		return
	}
	t.Errorf("status %d, location %q: %.400s", a.StatusCode, a.Header.Get("Location"), a.body)
}

// wantKnown checks that a client can authenticate at the token endpoint: a code that does not exist is what is wrong.
func (issuer *testIssuer) wantKnown(t *testing.T, id string, change ...func(*http.Request)) {
	t.Helper()
	form := issuer.exchange("x", "client_id", id)
	if len(change) > 0 {
		form.Del("client_id")
	}
	wantError(t, issuer.post("/token", form, change...), http.StatusBadRequest, "invalid_grant")
}

func (issuer *testIssuer) wantUnknown(t *testing.T, id string) {
	t.Helper()
	wantPage(t, issuer.authorize("client_id", id), http.StatusBadRequest)
	wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", id)), http.StatusUnauthorized, "invalid_client")
}

func TestRegistrationStorm(t *testing.T) {
	number := 2_000
	if os.Getenv("GATEHOUSE_LONG") != "" {
		number = 100_000
	}
	kept := store.NewMemory(1000, time.Now)
	issuer := open(t, signInElsewhere, func(c *authserver.Config) {
		c.Store, c.Logger = kept, slog.New(slog.DiscardHandler)
	})
	register := func(n int, method string) (id, secret string) {
		body := fmt.Sprintf(`{"redirect_uris":["https://app.example/cb/%d"],"token_endpoint_auth_method":"%s"}`, n, method)
		r := httptest.NewRequest(http.MethodPost, issuer.url+"/register", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		issuer.Handler().ServeHTTP(w, r)
		var got struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusCreated {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return got.ID, got.Secret
	}
	type pair struct{ public, confidential, secret string }
	var sample []pair
	var before, after runtime.MemStats
	for n := range number / 2 {
		if n == 100 { // what the first ones allocate for good is there
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		public, _ := register(n, "none")
		confidential, secret := register(n, "client_secret_basic")
		if strings.Contains(public+confidential, "eyJ") {
			t.Errorf("%s or %s could be taken for a JWT", public, confidential)
		}
		if n%(number/10) == 0 {
			sample = append(sample, pair{public, confidential, secret})
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Run("row 01 many registrations store nothing", func(t *testing.T) {
		if records, err := kept.All(t.Context(), "", 10); err != nil || len(records) != 0 {
			t.Errorf("%d records, %v", len(records), err)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 5<<20 {
			t.Errorf("memory has grown by %d bytes", grown)
		}
	})
	t.Run("row 01 the earliest works on, after a restart and on another replica", func(t *testing.T) {
		restarted := open(t, signInElsewhere, replicaOf(issuer), sealedBy("b", "a"))
		restarted.resource = issuer.resource
		for _, at := range []*testIssuer{issuer, restarted} {
			for n, p := range sample {
				redirect := fmt.Sprintf("https://app.example/cb/%d", n*(number/10))
				wantConsent(t, at.authorize("client_id", p.public, "redirect_uri", redirect))
				at.wantKnown(t, p.public)
				at.wantKnown(t, p.confidential, basic(p.confidential, p.secret))
			}
		}
	})
}

func TestSealedRegistration(t *testing.T) {
	issuer := open(t, signInElsewhere)
	t.Run("a confidential client has a secret without an end, and a public one has none", func(t *testing.T) {
		got := issuer.registered(map[string]any{"redirect_uris": []string{callback}})
		if got["token_endpoint_auth_method"] != "client_secret_basic" || got["client_secret_expires_at"] != 0.0 ||
			len(got["client_secret"].(string)) != 43 {
			t.Errorf("registered %v", got)
		}
		got = issuer.registered(publicClient(callback))
		if got["client_secret"] != nil || got["client_secret_expires_at"] != nil {
			t.Errorf("registered %v", got)
		}
	})
	t.Run("client_credentials is not a grant type", func(t *testing.T) {
		got := issuer.registered(map[string]any{"redirect_uris": []string{callback},
			"grant_types": []string{"authorization_code", "client_credentials", "refresh_token"}})
		if fmt.Sprint(got["grant_types"]) != "[authorization_code refresh_token]" {
			t.Errorf("registered %v", got)
		}
		wantError(t, issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback},
			"grant_types": []string{"client_credentials"}}), http.StatusBadRequest, "invalid_client_metadata")
		wantError(t, issuer.post("/token", url.Values{"grant_type": {"client_credentials"},
			"client_id": {got["client_id"].(string)}, "client_secret": {got["client_secret"].(string)}}),
			http.StatusBadRequest, "unsupported_grant_type")
	})
	named := func(length int, uris ...string) map[string]any {
		m := publicClient(uris...)
		m["client_name"] = strings.Repeat("n", length)
		return m
	}
	uris := func(n, length int) []string {
		var all []string
		for i := range n {
			uri := fmt.Sprintf("https://app.example/%d/", i)
			all = append(all, uri+strings.Repeat("x", max(0, length-len(uri))))
		}
		return all
	}
	for name, body := range map[string]any{
		"1000 redirect URIs":            publicClient(uris(1000, 30)...),
		"9 redirect URIs":               publicClient(uris(9, 30)...),
		"redirect URIs of 1600 bytes":   publicClient(uris(4, 400)...),
		"1400 bytes and a name of 150":  named(150, uris(4, 350)...),
		"a name of 60 kB":               named(60_000, uris(1, 30)...),
		"a member twice":                `{"redirect_uris":["` + callback + `"],"redirect_uris":["` + callback + `"]}`,
		"lists nested 100 times":        `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		"objects nested 20,000 times":   `{"x":` + strings.Repeat(`{"x":`, 10_000) + "1" + strings.Repeat("}", 10_000) + `}`,
		"a list that is never closed":   `{"x":` + strings.Repeat("[", 60_000),
		"a redirect URI that is a list": `{"redirect_uris":[["` + callback + `"]]}`,
	} {
		t.Run("row 02 "+name, func(t *testing.T) {
			wantError(t, issuer.postJSON("/register", body), http.StatusBadRequest, "invalid_client_metadata")
		})
	}
	t.Run("row 02 a name of 1 MB is not read", func(t *testing.T) {
		wantError(t, issuer.postJSON("/register", map[string]any{"redirect_uris": []string{callback},
			"client_name": strings.Repeat("n", 1<<20)}), http.StatusRequestEntityTooLarge, "invalid_client_metadata")
	})
	t.Run("row 02 8 redirect URIs of 1400 bytes fit", func(t *testing.T) {
		all := uris(8, 170)
		id := issuer.registered(publicClient(all...))["client_id"].(string)
		for _, uri := range all {
			wantConsent(t, issuer.authorize("client_id", id, "redirect_uri", uri))
		}
		issuer.wantKnown(t, id)
	})
	for _, uri := range []string{
		"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://evil.example/cb",
		"http://192.0.2.1/cb", "https://app.example/cb#x", "https://app.example/cb#", "https://me@app.example/cb",
		"https://me:pw@app.example/cb", "https://*.app.example/cb", "https://app.example/*", "https://app.example/?x=*",
		`https://a.example\@b.example`, `https://a.example/\@b.example`, `https://a.example\.b.example/`,
		"https://a.example/a b", "https://a.example/%", "https://a.example/\u202e", "https://bücher.example/", "//a.example",
		"http://localhost.evil.example/", "http://localhost@evil.example/", "http://127.0.0.1.evil.example/",
		"https:app.example", "https:///cb", "", " https://app.example/cb", "vbscript:x", "blob:https://x.example/1",
		"cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/cb", "vscode://x/y",
	} {
		t.Run("row 03 "+url.QueryEscape(uri), func(t *testing.T) {
			wantError(t, issuer.postJSON("/register", publicClient(uri)), http.StatusBadRequest, "invalid_redirect_uri")
			if strings.Contains(uri, "cursor:") || strings.Contains(uri, "app:") || strings.Contains(uri, "vscode:") {
				return // row 04
			}
			wantError(t, issuer.postJSON("/register", publicClient(callback, uri)), http.StatusBadRequest,
				"invalid_redirect_uri")
		})
	}
}

// cursorRedirects are those that Cursor registers.
func cursorRedirects() []string {
	return []string{"http://localhost:8787/callback", "https://www.cursor.com/agents/mcp/oauth/callback",
		"cursor://anysphere.cursor-mcp/oauth/callback"}
}

func TestRedirectPolicy(t *testing.T) {
	tests := []struct {
		name            string
		hosts, schemes  []string
		redirects, kept []string
	}{
		{"row 04 a private-use scheme is left out of a mixed list", nil, nil, cursorRedirects(), cursorRedirects()[:2]},
		{"row 04 a scheme that is listed stays", nil, []string{"cursor"}, cursorRedirects(), cursorRedirects()},
		{"row 04 another scheme than that listed", nil, []string{"vscode"}, cursorRedirects(), cursorRedirects()[:2]},
		{"a host that is not listed", []string{"claude.ai"}, []string{"cursor"}, cursorRedirects(),
			[]string{cursorRedirects()[0], cursorRedirects()[2]}},
		{"hosts below one", []string{"*.example.com"}, nil,
			[]string{"https://a.example.com/", "https://a.b.example.com/", "https://example.com/", "https://xexample.com/",
				"https://a.example.com.evil.example/", "https://A.EXAMPLE.com:8443/"},
			[]string{"https://a.example.com/", "https://a.b.example.com/", "https://A.EXAMPLE.com:8443/"}},
		{"a host with a port", []string{"app.example:8443"}, nil,
			[]string{"https://app.example:8443/", "https://app.example/"},
			[]string{"https://app.example:8443/"}},
		{"loopback is always allowed", []string{"claude.ai"}, nil,
			[]string{"http://127.0.0.1/cb", "http://[::1]/cb", "http://localhost/cb", "https://localhost/cb",
				"https://x.example/"},
			[]string{"http://127.0.0.1/cb", "http://[::1]/cb", "http://localhost/cb", "https://localhost/cb"}},
		{"nothing that is allowed", []string{"claude.ai"}, nil, []string{"https://x.example/"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDocumentHost(t)
			d.serve(d.document("redirect_uris", test.redirects))
			policy := func(c *authserver.Config) {
				c.ClientPolicy.RedirectHosts, c.ClientPolicy.RedirectSchemes = test.hosts, test.schemes
			}
			issuer := open(t, signInElsewhere, policy, d.trusted)
			// The rules when a client comes are what counts, not those when it registered.
			lenient := open(t, signInElsewhere, replicaOf(issuer), func(c *authserver.Config) {
				c.ClientPolicy.RedirectSchemes = []string{"cursor"}
			})
			earlier := lenient.registered(publicClient(test.redirects...))["client_id"].(string)
			a := issuer.postJSON("/register", publicClient(test.redirects...))
			ids := []string{earlier, d.id()}
			if test.kept == nil {
				wantError(t, a, http.StatusBadRequest, "invalid_redirect_uri")
				wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", earlier)), http.StatusUnauthorized,
					"invalid_client")
			} else {
				got := a.json(t)
				if fmt.Sprint(got["redirect_uris"]) != fmt.Sprint(test.kept) {
					t.Fatalf("registered %v, want %v", got["redirect_uris"], test.kept)
				}
				ids = append(ids, got["client_id"].(string))
			}
			for _, id := range ids {
				for _, uri := range test.redirects {
					a := issuer.authorize("client_id", id, "redirect_uri", uri)
					if slices.Contains(test.kept, uri) {
						wantConsent(t, a)
					} else {
						wantPage(t, a, http.StatusBadRequest)
					}
				}
			}
		})
	}
}

func TestForgedSealedIDs(t *testing.T) {
	issuer := open(t, signInElsewhere)
	public := issuer.registeredID(publicClient(callback))
	answer := issuer.registered(map[string]any{"redirect_uris": []string{callback}})
	confidential, secret := answer["client_id"].(string), answer["client_secret"].(string)
	issuer.wantKnown(t, public)
	issuer.wantKnown(t, confidential, basic(confidential, secret))

	t.Run("row 05 an edited id", func(t *testing.T) {
		for at := range public {
			changed := byte('A')
			if public[at] == changed {
				changed = 'B'
			}
			for _, id := range []string{public[:at] + string(changed) + public[at+1:], public[:at] + public[at+1:],
				public[:at] + string(changed) + public[at:]} {
				a := issuer.post("/token", issuer.exchange("x", "client_id", id))
				wantError(t, a, http.StatusUnauthorized, "invalid_client")
				if at%9 == 0 {
					wantPage(t, issuer.authorize("client_id", id), http.StatusBadRequest)
				}
			}
		}
	})
	prefix, sealed, _ := strings.Cut(public, ".")
	otherPrefix, otherSealed, _ := strings.Cut(confidential, ".")
	demo := open(t)
	for name, id := range map[string]string{
		"a confidential client made public":        prefix + "." + otherSealed,
		"a public client made confidential":        otherPrefix + "." + sealed,
		"an id of the demo":                        demo.registerPublic(callback),
		"an id of another issuer, with this key":   open(t, signInElsewhere).registeredID(publicClient(callback)),
		"a line break":                             public + "\n",
		"a line break within":                      public[:20] + "\r\n" + public[20:],
		"padding":                                  public + "=",
		"the prefix":                               prefix + ".",
		"the prefix without a dot":                 prefix,
		"nothing that was sealed":                  prefix + "." + strings.Repeat("A", 200),
		"too long":                                 prefix + "." + strings.Repeat("A", 4000),
		"a word":                                   "client",
		"the secret as the id":                     secret,
		"an id sealed for a request, not a client": prefix + "." + "AAAA",
	} {
		t.Run("row 05 "+name, func(t *testing.T) { issuer.wantUnknown(t, id) })
	}
	t.Run("row 05 an id that a removed secret has sealed", func(t *testing.T) {
		both := open(t, signInElsewhere, replicaOf(issuer), sealedBy("b", "a"))
		later := both.registeredID(publicClient(callback))
		both.wantKnown(t, public)
		both.wantKnown(t, confidential, basic(confidential, secret))
		issuer.wantUnknown(t, later) // a replica that does not have the new secret yet
		removed := open(t, signInElsewhere, replicaOf(issuer), sealedBy("b"))
		removed.wantUnknown(t, public)
		removed.wantUnknown(t, confidential)
		removed.wantKnown(t, later)
	})
	t.Run("row 05 an authorization request without a client_id", func(t *testing.T) {
		wantPage(t, issuer.authorize("client_id", ""), http.StatusBadRequest)
	})
	t.Run("row 37 the secret of another client, a changed one, or none", func(t *testing.T) {
		other := issuer.registered(map[string]any{"redirect_uris": []string{callback}})
		otherID, otherSecret := other["client_id"].(string), other["client_secret"].(string)
		changed := "A" + secret[1:]
		if changed == secret {
			changed = "B" + secret[1:]
		}
		for _, c := range [][2]string{{confidential, otherSecret}, {otherID, secret}, {confidential, ""},
			{confidential, secret[:22]}, {confidential, secret + "A"}, {confidential, changed}, {confidential, "x"},
			{confidential, secret + "\n"}, {public, secret}, {public, "x"}} {
			form := issuer.exchange("x", "client_id", "")
			wantError(t, issuer.post("/token", form, basic(c[0], c[1])), http.StatusUnauthorized, "invalid_client")
			form = issuer.exchange("x", "client_id", c[0])
			form.Set("client_secret", c[1])
			if c[1] != "" {
				wantError(t, issuer.post("/token", form), http.StatusUnauthorized, "invalid_client")
			}
		}
		wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", confidential)), http.StatusUnauthorized,
			"invalid_client")
		issuer.wantKnown(t, otherID, basic(otherID, otherSecret))
	})
	t.Run("row 41 an id is no code and no refresh token", func(t *testing.T) {
		wantError(t, issuer.post("/token", issuer.exchange(public, "client_id", public)), http.StatusBadRequest,
			"invalid_grant")
		wantError(t, issuer.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {public},
			"refresh_token": {confidential}}), http.StatusBadRequest, "invalid_grant")
	})
}

func TestRedirectMatching(t *testing.T) {
	issuer := open(t, signInElsewhere)
	registered := []string{"https://app.example/cb", "https://app.example/q?x=1", "http://localhost:8787/callback",
		"http://127.0.0.1:33418/", "http://[::1]/cb", "https://app.example/%7Euser"}
	id := issuer.registered(publicClient(registered...))["client_id"].(string)
	for _, uri := range append([]string{"http://localhost/callback", "http://localhost:1/callback",
		"http://127.0.0.1:65535/", "http://127.0.0.1/", "http://[::1]:9/cb"}, registered...) {
		t.Run("row 06 accepted: "+url.QueryEscape(uri), func(t *testing.T) {
			wantConsent(t, issuer.authorize("client_id", id, "redirect_uri", uri))
		})
	}
	for _, uri := range []string{
		"https://app.example/cb/", "https://app.example/cb/more", "https://app.example/cb?x=1", "https://app.example/cb?",
		"https://app.example/CB", "https://APP.example/cb", "HTTPS://app.example/cb", "https://app.example:443/cb",
		"https://app.example:8443/cb", "https://app.example/%63b", "https://app.example/x/%2e%2e/cb",
		"https://app.example/./cb",
		"https://app.example//cb", "https://app.example/cb#", "https://app.example/cb#x", "https://me@app.example/cb",
		"http://app.example/cb", "https://app.example/q", "https://app.example/q?x=1&y=2", "https://app.example/q?x=2",
		"https://app.example/~user", "https://app.example/%7euser", "https://app.example.evil.example/cb",
		"https://app.example",
		"http://127.0.0.1:8787/callback", "http://localhost:33418/", "http://127.0.0.2:33418/",
		"http://[::ffff:127.0.0.1]/cb",
		"http://localhost.:8787/callback", "http://LOCALHOST:8787/callback", "http://localhost:8787/callback/",
		"http://localhost:8787/callback?x", "http://localhost:8787/%63allback", "http://localhost:x/callback",
		"http://me@localhost:8787/callback", "https://localhost:8787/callback", "http://0.0.0.0:33418/", "http://2130706433/",
		"/cb", "cb", " https://app.example/cb", "https://app.example/cb ", "https://app.example/cb\n",
	} {
		t.Run("row 06 refused: "+url.QueryEscape(uri), func(t *testing.T) {
			wantPage(t, issuer.authorize("client_id", id, "redirect_uri", uri), http.StatusBadRequest)
		})
	}
}

func TestRegistrationLifetime(t *testing.T) {
	issuer := open(t, signInElsewhere, func(c *authserver.Config) { c.ClientPolicy.RegistrationLifetime = time.Hour })
	answer := issuer.registered(map[string]any{"redirect_uris": []string{callback}})
	id, secret := answer["client_id"].(string), answer["client_secret"].(string)
	if got, want := answer["client_secret_expires_at"], float64(issuer.clock.Now().Add(time.Hour).Unix()); got != want {
		t.Errorf("the secret expires at %v, want %v", got, want)
	}
	issuer.clock.forward(time.Hour - 2*time.Second)
	wantConsent(t, issuer.authorize("client_id", id))
	issuer.wantKnown(t, id, basic(id, secret))
	issuer.clock.forward(2 * time.Second)
	issuer.wantUnknown(t, id)
	if a := issuer.authorize("client_id", id); !strings.Contains(a.body, "has expired") {
		t.Errorf("the page does not say so: %s", a.body)
	}
	issuer.wantKnown(t, issuer.registeredID(publicClient(callback)))
}

func TestDeniedClients(t *testing.T) {
	d := newDocumentHost(t)
	other := open(t, signInElsewhere)
	bad := other.registeredID(publicClient(callback))
	good := other.registeredID(publicClient(callback))
	host := strings.TrimPrefix(d.URL, "https://")
	name, _, _ := strings.Cut(host, ":")
	short := "reg2p.…" + bad[len(bad)-12:]
	t.Run("denied by the short form of the log", func(t *testing.T) {
		issuer := open(t, signInElsewhere, replicaOf(other), func(c *authserver.Config) {
			c.ClientPolicy.Denied = []string{short}
		})
		issuer.resource = other.resource
		wantPage(t, issuer.authorize("client_id", bad), http.StatusForbidden)
		wantConsent(t, issuer.authorize("client_id", good))
	})
	for _, denied := range []string{host, name, strings.ToUpper(host), d.id()} {
		issuer := open(t, signInElsewhere, d.trusted, replicaOf(other), func(c *authserver.Config) {
			c.ClientPolicy.Denied = []string{"x", bad, denied}
		})
		issuer.resource = other.resource
		for _, id := range []string{bad, d.id()} {
			t.Run("denied by "+denied[:min(len(denied), 20)]+": "+id[:10], func(t *testing.T) {
				a := issuer.authorize("client_id", id)
				wantPage(t, a, http.StatusForbidden)
				if !strings.Contains(a.body, "does not allow the application") {
					t.Errorf("the page has another text: %s", a.body)
				}
				// invalid_client would make the client register again.
				wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", id)), http.StatusBadRequest,
					"unauthorized_client")
			})
		}
		wantConsent(t, issuer.authorize("client_id", good))
	}
	if d.fetches.Load() != 0 {
		t.Error("the document of a denied client was fetched")
	}
}

// One address can make the server open only so many ids that it did not issue.
func TestUnknownClientsCountPerAddress(t *testing.T) {
	issuer := open(t, signInElsewhere)
	id := issuer.registeredID(publicClient(callback))
	expiredID := open(t, signInElsewhere, replicaOf(issuer)).registeredID(publicClient("https://app.example/cb"))
	var mu sync.Mutex
	failures := 0
	limited := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			if failures++; failures > 4 {
				return time.Second
			}
			return 0
		}
		ctx := context.WithValue(r.Context(), providers.FailureKey{}, record)
		issuer.Handler().ServeHTTP(w, r.WithContext(ctx))
	}))
	limited.resource = issuer.resource
	good := func() {
		t.Helper()
		wantConsent(t, limited.authorize("client_id", id))
		wantPage(t, limited.authorize("client_id", expiredID), http.StatusBadRequest) // another redirect URI
		limited.wantKnown(t, id)
	}
	good()
	limited.wantUnknown(t, "reg2p.AAAA")
	limited.wantUnknown(t, "invented")
	good()
	if failures != 4 {
		t.Errorf("%d failures were counted, want 4", failures)
	}
	a := limited.authorize("client_id", id+"A")
	wantPage(t, a, http.StatusTooManyRequests)
	if a.Header.Get("Retry-After") == "" {
		t.Error("the page has no Retry-After")
	}
	a = limited.post("/token", limited.exchange("x", "client_id", id+"A"))
	wantError(t, a, http.StatusTooManyRequests, "too_many_requests")
	if a.Header.Get("Retry-After") == "" {
		t.Error("the response has no Retry-After")
	}
	good()
}

func TestRegistrationEvents(t *testing.T) {
	var mu sync.Mutex
	var events []providers.SignInEvent
	issuer := open(t, signInElsewhere, func(c *authserver.Config) {
		c.Record = func(_ context.Context, e providers.SignInEvent) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
	})
	id := issuer.registeredID(publicClient(callback))
	issuer.postJSON("/register", publicClient("javascript:alert(1)"))
	if len(events) != 2 || events[0].Kind != "client.register" || events[0].Reason != "" || events[0].ClientID == "" ||
		len(events[0].ClientID) > 40 || !strings.HasSuffix(id, events[0].ClientID[len(events[0].ClientID)-12:]) ||
		events[1].Kind != "client.register" || events[1].Reason != "registration_refused" {
		t.Errorf("events %+v", events)
	}
}

func TestNoIntrospectionWithoutTheDemo(t *testing.T) {
	issuer := open(t, signInElsewhere)
	answer := issuer.registered(map[string]any{"redirect_uris": []string{callback}})
	a := issuer.post("/introspect", url.Values{"token": {"x"}},
		basic(answer["client_id"].(string), answer["client_secret"].(string)))
	if a.StatusCode != http.StatusNotFound {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
}
