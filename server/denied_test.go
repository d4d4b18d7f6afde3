package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/server"
	"gatehouse/server/denials"
)

// denyList is a list that a test can replace.
type denyList struct{ atomic.Pointer[denials.List] }

func newDenyList(t testing.TB, entries string) *denyList {
	t.Helper()
	l := &denyList{}
	l.replace(t, entries)
	return l
}

func (l *denyList) replace(t testing.TB, entries string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "denied.yaml")
	if err := os.WriteFile(file, []byte(entries), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := denials.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	l.Store(list)
}

func (l *denyList) Check(id *providers.Identity) (providers.Reason, bool) { return l.Load().Check(id) }

// A denied subject or client gets a 403 without a challenge: signing in again cannot help. A denied token
// gets the challenge of an invalid one. Both are found after the token is verified and before its scopes are
// checked, also if the token was accepted a moment ago, and an entry that is removed has no effect any more.
func TestDeniedCallers(t *testing.T) {
	list := newDenyList(t, "[]")
	f := start(t, options{denials: list})
	token := func(changes map[string]any) string {
		claims := f.issuer.Claims(f.resource.String())
		claims["jti"], claims["sub"], claims["client_id"], claims["iat"] = "t-1", "alice", "web", 1796040000
		for name, value := range changes {
			claims[name] = value
		}
		return f.issuer.Sign(nil, claims)
	}
	const (
		forbidden = "403 forbidden caller_denied"
		revoked   = "401 invalid_token token_revoked"
		served    = "200  "
	)
	issuer := f.issuer.URL()
	for name, c := range map[string]struct {
		entries string
		changes map[string]any
		want    string
	}{
		"a subject":                   {"- subject: alice", nil, forbidden},
		"a subject of the issuer":     {"- {subject: alice, issuer: \"" + issuer + "\"}", nil, forbidden},
		"a subject of another issuer": {"- {subject: alice, issuer: \"" + issuer + "/other\"}", nil, served},
		"a client":                    {"- client: web", nil, forbidden},
		"a token":                     {"- token: t-1", nil, revoked},
		"another token":               {"- token: t-2", nil, served},
		"a token issued before":       {"- {subject: alice, issued_before: 2026-11-30T12:00:01Z}", nil, revoked},
		"a token issued after":        {"- {subject: alice, issued_before: 2026-11-30T12:00:00Z}", nil, served},
		"a token without a time of issue": {
			"- {subject: alice, issued_before: 2020-01-01T00:00:00Z}", map[string]any{"iat": nil}, revoked,
		},
		"a token without an id":         {"- token: t-1", map[string]any{"jti": nil}, served},
		"an id that is a number":        {"- token: \"1\"", map[string]any{"jti": 1}, served},
		"a subject without scopes":      {"- subject: alice", map[string]any{"scope": ""}, forbidden},
		"a token without scopes":        {"- token: t-1", map[string]any{"scope": ""}, revoked},
		"an expired token of a subject": {"- subject: alice", map[string]any{"exp": 1}, "401 invalid_token token_expired"},
	} {
		t.Run(name, func(t *testing.T) {
			header := bearer(token(c.changes))
			list.replace(t, "[]")
			before := f.do(t, http.MethodPost, "/mcp", header, nil)
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
				list.replace(t, c.entries)
				header["X-Request-Id"] = "request-" + strings.ReplaceAll(name, " ", "-") + "-" + method
				r := f.do(t, method, "/mcp", header, nil)
				var body struct {
					Error       string `json:"error"`
					Description string `json:"error_description"`
				}
				_ = json.Unmarshal([]byte(r.body), &body)
				got := http.StatusText(r.status)
				switch r.status {
				case http.StatusForbidden:
					got = "403 " + body.Error
					if len(r.header.Values("WWW-Authenticate")) > 0 ||
						body.Description != "The operator of this server has denied access." {
						t.Errorf("%s: %v %s", method, r.header, r.body)
					}
				case http.StatusUnauthorized:
					if parameters(t, r)["error"] != body.Error {
						t.Errorf("%s: %v %s", method, r.header, r.body)
					}
					got = "401 " + body.Error
				case http.StatusOK:
					got = "200 "
				}
				line := f.logLine(t, header["X-Request-Id"])
				if got += " " + valueOf(line, "reason"); got != c.want {
					t.Errorf("%s: %q, want %q", method, got, c.want)
				}
				if c.want != served && c.changes["exp"] == nil && !strings.Contains(line, "caller.subject=alice") {
					t.Errorf("%s: the log line does not name the caller: %s", method, line)
				}
				list.replace(t, "[]")
				delete(header, "X-Request-Id")
				if r := f.do(t, http.MethodPost, "/mcp", header, nil); r.status != before.status {
					t.Errorf("%s: without the entry %d, want %d", method, r.status, before.status)
				}
			}
		})
	}
}

// A client that sends the end of its body after it was denied is refused like any other.
func TestDeniedCallers_WhileTheBodyIsRead(t *testing.T) {
	list := newDenyList(t, "[]")
	f := start(t, options{denials: list})
	f.app.routing = make(chan struct{})
	claims := f.issuer.Claims(f.resource.String())
	claims["sub"] = "alice"
	body, rest := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.resource.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range bearer(f.issuer.Sign(nil, claims)) {
		req.Header.Set(name, value)
	}
	go func() {
		<-f.app.routing
		list.replace(t, "- subject: alice")
		_ = rest.Close()
	}()
	resp, err := (&http.Client{Transport: f.transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusForbidden || f.app.calls > 0 {
		t.Errorf("%d, %d calls: %s", resp.StatusCode, f.app.calls, text)
	}
}

// logLine returns the line of a request.
func (f *testServer) logLine(t *testing.T, id string) string {
	t.Helper()
	for range 500 {
		for line := range strings.Lines(f.log.String()) {
			if strings.Contains(line, "msg=request ") && strings.Contains(line, "request_id="+id+" ") {
				return line
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no log line of %s", id)
	return ""
}

// valueOf returns the value of a key in a log line, or "".
func valueOf(line, key string) string {
	_, rest, _ := strings.Cut(line, " "+key+"=")
	value, _, _ := strings.Cut(rest, " ")
	return strings.TrimSpace(value)
}

// Denied requests do not count towards the limit of bad tokens, which others behind the same proxy would
// share.
func TestDeniedCallersAreNotThrottled(t *testing.T) {
	list := newDenyList(t, "- subject: alice")
	f := start(t, options{denials: list, settings: func(s *server.Settings) { s.FailedAuthPerMinute = 3 }})
	token := f.token("mcp:use")
	for _, c := range []struct {
		entries string
		status  int
	}{{"- subject: alice", 403}, {"- {subject: alice, issued_before: 2999-01-01T00:00:00Z}", 401}} {
		list.replace(t, c.entries)
		for range 10 {
			if r := f.do(t, http.MethodPost, "/mcp", bearer(token), nil); r.status != c.status {
				t.Fatalf("answered %d, want %d", r.status, c.status)
			}
		}
	}
	for n := range 4 {
		want := http.StatusUnauthorized
		if n == 3 {
			want = http.StatusTooManyRequests
		}
		if r := f.do(t, http.MethodPost, "/mcp", bearer("garbage"), nil); r.status != want {
			t.Errorf("bad token %d answered %d, want %d", n, r.status, want)
		}
	}
}

// The body of a denied caller is not read, like that of a request without a token.
func TestDeniedBodyIsNotRead(t *testing.T) {
	g := newChainFixture(t)
	g.openProvider(t)
	g.denials = newDenyList(t, "- subject: alice")
	r := request(g.resource, g.issuer.Token(g.resource.String(), map[string]any{"scope": "mcp:use"}))
	body := &countingBody{}
	r.Body, r.ContentLength = body, 1<<20
	w := deadlineRecorder{httptest.NewRecorder()}
	g.chain(0).ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || body.read != 0 || w.Header().Get("Connection") != "close" {
		t.Errorf("answered %d after %d bytes, %v", w.Code, body.read, w.Header())
	}
}

// Tokens that are introspected are denied by what the response says of them, also while the response is
// cached.
func TestDeniedIntrospectedTokens(t *testing.T) {
	var claims atomic.Value
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, claims.Load().(string))
	}))
	t.Cleanup(issuer.Close)
	settings := oidc.Defaults()
	settings.Issuer, settings.Introspection, settings.IntrospectionURL,
		settings.IntrospectionAuth = "https://login.example.com", "always", issuer.URL, "none"
	list := newDenyList(t, "[]")
	f := start(t, options{public: "https://mcp.example.com", provider: settings, denials: list})
	const common = `{"active": true, "sub": "alice", "client_id": "web", "scope": "mcp:use", "exp": 4070908800, ` +
		`"aud": "https://mcp.example.com/mcp"`
	const byTime = "- {subject: alice, issued_before: 2026-11-30T12:00:01Z}"
	for name, c := range map[string]struct {
		more, entries string
		status        int
	}{
		"a subject":                         {"}", "- {subject: alice, issuer: \"https://login.example.com\"}", 403},
		"a client":                          {"}", "- client: web", 403},
		"an id":                             {`, "jti": "t-1"}`, "- token: t-1", 401},
		"an id that the response lacks":     {"}", "- token: t-1", 200},
		"an earlier time":                   {`, "iat": 1796040000}`, byTime, 401},
		"a later time":                      {`, "iat": 1796040001}`, byTime, 200},
		"a time that the response lacks":    {"}", byTime, 401},
		"the tokens of someone else so far": {"}", strings.Replace(byTime, "alice", "bob", 1), 200},
	} {
		token := "opaque-" + strings.ReplaceAll(name, " ", "-")
		claims.Store(common + c.more)
		for _, step := range []struct {
			entries string
			status  int
		}{{"[]", 200}, {c.entries, c.status}, {"[]", 200}} {
			list.replace(t, step.entries)
			if r := f.do(t, http.MethodPost, "/mcp", bearer(token), nil); r.status != step.status {
				t.Errorf("%s, with %s: %d, want %d", name, step.entries, r.status, step.status)
			}
		}
	}
}

// The list costs no allocation, whether there is one or not: see also TestKnownTokenAllocations.
func TestDenialsDoNotAllocate(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates, too")
	}
	g := newChainFixture(t)
	g.openProvider(t)
	token := g.issuer.Sign(nil, g.issuer.Claims(g.resource.String()))
	one := func() *http.Request { return request(g.resource, token) }
	without := allocations(g.chain(8), one)
	g.denials = newDenyList(t, "- subject: bob\n- token: x\n- {subject: alice, issued_before: 2020-01-01T00:00:00Z}")
	if with := allocations(g.chain(8), one); with > without {
		t.Errorf("%.0f allocations, %.0f without a list", with, without)
	}
}
