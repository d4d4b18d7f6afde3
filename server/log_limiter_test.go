package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/providers"
	"gatehouse/server"
)

// fixedProvider rejects every token with err, or accepts every token if err is nil.
type fixedProvider struct{ err error }

func (j fixedProvider) Verify(context.Context, string) (*providers.Identity, error) {
	if j.err != nil {
		return nil, j.err
	}
	return &providers.Identity{Issuer: "https://issuer.example", Subject: "alice", Client: "app",
		Scopes: []string{"mcp:use"}, ExpiryWithLeeway: time.Now().Add(time.Hour)}, nil
}

func (fixedProvider) Metadata() providers.Metadata { return providers.Metadata{} }

// Requests without a token can cause any rejection at any rate; no kind may fill a disk or hide another kind.
func TestAccessLogLimitsEachKindOfLine(t *testing.T) {
	const flood = 600
	outage := &providers.Error{Reason: providers.ReasonKeysUnavailable}
	for name, c := range map[string]struct {
		refusal error
		method  string
		path    string
		do      string
		status  int
		marked  string // a line of the flood
		atOnce  int
		of      string
	}{
		"an outage of the provider": {refusal: outage, status: 503, marked: "reason=keys_unavailable",
			atOnce: 1, of: "of=keys_unavailable count=599"},
		"refused tokens": {refusal: providers.ErrInvalidToken, status: 401,
			marked: "status=401", atOnce: 500, of: "of=refusals count=100"},
		"documents for everyone": {method: http.MethodGet,
			path: "/.well-known/oauth-protected-resource/mcp", status: 200, marked: "status=200", atOnce: 500,
			of: "of=refusals count=100"},
		"pages that do not exist": {path: "/x", status: 404, marked: "status=404", atOnce: 500,
			of: "of=refusals count=100"},
		"faults": {do: "panic", status: 500, marked: "status=500", atOnce: 500,
			of: "of=faults count=100"},
		"what a good caller gets served": {status: 200, marked: "status=200", atOnce: flood},
	} {
		t.Run(name, func(t *testing.T) {
			resource, err := providers.ParseResource("https://mcp.example.com/mcp")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				var log buffer
				settings := server.DefaultSettings()
				settings.FailedAuthPerMinute = 1_000_000
				chain := server.New(server.Config{
					Resource: resource, Settings: settings, RequiredScopes: []string{"mcp:use"},
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
				}, fixedProvider{c.refusal}, &application{})
				send := func() {
					r := request(resource, "token")
					if c.path != "" {
						r.URL.Path = c.path
					}
					if c.method != "" {
						r.Method = c.method
					}
					r.Header.Set("X-Do", c.do)
					w := httptest.NewRecorder()
					chain.ServeHTTP(deadlineRecorder{w}, r)
					if w.Code != c.status {
						t.Fatalf("answered %d %s", w.Code, w.Body)
					}
				}
				for range flood {
					send()
				}
				first := strings.Count(log.String(), c.marked)
				time.Sleep(time.Minute)
				send()
				if second := strings.Count(log.String(), c.marked) - first; first != c.atOnce || second != 1 {
					t.Errorf("%d of %d lines are in the log, and after a minute %d of 1; want %d and 1",
						first, flood, second, c.atOnce)
				}
				if !strings.Contains(log.String(), c.of) {
					t.Errorf("the log does not say %s", c.of)
				}
			})
		})
	}
}

// Each attribute of a log line that comes from a request is bounded and has no control characters.
func TestAccessLogTruncatesFields(t *testing.T) {
	f := start(t, options{})
	for name, c := range map[string]struct {
		method, path string
		header       map[string]string
		most         int
		want         string
	}{
		"a method": {method: strings.Repeat("M", 30_000), path: "/mcp", most: 400,
			want: "method=" + strings.Repeat("M", 32) + " "},
		"a path": {method: http.MethodGet, path: "/" + strings.Repeat("%C2%9B", 5_000),
			most: 1_000, want: "path=/%C2%9B"},
		"an origin": {method: http.MethodPost, path: "/mcp",
			header: map[string]string{"Origin": strings.Repeat("\xff", 20_000)}, most: 1_500,
			want: "reason=origin_refused"},
		"a host": {method: http.MethodPost, path: "/mcp",
			header: map[string]string{"Host": strings.Repeat("h", 20_000)}, most: 700, want: "reason=host_refused"},
		"a request id": {method: http.MethodPost, path: "/mcp",
			header: map[string]string{"X-Request-Id": strings.Repeat("i", 20_000)}, most: 400,
			want: "reason=no_credentials"},
		"a subject of a token": {method: http.MethodPost, path: "/mcp",
			header: bearer(f.issuer.Token(f.resource.String(),
				map[string]any{"sub": strings.Repeat("\u202e", 1_000)})), most: 800, want: `subject=\u202e`},
		"a token of odd claims": {method: http.MethodPost, path: "/mcp",
			header: bearer(f.issuer.Token(f.resource.String(),
				map[string]any{"aud": strings.Repeat("\u202e", 1_000)})), most: 1_500,
			want: "reason=audience_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.do(t, c.method, c.path, c.header, nil)
			line := logLine(t, f.log, r.header.Get("X-Request-Id"))
			if len(line) > c.most || !strings.Contains(line, c.want) {
				t.Errorf("%d bytes, want at most %d with %q: %.1000s", len(line), c.most, c.want, line)
			}
		})
	}
}
