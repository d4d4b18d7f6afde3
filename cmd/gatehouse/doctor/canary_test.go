package doctor_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/doctor"
)

// outputs returns the results in all formats.
func (e *env) outputs(results []doctor.Result) string {
	e.t.Helper()
	var b bytes.Buffer
	about := doctor.About{Version: "v1.2.3", Go: "go1.26", Platform: "linux/amd64"}
	for _, err := range []error{
		doctor.WriteText(&b, results),
		doctor.WriteJSON(&b, about, results),
		doctor.WriteReport(&b, about, e.config.Settings.Effective, results, ""),
	} {
		if err != nil {
			e.t.Error(err)
		}
	}
	return b.String()
}

// showsNoCanary fails the test if an output contains data from the other side, a token, or a secret.
func (e *env) showsNoCanary(results []doctor.Result) {
	e.t.Helper()
	out := e.outputs(results)
	forbidden := []string{"canary", e.config.Token, e.secret}
	for part := range strings.SplitSeq(e.config.Token, ".") {
		forbidden = append(forbidden, part)
	}
	for _, word := range forbidden {
		if word != "" && strings.Contains(out, word) {
			e.t.Errorf("the output has %q:\n%s", word, out)
		}
	}
}

func TestOutputHasNoDataFromTheOtherSide(t *testing.T) {
	e := newEnv(t)
	useIntrospection("canary-secret")(t, e)
	e.open()
	e.config.Token = e.token("mcp:use")
	if got := problems(e.examine()); len(got) > 0 {
		t.Fatalf("before any fault: %v", got)
	}
	echo := func(status int, contentType string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			sent, _ := io.ReadAll(r.Body)
			for _, name := range []string{"X-Request-Id", "Location", "Server", "Retry-After", "Date", "Age"} {
				w.Header().Set(name, "canary-upstream"+r.Header.Get("Authorization"))
			}
			// No secret is sent there; the target of a redirect is shown, without its query
			if strings.Contains(r.URL.Path, "/.well-known/") {
				w.Header().Set("Location", "/elsewhere?canary-upstream#canary-upstream")
			}
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			quoted := strings.ReplaceAll(string(sent), `"`, `'`)
			_, _ = fmt.Fprintf(w, `{"error":"canary-upstream","error_description":"%s%s"}`,
				r.Header.Get("Authorization"), quoted)
			return true
		}
	}
	for status, contentTypes := range map[int][]string{
		200: {"application/json", "text/html", "text/event-stream"}, 302: {"text/html"},
		400: {"application/json"}, 401: {"application/json", "text/html"},
		403: {"application/json"}, 429: {"text/html"}, 503: {"application/json"},
	} {
		for _, contentType := range contentTypes {
			t.Run(http.StatusText(status)+", "+contentType, func(t *testing.T) {
				e.change(func() { e.provider.intercept, e.proxy.intercept = echo(status, contentType), nil })
				e.showsNoCanary(e.examine())
				e.change(func() {
					// Only requests with the token or the secret, so that no earlier failure stops the checks.
					intercept := echo(status, contentType)
					withToken := func(w http.ResponseWriter, r *http.Request) bool {
						return (r.Header.Get("Authorization") != "" || r.Method == http.MethodPost) && intercept(w, r)
					}
					e.provider.intercept, e.proxy.intercept = withToken, withToken
				})
				e.showsNoCanary(e.examine())
				e.change(func() { e.provider.intercept, e.proxy.intercept = nil, echo(status, contentType) })
				e.showsNoCanary(e.examine())
			})
		}
	}
}

// Names from the other side are shown, because the fix needs them, but quoted and truncated, so that they
// cannot pass for a part of the output.
func TestNamesFromTheOtherSideAreQuotedAndTruncated(t *testing.T) {
	e := newEnv(t).open()
	evil := "https://x.example\nok  \x1b[31m" + strings.Repeat("y", 1000)
	for name, change := range map[string]func(e *env){
		"issuer":   func(e *env) { e.provider.rewrite = setMember("jwks_uri", "issuer", evil) },
		"jwks_uri": func(e *env) { e.provider.rewrite = setMember("token_endpoint", "jwks_uri", evil) },
		"methods": func(e *env) {
			e.provider.rewrite = setMember("jwks_uri", "code_challenge_methods_supported", []string{evil})
		},
		"resource": func(e *env) { e.proxy.rewrite = setMember("bearer_methods_supported", "resource", evil) },
		"scopes": func(e *env) {
			e.proxy.rewrite = setMember("bearer_methods_supported", "scopes_supported", []string{evil})
		},
		"type": func(e *env) {
			e.proxy.rewrite = func(r *http.Request, w *httptest.ResponseRecorder) {
				w.Header().Set("Content-Type", `text/html; x="`+strings.Repeat("y", 1000)+`"`)
			}
		},
		"challenge": func(e *env) { e.proxy.rewrite = rewriteChallenge("notes:read", strings.Repeat("y", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			e.change(func() {
				e.provider.rewrite, e.proxy.rewrite = nil, nil
				change(e)
			})
			results := e.examine()
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
