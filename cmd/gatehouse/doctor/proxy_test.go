package doctor_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
)

// Where only a proxy leads out, this computer cannot resolve the provider's name, and need not.
func TestBehindAProxyTheWayIsTheProxys(t *testing.T) {
	w := newWorld(t)
	w.noServer = true
	w.front.Close()
	w.options.Resolver = nowhere(t)
	proxy, err := url.Parse(w.provider.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy.User = url.UserPassword("ada", "canary-proxy")
	w.options.Proxy = func(r *http.Request) (*url.URL, error) {
		if strings.HasPrefix(r.URL.Host, "127.0.0.1") {
			return nil, nil
		}
		return proxy, nil
	}
	w.settings["provider.issuer"] = "http://id.nowhere.example"
	w.settings["provider.http_allowed_hosts"] = "id.nowhere.example"
	w.open()
	w.hold(func() { w.provider.rewrite = renamed(w.provider.URL, "http://id.nowhere.example") })
	results := w.examine()
	if got := bad(results); len(got) != 1 || got[0] != "server.tcp warning" {
		t.Errorf("%v\n%s", got, text(results))
	}
	for _, name := range []string{"provider.dns", "provider.tcp", "provider.tls"} {
		if r := named(results, name); r.Verdict != diagnostics.VerdictSkipped || !strings.Contains(r.Reason, "the proxy "+proxy.Host) {
			t.Errorf("%+v", r)
		}
	}
	for _, name := range []string{"provider.issuer", "provider.keys", "provider.clock"} {
		if r := named(results, name); r.Verdict != diagnostics.VerdictOK {
			t.Errorf("%+v", r)
		}
	}
	w.showsNoCanary(results)
}
