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

// BenchmarkGate compares the whole chain in front of a stub application with the stub alone: in process and in
// alternating small batches, so that a noisy machine affects both equally. "ns-more" and "allocs-more" are what
// the chain adds. The access log is formatted and discarded.
func BenchmarkGate(b *testing.B) {
	g := newChainFixture(b)
	issuer, resource := g.issuer, g.resource
	rs := issuer.SigningKeyID()
	es, ed := issuer.AddKey(jose.ES256), issuer.AddKey(jose.EdDSA)
	issuer.SignWith(rs)
	g.openProvider(b)
	logged, silent := g.chain(slog.LevelInfo), g.chain(slog.LevelError)

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
		chain  http.Handler
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
		{"another audience", logged, always(issuer.Sign(nil,
			claims(map[string]any{"aud": "https://elsewhere.example"}))), http.StatusUnauthorized},
		{"the same forgery again", logged, always(known[:strings.LastIndexByte(known, '.')+1] +
			strings.Repeat("A", 342)), http.StatusUnauthorized},
	} {
		b.Run(c.name, func(b *testing.B) {
			const batch = 16
			var inCanned, inChain time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				requests := make([]*http.Request, batch)
				for i := range requests {
					requests[i] = request(resource, c.token())
				}
				inCanned += serveAll(b, stubApp{}, requests, http.StatusOK)
				inChain += serveAll(b, c.chain, requests, c.status)
			}
			b.StopTimer()
			b.ReportMetric(0, "ns/op") // the sum of both has no meaning
			b.ReportMetric(float64((inChain-inCanned).Nanoseconds())/float64(b.N), "ns-more")
			one := func() *http.Request { return request(resource, c.token()) }
			b.ReportMetric(allocations(c.chain, one)-allocations(stubApp{}, one), "allocs-more")
		})
	}
}

// chainFixture builds the chain in front of a stub application, with an issuer whose tokens it accepts.
type chainFixture struct {
	issuer   *providertest.Issuer
	resource providers.Resource
	provider providers.Provider
	denials  server.Denials
}

func newChainFixture(t testing.TB) *chainFixture {
	resource, err := providers.ParseResource("http://localhost:3002/mcp")
	if err != nil {
		t.Fatal(err)
	}
	return &chainFixture{issuer: providertest.NewIssuer(t), resource: resource}
}

// openProvider opens a provider with the current keys of the issuer.
func (g *chainFixture) openProvider(t testing.TB) {
	g.provider = g.issuer.Provider(t, g.resource, "mcp:use")
	for !g.provider.(providers.KeyReporter).Keys().Usable {
		time.Sleep(time.Millisecond)
	}
}

// chain returns a chain that discards its log.
func (g *chainFixture) chain(level slog.Level) http.Handler {
	settings := server.DefaultSettings()
	settings.FailedAuthPerMinute = 1 << 30
	return server.New(server.Config{
		Resource: g.resource, Settings: settings, RequiredScopes: []string{"mcp:use"}, Denials: g.denials,
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level})),
	}, g.provider, stubApp{})
}

// The cost of a known token in allocations, which do not depend on the machine.
func TestKnownTokenAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates, too")
	}
	g := newChainFixture(t)
	g.openProvider(t)
	token := g.issuer.Sign(nil, g.issuer.Claims(g.resource.String()))
	one := func() *http.Request { return request(g.resource, token) }
	alone := allocations(stubApp{}, one)
	for name, c := range map[string]struct {
		level slog.Level
		most  float64
	}{"log off": {slog.LevelError, 14}, "log on": {slog.LevelInfo, 24}} {
		if more := allocations(g.chain(c.level), one) - alone; more > c.most {
			t.Errorf("%s: %.0f allocations, want at most %.0f", name, more, c.most)
		}
	}
}

// No byte of the body is read before the response to a request without a valid token.
func TestUnauthenticatedBodyIsNotRead(t *testing.T) {
	g := newChainFixture(t)
	g.openProvider(t)
	chain := g.chain(slog.LevelInfo)
	for name, token := range map[string]string{
		"no token": "", "garbage": "x", "expired": g.issuer.Token(g.resource.String(), map[string]any{"exp": 1}),
	} {
		r := request(g.resource, token)
		body := &countingBody{}
		r.Body, r.ContentLength = body, 1<<20
		w := deadlineRecorder{httptest.NewRecorder()}
		chain.ServeHTTP(w, r)
		if w.Code < 400 || body.read != 0 {
			t.Errorf("%s: answered %d after %d bytes", name, w.Code, body.read)
		}
	}
}

// countingBody is an endless body that counts how much of it is read.
type countingBody struct{ read int }

func (c *countingBody) Read(p []byte) (int, error) { c.read += len(p); return len(p), nil }
func (c *countingBody) Close() error               { return nil }

// stubApp is an application with a constant response. It is also the server without the chain.
type stubApp struct{}

func (stubApp) Route(*http.Request) ([]string, http.Handler, func()) {
	return nil, stubApp{}, func() {}
}

func (stubApp) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
}

func request(resource providers.Resource, token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, resource.String(), nil)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// allocations returns the number of allocations that h needs for a request. Each run needs its own request, because
// the chain removes the token.
func allocations(h http.Handler, request func() *http.Request) float64 {
	const runs = 50
	var requests []*http.Request
	var recorders []deadlineRecorder
	for range runs + 1 {
		requests, recorders = append(requests, request()),
			append(recorders, deadlineRecorder{httptest.NewRecorder()})
	}
	n := 0
	return testing.AllocsPerRun(runs, func() { h.ServeHTTP(recorders[n], requests[n]); n++ })
}

func serveAll(b *testing.B, h http.Handler, requests []*http.Request, status int) time.Duration {
	recorders := make([]*httptest.ResponseRecorder, len(requests))
	for i := range recorders {
		recorders[i] = httptest.NewRecorder()
	}
	begin := time.Now()
	for i, r := range requests {
		h.ServeHTTP(deadlineRecorder{recorders[i]}, r)
	}
	took := time.Since(begin)
	for _, w := range recorders {
		if w.Code != status {
			b.Fatalf("answered %d %s", w.Code, w.Body)
		}
	}
	return took
}

// deadlineRecorder is a recorder that accepts deadlines, as a connection does. Without them each would cost
// an error value.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetReadDeadline(time.Time) error  { return nil }
func (deadlineRecorder) SetWriteDeadline(time.Time) error { return nil }
