package server_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/server"
)

// BenchmarkGate runs requests through the whole chain with a canned answer behind it, beside the canned answer alone: in
// process, alternating in small batches, so that a noisy machine disturbs both alike. "ns-more" and "allocs-more" are what the
// gate adds. The access log is on, into nothing.
func BenchmarkGate(b *testing.B) {
	resource, err := providers.ParseResource("http://localhost:3002/mcp")
	if err != nil {
		b.Fatal(err)
	}
	issuer := providertest.NewIssuer(b)
	rs := issuer.SigningKey()
	es, ed := issuer.AddKey(jose.ES256), issuer.AddKey(jose.EdDSA)
	issuer.SignWith(rs)
	provider := issuer.Provider(b, resource, "mcp:use")
	for !provider.(providers.KeyReporter).Keys().Usable {
		time.Sleep(time.Millisecond)
	}
	settings := server.DefaultSettings()
	settings.FailedAuthPerMinute = 1 << 30
	gate := func(log io.Writer, level slog.Level) http.Handler {
		return server.New(server.Config{
			Resource: resource, Settings: settings, RequiredScopes: []string{"mcp:use"},
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})),
		}, provider, canned{})
	}
	logged, silent := gate(io.Discard, slog.LevelInfo), gate(io.Discard, slog.LevelError)

	claims := func(changes map[string]any) map[string]any {
		c := issuer.Claims(resource.String())
		for k, v := range changes {
			c[k] = v
		}
		return c
	}
	fresh := func(kid string) func() string {
		return func() string { return issuer.Sign(map[string]any{"kid": kid}, claims(nil)) }
	}
	known := issuer.Sign(nil, claims(nil))
	always := func(token string) func() string { return func() string { return token } }
	for _, c := range []struct {
		name   string
		gate   http.Handler
		token  func() string // "" for none; called outside the measured time
		status int
	}{
		{"a known token", logged, always(known), http.StatusOK},
		{"a known token, log off", silent, always(known), http.StatusOK},
		{"first use, RS256", logged, fresh(rs), http.StatusOK},
		{"first use, ES256", logged, fresh(es), http.StatusOK},
		{"first use, EdDSA", logged, fresh(ed), http.StatusOK},
		{"no token", logged, always(""), http.StatusUnauthorized},
		{"garbage", logged, always(strings.Repeat("x", 900)), http.StatusUnauthorized},
		{"expired", logged, always(issuer.Sign(nil, claims(map[string]any{"exp": 1}))), http.StatusUnauthorized},
		{"another audience", logged, always(issuer.Sign(nil, claims(map[string]any{"aud": "https://elsewhere.example"}))), http.StatusUnauthorized},
		{"the same forgery again", logged, always(known[:strings.LastIndexByte(known, '.')+1] + strings.Repeat("A", 342)), http.StatusUnauthorized},
	} {
		b.Run(c.name, func(b *testing.B) {
			const batch = 16
			var inCanned, inGate time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				requests := make([]*http.Request, batch)
				for i := range requests {
					requests[i] = request(resource, c.token())
				}
				inCanned += timed(b, canned{}, requests, http.StatusOK)
				inGate += timed(b, c.gate, requests, c.status)
			}
			b.StopTimer()
			b.ReportMetric(0, "ns/op") // the sum of both would say nothing
			b.ReportMetric(float64((inGate-inCanned).Nanoseconds())/float64(b.N), "ns-more")
			one := func() *http.Request { return request(resource, c.token()) }
			b.ReportMetric(allocations(c.gate, one)-allocations(canned{}, one), "allocs-more")
		})
	}
}

// canned is the application behind the gate, and the whole server without one.
type canned struct{}

func (canned) Route(*http.Request) ([]string, http.Handler) { return nil, canned{} }

func (canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
}

func request(resource providers.Resource, token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, resource.String(), http.NoBody)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// allocations returns how many a request costs, without those of making it. The gate takes the token out of a request, so that
// each run needs its own.
func allocations(h http.Handler, request func() *http.Request) float64 {
	const runs = 50
	var requests []*http.Request
	var recorders []connected
	for range runs + 1 {
		requests, recorders = append(requests, request()), append(recorders, connected{httptest.NewRecorder()})
	}
	n := 0
	return testing.AllocsPerRun(runs, func() { h.ServeHTTP(recorders[n], requests[n]); n++ })
}

func timed(b *testing.B, h http.Handler, requests []*http.Request, status int) time.Duration {
	recorders := make([]*httptest.ResponseRecorder, len(requests))
	for i := range recorders {
		recorders[i] = httptest.NewRecorder()
	}
	begin := time.Now()
	for i, r := range requests {
		h.ServeHTTP(connected{recorders[i]}, r)
	}
	took := time.Since(begin)
	for _, w := range recorders {
		if w.Code != status {
			b.Fatalf("answered %d %s", w.Code, w.Body)
		}
	}
	return took
}

// connected is a recorder with the deadlines that a connection has. Without them each would cost an error.
type connected struct{ *httptest.ResponseRecorder }

func (connected) SetReadDeadline(time.Time) error  { return nil }
func (connected) SetWriteDeadline(time.Time) error { return nil }
