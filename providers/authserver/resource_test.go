package authserver

import "testing"

func TestUnknownResource_NamesTheKnownOnes(t *testing.T) {
	i := &Issuer{config: Config{Resources: []string{"https://a.example/mcp", "https://b.example/mcp"}}}
	for parameter, want := range map[string]string{
		"https://b.example/mcp/": "the resource is unknown: it differs from https://b.example/mcp by a slash at the end",
		"https://c.example/mcp": "the resource is unknown; this issuer issues tokens for https://a.example/mcp and " +
			"https://b.example/mcp",
	} {
		_, err := i.chooseResource([]string{parameter})
		if err == nil || err.Error() != "ErrorType=invalid_target Description="+want {
			t.Errorf("%s: %v, want %s", parameter, err, want)
		}
	}
}
