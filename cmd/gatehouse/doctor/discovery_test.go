package doctor_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"gatehouse/providers/diagnostics"
)

// The server and doctor find the same metadata, whatever the first URL responds: a router that does not know
// the path answers 503, and a redirect is not followed.
func TestServerAndDoctorFindTheSameMetadata(t *testing.T) {
	const first = "/.well-known/oauth-authorization-server"
	for name, intercept := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"busy":      respond(first, 503, "text/html", ""),
		"throttled": respond(first, 429, "text/html", ""),
		"broken":    respond(first, 500, "text/html", ""),
		"redirected": func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == first && redirectsToSlash(w, r)
		},
		"hung up": hangUp(func(r *http.Request) bool { return r.URL.Path == first }),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.change(func() { e.provider.intercept = intercept })
			results := e.open().examine()
			for _, name := range []string{"provider.metadata", "provider.keys", "server.ready"} {
				if r := find(results, name); r.Verdict != diagnostics.VerdictOK {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// A provider that limits or blocks programs sees which one sends a request.
func TestEveryRequestToTheProviderHasTheUserAgent(t *testing.T) {
	e := newEnv(t)
	useIntrospection("canary-secret")(t, e)
	var mu sync.Mutex
	seen, paths := map[string]bool{}, map[string]bool{}
	e.change(func() {
		e.provider.intercept = func(_ http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			seen[r.Header.Get("User-Agent")], paths[r.URL.Path] = true, true
			return false
		}
	})
	e.open().examine()
	mu.Lock()
	defer mu.Unlock()
	for agent := range seen {
		if !strings.HasPrefix(agent, "gatehouse/") || len(seen) > 1 {
			t.Errorf("requests came from %q", agent)
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/keys", "/introspect"} {
		if !paths[path] {
			t.Errorf("%s was not requested: %v", path, paths)
		}
	}
}
