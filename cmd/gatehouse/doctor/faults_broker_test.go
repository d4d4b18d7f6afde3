package doctor_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

// broker returns a change of a server of kind broker.
func broker(changes ...func(*testing.T, *env)) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		useBroker(t, e)
		for _, change := range changes {
			change(t, e)
		}
	}
}

func set(name, value string) func(*testing.T, *env) {
	return do(func(e *env) { e.settings[name] = value })
}

// stopped examines while the server does not run: only that is found besides.
func stopped(_ *testing.T, e *env) {
	e.noServer = true
	e.proxy.Close()
}

// signInFaults are faults of the provider at which people sign in, and of the client of this server there.
func signInFaults() map[string]fault {
	atProvider := func(rewrite func(*http.Request, *httptest.ResponseRecorder)) func(*testing.T, *env) {
		return do(func(e *env) { e.provider.rewrite = rewrite })
	}
	answer := func(path string, status int) func(*testing.T, *env) {
		return do(func(e *env) { e.provider.intercept = respond(path, status, "text/html", "canary-upstream") })
	}
	return map[string]fault{
		"broker: wrong client secret": {
			before: broker(do(func(e *env) { e.secret = "canary-wrong" })),
			bad:    []string{"sign_in.client failed"}, found: "401 with invalid_client", fix: "provider.client_id",
		},
		"broker: client that is not registered": {
			before: broker(set("provider.client_id", "other")),
			bad:    []string{"sign_in.redirect failed", "sign_in.client failed"}, found: "a page of its own", fix: "/callback",
		},
		"broker: redirect URI that is not registered": {
			before: broker(do(func(e *env) { e.clients[0].RedirectURIs[0] += "/" })),
			bad:    []string{"sign_in.redirect failed"}, found: "a page of its own", fix: "/callback for the client",
		},
		"broker: scope that the provider does not know for this client": {
			before: broker(), after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/authorize" {
						return false
					}
					http.Redirect(w, r, r.FormValue("redirect_uri")+"?error=invalid_scope&error_description=canary", http.StatusFound)
					return true
				}
			}),
			bad: []string{"sign_in.redirect failed"}, found: "invalid_scope", fix: "provider.upstream_scopes",
		},
		"broker: authorization endpoint that is down": {
			before: broker(), after: answer("/authorize", 503),
			bad: []string{"sign_in.redirect failed"}, found: "answers 503", fix: "later",
		},
		"broker: token endpoint that is down": {
			before: broker(), after: answer("/token", 500),
			bad: []string{"sign_in.client failed"}, found: "answered 500", fix: "can reach the provider",
		},
		"broker: provider that is down": {
			before: broker(set("provider.issuer", "http://127.0.0.1:1")),
			bad:    []string{"provider.tcp failed"}, found: "connection refused", fix: "provider.issuer",
		},
		"broker: provider without metadata": {
			before: broker(), after: do(func(e *env) {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, ".well-known") && respond("", 404, "text/html", "canary-upstream")(w, r)
				}
			}),
			bad: []string{"provider.metadata failed"}, found: "answered 404", fix: "this server cannot use the provider",
		},
		"broker: metadata behind a redirect": {
			before: broker(), after: do(func(e *env) { e.provider.intercept = redirectsToSlash }),
			bad: []string{"provider.metadata failed"}, found: "answered 301", fix: "this server follows none",
		},
		"broker: issuer with a slash too many": {
			before: broker(do(func(e *env) { e.settings["provider.issuer"] += "/" })),
			bad:    []string{"provider.issuer failed"}, found: "differs by a slash", fix: "provider.issuer",
		},
		"broker: issuer of many tenants": {
			before: broker(), after: atProvider(setMember(metadataMark, "issuer", "https://login.example.com/{tenantid}/v2.0")),
			bad: []string{"provider.issuer failed"}, found: "many tenants", fix: "the issuer of one tenant",
		},
		"broker: provider without PKCE": {
			before: broker(), after: atProvider(setMember(metadataMark, "code_challenge_methods_supported", nil)),
			bad: []string{"sign_in.support warning"}, found: "PKCE", fix: "no setting for it",
		},
		"broker: provider without keys": {
			before: broker(), after: answer("/keys", 404),
			bad: []string{"sign_in.keys failed"}, found: `/keys": `, fix: "JSON Web Key Set",
		},
		"broker: keys of another algorithm": {
			before: broker(), after: do(func(e *env) {
				e.provider.intercept = respond("/keys", 200, "application/json", `{"keys":[{"kty":"EC","crv":"secp256k1",`+
					`"x":"canary","y":"canary"}]}`)
			}),
			bad: []string{"sign_in.keys failed"}, found: "no", fix: "JSON Web Key Set",
		},
		"broker: clock of the provider": {
			before: broker(), after: atProvider(func(_ *http.Request, w *httptest.ResponseRecorder) {
				w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
			}),
			bad: []string{"sign_in.clock failed"}, found: "s ahead", fix: "ID tokens",
		},
		"broker: clock of the provider, while metadata of this server is wrong": {
			before: broker(), after: do(func(e *env) {
				e.proxy.rewrite = setMember(metadataMark, "issuer", "https://other.example")
				e.provider.rewrite = func(_ *http.Request, w *httptest.ResponseRecorder) {
					w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
				}
			}),
			bad:   []string{"sign_in.clock failed", "provider.issuer failed", "store.open warning"},
			found: "s ahead", fix: "ID tokens",
		},
		"broker: faulty key": {
			before: broker(), after: atProvider(func(r *http.Request, w *httptest.ResponseRecorder) {
				if r.URL.Path == "/keys" {
					setBody(w, strings.Replace(w.Body.String(), `{"keys":[`,
						`{"keys":[{"kty":"EC","crv":"P-256","x":"canary","y":"A"},`, 1))
				}
			}),
			bad: []string{"sign_in.keys warning"}, found: "1 faulty", fix: "faulty keys",
		},
		"broker: no refresh tokens announced": {
			before: broker(set("provider.upstream_scopes", "openid")),
			after:  atProvider(setMember(metadataMark, "grant_types_supported", []string{"authorization_code"})),
			bad:    []string{"sign_in.refresh_token warning", "sign_in.support warning"},
			found:  "neither requested nor announced", fix: "offline_access",
		},
		"broker: scope that no tool needs": {
			before: broker(stopped, set("provider.scope_rules", "groups=mcp > mcp:us")),
			bad:    []string{"sign_in.scope_rules failed", "server.tcp warning"}, found: `"mcp:us"`, fix: "correct the scopes",
		},
		"broker: enterprise issuer without keys": {
			before: broker(func(t *testing.T, e *env) {
				company := newFaultProxy(t, nil)
				company.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					switch r.URL.Path {
					case "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server":
						return respond("", 200, "application/json",
							`{"issuer":"`+company.URL+`","jwks_uri":"`+company.URL+`/keys"}`)(w, r)
					}
					return respond("", 500, "text/plain", "canary")(w, r)
				}
				useEnterprise(t, e)
				e.settings["provider.enterprise_issuers"] = company.URL
			}),
			bad: []string{"enterprise.keys failed"}, found: "answered 500", fix: "identity assertions are refused",
		},
		"broker: secret of an enterprise client that others can read": {
			before: broker(func(t *testing.T, e *env) { share(t, useEnterprise(t, e), 0o644) }),
			bad:    []string{"config.secret_file warning"}, found: "mode 0644", fix: "chmod o= ",
		},
	}
}

// storeFaults are faults of the store of sign-ins, and of the secrets that seal it.
func storeFaults() map[string]fault {
	return map[string]fault{
		"broker: store that others can read": {
			before: broker(), after: func(t *testing.T, e *env) { chmod(t, e.storeFile(), 0o604) },
			bad: []string{"store.access warning"}, found: "mode 0604", fix: "chmod o= ",
		},
		"broker: store in a folder that does not exist": {
			before: broker(stopped, set("provider.store", "file:///nonexistent/sign-ins.db")),
			bad:    []string{"store.open failed", "server.tcp warning"}, found: "no such file", fix: "mode 0700",
		},
		"broker: store in a folder that all users may write": {
			before: broker(stopped), after: func(t *testing.T, e *env) { chmod(t, filepath.Dir(e.storeFile()), 0o1777) },
			bad: []string{"store.open failed", "server.tcp warning"}, found: "mode 0777", fix: "chmod o-w",
		},
		"broker: store that is no store": {
			before: broker(stopped, func(t *testing.T, e *env) {
				writeMode(t, e.storeFile(), strings.Repeat("canary\n", 5000), 0o600)
			}),
			bad: []string{"store.open failed", "server.tcp warning"}, found: "invalid database", fix: "repair or restore",
		},
		"broker: store of a process that is not this server": {
			before: broker(stopped, func(t *testing.T, e *env) { openStore(t, e) }),
			bad:    []string{"store.open warning", "server.tcp warning"}, found: "another process uses it", fix: "Redis",
		},
		"broker: store of another server": {
			before: broker(stopped, func(t *testing.T, e *env) { markStore(t, e, seal.Random()) }),
			bad:    []string{"store.owner failed", "server.tcp warning"}, found: "sealed with other secrets", fix: "last line",
		},
		"broker: store in memory of the computer": {
			before: broker(do(func(e *env) { setDisk(e, doctor.Disk{Kind: "tmpfs", Free: 1 << 40}) })),
			bad:    []string{"store.disk warning"}, found: "tmpfs", fix: "mount a volume",
		},
		"broker: store on a full disk": {
			before: broker(do(func(e *env) { setDisk(e, doctor.Disk{Free: 1 << 20}) })),
			bad:    []string{"store.disk warning"}, found: "1 MiB free", fix: "make room",
		},
		"broker: secrets in the folder of the store": {
			before: broker(func(t *testing.T, e *env) {
				path := writeMode(t, filepath.Join(filepath.Dir(e.storeFile()), "secrets"), seal.NewSecret(), 0o600)
				e.environ = append(e.environ, "GATEHOUSE_PROVIDER__SECRETS_FILE="+path)
			}),
			bad: []string{"config.secret_file warning"}, found: "a copy of the folder has the data and the secret", fix: "move",
		},
		"broker: secrets that others can read": {
			before: broker(func(t *testing.T, e *env) { share(t, e.useSecrets(seal.NewSecret()), 0o644) }),
			bad:    []string{"config.secret_file warning"}, found: "mode 0644", fix: "chmod o=",
		},
		"broker: many secrets": {
			before: broker(do(func(e *env) { e.useSecrets(seal.NewSecret(), seal.NewSecret(), seal.NewSecret()) })),
			bad:    []string{"store.secrets warning"}, found: "3 secrets", fix: "remove the last lines",
		},
	}
}

// redisFaults are faults of a store in Redis.
func redisFaults() map[string]fault {
	return map[string]fault{
		"broker: Redis that is down": {
			before: useRedis("redis://127.0.0.1:1/0"),
			bad:    []string{"store.open failed", "server.ready failed", "provider.keys failed"}, found: "connection refused",
			fix: "check provider.store",
		},
		"broker: Redis with a password that is not set": {
			before: func(t *testing.T, e *env) { redis("--requirepass", "canary")(t, e); stopped(t, e) },
			bad:    []string{"store.open failed", "server.tcp warning"}, found: "NOAUTH", fix: "provider.store_password_file",
		},
		"broker: Redis that evicts": {
			before: redis("--maxmemory-policy", "allkeys-lru"),
			bad:    []string{"store.eviction warning"}, found: `"allkeys-lru"`, fix: "maxmemory-policy noeviction",
		},
		"broker: Redis that says nothing about itself": {
			before: redis("--rename-command", "CONFIG", "", "--rename-command", "INFO", ""),
			bad:    []string{"store.eviction warning"}, found: "does not say", fix: "maxmemory-policy noeviction",
		},
		"broker: Redis that keeps nothing": {
			before: redis("--appendonly", "no"),
			bad:    []string{"store.persistence warning"}, found: "appendonly is no", fix: "appendonly yes",
		},
		"broker: Redis with another clock": {
			before: func(t *testing.T, e *env) {
				server := storetest.StartRedis(t)
				useRedis(strings.Replace(server.URL(t), server.Addr, newLateClock(t, server.Addr), 1))(t, e)
			},
			bad: []string{"store.clock failed"}, found: "the store's clock is", fix: "synchronize",
		},
		"broker: Redis of another server": {
			before: func(t *testing.T, e *env) {
				redis()(t, e)
				stopped(t, e)
				markStore(t, e, seal.Random())
			},
			bad: []string{"store.owner failed", "server.tcp warning"}, found: "sealed with other secrets",
			fix: "another database",
		},
	}
}

// newLateClock returns the address of a proxy in front of Redis that answers TIME with an hour ago.
func newLateClock(t *testing.T, server string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := regexp.MustCompile(`^\*2\r\n\$10\r\n(\d{10})\r\n\$\d\r\n\d+\r\n$`)
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { ln.Close() })
	running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			running.Go(func() {
				_, _ = io.Copy(to, client)
				to.Close()
			})
			running.Go(func() {
				defer client.Close()
				for buffer := make([]byte, 64<<10); ; {
					n, err := to.Read(buffer)
					if err != nil {
						return
					}
					if m := answer.FindSubmatch(buffer[:n]); m != nil {
						seconds, _ := strconv.Atoi(string(m[1]))
						copy(m[1], strconv.Itoa(seconds-3600))
					}
					if _, err := client.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return ln.Addr().String()
}

// openStore opens the store as another process does.
func openStore(t *testing.T, e *env) store.Store {
	t.Helper()
	f, err := store.Open(t.Context(), e.settings["provider.store"], "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// markStore makes the store that of an authorization server with these keys, and the origin of this one.
func markStore(t *testing.T, e *env, keys *seal.Keys) {
	t.Helper()
	records := openStore(t, e)
	defer func() { _ = records.Close() }()
	issuer, err := authserver.New(authserver.Config{
		Issuer: strings.TrimSuffix(e.settings["resource"], "/mcp"), Resources: []string{e.settings["resource"]},
		Scopes: []string{"mcp:use"}, SigningAlgorithm: "ES256", Keys: keys, Store: records,
		SignIn: new(noSignIn),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := issuer.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// noSignIn is an authenticator for an issuer at which no person signs in.
type noSignIn struct{ authserver.Authenticator }

// proxyFaults are faults of what is in front of the authorization server.
func proxyFaults() map[string]fault {
	answers := func(path string, status int, body string) func(*testing.T, *env) {
		return do(func(e *env) { e.proxy.intercept = respond(path, status, "text/html", body) })
	}
	atProxy := func(rewrite func(*http.Request, *httptest.ResponseRecorder)) func(*testing.T, *env) {
		return do(func(e *env) { e.proxy.rewrite = rewrite })
	}
	return map[string]fault{
		"broker: proxy that does not know the callback": {
			before: broker(), after: answers("/callback", 404, "canary"),
			bad: []string{"server.route failed"}, found: "404: nothing is served there", fix: "GET /callback",
		},
		"broker: page of the proxy with the same status": {
			before: broker(), after: answers("/callback", 400, "canary"),
			bad: []string{"server.route failed"}, found: "Content-Security-Policy", fix: "GET /callback",
		},
		"broker: proxy that requires a sign-in at the token endpoint": {
			before: broker(), after: answers("/token", 401, "canary"),
			bad: []string{"server.route failed"}, found: "401", fix: "this path is public",
		},
		"broker: proxy that answers errors of the revocation endpoint itself": {
			before: broker(), after: answers("/revoke", 400, "canary"),
			bad: []string{"server.route failed"}, found: "not an error of this server", fix: "POST /revoke",
		},
		"broker: proxy that redirects to its sign-in page": {
			before: broker(), after: answers("/revoke", 302, "canary"),
			bad: []string{"server.route failed"}, found: "302, a redirect", fix: "a sign-in of its own",
		},
		"broker: proxy without a route for the token endpoint": {
			before: broker(), after: answers("/revoke", 502, "canary"),
			bad: []string{"server.route failed"}, found: "502", fix: "server.listen",
		},
		"broker: too many requests": {
			before: broker(), after: answers("/revoke", 429, "canary"),
			bad: []string{"server.route warning"}, found: "429", fix: "a minute",
		},
		"broker: proxy that removes cookies": {
			before: broker(),
			after:  atProxy(func(_ *http.Request, w *httptest.ResponseRecorder) { w.Header().Del("Set-Cookie") }),
			bad:    []string{"provider.consent failed"}, found: "without its cookie", fix: "leave the response as it is",
		},
		"broker: proxy that changes cookies": {
			before: broker(), after: atProxy(func(_ *http.Request, w *httptest.ResponseRecorder) {
				for i, c := range w.Header()["Set-Cookie"] {
					w.Header()["Set-Cookie"][i] = strings.Replace(c, "SameSite=Lax", "SameSite=None", 1)
				}
			}),
			bad: []string{"provider.consent failed"}, found: "not SameSite=Lax", fix: "must not change Set-Cookie",
		},
		"broker: proxy that refuses long URLs": {
			before: broker(), after: do(func(e *env) {
				e.proxy.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return len(r.URL.RawQuery) > 100 && respond("", 414, "text/html", "canary")(w, r)
				}
			}),
			bad: []string{"provider.consent failed"}, found: "gets 414", fix: "which the proxy must allow",
		},
		"broker: authorization server alone, examined as a server": {
			before: broker(do(func(e *env) { e.alone = true })), after: do(func(e *env) { e.config.Alone = false }),
			bad:   []string{"server.metadata failed", "server.refusal failed"},
			found: "404", fix: "--broker",
		},
		"broker: host that the proxy replaces, alone": {
			before: broker(do(func(e *env) { e.alone = true })), after: do(func(e *env) {
				next := e.proxy.next
				e.proxy.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Host = "inner.example"
					next.ServeHTTP(w, r)
				})
			}),
			bad: []string{"server.host failed", "provider.consent failed", "server.route failed"}, found: "403",
			fix: "proxy_set_header Host",
		},
	}
}
