package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// fakeAuthServer is a resource and its authorization server in one origin. A sign-in succeeds unless a test
// changes one of the responses.
type fakeAuthServer struct {
	*httptest.Server
	// metadata changes members of the metadata.
	metadata map[string]any
	// callback changes the authorization response.
	callback func(url.Values)
	// responses replaces the response at a path.
	responses map[string]cannedResponse
}

type cannedResponse struct {
	status int
	body   string
}

func newFakeAuthServer(t *testing.T) *fakeAuthServer {
	s := &fakeAuthServer{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fakeAuthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/json")
	if response, ok := s.responses[r.URL.Path]; ok {
		w.WriteHeader(response.status)
		_, _ = io.WriteString(w, strings.ReplaceAll(response.body, "ORIGIN", s.URL))
		return
	}
	switch r.URL.Path {
	case "/mcp":
		metadata := s.URL + "/.well-known/oauth-protected-resource/mcp"
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+metadata+`", scope="mcp:use"`)
		w.WriteHeader(http.StatusUnauthorized)
	case "/.well-known/oauth-protected-resource/mcp":
		writeJSON(w, map[string]any{"resource": s.URL + "/mcp", "authorization_servers": []string{s.URL}})
	case "/.well-known/oauth-authorization-server":
		document := map[string]any{
			"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
			"registration_endpoint": s.URL + "/register", "response_types_supported": []string{"code"},
			"code_challenge_methods_supported": []string{"S256"},
		}
		for k, v := range s.metadata {
			document[k] = v
		}
		writeJSON(w, document)
	case "/register":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"client_id":"native","token_endpoint_auth_method":"none"}`)
	case "/authorize":
		q := r.URL.Query()
		response := url.Values{"code": {"c"}, "state": {q.Get("state")}}
		if s.callback != nil {
			s.callback(response)
		}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+response.Encode(), http.StatusFound)
	case "/token":
		_, _ = io.WriteString(w, `{"access_token":"opaque","token_type":"Bearer"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func writeJSON(w io.Writer, document map[string]any) { _ = json.NewEncoder(w).Encode(document) }

// A provider's responses may contain secrets, tokens and terminal control sequences. Errors contain only the
// OAuth error code, quoted and truncated.
func TestTokenGet_ErrorsQuoteNoResponse(t *testing.T) {
	t.Parallel()
	const (
		canary   = "canary-7f3a"
		metadata = "/.well-known/oauth-authorization-server"
		useless  = "returned 200, but a client cannot continue with the content; `gatehouse doctor`"
		mismatch = "the authorization response does not belong to this sign-in"
	)
	refusal := `{"error":"invalid_grant","error_description":"` + canary + `",` +
		`"error_uri":"https://` + canary + `.example"}`
	control := "\x1b[31mred" + strings.Repeat("x", 300) + canary
	controlJSON := `{"error":"` + strings.ReplaceAll(control, "\x1b", `\u001b`) + `"}`
	responds := func(path string, status int, body string) fakeAuthServer {
		return fakeAuthServer{responses: map[string]cannedResponse{path: {status, body}}}
	}
	announces := func(key, value string) fakeAuthServer {
		return fakeAuthServer{metadata: map[string]any{key: value}}
	}
	redirects := func(pairs ...string) fakeAuthServer {
		return fakeAuthServer{callback: func(q url.Values) {
			for i := 0; i < len(pairs); i += 2 {
				q.Set(pairs[i], pairs[i+1])
			}
		}}
	}
	for name, c := range map[string]struct {
		server fakeAuthServer
		want   string
	}{
		"registration is refused": {
			responds("/register", 400, refusal), `POST "ORIGIN/register" returned 400 with error "invalid_grant"`,
		},
		"registration returns 400 without JSON": {
			responds("/register", 400, canary), `POST "ORIGIN/register" returned 400` + "\n",
		},
		"registration fails": {responds("/register", 500, canary), `POST "ORIGIN/register" returned 500` + "\n"},
		"registration returns no JSON": {
			responds("/register", 201, canary),
			`POST "ORIGIN/register" returned 201, but content that a client cannot use` + "\n",
		},
		"registration names no client": {
			responds("/register", 201, `{"client_name":"`+canary+`"}`), "returned 201, but",
		},
		"the token is refused": {
			responds("/token", 400, refusal), `POST "ORIGIN/token" returned 400 with error "invalid_grant"`,
		},
		"the token endpoint fails": {
			responds("/token", 502, "<p>"+canary), `POST "ORIGIN/token" returned 502` + "\n",
		},
		"the token response is no JSON": {
			responds("/token", 200, canary), `POST "ORIGIN/token" returned 200, but content that a client cannot use` + "\n",
		},
		"an error with status 200": {
			responds("/token", 200, refusal),
			`returned 200, but content that a client cannot use with error "invalid_grant"`,
		},
		"an error code with control characters": {responds("/token", 400, controlJSON), `with error "\x1b[31mredxxx`},
		"the metadata is of another issuer":     {announces("issuer", "https://"+canary+".example.com"), useless},
		"the metadata is no JSON": {
			responds(metadata, 200, canary), `GET "ORIGIN/.well-known/oauth-authorization-server" returned 200, but`,
		},
		"the metadata fails": {
			responds(metadata, 500, canary), `GET "ORIGIN/.well-known/oauth-authorization-server" returned 500` + "\n",
		},
		"no dynamic registration": {announces("registration_endpoint", ""), "needs --client-id"},
		"a query in an endpoint": {
			announces("token_endpoint", "ORIGIN/gone?key="+canary), `POST "ORIGIN/gone?[redacted]" returned 404` + "\n",
		},
		"an unreachable endpoint": {
			announces("token_endpoint", "http://GONE/token?key="+canary), `POST "http://GONE/token?[redacted]": dial tcp`,
		},
		"the provider refuses the user": {
			redirects("error", "access_denied", "error_description", canary), `the provider refused: "access_denied"` + "\n",
		},
		"a refusal with control characters": {redirects("error", control), `the provider refused: "\x1b[31mredxxx`},
		"the response of another sign-in":   {redirects("state", canary), mismatch},
		"the response of another issuer":    {redirects("iss", "https://"+canary+".example.com"), mismatch},
		"success":                           {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeAuthServer(t)
			fill := strings.NewReplacer("ORIGIN", s.URL, "GONE", freeAddress(t))
			s.callback, s.responses, s.metadata = c.server.callback, c.server.responses, map[string]any{}
			for k, v := range c.server.metadata {
				s.metadata[k] = fill.Replace(v.(string))
			}
			code, out, errs := runToken(t, "", "get", "--resource", s.URL+"/mcp")
			if want := fill.Replace(c.want); c.want != "" && (code != exitFailure || !strings.Contains(errs, want)) {
				t.Errorf("it ended with %d and %q, want %q", code, errs, want)
			}
			if c.want == "" && (code != exitOK || out != "opaque\n" || errs != "") {
				t.Errorf("it ended with %d: %q %q", code, out, errs)
			}
			if strings.Contains(out+errs, canary) || strings.ContainsRune(errs, '\x1b') {
				t.Errorf("the output contains text of the provider:\n%s%s", out, errs)
			}
		})
	}
}

// Elsewhere, a program that requests the authorization URL would only leave a sign-in that is never
// completed.
func TestTokenGet_TriesOnlyLoopbackNonInteractively(t *testing.T) {
	t.Parallel()
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("Connection", "close")
		http.Redirect(w, r, "http://127.0.0.1:1/callback?code=c", http.StatusFound)
	}))
	defer server.Close()
	s := &signIn{redirect: "http://127.0.0.1:1/callback"}
	response, ok := s.tryNonInteractive(t.Context(), server.URL)
	if !ok || response.Get("code") != "c" || requests != 1 {
		t.Errorf("loopback: %v after %d requests", response, requests)
	}
	// Not a loopback address, although it leads to the same server.
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	if response, ok := s.tryNonInteractive(t.Context(), "http://0.0.0.0:"+port); ok || requests != 1 {
		t.Errorf("elsewhere: %v after %d requests", response, requests)
	}
}

// A provider may recognize its own request by a cookie, and answer its later pages with any status: they are
// for a browser.
func TestTokenGet_KeepsCookiesAndJudgesOnlyTheFirstResponse(t *testing.T) {
	t.Parallel()
	const redirect = "http://127.0.0.1:1/callback"
	for name, c := range map[string]struct {
		first, second func(w http.ResponseWriter, r *http.Request)
		ok            bool
		refused       string
	}{
		"a cookie leads to the callback": {
			first: func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "interaction", Value: "i", Path: "/"})
				http.Redirect(w, r, "/second", http.StatusSeeOther)
			},
			second: func(w http.ResponseWriter, r *http.Request) {
				if cookie, err := r.Cookie("interaction"); err != nil || cookie.Value != "i" {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				http.Redirect(w, r, redirect+"?code=c", http.StatusSeeOther)
			},
			ok: true,
		},
		"400 at a later page is not about the request": {
			first: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/second", http.StatusFound) },
			second: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
			},
		},
		"400 at once is": {
			first:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
			refused: "does it know the client",
		},
		"a page": {
			first: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<form>") },
		},
		"redirects without an end": {
			first:  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/second", http.StatusFound) },
			second: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/first", http.StatusFound) },
		},
		"a sign-in page elsewhere is not requested": {
			first: func(w http.ResponseWriter, r *http.Request) {
				// Not a loopback address, although it leads to the same server.
				_, port, _ := net.SplitHostPort(r.Host)
				http.Redirect(w, r, "http://0.0.0.0:"+port+"/elsewhere", http.StatusFound)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Connection", "close")
				if requests++; requests > 2*maxRedirects {
					t.Error("the redirects are followed for ever")
					return
				}
				switch r.URL.Path {
				case "/first":
					c.first(w, r)
				case "/second":
					c.second(w, r)
				default:
					t.Errorf("%s was requested", r.URL)
				}
			}))
			defer server.Close()
			s := &signIn{redirect: redirect}
			response, ok := s.tryNonInteractive(t.Context(), server.URL+"/first")
			if ok != c.ok || ok && response.Get("code") != "c" {
				t.Errorf("the response is %v, %v", response, ok)
			}
			if c.refused == "" && s.refused != nil || c.refused != "" &&
				(s.refused == nil || !strings.Contains(s.refused.Error(), c.refused)) {
				t.Errorf("it is refused by %v, want %q", s.refused, c.refused)
			}
		})
	}
}

// The metadata is the provider's: an address of another scheme could start any program of this computer.
func TestTokenGet_OpensOnlyHTTPSAndHTTPOnLoopback(t *testing.T) {
	t.Parallel()
	for address, opened := range map[string]bool{
		"https://login.example.com/authorize":     true,
		"https://localhost/authorize":             true,
		"http://localhost:9000/authorize":         true,
		"http://127.0.0.1:9000/authorize":         true,
		"http://[::1]:9000/authorize":             true,
		"http://login.example.com/authorize":      false,
		"http://127.0.0.1.example.com/":           false,
		"http://localhost@login.example.com/":     false,
		"https://user:pw@login.example.com/":      false,
		"file://localhost/tmp/evil.desktop":       false,
		"vscode://localhost/x":                    false,
		"ssh://127.0.0.1/x":                       false,
		"smb://localhost/x":                       false,
		"steam://localhost/run/1":                 false,
		"javascript:alert(1)":                     false,
		"https:login.example.com":                 false,
		"/authorize":                              false,
		"":                                        false,
		"\x00https://login.example.com/authorize": false,
	} {
		if err := checkOpenable(address); (err == nil) != opened {
			t.Errorf("%q: %v", address, err)
		}
	}
	// The whole command: nothing is printed to click on, either.
	s := newFakeAuthServer(t)
	s.metadata = map[string]any{"authorization_endpoint": "file://localhost/tmp/canary.desktop"}
	code, out, errs := runToken(t, "", "get", "--resource", s.URL+"/mcp", "--timeout", "20s")
	if code != exitFailure || out != "" || !strings.Contains(errs, "it is not opened") ||
		strings.Contains(errs, "canary") {
		t.Errorf("it ended with %d: %s%s", code, out, errs)
	}
}
