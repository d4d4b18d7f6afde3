package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TR-01: Origin present and foreign, in all its disguises.
func TestOnlyOwnAndListedOriginsMayCall(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example", "http://localhost:*"}})
	for origin, allowed := range map[string]bool{
		"https://app.example":              true,
		"http://localhost:6274":            true,
		f.resource.Origin():                true,
		"https://app.example.evil.example": false,
		"https://app.example:8443":         false,
		"http://app.example":               false,
		"https://evil.example":             false,
		"http://localhost":                 false, // the pattern is about ports
		"http://localhost:":                false,
		"http://localhost:6274.evil.com":   false,
		"http://localhost:1@evil.example":  false,
		"http://localhost.evil.example:80": false,
		"null":                             false,
		"":                                 false,
	} {
		t.Run(origin, func(t *testing.T) {
			preflight := f.ask(t, http.MethodOptions, "/mcp", map[string]string{
				"Origin": origin, "Access-Control-Request-Method": "POST",
				"Access-Control-Request-Headers": "authorization,content-type,mcp-protocol-version,mcp-param-region",
			}, nil)
			call := f.ask(t, http.MethodPost, "/mcp", map[string]string{"Origin": origin, "Authorization": "Bearer " + f.token("mcp:use")}, nil)
			if !allowed {
				if preflight.status != 403 || call.status != 403 {
					t.Errorf("preflight %d, call %d; want 403 for both", preflight.status, call.status)
				}
				for name := range preflight.header {
					if strings.HasPrefix(name, "Access-Control-Allow") {
						t.Errorf("a foreign preflight got %s", name)
					}
				}
				return
			}
			if preflight.status != 204 || call.status != 200 {
				t.Errorf("preflight %d, call %d", preflight.status, call.status)
			}
			for name, want := range map[string]string{
				"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "GET,POST,DELETE",
				"Access-Control-Allow-Headers": "authorization,content-type,mcp-protocol-version,mcp-param-region",
			} {
				if got := preflight.header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if preflight.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("cookies are allowed, which nothing here uses")
			}
		})
	}
}

// A cache between must not give a page the answer that was made for none, or for another.
func TestWhatACacheMayKeepSaysThatItVariesByOrigin(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example"}})
	metadata := f.resource.MetadataPaths()[0]
	for name, c := range map[string]struct {
		method, path, origin string
		want                 bool
	}{
		"a document":                 {http.MethodGet, metadata, "", true},
		"a document for a page":      {http.MethodGet, metadata, "https://app.example", true},
		"a refused GET":              {http.MethodGet, "/mcp", "", true},
		"a refused GET of a page":    {http.MethodGet, "/mcp", "https://app.example", true},
		"a call of a page":           {http.MethodPost, "/mcp", "https://app.example", true},
		"a call, which nobody keeps": {http.MethodPost, "/mcp", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{}
			if c.origin != "" {
				header["Origin"] = c.origin
			}
			r := f.ask(t, c.method, c.path, header, nil)
			if got := slices.Contains(r.header.Values("Vary"), "Origin"); got != c.want {
				t.Errorf("Vary is %q", r.header.Values("Vary"))
			}
		})
	}
}

// RS-13: a browser client that cannot read the challenge cannot find the sign-in.
func TestA401IsReadableAcrossOrigins(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example"}})
	for name, header := range map[string]map[string]string{
		"without a token":  {},
		"with a bad token": {"Authorization": "Bearer x.y.z"},
		"with few scopes":  {"Authorization": "Bearer " + f.token("other")},
	} {
		header["Origin"] = "https://app.example"
		r := f.ask(t, http.MethodPost, "/mcp", header, nil)
		if r.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
			t.Errorf("%s: not readable: %v", name, r.header)
		}
		exposed := strings.ToLower(r.header.Get("Access-Control-Expose-Headers"))
		for _, want := range []string{"www-authenticate", "mcp-session-id", "mcp-protocol-version", "retry-after", "x-request-id"} {
			if !strings.Contains(exposed, want) {
				t.Errorf("%s: %s is not exposed (%s)", name, want, exposed)
			}
		}
	}
}

// TR-02: DNS rebinding shows in the Host header only.
func TestOnlyOwnHostNamesAreAnswered(t *testing.T) {
	f := start(t, options{public: "https://mcp.example.com"})
	token := "Bearer " + f.token("mcp:use")
	for host, allowed := range map[string]bool{
		"mcp.example.com":              true, // as a proxy on the same machine passes it on
		"MCP.example.com":              true,
		f.address:                      true,
		"localhost:3002":               true,
		"[::1]:3002":                   true,
		"mcp.example.com:8443":         false,
		"evil.example":                 false,
		"mcp.example.com.evil.example": false,
		"localhost.evil.example":       false,
		"127.0.0.1.evil.example":       false,
	} {
		r := f.ask(t, http.MethodPost, "/mcp", map[string]string{"Host": host, "Authorization": token}, nil)
		if (r.status == 200) != allowed || !allowed && r.status != 403 {
			t.Errorf("Host %s answered %d, want allowed %v", host, r.status, allowed)
		}
	}
}
