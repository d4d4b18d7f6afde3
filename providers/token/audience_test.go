package token_test

import (
	"net/url"
	"strings"
	"testing"

	"gatehouse/providers/token"
)

func TestSameAudience(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"https://h/mcp", "https://h/mcp", true},
		{"https://h/mcp", "HTTPS://H/mcp", true},
		{"https://h/mcp", "https://h:443/mcp", true},
		{"http://h/mcp", "http://h:80/mcp", true},
		{"https://h", "https://h/", true},
		{"https://h:443", "https://h/", true},
		{"https://[::1]:443/", "https://[::1]", true},
		{"https://[FE80::A]/", "https://[fe80::a]", true},
		{"https://h/mcp?x=1", "https://H/mcp?x=1", true},
		{"client-id", "client-id", true},
		{"api://Default", "api://Default", true},
		{"urn:x", "urn:x", true},

		{"https://h/mcp", "https://h/mcp/", false},
		{"https://h/mcp", "https://h/MCP", false},
		{"https://h/mcp", "http://h/mcp", false},
		{"https://h/mcp", "https://h:80/mcp", false},
		{"https://h/mcp", "https://h:0443/mcp", false},
		{"https://h/mcp", "https://h:/mcp", false},
		{"https://h/mcp", "https://h./mcp", false},
		{"https://h/mcp", "https://u@h/mcp", false},
		{"https://h/mcp", "https://h/mcp#", false},
		{"https://h/mcp", "https://h/mcp?", false},
		{"https://h/mcp", "https://h/%6dcp", false},
		{"https://h/a b", "https://h/a%20b", false},
		{"https://h/mcp", "https://h//mcp", false},
		{"https://h/mcp", "https://h/./mcp", false},
		{"https://h/mcp", "https:/h/mcp", false},
		{"https://h/mcp", `https:\\h\mcp`, false},
		{"https://k/mcp", "https://\u212a/mcp", false},
		{"https://s/mcp", "http\u017f://s/mcp", false},
		{"https://\u00fc/", "https://%C3%BC/", false},
		{"client-id", "Client-ID", false},
		{"api://default", "api://Default", false},
		{"https://h", "", false},
	} {
		if got := token.SameAudience(c.a, c.b); got != c.want {
			t.Errorf("SameAudience(%q, %q) = %t", c.a, c.b, got)
		}
		if got := token.SameAudience(c.b, c.a); got != c.want {
			t.Errorf("SameAudience(%q, %q) = %t", c.b, c.a, got)
		}
	}
}

// Equivalent forms are compared in place, without building them.
func TestSameAudienceAcceptsEquivalentForms(t *testing.T) {
	for _, spellings := range [][]string{
		{"https://mcp.example.com/mcp", "https://mcp.example.com:443/mcp", "HTTPS://MCP.Example.COM/mcp",
			"Https://mcp.example.com:443/mcp"},
		{"https://mcp.example.com", "https://mcp.example.com/", "https://mcp.example.com:443",
			"https://MCP.example.com:443/"},
		{"http://h", "http://h/", "http://h:80", "HTTP://H:80/"},
		{"https://h:8443/mcp", "HTTPS://H:8443/mcp"},
		{"http://[::1]:3002", "HTTP://[::1]:3002/"},
		{"https://[FE80::A]", "https://[fe80::a]/", "https://[fe80::a]:443", "https://[Fe80::a]:443/"},
	} {
		for _, a := range spellings {
			for _, b := range spellings {
				if !token.SameAudience(a, b) {
					t.Errorf("%q is not %q", a, b)
				}
			}
		}
	}
}

// FuzzSameAudience: an audience that is equivalent to a resource must be the URL of that resource.
func FuzzSameAudience(f *testing.F) {
	const ours = "https://mcp.example.com/mcp"
	for _, seed := range []string{ours, "HTTPS://MCP.EXAMPLE.COM:443/mcp", ours + "#", ours + "?",
		"https://mcp.example.com:443:443/mcp", "https://\u212a/mcp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, other string) {
		if !token.SameAudience(ours, other) {
			return
		}
		u, err := url.Parse(other)
		if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Hostname(), "mcp.example.com") ||
			u.Port() != "" && u.Port() != "443" ||
			u.EscapedPath() != "/mcp" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil {
			t.Errorf("%q is equivalent to %q", other, ours)
		}
	})
}
