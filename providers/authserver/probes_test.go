package authserver_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

func TestProviderProbes(t *testing.T) {
	t.Parallel()
	b := openBroker(t)
	probed := []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/keys"}
	for _, p := range authserver.ProviderProbes() {
		probed = append(probed, p.Path)
		r := b.request(p.Method, p.Path, nil)
		if p.Method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		a := b.do(r)
		contentType := "application/json"
		if p.IsPage {
			contentType = "text/html"
		}
		if a.StatusCode != p.Status || !strings.HasPrefix(a.Header.Get("Content-Type"), contentType) ||
			p.IsPage != strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			!p.IsPage && !strings.Contains(a.body, `"error":`) {
			t.Errorf("%s %s: status %d, %s, %s", p.Method, p.Path, a.StatusCode, a.Header, a.body)
		}
	}
	slices.Sort(probed)
	if got := slices.Compact(probed); !slices.Equal(got, authserver.ProviderPaths()) {
		t.Errorf("probes of %v, and the paths are %v", got, authserver.ProviderPaths())
	}
}
