package server_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"gatehouse/providers/oidc"
	"gatehouse/providers/providertest"
	"gatehouse/server"
)

// After a rotation all good tokens share a new key. Within key_refetch_interval they cannot be verified:
// each gets a 503 with the remaining interval as Retry-After, and none a 401, whatever its address sent
// before.
func TestTokenOfAnUnknownKeyIs503WithRetryAfter(t *testing.T) {
	const resource, sender = "https://mcp.example.com/mcp", "192.0.2.7"
	keys, questions := providertest.NewIssuer(t), newIntrospectionServer(t)
	settings := oidc.Defaults()
	settings.Issuer, settings.JWKSURL, settings.KeyRefetchInterval = keys.URL(), keys.KeysURL(), time.Hour
	settings.Introspection, settings.IntrospectionURL, settings.IntrospectionAuth = "opaque", questions.URL, "none"
	f := start(t, options{public: "https://mcp.example.com", provider: settings,
		settings: func(s *server.Settings) {
			s.FailedAuthPerMinute, s.TrustedProxies = 4, []string{"127.0.0.0/8"}
		}})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	ask := func(address, token string, want int) response {
		t.Helper()
		r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(address, token), nil)
		if r.status != want {
			t.Errorf("answered %d %s, want %d", r.status, r.body, want)
		}
		return r
	}
	good := keys.Token(resource, nil)
	ask(sender, good, 200)
	ask("192.0.2.1", keys.Sign(map[string]any{"kid": "invented"}, keys.Claims(resource)),
		401) // triggers a fetch of the keys
	keys.AddKey("RS256")
	for range 6 {
		r := ask(sender, keys.Token(resource, nil), 503)
		if seconds, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || seconds < 3500 ||
			seconds > 3600 || r.header.Get("WWW-Authenticate") != "" {
			t.Errorf("Retry-After is %q, WWW-Authenticate %q", r.header.Get("Retry-After"),
				r.header.Get("WWW-Authenticate"))
		}
	}
	ask("192.0.2.8", keys.Token(resource, nil), 503)
	ask(sender, good, 200)
	ask(sender, "good-and-unknown", 200) // opaque, so the issuer is asked
	ask(sender, keys.Token(resource, map[string]any{"exp": 1}), 429)
	ask("192.0.2.8", keys.Token(resource, map[string]any{"exp": 1}), 401)
}
