package providers_test

import (
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
