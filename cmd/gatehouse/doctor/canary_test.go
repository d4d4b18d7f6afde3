package doctor_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/doctor"
)

// written is everything that a person or a machine may get to see of results.
func (w *world) written(results []doctor.Result) string {
	w.t.Helper()
	var b bytes.Buffer
	about := doctor.About{Version: "v1.2.3", Go: "go1.26", Platform: "linux/amd64"}
	for _, err := range []error{
		doctor.WriteText(&b, results),
		doctor.WriteJSON(&b, about, results),
		doctor.WriteReport(&b, about, w.options.Config.Effective, results, ""),
	} {
		if err != nil {
			w.t.Error(err)
		}
	}
	return b.String()
}

// showsNoCanary looks for what the other side sent, for tokens and for secrets, wherever results may be written.
func (w *world) showsNoCanary(results []doctor.Result) {
	w.t.Helper()
	out := w.written(results)
	forbidden := []string{"canary", w.options.Token, w.secret}
	for part := range strings.SplitSeq(w.options.Token, ".") {
		forbidden = append(forbidden, part)
	}
	for _, word := range forbidden {
		if word != "" && strings.Contains(out, word) {
			w.t.Errorf("it shows %q:\n%s", word, out)
		}
	}
}

func TestNothingThatTheOtherSideSendsIsRepeated(t *testing.T) {
	w := newWorld(t)
	introspecting("canary-secret")(t, w)
	w.open()
	w.options.Token = w.token("mcp:use")
	if bad := bad(w.examine()); len(bad) > 0 {
		t.Fatalf("before anything was bent: %v", bad)
	}
	echo := func(status int, contentType string) func(http.ResponseWriter, *http.Request) bool {
		return func(a http.ResponseWriter, r *http.Request) bool {
			sent, _ := io.ReadAll(r.Body)
			for _, name := range []string{"X-Request-Id", "Location", "Server", "Retry-After", "Date", "Age"} {
				a.Header().Set(name, "canary-upstream"+r.Header.Get("Authorization"))
			}
			if strings.Contains(r.URL.Path, "/.well-known/") { // asked without a secret; where it leads is shown, but for the query
				a.Header().Set("Location", "/elsewhere?canary-upstream#canary-upstream")
			}
			a.Header().Set("Content-Type", contentType)
			a.WriteHeader(status)
			_, _ = io.WriteString(a, `{"error":"canary-upstream","error_description":"`+r.Header.Get("Authorization")+string(bytes.ReplaceAll(sent, []byte(`"`), []byte(`'`)))+`"}`)
			return true
		}
	}
	for status, contentTypes := range map[int][]string{
		200: {"application/json", "text/html", "text/event-stream"}, 302: {"text/html"}, 400: {"application/json"}, 401: {"application/json", "text/html"},
		403: {"application/json"}, 429: {"text/html"}, 503: {"application/json"},
	} {
		for _, contentType := range contentTypes {
			t.Run(http.StatusText(status)+", "+contentType, func(t *testing.T) {
				w.hold(func() { w.provider.before, w.front.before = echo(status, contentType), nil })
				w.showsNoCanary(w.examine())
				w.hold(func() {
					// Only answers to what carries the token or the secret, so that the others do not stop the examination.
					answer := echo(status, contentType)
					withToken := func(a http.ResponseWriter, r *http.Request) bool {
						return (r.Header.Get("Authorization") != "" || r.Method == http.MethodPost) && answer(a, r)
					}
					w.provider.before, w.front.before = withToken, withToken
				})
				w.showsNoCanary(w.examine())
				w.hold(func() { w.provider.before, w.front.before = nil, echo(status, contentType) })
				w.showsNoCanary(w.examine())
			})
		}
	}
}

// Names are shown, because nobody could mend anything without them; but they cannot pass for a part of the output.
func TestNamesOfTheOtherSideAreQuotedAndCut(t *testing.T) {
	w := newWorld(t).open()
	evil := "https://x.example\nok  \x1b[31m" + strings.Repeat("y", 1000)
	for name, bend := range map[string]func(w *world){
		"issuer":   func(w *world) { w.provider.rewrite = setMember("jwks_uri", "issuer", evil) },
		"jwks_uri": func(w *world) { w.provider.rewrite = setMember("token_endpoint", "jwks_uri", evil) },
		"methods": func(w *world) {
			w.provider.rewrite = setMember("jwks_uri", "code_challenge_methods_supported", []string{evil})
		},
		"resource": func(w *world) { w.front.rewrite = setMember("bearer_methods_supported", "resource", evil) },
		"scopes": func(w *world) {
			w.front.rewrite = setMember("bearer_methods_supported", "scopes_supported", []string{evil})
		},
		"type": func(w *world) {
			w.front.rewrite = func(r *http.Request, a *httptest.ResponseRecorder) {
				a.Header().Set("Content-Type", `text/html; x="`+strings.Repeat("y", 1000)+`"`)
			}
		},
		"challenge": func(w *world) { w.front.rewrite = challenge("greet:read", strings.Repeat("y", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			w.hold(func() {
				w.provider.rewrite, w.front.rewrite = nil, nil
				bend(w)
			})
			results := w.examine()
			if !doctor.Failed(results) {
				t.Fatal("nothing failed")
			}
			for _, r := range results {
				for _, text := range []string{r.Found, r.Expected, r.Fix, r.Reason} {
					if strings.ContainsAny(text, "\n\x1b") || strings.Count(text, "y") > 300 {
						t.Errorf("%q", text)
					}
				}
			}
		})
	}
}
