package app

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// do sends a request and returns the response as text.
func (f *fixture) do(method, path, body string, header map[string]string) string {
	f.t.Helper()
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(text))
}

// Settings of the class "live" apply to the next request.
func TestReload_LiveSettingsApplyToTheNextRequest(t *testing.T) {
	t.Parallel()
	bearer := func(f *fixture, scope string) map[string]string {
		return map[string]string{
			"Authorization": "Bearer " + token(f.issuer, scope), "Content-Type": "application/json",
			"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-11-25",
		}
	}
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for setting, c := range map[string]struct {
		value         string
		do            func(f *fixture) string
		before, after string // what the response begins with
	}{
		"server.allowed_origins": {"https://page.example", func(f *fixture) string {
			return f.do(http.MethodOptions, "/mcp", "", map[string]string{
				"Origin": "https://page.example", "Access-Control-Request-Method": "POST",
			})
		}, "403", "204"},
		"server.max_body_bytes": {"1024", func(f *fixture) string {
			return f.do(http.MethodPost, "/mcp", list+strings.Repeat(" ", 2000), bearer(f, "mcp:use"))
		}, "200", "413"},
		"server.trusted_proxies": {"127.0.0.1/32", func(f *fixture) string {
			header := bearer(f, "mcp:use")
			header["X-Forwarded-For"] = "192.0.2.77"
			f.do(http.MethodPost, "/mcp", list, header)
			return fmt.Sprint(strings.Contains(f.log.String(), "ip=192.0.2.77"))
		}, "false", "true"},
		"server.failed_auth_per_minute": {"1", func(f *fixture) string {
			header := bearer(f, "mcp:use")
			header["Authorization"] = "Bearer x"
			f.do(http.MethodPost, "/mcp", list, header)
			return f.do(http.MethodPost, "/mcp", list, header)
		}, "401", "429"},
		"mcp.max_calls_per_user": {"1", func(f *fixture) string {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				f.call(token(f.issuer, "mcp:use"), "slow")
			}()
			<-f.begun
			defer func() { f.slow <- struct{}{}; <-ended }()
			status, _ := f.call(token(f.issuer, "mcp:use"), "quick")
			return fmt.Sprint(status)
		}, "200", "429"},
		"scopes.required": {"mcp:other", func(f *fixture) string {
			return f.do(http.MethodPost, "/mcp", list, bearer(f, "mcp:use"))
		}, "200", "403"},
		"scopes.implies": {"mcp:all > mcp:use", func(f *fixture) string {
			return f.do(http.MethodPost, "/mcp", list, bearer(f, "mcp:all"))
		}, "403", "200"},
		"scopes.initial": {"mcp:use,more:read", func(f *fixture) string {
			_, scopes, _ := strings.Cut(f.do(http.MethodGet, "/.well-known/oauth-protected-resource/mcp", "", nil),
				`"scopes_supported":`)
			return scopes
		}, `["mcp:use"]`, `["mcp:use","more:read"]`},
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, newIssuer(t), map[string]string{"mcp.era": "stateless"})
			if got := c.do(f); !strings.HasPrefix(got, c.before) {
				t.Errorf("before: %s, want %s", got, c.before)
			}
			changed := f.mustReload(map[string]string{setting: c.value})
			if changed[0].Key != setting {
				t.Errorf("changed is %v", changed)
			}
			if got := c.do(f); !strings.HasPrefix(got, c.after) {
				t.Errorf("after: %s, want %s", got, c.after)
			}
			f.mustReload(nil)
			if setting == "server.trusted_proxies" || setting == "server.failed_auth_per_minute" {
				return // the log, and the failures so far, stay
			}
			if got := c.do(f); !strings.HasPrefix(got, c.before) {
				t.Errorf("with the first value again: %s, want %s", got, c.before)
			}
		})
	}
}
