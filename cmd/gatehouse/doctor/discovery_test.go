package doctor_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"gatehouse/providers/diagnostics"
)

// The server and the examination find the same metadata, whatever the first place does: a router that does not know the path
// answers 503, and a redirect is not followed.
func TestTheServerAndTheExaminationFindTheSameMetadata(t *testing.T) {
	const first = "/.well-known/oauth-authorization-server"
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"busy":      at(first, 503, "text/html", ""),
		"throttled": at(first, 429, "text/html", ""),
		"broken":    at(first, 500, "text/html", ""),
		"redirected": func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == first && redirectsToSlash(w, r)
		},
		"hung up": hangUp(func(r *http.Request) bool { return r.URL.Path == first }),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hold(func() { w.provider.before = answer })
			results := w.open().examine()
			for _, name := range []string{"provider.metadata", "provider.keys", "server.ready"} {
				if r := named(results, name); r.Verdict != diagnostics.VerdictOK {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// A provider that limits or blocks programs sees which one asks.
func TestEveryRequestToTheProviderNamesThisProgram(t *testing.T) {
	w := newWorld(t)
	introspecting("canary-secret")(t, w)
	var mu sync.Mutex
	seen, paths := map[string]bool{}, map[string]bool{}
	w.hold(func() {
		w.provider.before = func(_ http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			seen[r.Header.Get("User-Agent")], paths[r.URL.Path] = true, true
			return false
		}
	})
	w.open().examine()
	mu.Lock()
	defer mu.Unlock()
	for agent := range seen {
		if !strings.HasPrefix(agent, "gatehouse/") || len(seen) > 1 {
			t.Errorf("requests came from %q", agent)
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/keys", "/introspect"} {
		if !paths[path] {
			t.Errorf("%s was not asked: %v", path, paths)
		}
	}
}
