package providers_test

import (
	"strings"
	"testing"

	"gatehouse/providers"
)

func TestRedactURL(t *testing.T) {
	for s, want := range map[string]string{
		"https://mcp.example.com/mcp":                    "https://mcp.example.com/mcp",
		"https://alice:hunter2@mcp.example.com/mcp":      "https://[redacted]@mcp.example.com/mcp",
		"https://hunter2@mcp.example.com":                "https://[redacted]@mcp.example.com",
		"alice:hunter2@mcp.example.com":                  "[redacted]@mcp.example.com",
		"https://alice:hun@ter2@mcp.example.com":         "https://[redacted]@mcp.example.com",
		"https://alice:hun/ter2@mcp.example.com":         "https://[redacted]@mcp.example.com",
		"alice:hunter2@https://mcp.example.com":          "[redacted]@https://mcp.example.com",
		"alice:hunter2://@mcp.example.com":               "[redacted]@mcp.example.com",
		"https://mcp.example.com/mcp?key=hunter2":        "https://mcp.example.com/mcp?[redacted]",
		"https://a:hunter2@mcp.example.com/?key=hunter2": "https://[redacted]@mcp.example.com/?[redacted]",
		"https://mcp.example.com/?key=hunter2@x":         "https://[redacted]@x",
		"profiles/me@work.yaml":                          "profiles/me@work.yaml",
	} {
		if got := providers.RedactURL(s); got != want {
			t.Errorf("%s: %s, not %s", s, got, want)
		}
	}
}

func TestCheckURI(t *testing.T) {
	for s, want := range map[string]string{
		"https://login.example.com/realms/main?a=b&c=%2F#x": "",
		"http://[::1]:3002/mcp;v=1,2/@me":                   "",
		"https://login.example.com/a b":                     "contains a space",
		"https://login.example.com/a\u00a0b":                "no-break space (U+00A0)",
		"https://login.example.com/{tid}":                   "contains '{'",
		"https://login.example.com/a\\b":                    `contains '\\'`,
		"https://login.example.com/a|b":                     "contains '|'",
		"https://login.example.com/m\u00fcnchen":            "U+00FC",
		"https://login.example.com/\xff":                    "a byte that is not UTF-8",
		"https://login.example.com/%zz":                     "hexadecimal",
		"https://login.example.com/%2":                      "hexadecimal",
		"https://login.example.com/%":                       "hexadecimal",
		"https://login.example.com/\u202e":                  "U+202E",
		"'https://login.example.com'":                       "quotes around it",
	} {
		err := providers.CheckURI(s)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}
