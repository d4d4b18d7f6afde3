package doctor_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
)

// If requests go through a proxy, this computer need not resolve the provider's name.
func TestConnectionChecksAreSkippedBehindAProxy(t *testing.T) {
	e := newEnv(t)
	e.noServer = true
	e.proxy.Close()
	e.config.Resolver = emptyResolver(t)
	proxy, err := url.Parse(e.provider.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy.User = url.UserPassword("ada", "canary-proxy")
	e.config.Proxy = func(r *http.Request) (*url.URL, error) {
		if strings.HasPrefix(r.URL.Host, "127.0.0.1") {
			return nil, nil
		}
		return proxy, nil
	}
	e.settings["provider.issuer"] = "http://id.invalid"
	e.settings["provider.http_allowed_hosts"] = "id.invalid"
	e.open()
	e.change(func() { e.provider.rewrite = replaceInBody(e.provider.URL, "http://id.invalid") })
	results := e.examine()
	// The Go SDK sends nothing to plain http.
	if want := []string{"provider.clients warning", "server.tcp warning"}; !slices.Equal(problems(results), want) {
		got := problems(results)
		t.Errorf("%v\n%s", got, text(results))
	}
	for _, name := range []string{"provider.dns", "provider.tcp", "provider.tls"} {
		if r := find(results, name); r.Verdict != diagnostics.VerdictSkipped ||
			!strings.Contains(r.Reason, "the proxy "+proxy.Host) {
			t.Errorf("%+v", r)
		}
	}
	for _, name := range []string{"provider.issuer", "provider.keys", "provider.clock"} {
		if r := find(results, name); r.Verdict != diagnostics.VerdictOK {
			t.Errorf("%+v", r)
		}
	}
	e.showsNoCanary(results)
}
