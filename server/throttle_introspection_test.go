package server_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/oidc"
	"gatehouse/server"
)

// introspectionServer is an introspection endpoint (RFC 7662). Tokens that begin with "good" are active; requests
// for tokens that begin with "slow" get no response.
type introspectionServer struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
}

func newIntrospectionServer(t *testing.T) *introspectionServer {
	a := &introspectionServer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		token := r.PostFormValue("token")
		a.mu.Lock()
		a.tokens = append(a.tokens, token)
		a.mu.Unlock()
		if strings.HasPrefix(token, "slow") {
			<-r.Context().Done()
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"active": strings.HasPrefix(token, "good"), "sub": "alice", "client_id": "web", "scope": "mcp:use",
			"aud": "https://mcp.example.com/mcp", "exp": time.Now().Add(time.Hour).Unix(),
		})
	}))
	t.Cleanup(func() {
		a.CloseClientConnections() // a request may still be in flight, on purpose
		a.Close()
	})
	return a
}

// requestsFor returns how many requests were about tokens with this prefix.
func (a *introspectionServer) requestsFor(prefix string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, token := range a.tokens {
		if strings.HasPrefix(token, prefix) {
			n++
		}
	}
	return n
}

// startServer starts a server that introspects every token and allows an address this many failures.
func (a *introspectionServer) startServer(t *testing.T, failures int,
	changes ...func(*oidc.Settings)) *testServer {
	t.Helper()
	settings := oidc.Defaults()
	settings.Issuer, settings.Introspection, settings.IntrospectionURL,
		settings.IntrospectionAuth = "https://login.example.com", "always", a.URL, "none"
	for _, change := range changes {
		change(settings)
	}
	return start(t, options{public: "https://mcp.example.com", provider: settings,
		settings: func(s *server.Settings) {
			s.FailedAuthPerMinute, s.TrustedProxies = failures, []string{"127.0.0.0/8"}
		}})
}

func forwardedBearer(address, token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token, "X-Forwarded-For": address}
}

// A throttled address causes no introspection. Its tokens that are cached still work, and so does every other
// address.
func TestThrottledAddressCausesNoIntrospection(t *testing.T) {
	issuer := newIntrospectionServer(t)
	f := issuer.startServer(t, 3)
	const sender, other = "192.0.2.7", "192.0.2.8"
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(sender, "good-known"), nil); r.status != 200 {
		t.Fatalf("a good token answered %d %s", r.status, r.body)
	}
	for i := range 10 {
		want := 401
		if i >= 3 {
			want = 429
		}
		if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(sender, "bad-"+strconv.Itoa(i)),
			nil); r.status != want {
			t.Errorf("bad token %d answered %d, want %d", i, r.status, want)
		}
	}
	if n := issuer.requestsFor("bad-"); n != 3 {
		t.Errorf("the issuer got %d introspections of bad tokens, want 3", n)
	}
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(sender, "good-unknown"), nil); r.status != 429 ||
		issuer.requestsFor("good-unknown") != 0 {
		t.Errorf("an unknown token answered %d after %d introspections", r.status,
			issuer.requestsFor("good-unknown"))
	}
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(sender, "good-known"), nil); r.status != 200 {
		t.Errorf("a token that is known to be good answered %d", r.status)
	}
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(other, "good-unknown"), nil); r.status != 200 {
		t.Errorf("the same from another address answered %d", r.status)
	}
}

// Behind an untrusted proxy or a NAT all callers share one address. Bad tokens from there must not lock out callers
// whose tokens were active, not even when the cached answer has expired.
func TestThrottleDoesNotLockOutActiveTokens(t *testing.T) {
	issuer := newIntrospectionServer(t)
	f := issuer.startServer(t, 3, func(s *oidc.Settings) { s.IntrospectionCache = time.Nanosecond })
	const shared = "192.0.2.7"
	for _, token := range []string{"good-alice", "good-bob"} {
		if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(shared, token), nil); r.status != 200 {
			t.Fatalf("%s answered %d %s", token, r.status, r.body)
		}
	}
	for i := range 6 {
		if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(shared, "bad-"+strconv.Itoa(i)),
			nil); i >= 3 && r.status != 429 {
			t.Errorf("bad token %d answered %d", i, r.status)
		}
		for _, token := range []string{"good-alice", "good-bob"} {
			if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(shared, token), nil); r.status != 200 {
				t.Errorf("%s answered %d after %d bad tokens", token, r.status, i+1)
			}
		}
	}
	if n := issuer.requestsFor("good-alice"); n != 7 {
		t.Errorf("the issuer was asked about it %d times", n)
	}
	// This token has never been introspected.
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(shared, "good-carol"), nil); r.status != 429 {
		t.Errorf("an unknown token answered %d", r.status)
	}
}

// Many unknown tokens at once queue for introspection, which counts as failures of their address.
func TestQueuedIntrospectionCountsAsFailure(t *testing.T) {
	issuer := newIntrospectionServer(t)
	f := issuer.startServer(t, 3)
	const sender, other = "192.0.2.7", "192.0.2.8"
	ctx, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	answered := make(chan int, 64)
	var flood sync.WaitGroup
	for i := range 64 {
		flood.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.address+"/mcp", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Host = f.resource.Host()
			for k, v := range forwardedBearer(sender, "slow-"+strconv.Itoa(i)) {
				req.Header.Set(k, v)
			}
			if resp, err := f.transport.RoundTrip(req); err == nil {
				resp.Body.Close()
				answered <- resp.StatusCode
			}
		})
	}
	got := map[int]int{}
	for range 32 { // that many may wait
		select {
		case status := <-answered:
			got[status]++
		case <-time.After(10 * time.Second):
			t.Fatalf("got %v", got)
		}
	}
	if got[503] != 3 || got[429] != 29 {
		t.Errorf("got %v, want 3 of 503 and then 429", got)
	}
	if n := issuer.requestsFor("slow-"); n != 8 {
		t.Errorf("the issuer was asked about %d tokens at a time", n)
	}
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(other, "good"), nil); r.status != 200 {
		t.Errorf("an unknown token of another address answered %d", r.status)
	}
	hangUp()
	flood.Wait()
}

// Hanging up costs the sender nothing and the issuer a request, so it counts as a failure.
func TestCanceledIntrospectionCountsAsFailure(t *testing.T) {
	issuer := newIntrospectionServer(t)
	f := issuer.startServer(t, 2)
	const sender = "192.0.2.7"
	for i := range 2 {
		ctx, hangUp := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.address+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = f.resource.Host()
		for k, v := range forwardedBearer(sender, "slow-"+strconv.Itoa(i)) {
			req.Header.Set(k, v)
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if resp, err := f.transport.RoundTrip(req); err == nil {
				resp.Body.Close()
				t.Errorf("it was answered %d", resp.StatusCode)
			}
		}()
		waitFor(t, "the issuer is asked", func() bool { return issuer.requestsFor("slow-") == i+1 })
		hangUp()
		<-gone
		waitFor(t, "the server notices", func() bool {
			return strings.Count(f.log.String(), "reason=introspection_unavailable") == i+1
		})
	}
	if r := f.do(t, http.MethodPost, "/mcp", forwardedBearer(sender, "good"), nil); r.status != 429 ||
		issuer.requestsFor("good") != 0 {
		t.Errorf("after two of them a token answered %d, and the issuer was asked %d times", r.status,
			issuer.requestsFor("good"))
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

// delayedProvider delays the verification of good tokens, as a busy machine would.
type delayedProvider struct {
	providers.Provider
	wait time.Duration
}

func (s delayedProvider) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if strings.HasPrefix(token, "good") {
		time.Sleep(s.wait)
	}
	return s.Provider.Verify(ctx, token)
}

// The throttle may have recovered by the time a token is not introspected. The token must not get a 401,
// because its client would discard it.
func TestThrottledTokenIsNotCalledInvalid(t *testing.T) {
	issuer := newIntrospectionServer(t)
	settings := oidc.Defaults()
	settings.Issuer, settings.Introspection, settings.IntrospectionURL,
		settings.IntrospectionAuth = "https://login.example.com", "always", issuer.URL, "none"
	resource, err := providers.ParseResource("https://mcp.example.com/mcp")
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	p, err := settings.Open(t.Context(), providers.ServerInfo{Resource: resource, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	limits := server.DefaultSettings()
	limits.FailedAuthPerMinute = 60 // one more in a second
	chain := server.New(server.Config{Resource: resource, Settings: limits, Logger: logger},
		delayedProvider{p, 1100 * time.Millisecond}, &application{})
	status := func(token string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, resource.String(), nil)
		r.Header.Set("Authorization", "Bearer "+token)
		chain.ServeHTTP(w, r)
		return w.Code
	}
	for i := 0; status("bad") != http.StatusTooManyRequests; i++ {
		if i > 100 {
			t.Fatal("no request gets a 429")
		}
	}
	if got := status("good"); got != http.StatusTooManyRequests || issuer.requestsFor("good") != 0 {
		t.Errorf("answered %d after %d introspections, want 429 after none", got, issuer.requestsFor("good"))
	}
}
