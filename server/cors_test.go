package server_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers"
	"gatehouse/server"
)

// TR-01: Origin present and foreign, in all its disguises.
func TestCORSAllowsOwnAndListedOriginsOnly(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example", "https://spelled.example:443",
		"http://localhost:*"}})
	for origin, allowed := range map[string]bool{
		"https://app.example":              true,
		"http://localhost:6274":            true,
		f.resource.Origin():                true,
		"https://app.example.evil.example": false,
		"https://app.example:8443":         false,
		"http://app.example":               false,
		"https://evil.example":             false,
		"https://app.example:443":          true,
		"https://spelled.example":          true, // which the configuration names with its port
		"https://spelled.example:443":      true,
		"http://localhost":                 true, // port 80 is one of any
		"http://localhost:80":              true,
		"http://localhost:443":             true,
		"https://app.example:80":           false,
		"https://app.example:":             false,
		"https://app.example:0443":         false,
		"https://app.example:443:443":      false,
		"https://localhost":                false,
		"http://localhost:":                false,
		"http://localhost:80:80":           false,
		"http://localhostx":                false,
		"http://localhost:6274.evil.com":   false,
		"http://localhost:1@evil.example":  false,
		"http://localhost.evil.example:80": false,
		"null":                             false,
		"":                                 false,
	} {
		t.Run(origin, func(t *testing.T) {
			preflight := f.do(t, http.MethodOptions, "/mcp", map[string]string{
				"Origin": origin, "Access-Control-Request-Method": "POST",
				"Access-Control-Request-Headers": "authorization,content-type,mcp-protocol-version,mcp-param-region",
			}, nil)
			call := f.do(t, http.MethodPost, "/mcp",
				map[string]string{"Origin": origin, "Authorization": "Bearer " + f.token("mcp:use")}, nil)
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
func TestCacheableResponsesVaryByOrigin(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example"}})
	metadata := f.resource.MetadataPaths()[0]
	for name, c := range map[string]struct {
		method, path, origin string
		want                 bool
	}{
		"a document":                  {http.MethodGet, metadata, "", true},
		"a document for a page":       {http.MethodGet, metadata, "https://app.example", true},
		"a refused GET":               {http.MethodGet, "/mcp", "", true},
		"a refused GET of a page":     {http.MethodGet, "/mcp", "https://app.example", true},
		"a call of a page":            {http.MethodPost, "/mcp", "https://app.example", true},
		"a call, which is not cached": {http.MethodPost, "/mcp", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{}
			if c.origin != "" {
				header["Origin"] = c.origin
			}
			r := f.do(t, c.method, c.path, header, nil)
			if got := slices.Contains(r.header.Values("Vary"), "Origin"); got != c.want {
				t.Errorf("Vary is %q", r.header.Values("Vary"))
			}
		})
	}
}

// RS-13: a browser client that cannot read the challenge cannot find the sign-in.
func TestCORSExposesTheChallengeOfA401(t *testing.T) {
	f := start(t, options{origins: []string{"https://app.example"}})
	for name, header := range map[string]map[string]string{
		"without a token":  {},
		"with a bad token": {"Authorization": "Bearer x.y.z"},
		"with few scopes":  {"Authorization": "Bearer " + f.token("other")},
	} {
		header["Origin"] = "https://app.example"
		r := f.do(t, http.MethodPost, "/mcp", header, nil)
		if r.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
			t.Errorf("%s: not readable: %v", name, r.header)
		}
		exposed := strings.ToLower(r.header.Get("Access-Control-Expose-Headers"))
		for _, want := range []string{"www-authenticate", "mcp-session-id", "mcp-protocol-version",
			"retry-after", "x-request-id"} {
			if !strings.Contains(exposed, want) {
				t.Errorf("%s: %s is not exposed (%s)", name, want, exposed)
			}
		}
	}
}

// TR-02: DNS rebinding shows in the Host header only.
func TestHostCheckAllowsOwnNamesOnly(t *testing.T) {
	for public, hosts := range map[string]map[string]bool{
		"https://mcp.example.com": {
			"mcp.example.com":                  true, // as a proxy on the same machine passes it on
			"MCP.example.com":                  true,
			"mcp.example.com:443":              true, // as a proxy does that writes host:port
			"MCP.Example.COM:443":              true,
			"127.0.0.1:1":                      true,
			"localhost:3002":                   true,
			"[::1]:3002":                       true,
			"mcp.example.com:80":               false,
			"mcp.example.com:8443":             false,
			"mcp.example.com:443.evil.example": false,
			"mcp.example.com:443:443":          false,
			"evil.example":                     false,
			"evil.example:443":                 false,
			"mcp.example.com.evil.example":     false,
			"localhost.evil.example":           false,
			"127.0.0.1.evil.example":           false,
		},
		"https://mcp.example.com:8443": {
			"mcp.example.com:8443":     true,
			"mcp.example.com":          false,
			"mcp.example.com:443":      false,
			"mcp.example.com:8443:443": false,
		},
		"https://[2001:db8::1]": {
			"[2001:db8::1]":      true,
			"[2001:db8::1]:443":  true,
			"[2001:db8::1]:8443": false,
			"[2001:db8::2]:443":  false,
		},
	} {
		f := start(t, options{public: public})
		token := "Bearer " + f.token("mcp:use")
		for host, allowed := range hosts {
			r := f.do(t, http.MethodPost, "/mcp", map[string]string{"Host": host, "Authorization": token}, nil)
			if (r.status == 200 || r.status == 400) != allowed || !allowed && r.status != 403 {
				t.Errorf("%s: Host %s answered %d, want allowed %v", public, host, r.status, allowed)
			}
		}
	}
}

// The local issuer that runs alone looks at Host by the same rule.
func TestHostCheckOfTheIssuer(t *testing.T) {
	address, err := providers.ParseResource("https://issuer.example")
	if err != nil {
		t.Fatal(err)
	}
	page := providers.Route{Path: "/authorize",
		Handler: http.HandlerFunc(func(w http.ResponseWriter,
			_ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
		})}
	chain := server.NewIssuer(server.Config{Resource: address, Settings: server.DefaultSettings(),
		Logger: slog.New(slog.DiscardHandler), Routes: []providers.Route{page}}, nil)
	for host, want := range map[string]int{
		"issuer.example": 418, "issuer.example:443": 418, "issuer.example:80": 403, "evil.example": 403,
	} {
		r := httptest.NewRequest(http.MethodGet, "/authorize", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if chain.ServeHTTP(w, r); w.Code != want {
			t.Errorf("Host %s answered %d, want %d", host, w.Code, want)
		}
	}
}
