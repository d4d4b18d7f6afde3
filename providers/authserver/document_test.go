package authserver_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/providers/authserver"
)

// documentHost serves client ID metadata documents over TLS on loopback and counts the requests.
type documentHost struct {
	*httptest.Server
	roots   *x509.CertPool
	fetches atomic.Int32
	mu      sync.Mutex
	answer  http.HandlerFunc
}

func newDocumentHost(t *testing.T) *documentHost {
	t.Helper()
	d := &documentHost{roots: x509.NewCertPool()}
	d.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.fetches.Add(1)
		d.mu.Lock()
		answer := d.answer
		d.mu.Unlock()
		answer(w, r)
	}))
	d.Config.ErrorLog = discardLogger()
	d.StartTLS()
	t.Cleanup(d.Close)
	d.roots.AddCert(d.Certificate())
	d.serve(d.document())
	return d
}

func (d *documentHost) id() string { return d.URL + "/client.json" }

// document returns a valid document with changes: alternating names and values; nil removes the member.
func (d *documentHost) document(changes ...any) map[string]any {
	m := map[string]any{
		"client_id": d.id(), "client_name": "Document client", "redirect_uris": []string{callback},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none",
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(m, changes[i].(string))
		} else {
			m[changes[i].(string)] = changes[i+1]
		}
	}
	return m
}

func (d *documentHost) serve(document any, headers ...string) {
	d.serveFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		_ = json.NewEncoder(w).Encode(document)
	})
}

func (d *documentHost) serveFunc(answer http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *documentHost) trusted(c *authserver.Config) {
	c.ClientDocumentRootCAs, c.ClientDocuments, c.AllowLoopbackClientDocuments = d.roots, true, true
}

func TestClientDocument(t *testing.T) {
	d := newDocumentHost(t)
	issuer := open(t, d.trusted)
	t.Run("AS-25 AS-04 a client whose ID is its document's URL signs in, on any loopback port, and refreshes",
		func(t *testing.T) {
			redirect := "http://127.0.0.1:5050/callback"
			code := issuer.code("client_id", d.id(), "redirect_uri", redirect)
			first := issuer.post("/token", issuer.exchange(code, "client_id", "", "redirect_uri", redirect),
				basic(d.id(), "")).json(t)
			second := issuer.refresh(first["refresh_token"], "client_id", d.id()).json(t)
			if _, claims := issuer.verify(second["access_token"].(string)); claims["client_id"] != d.id() {
				t.Errorf("claims %v", claims)
			}
			if got := d.fetches.Load(); got != 1 {
				t.Errorf("the document was fetched %d times", got)
			}
		})
	t.Run("AS-25 it is public: a secret is refused", func(t *testing.T) {
		wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", ""), basic(d.id(), "x")),
			http.StatusUnauthorized, "invalid_client")
	})
	t.Run("AS-25 it cannot use client_credentials, even if the document lists it", func(t *testing.T) {
		other := newDocumentHost(t)
		other.serve(other.document("grant_types", []string{"authorization_code", "client_credentials"}))
		issuer := open(t, other.trusted)
		wantError(t, issuer.post("/token", url.Values{"grant_type": {"client_credentials"},
			"client_id": {other.id()}}), http.StatusBadRequest, "unauthorized_client")
	})
	for name, changes := range map[string][]any{
		"prefers private_key_jwt and lists none": {"token_endpoint_auth_method", "private_key_jwt",
			"token_endpoint_auth_methods_supported", []string{"none", "private_key_jwt"}},
		"lists none and prefers no method": {"token_endpoint_auth_method", nil,
			"token_endpoint_auth_methods_supported", []string{"private_key_jwt", "none"}},
		"names no method": {"token_endpoint_auth_method", nil},
		"prefers none and lists others": {"token_endpoint_auth_methods_supported",
			[]string{"private_key_jwt"}},
	} {
		t.Run("AS-25 a document that "+name+" is that of a public client", func(t *testing.T) {
			d := newDocumentHost(t)
			d.serve(d.document(changes...))
			issuer := open(t, d.trusted)
			a := issuer.post("/token", issuer.exchange(issuer.code("client_id", d.id()), "client_id", d.id()))
			if a.StatusCode != http.StatusOK {
				t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
		})
	}
	t.Run("AS-25 only redirect URIs of the document are used", func(t *testing.T) {
		wantPage(t, issuer.authorize("client_id", d.id(), "redirect_uri", "https://evil.example/cb"),
			http.StatusBadRequest)
	})
	t.Run("AS-20b the consent page shows the host of the document", func(t *testing.T) {
		issuer := open(t, d.trusted, withConsent)
		page, _ := issuer.consent("client_id", d.id())
		if host := strings.TrimPrefix(d.URL, "https://"); !strings.Contains(page.body,
			"Described by <strong>"+host+"</strong>") || !strings.Contains(page.body, "Document client") {
			t.Errorf("it does not: %s", page.body)
		}
	})
}

func TestUnusableClientDocument(t *testing.T) {
	d := newDocumentHost(t)
	large := d.document("x", strings.Repeat("x", 5<<10))
	answers := []struct {
		name   string
		answer http.HandlerFunc
		want   string // on the page
	}{
		{"AS-25 another client_id", serving(d.document("client_id", d.URL+"/other.json")),
			"client_id is not its own URL"},
		{"AS-25 a client_id that differs in a slash", serving(d.document("client_id", d.id()+"/")),
			"client_id is not its own URL"},
		{"AS-25 no client_id", serving(d.document("client_id", nil)), "client_id is not its own URL"},
		{"AS-25 no client_name", serving(d.document("client_name", nil)), "no client_name"},
		{"AS-25 no redirect_uris", serving(d.document("redirect_uris", nil)), "redirect URI"},
		{"AS-25 AS-26 an http redirect URI",
			serving(d.document("redirect_uris", []string{callback, "http://app.example/cb"})), "not on loopback"},
		{"AS-25 a javascript redirect URI",
			serving(d.document("redirect_uris", []string{callback, "javascript:alert(1)"})), "scheme"},
		{"AS-25 a shared-secret method", serving(d.document("token_endpoint_auth_method", "client_secret_basic")),
			"not none"},
		{"AS-25 private_key_jwt alone, in a list",
			serving(d.document("token_endpoint_auth_method", nil, "token_endpoint_auth_methods_supported",
				[]string{"private_key_jwt"})), "not none"},
		{"AS-25 an empty list of methods",
			serving(d.document("token_endpoint_auth_method", nil, "token_endpoint_auth_methods_supported",
				[]string{})), "not none"},
		{"AS-25 private_key_jwt", serving(d.document("token_endpoint_auth_method", "private_key_jwt")), "not none"},
		{"AS-25 a client_secret", serving(d.document("client_secret", "x")), "client_secret"},
		{"AS-25 more than 5 KiB", serving(large), "larger than 5 KiB"},
		{"AS-25 an array", serving([]string{"x"}), "not a JSON object"},
		{"AS-25 another content type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_ = json.NewEncoder(w).Encode(d.document())
		}, "not served as application/json"},
		{"AS-25 status 404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
			"status 404"},
		{"AS-25 a redirect, even to itself", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "" {
				http.Redirect(w, r, "/client.json?again", http.StatusFound)
				return
			}
			serving(d.document())(w, r)
		}, "status 302"},
		{"AS-25 a closed connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"does not respond"},
	}
	for _, test := range answers {
		t.Run(test.name+" is refused on a page with the reason", func(t *testing.T) {
			d.serveFunc(test.answer)
			issuer := open(t, d.trusted)
			a := issuer.authorize("client_id", d.id())
			wantPage(t, a, http.StatusBadRequest)
			if !strings.Contains(a.body, test.want) {
				t.Errorf("it does not say %q: %s", test.want, a.body)
			}
		})
	}
	d.serve(d.document())
	before := d.fetches.Load()
	for _, id := range []string{
		strings.Replace(d.id(), "https:", "http:", 1), d.URL, d.URL + "/", d.id() + "#", d.id() + "#x",
		d.URL + "/a/../client.json",
		d.URL + "/./client.json", d.URL + "/%2e%2e/client.json", strings.Replace(d.id(), "://", "://me@", 1),
		strings.Replace(d.id(), "://", "://me:pw@", 1), d.id() + "?" + strings.Repeat("x", 2000),
		"https:/client.json", "https:client.json", "HTTPS" + strings.TrimPrefix(d.id(), "https"),
	} {
		t.Run("AS-25 the client ID "+id[:min(len(id), 60)]+" is refused unfetched", func(t *testing.T) {
			issuer := open(t, d.trusted)
			wantPage(t, issuer.authorize("client_id", id), http.StatusBadRequest)
			if d.fetches.Load() != before {
				t.Error("it was fetched")
			}
		})
	}
	t.Run("AS-25 an outage is not the client's fault at the token endpoint", func(t *testing.T) {
		issuer := open(t, d.trusted)
		d.serve(d.document(), "Cache-Control", "no-store")
		code := issuer.code("client_id", d.id())
		d.serveFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		wantError(t, issuer.post("/token", issuer.exchange(code, "client_id", d.id())),
			http.StatusServiceUnavailable, "server_error")
		d.serve(d.document())
		issuer.clock.forward(10 * time.Second)
		if a := issuer.post("/token", issuer.exchange(code, "client_id", d.id())); a.StatusCode != http.StatusOK {
			t.Errorf("it burnt the code: %s", a.body)
		}
	})
}

func TestClientDocumentsDisabled(t *testing.T) {
	d := newDocumentHost(t)
	issuer := open(t, d.trusted, func(c *authserver.Config) {
		c.ClientDocuments,
			c.AllowLoopbackClientDocuments = false, false
	})
	for _, path := range []string{"/.well-known/oauth-authorization-server",
		"/.well-known/openid-configuration"} {
		if got := issuer.get(path).json(t)["client_id_metadata_document_supported"]; got == true {
			t.Errorf("%s announces them", path)
		}
	}
	a := issuer.authorize("client_id", d.id())
	wantPage(t, a, http.StatusBadRequest)
	if !strings.Contains(a.body, "does not fetch") || !strings.Contains(a.body, "Use dynamic registration") {
		t.Errorf("the page has no fix: %s", a.body)
	}
	wantError(t, issuer.post("/token", issuer.exchange("x", "client_id", d.id())), http.StatusUnauthorized,
		"invalid_client")
	if got := d.fetches.Load(); got != 0 {
		t.Errorf("%d fetches", got)
	}
}

func serving(document any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document)
	}
}

func TestClientDocumentsFromPrivateNetworksAreRefused(t *testing.T) {
	d := newDocumentHost(t)
	issuer := open(t, d.trusted, func(c *authserver.Config) { c.AllowLoopbackClientDocuments = false })
	port := strings.Split(d.URL, ":")[2]
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		t.Run("AS-25 without the development switch "+host+" is refused before a connection is made", func(t *testing.T) {
			a := issuer.authorize("client_id", "https://"+host+":"+port+"/client.json")
			wantPage(t, a, http.StatusBadRequest)
			if !strings.Contains(a.body, "not on the public internet") {
				t.Errorf("the page has another text: %s", a.body)
			}
		})
	}
	if got := d.fetches.Load(); got != 0 {
		t.Errorf("%d requests arrived", got)
	}
}

func TestClientDocumentCache(t *testing.T) {
	tests := []struct {
		header  string
		fresh   time.Duration // still cached
		expired time.Duration // no longer
	}{
		{"max-age=3600", time.Hour - time.Second, time.Hour},
		{"public, max-age=3600, immutable", time.Hour - time.Second, time.Hour},
		{"max-age=1", time.Minute - time.Second, time.Minute},
		{"max-age=99999999", 24*time.Hour - time.Second, 24 * time.Hour},
		{"max-age=nonsense", 5*time.Minute - time.Second, 5 * time.Minute},
		{"", 5*time.Minute - time.Second, 5 * time.Minute},
		{"no-store", -1, 0},
		{"max-age=3600, no-cache", -1, 0},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("AS-25 with Cache-Control %q a document is kept %s", test.header, test.expired),
			func(t *testing.T) {
				d := newDocumentHost(t)
				d.serve(d.document(), "Cache-Control", test.header)
				issuer := open(t, d.trusted)
				issuer.code("client_id", d.id())
				want := int32(1)
				if test.fresh >= 0 {
					issuer.clock.forward(test.fresh)
					issuer.code("client_id", d.id())
					if got := d.fetches.Load(); got != want {
						t.Errorf("%d fetches while it is fresh", got)
					}
					issuer.clock.forward(test.expired - test.fresh)
				}
				issuer.code("client_id", d.id())
				if got := d.fetches.Load(); got != want+1 {
					t.Errorf("%d fetches after it expired", got)
				}
			})
	}
	t.Run("AS-25 a failure is cached for a few seconds only", func(t *testing.T) {
		d := newDocumentHost(t)
		d.serveFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		issuer := open(t, d.trusted)
		for range 3 {
			wantPage(t, issuer.authorize("client_id", d.id()), http.StatusBadRequest)
		}
		if got := d.fetches.Load(); got != 1 {
			t.Errorf("%d fetches", got)
		}
		d.serve(d.document())
		issuer.clock.forward(5 * time.Second)
		issuer.code("client_id", d.id())
	})
	t.Run("AS-25 concurrent requests share one fetch", func(t *testing.T) {
		d := newDocumentHost(t)
		release := make(chan struct{})
		d.serveFunc(func(w http.ResponseWriter, r *http.Request) { <-release; serving(d.document())(w, r) })
		issuer := open(t, d.trusted)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if _, q := issuer.authorize("client_id", d.id()).location(t); q.Get("code") == "" {
					t.Errorf("no code: %v", q)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		close(release)
		group.Wait()
		if got := d.fetches.Load(); got != 1 {
			t.Errorf("%d fetches", got)
		}
	})
	t.Run("AS-25 canceling the first request does not fail the others", func(t *testing.T) {
		d := newDocumentHost(t)
		arrived, release := make(chan struct{}), make(chan struct{})
		d.serveFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-release
			serving(d.document())(w, r)
		})
		issuer := open(t, d.trusted)
		impatient := newBrowser(nil)
		t.Cleanup(impatient.CloseIdleConnections)
		first := make(chan error, 1)
		go func() {
			impatient.Timeout = 200 * time.Millisecond
			response, err := impatient.Get(issuer.url + "/authorize?" +
				url.Values(issuer.authorization("client_id", d.id())).Encode())
			if err == nil {
				_ = response.Body.Close()
			}
			first <- err
		}()
		<-arrived
		if err := <-first; err == nil {
			t.Error("the first did not hang up")
		}
		close(release)
		issuer.code("client_id", d.id())
		if got := d.fetches.Load(); got != 1 {
			t.Errorf("%d fetches", got)
		}
	})
}
