package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"
)

// The order of the chain as a client observes it: each pair of requests would get the other response if two steps
// changed places.
func TestChainOrder(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example"}, configure: func(e *echo.Echo) {
		e.GET("/later", func(c echo.Context) error { return c.String(http.StatusOK, "later") })
	}})
	good := f.token("mcp:use")
	for name, c := range map[string]struct {
		method, path string
		header       map[string]string
		status       int
	}{
		"CORS before auth: a preflight without a token is answered": {"OPTIONS", "/mcp",
			map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}, 204},
		"CORS before auth: a foreign page is refused, not asked to sign in": {"POST", "/mcp",
			map[string]string{"Origin": "https://evil.example"}, 403},
		"Host before auth: a foreign host is refused, not asked to sign in": {"POST", "/mcp",
			map[string]string{"Host": "evil.example"}, 403},
		"auth before scopes: a bad token is 401 whatever it may do": {"POST", "/mcp",
			map[string]string{"Authorization": "Bearer x.y.z", "X-Needs": "more"}, 401},
		"auth before routes: a route that is not public is closed": {"GET", "/later", nil, 401},
		"auth before routes: and open with a token":                {"GET", "/later", bearer(good), 200},
		"scopes before routes: and needs the required scopes": {"GET", "/later",
			bearer(f.token("other")), 403},
		"routes: public ones need no token": {"GET", "/health", nil, 200},
		"routes: and a bad token does not close them": {"GET", "/health",
			map[string]string{"Authorization": "Bearer x.y.z"}, 200},
		"routes: a method that a public route has not is 405":    {"POST", "/health", nil, 405},
		"404 before auth: a wrong path tells so without a token": {"POST", "/wrong", nil, 404},
		"404 before auth: a wrong path tells so with a bad token": {"POST", "/wrong",
			map[string]string{"Authorization": "Bearer x.y.z"}, 404},
		"the mount: served": {"POST", "/mcp", bearer(good), 200},
	} {
		t.Run(name, func(t *testing.T) {
			if r := f.do(t, c.method, c.path, c.header, nil); r.status != c.status {
				t.Errorf("answered %d, want %d: %s", r.status, c.status, r.body)
			}
		})
	}
}

// RS-01: nothing of a request without a token is processed, not even its body.
func TestUnauthenticatedUploadIsStopped(t *testing.T) {
	f := start(t, options{})
	var read atomic.Int64
	body := readerFunc(func(p []byte) (int, error) {
		if read.Add(int64(len(p))) > 64<<20 {
			return 0, io.EOF
		}
		return len(p), nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.resource.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("answered %d, want 401", resp.StatusCode)
		}
	}
	if read.Load() > 16<<20 {
		t.Errorf("the client could send %d bytes", read.Load())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestMountServesExactlyOnePath(t *testing.T) {
	for path, wrong := range map[string][]string{
		"/mcp": {"/", "/mcp/", "/mcp/x", "/MCP", "/mcp%2f", "/mcp%2fx", "//mcp", "/mcp/../mcp", "/mcp;x",
			"/mc"},
		"/":        {"/mcp", "/x", "//", "/%2f", "/index.html"},
		"/tools/a": {"/tools", "/tools/", "/tools/a/", "/tools/b"},
	} {
		f := start(t, options{path: path})
		token := bearer(f.token("mcp:use"))
		if r := f.do(t, http.MethodPost, path, token, nil); r.status != http.StatusOK {
			t.Errorf("%s answered %d", path, r.status)
		}
		for _, other := range wrong {
			for _, header := range []map[string]string{token, nil} {
				r := f.do(t, http.MethodPost, other, header, nil)
				var body map[string]string
				_ = json.Unmarshal([]byte(r.body), &body)
				if r.status != http.StatusNotFound || body["mcp_url"] != f.resource.String() ||
					r.header.Get("Location") != "" {
					t.Errorf("mounted at %s, %s answered %d %s; want 404 that names %s", path, other,
						r.status, r.body, f.resource)
				}
			}
		}
	}
}

// RS-03 to RS-03f.
func TestMetadataIsPublicAtBothWellKnownPaths(t *testing.T) {
	for path, places := range map[string][]string{
		"/mcp": {"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"},
		"/":    {"/.well-known/oauth-protected-resource"},
	} {
		f := start(t, options{path: path})
		for _, place := range places {
			r := f.do(t, http.MethodGet, place,
				map[string]string{"Origin": "https://anything.example", "Mcp-Protocol-Version": "2025-11-25"}, nil)
			if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" ||
				r.header.Get("Access-Control-Allow-Origin") != "*" ||
				!strings.Contains(r.header.Get("Cache-Control"), "max-age") {
				t.Errorf("%s answered %d %v", place, r.status, r.header)
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(r.body), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"resource": f.resource.String(), "authorization_servers": []any{f.issuer.URL()},
				"scopes_supported": []any{"mcp:use", "greet:read"}, "bearer_methods_supported": []any{"header"},
			}
			delete(got, "resource_name")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", place, diff)
			}
			preflight := f.do(t, http.MethodOptions, place, map[string]string{
				"Origin": "https://anything.example", "Access-Control-Request-Method": "GET",
				"Access-Control-Request-Headers": "mcp-protocol-version",
			}, nil)
			if preflight.status != http.StatusNoContent ||
				!strings.Contains(preflight.header.Get("Access-Control-Allow-Headers"), "mcp-protocol-version") {
				t.Errorf("preflight of %s answered %d %v", place, preflight.status, preflight.header)
			}
		}
	}
}

// RS-25: metadata and challenges contain the configured URL, whatever the request headers claim.
func TestMetadataAndChallengesIgnoreRequestHeaders(t *testing.T) {
	f := start(t, options{})
	lies := map[string]string{
		"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
		"Forwarded": "host=evil.example;proto=https", "X-Original-URL": "http://evil.example/",
	}
	for _, path := range []string{"/mcp", "/.well-known/oauth-protected-resource", "/wrong"} {
		r := f.do(t, http.MethodGet, path, lies, nil)
		if strings.Contains(r.body, "evil") || strings.Contains(r.header.Get("WWW-Authenticate"), "evil") {
			t.Errorf("%s repeats a forged header: %v %s", path, r.header, r.body)
		}
	}
	// An anyOrigin document is served under every host name, and still contains the configured URL.
	r := f.do(t, http.MethodGet, "/.well-known/oauth-protected-resource",
		map[string]string{"Host": "evil.example"}, nil)
	if strings.Contains(r.body, "evil") {
		t.Errorf("the metadata repeats the Host header: %s", r.body)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	draining, drain := context.WithCancel(context.Background())
	defer drain()
	f := start(t, options{drain: draining})
	anyHost := map[string]string{"Host": "10.1.2.3:3002"} // as a probe dials
	if r := f.do(t, http.MethodGet, "/health", anyHost, nil); r.status != 200 || r.body != `{"status":"healthy"}` {
		t.Errorf("/health answered %d %s", r.status, r.body)
	}
	if r := f.do(t, http.MethodGet, "/readyz", anyHost, nil); r.status != 200 {
		t.Errorf("/readyz answered %d %s", r.status, r.body)
	}
	drain()
	if r := f.do(t, http.MethodGet, "/readyz", anyHost, nil); r.status != 503 ||
		!strings.Contains(r.body, "stopping") {
		t.Errorf("/readyz answered %d %s while the server drains", r.status, r.body)
	}
	if r := f.do(t, http.MethodGet, "/health", anyHost, nil); r.status != 200 {
		t.Errorf("/health answered %d while the server drains", r.status)
	}
	f.stuck.Store(true)
	if r := f.do(t, http.MethodGet, "/health", anyHost, nil); r.status != 503 || r.body != `{"status":"stuck"}` {
		t.Errorf("/health answered %d %s while the application is stuck", r.status, r.body)
	}
	if strings.Contains(f.log.String(), "/health") {
		t.Error("probes fill the log")
	}
}

func TestLandingPageIsForBrowsersOnly(t *testing.T) {
	f := start(t, options{})
	browser := map[string]string{"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
	for _, path := range []string{"/mcp", "/"} {
		r := f.do(t, http.MethodGet, path, browser, nil)
		if r.status != 200 || !slices.Contains(r.header.Values("Vary"), "Accept, Authorization") ||
			!strings.Contains(r.body, f.resource.String()) ||
			!strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s answered %d %v", path, r.status, r.header)
		}
	}
	if r := f.do(t, http.MethodGet, "/sse", browser, nil); r.status != 404 ||
		!strings.Contains(r.body, f.resource.String()) {
		t.Errorf("another path answered %d %s", r.status, r.body)
	}
	if r := f.do(t, http.MethodGet, "/sse", browser, nil); r.status != 404 ||
		!strings.Contains(r.header.Get("Content-Type"), "text/html") ||
		!strings.Contains(r.body, `role="alert"`) || !strings.Contains(r.body, r.header.Get("X-Request-Id")) {
		t.Errorf("a browser at another path got %d %s", r.status, r.body)
	}
	if r := f.do(t, http.MethodGet, "/", nil, nil); r.status != 404 ||
		!strings.Contains(r.body, f.resource.String()) {
		t.Errorf("a program that requests the origin got %d %s", r.status, r.body)
	}
	for name, header := range map[string]map[string]string{
		"an MCP client's stream":              {"Accept": "text/event-stream"},
		"a client that takes all":             {"Accept": "*/*"},
		"a stream or HTML":                    {"Accept": "text/html, text/event-stream"},
		"a browser with a bad token":          {"Accept": "text/html", "Authorization": "Bearer x.y.z"},
		"a browser that does not accept HTML": {},
	} {
		if r := f.do(t, http.MethodGet, "/mcp", header, nil); r.status != 401 {
			t.Errorf("%s got %d, want 401", name, r.status)
		}
	}
	if r := f.do(t, http.MethodPost, "/mcp", browser, nil); r.status != 401 {
		t.Errorf("POST got %d, want 401", r.status)
	}
	t.Run("it does not hide a route at the origin", func(t *testing.T) {
		f := start(t, options{configure: func(e *echo.Echo) {
			e.GET("/", func(c echo.Context) error { return c.String(200, "theirs") })
		}})
		if r := f.do(t, http.MethodGet, "/", browser, nil); r.status != 401 {
			t.Errorf("without a token it answered %d %s", r.status, r.body)
		}
	})
}

func TestPanicIsA500WithoutDetails(t *testing.T) {
	f := start(t, options{})
	r := f.do(t, http.MethodPost, "/mcp", map[string]string{"Authorization": "Bearer " + f.token("mcp:use"),
		"X-Do": "panic"}, nil)
	if r.status != 500 || strings.Contains(r.body, "canary") ||
		!strings.Contains(r.body, r.header.Get("X-Request-Id")) {
		t.Errorf("answered %d %s", r.status, r.body)
	}
	if log := f.log.String(); !strings.Contains(log, "fixture_test.go") {
		t.Error("the log has no stack")
	}
	if r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status != 200 {
		t.Errorf("afterwards it answered %d", r.status)
	}
}

func TestAccessLogHasTheReasonAndNoSecret(t *testing.T) {
	f := start(t, options{})
	token := f.issuer.Token(f.resource.String(), map[string]any{"aud": "http://other.example/mcp"})
	r := f.do(t, http.MethodPost, "/mcp?code=canary-query", map[string]string{
		"Authorization": "Bearer " + token, "Referer": "http://x/?code=canary-referer",
		"Cookie": "s=canary-cookie", "X-Request-Id": "from-the-proxy",
	}, nil)
	log := f.log.String()
	for _, want := range []string{"reason=audience_mismatch", "http://other.example/mcp",
		"request_id=from-the-proxy", "status=401", "path=/mcp"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not contain %q", want)
		}
	}
	for _, canary := range []string{"canary", token, "eyJ"} {
		if strings.Contains(log, canary) {
			t.Errorf("the log contains %q:\n%s", canary, log)
		}
	}
	if r.header.Get("X-Request-Id") != "from-the-proxy" {
		t.Errorf("the request id of the proxy became %q", r.header.Get("X-Request-Id"))
	}
	for _, bad := range []string{"a b", "x\"y", strings.Repeat("x", 65), "short"} {
		if r := f.do(t, http.MethodGet, "/wrong", map[string]string{"X-Request-Id": bad},
			nil); r.header.Get("X-Request-Id") == bad {
			t.Errorf("the request id %q was taken over", bad)
		}
	}
}

// The request ID connects a tool's logs and downstream calls with the response.
func TestToolsSeeTheRequestIDOfTheResponse(t *testing.T) {
	f := start(t, options{})
	for name, sent := range map[string]string{"none is sent": "", "a proxy's": "from-the-proxy",
		"one that is no id": "bad id"} {
		t.Run(name, func(t *testing.T) {
			header := bearer(f.token("mcp:use"))
			if sent != "" {
				header["X-Request-Id"] = sent
			}
			r := f.do(t, http.MethodPost, "/mcp", header, nil)
			if id, seen := r.header.Get("X-Request-Id"), r.header.Get("X-Called"); id == "" || seen != id {
				t.Errorf("the answer says %q, the tool saw %q", id, seen)
			}
		})
	}
}

// net/http must not answer OPTIONS * itself: the Host would not be checked, and the log would not show it.
func TestOptionsOfTheWholeServerPassesTheChain(t *testing.T) {
	f := start(t, options{})
	for host, want := range map[string]string{"evil.example": " 403 ", f.address: " 204 "} {
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "OPTIONS * HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		if status, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(status, want) {
			t.Errorf("%s: %q, want%s", host, status, want)
		}
	}
}
