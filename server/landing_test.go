package server

import (
	"testing"

	"gatehouse/providers"
)

func TestLandingNamesOnlyClientsThatCanConnect(t *testing.T) {
	for resource, public := range map[string]bool{
		"http://localhost:3002/mcp":     false,
		"https://127.0.0.1:3002/mcp":    false,
		"https://10.1.2.3/mcp":          false,
		"https://[fd00::1]/mcp":         false,
		"https://mcp.example.com/mcp":   true,
		"https://203.0.113.5:8443/mcp":  true,
		"https://[2001:4860::8888]/mcp": true,
	} {
		r, err := providers.ParseResource(resource)
		if err != nil {
			t.Fatal(err)
		}
		if got := newLanding(r, "Gatehouse").Public; got != public {
			t.Errorf("%s: public is %v, want %v", resource, got, public)
		}
	}
}

func TestShortNameNeedsNoQuotes(t *testing.T) {
	for name, want := range map[string]string{
		"Gatehouse": "gatehouse", "Orders & Returns (EU)": "orders-returns-eu", "$(reboot)": "reboot",
		"受注": "server", "": "server",
	} {
		if got := shortName(name); got != want {
			t.Errorf("shortName(%q) = %q, want %q", name, got, want)
		}
	}
}
