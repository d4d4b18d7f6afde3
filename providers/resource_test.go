package providers_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

func TestResourceDerivesAllURLs(t *testing.T) {
	type derived struct {
		URL, Origin, Host, Path, MetadataURL string
		MetadataPaths                        []string
		Loopback                             bool
	}
	for in, want := range map[string]derived{
		"https://mcp.example.com/mcp": {
			URL: "https://mcp.example.com/mcp", Origin: "https://mcp.example.com", Host: "mcp.example.com",
			Path:        "/mcp",
			MetadataURL: "https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
			MetadataPaths: []string{"/.well-known/oauth-protected-resource/mcp",
				"/.well-known/oauth-protected-resource"},
		},
		"https://mcp.example.com": {
			URL: "https://mcp.example.com/", Origin: "https://mcp.example.com", Host: "mcp.example.com", Path: "/",
			MetadataURL:   "https://mcp.example.com/.well-known/oauth-protected-resource",
			MetadataPaths: []string{"/.well-known/oauth-protected-resource"},
		},
		"HTTPS://MCP.Example.com:8443/Team-1/v2.0/": {
			URL: "https://mcp.example.com:8443/Team-1/v2.0/", Origin: "https://mcp.example.com:8443",
			Host: "mcp.example.com:8443", Path: "/Team-1/v2.0/",
			MetadataURL: "https://mcp.example.com:8443/.well-known/oauth-protected-resource/Team-1/v2.0/",
			MetadataPaths: []string{"/.well-known/oauth-protected-resource/Team-1/v2.0/",
				"/.well-known/oauth-protected-resource"},
		},
		"http://localhost:3002/mcp": {
			URL: "http://localhost:3002/mcp", Origin: "http://localhost:3002", Host: "localhost:3002", Path: "/mcp",
			Loopback:    true,
			MetadataURL: "http://localhost:3002/.well-known/oauth-protected-resource/mcp",
			MetadataPaths: []string{"/.well-known/oauth-protected-resource/mcp",
				"/.well-known/oauth-protected-resource"},
		},
		"http://[::1]:3002/": {
			URL: "http://[::1]:3002/", Origin: "http://[::1]:3002", Host: "[::1]:3002", Path: "/", Loopback: true,
			MetadataURL:   "http://[::1]:3002/.well-known/oauth-protected-resource",
			MetadataPaths: []string{"/.well-known/oauth-protected-resource"},
		},
	} {
		t.Run(in, func(t *testing.T) {
			r, err := providers.ParseResource(in)
			if err != nil {
				t.Fatal(err)
			}
			got := derived{r.String(), r.Origin(), r.Host(), r.Path(), r.MetadataURL(), r.MetadataPaths(),
				r.IsLoopback()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if again, err := providers.ParseResource(r.String()); err != nil || again.String() != r.String() {
				t.Errorf("it does not read back: %v, %v", again, err)
			}
		})
	}
}

// A name below localhost is loopback for browsers only, so it is for a fake issuer alone.
func TestParseDemoIssuer(t *testing.T) {
	for in, accepted := range map[string]bool{
		"http://localhost:9000": true, "http://company.localhost:9001": true, "http://a.b.localhost": true,
		"https://id.example.com": true,
		"http://id.example.com":  false, "http://localhost.example.com": false, "http://.localhost": false,
		"http://a..localhost": false, "http://companylocalhost": false, "http://company.localhost.": false,
	} {
		if r, err := providers.ParseDemoIssuer(in); accepted != (err == nil) || err == nil && r.Origin() != in {
			t.Errorf("%s: %v, %v", in, r, err)
		}
	}
	for _, in := range []string{"http://company.localhost:9001", "http://mcp.localhost/mcp"} {
		if _, err := providers.ParseResource(in); err == nil {
			t.Errorf("%s is a resource", in)
		}
	}
	if providers.IsLoopback("company.localhost") {
		t.Error("a name below localhost is loopback")
	}
}

func TestParseResourceRejectsUnservableURLs(t *testing.T) {
	for in, why := range map[string]string{
		"":                                      "empty",
		"mcp.example.com/mcp":                   "absolute",
		"/mcp":                                  "absolute",
		"//mcp.example.com/mcp":                 "absolute",
		"https:mcp.example.com":                 "absolute",
		"https:///mcp":                          "absolute",
		"https://mcp.example.com:port/":         "not a URL",
		"https://mcp.example.com/%zz":           "hexadecimal",
		" https://mcp.example.com/mcp":          "begins with a space",
		"https://mcp.example.com/mcp\n":         "ends with a line end",
		"https://:8443/mcp":                     "no host",
		"ftp://mcp.example.com/mcp":             "scheme",
		"ws://localhost:3002/mcp":               "scheme",
		"https://user@mcp.example.com/mcp":      "user name",
		"https://user:pass@mcp.example.com/mcp": "user name",
		"https://mcp.example.com/mcp?x=1":       "query",
		"https://mcp.example.com/mcp?":          "query",
		"https://mcp.example.com/mcp#x":         "fragment",
		"https://mcp.example.com/mcp#":          "fragment",
		"http://mcp.example.com/mcp":            "plain http",
		"http://0.0.0.0:3002/mcp":               "plain http",
		"http://192.168.1.2:3002/mcp":           "plain http",
		"http://localhost.example.com/mcp":      "plain http",
		"http://127.0.0.1.example.com/mcp":      "plain http",
		"http://2130706433/mcp":                 "plain http",
		"https://m\u00fcnchen.example/mcp":      "U+00FC",
		"https://\u212aeycloak.example/mcp":     "U+212A", // the Kelvin sign, of which the lower case is k
		"https://mcp.example.com\"x=\"y/mcp":    `contains '"'`,
		"https://a,b/mcp":                       "host",
		"https://mcp.example.com:/mcp":          "host",
		"https://[fe80::1%25eth0]/mcp":          "host",
		"https://mcp.example.com:0/mcp":         "port",
		"https://mcp.example.com:65536/mcp":     "port",
		"https://mcp.example.com:08443/mcp":     "port",
		"https://mcp.example.com:443/mcp":       "default port",
		"http://localhost:80/mcp":               "default port",
		"https://mcp.example.com//":             "path",
		"https://mcp.example.com/a//b":          "path",
		"https://mcp.example.com/./mcp":         "path",
		"https://mcp.example.com/../mcp":        "path",
		"https://mcp.example.com/.well-known/x": "path",
		"https://mcp.example.com/m%63p":         "path",
		"https://mcp.example.com/a%2Fb":         "path",
		"https://mcp.example.com/a b":           "contains a space",
		"https://mcp.example.com/:id":           "path",
		"https://mcp.example.com/*":             "path",
		"https://mcp.example.com/{x}":           "contains '{'",
		"https://mcp.example.com/mcp;x":         "path",
		"https://mcp.example.com/m\u00fcnchen":  "U+00FC",
	} {
		r, err := providers.ParseResource(in)
		if err == nil {
			t.Errorf("ParseResource(%q) = %v", in, r)
		} else if !strings.Contains(err.Error(), why) {
			t.Errorf("ParseResource(%q): %v, which does not mention %q", in, err, why)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "[::1]": true,
		"::ffff:127.0.0.1": true,
		"":                 false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.": false,
		"localhost.example": false, "127.0.0.1.nip.io": false,
		"127.1": false, "0x7f000001": false, "2130706433": false, "127.0.0.1:80": false, "::ffff:10.0.0.1": false,
		"[::1]:80": false,
	} {
		if got := providers.IsLoopback(host); got != want {
			t.Errorf("IsLoopback(%q) = %t", host, got)
		}
	}
}
