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

// asked is an issuer that is asked about tokens (RFC 7662). It calls those active that begin with "good", and leaves those
// that begin with "slow" without an answer.
type asked struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
}

func newAsked(t *testing.T) *asked {
	a := &asked{}
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
		a.CloseClientConnections() // a question may still be open, on purpose
		a.Close()
	})
	return a
}

// about says how often it was asked about tokens that begin so.
func (a *asked) about(prefix string) int {
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

// start is a front whose tokens are all asked about, and who lets an address have that many failures.
func (a *asked) start(t *testing.T, failures int, changes ...func(*oidc.Settings)) *front {
	t.Helper()
	settings := oidc.Defaults()
	settings.Issuer, settings.Introspection, settings.IntrospectionURL, settings.IntrospectionAuth = "https://login.example.com", "always", a.URL, "none"
	for _, change := range changes {
		change(settings)
	}
	return start(t, options{public: "https://mcp.example.com", provider: settings, settings: func(s *server.Settings) {
		s.FailedAuthPerMinute, s.TrustedProxies = failures, []string{"127.0.0.0/8"}
	}})
}

func from(address, token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token, "X-Forwarded-For": address}
}

// Whom we told to wait the issuer must not pay for. It still gets what we know without asking, and others get everything.
func TestWhoeverSentTooManyBadTokensMakesNobodyAskTheIssuer(t *testing.T) {
	issuer := newAsked(t)
	f := issuer.start(t, 3)
	const sender, other = "192.0.2.7", "192.0.2.8"
	if r := f.ask(t, http.MethodPost, "/mcp", from(sender, "good-known"), nil); r.status != 200 {
		t.Fatalf("a good token answered %d %s", r.status, r.body)
	}
	for i := range 10 {
		want := 401
		if i >= 3 {
			want = 429
		}
		if r := f.ask(t, http.MethodPost, "/mcp", from(sender, "bad-"+strconv.Itoa(i)), nil); r.status != want {
			t.Errorf("bad token %d answered %d, want %d", i, r.status, want)
		}
	}
	if n := issuer.about("bad-"); n != 3 {
		t.Errorf("the issuer was asked about %d bad tokens, want 3", n)
	}
	if r := f.ask(t, http.MethodPost, "/mcp", from(sender, "good-unknown"), nil); r.status != 429 || issuer.about("good-unknown") != 0 {
		t.Errorf("a token that nobody knows answered %d after %d questions", r.status, issuer.about("good-unknown"))
	}
	if r := f.ask(t, http.MethodPost, "/mcp", from(sender, "good-known"), nil); r.status != 200 {
		t.Errorf("a token that is known to be good answered %d", r.status)
	}
	if r := f.ask(t, http.MethodPost, "/mcp", from(other, "good-unknown"), nil); r.status != 200 {
		t.Errorf("the same from another address answered %d", r.status)
	}
}

// A proxy that is not trusted, or a NAT, makes one address of all callers. Strangers there must not lock out
// callers whose tokens the issuer called active, not even when the answer is too old to be used again.
func TestAFloodOfBadTokensDoesNotLockOutActiveOnesOfTheSameAddress(t *testing.T) {
	issuer := newAsked(t)
	f := issuer.start(t, 3, func(s *oidc.Settings) { s.IntrospectionCache = time.Nanosecond })
	const shared = "192.0.2.7"
	for _, token := range []string{"good-alice", "good-bob"} {
		if r := f.ask(t, http.MethodPost, "/mcp", from(shared, token), nil); r.status != 200 {
			t.Fatalf("%s answered %d %s", token, r.status, r.body)
		}
	}
	for i := range 6 {
		if r := f.ask(t, http.MethodPost, "/mcp", from(shared, "bad-"+strconv.Itoa(i)), nil); i >= 3 && r.status != 429 {
			t.Errorf("bad token %d answered %d", i, r.status)
		}
		for _, token := range []string{"good-alice", "good-bob"} {
			if r := f.ask(t, http.MethodPost, "/mcp", from(shared, token), nil); r.status != 200 {
				t.Errorf("%s answered %d after %d bad tokens", token, r.status, i+1)
			}
		}
	}
	if n := issuer.about("good-alice"); n != 7 {
		t.Errorf("the issuer was asked about it %d times", n)
	}
	// Nothing is known of this one.
	if r := f.ask(t, http.MethodPost, "/mcp", from(shared, "good-carol"), nil); r.status != 429 {
		t.Errorf("an unknown token answered %d", r.status)
	}
}

// Many unknown tokens at once wait for each other, which counts as a failure of their address.
func TestWaitsThatUnknownTokensCauseCountAsFailures(t *testing.T) {
	issuer := newAsked(t)
	f := issuer.start(t, 3)
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
			for k, v := range from(sender, "slow-"+strconv.Itoa(i)) {
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
	if n := issuer.about("slow-"); n != 8 {
		t.Errorf("the issuer was asked about %d tokens at a time", n)
	}
	if r := f.ask(t, http.MethodPost, "/mcp", from(other, "good"), nil); r.status != 200 {
		t.Errorf("an unknown token of another address answered %d", r.status)
	}
	hangUp()
	flood.Wait()
}

// Hanging up costs the sender nothing and the issuer a question, so it counts.
func TestWhoeverHangsUpWhileAQuestionIsOpenFailed(t *testing.T) {
	issuer := newAsked(t)
	f := issuer.start(t, 2)
	const sender = "192.0.2.7"
	for i := range 2 {
		ctx, hangUp := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.address+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = f.resource.Host()
		for k, v := range from(sender, "slow-"+strconv.Itoa(i)) {
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
		within(t, "the issuer is asked", func() bool { return issuer.about("slow-") == i+1 })
		hangUp()
		<-gone
		within(t, "the server notices", func() bool {
			return strings.Count(f.log.String(), "reason=introspection_unavailable") == i+1
		})
	}
	if r := f.ask(t, http.MethodPost, "/mcp", from(sender, "good"), nil); r.status != 429 || issuer.about("good") != 0 {
		t.Errorf("after two of them a token answered %d, and the issuer was asked %d times", r.status, issuer.about("good"))
	}
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("in 5 s it did not happen that %s", what)
		}
	}
}

// slow is a provider whose callers wait for a processor before they are looked at.
type slow struct {
	providers.Provider
	wait time.Duration
}

func (s slow) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if strings.HasPrefix(token, "good") {
		time.Sleep(s.wait)
	}
	return s.Provider.Verify(ctx, token)
}

// The throttle may have room again by the time a token was not asked about. That does not make the token a bad one, which its
// owner would throw away.
func TestATokenThatNobodyWasAskedAboutIsNotCalledInvalid(t *testing.T) {
	issuer := newAsked(t)
	settings := oidc.Defaults()
	settings.Issuer, settings.Introspection, settings.IntrospectionURL, settings.IntrospectionAuth = "https://login.example.com", "always", issuer.URL, "none"
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
	chain := server.New(server.Config{Resource: resource, Settings: limits, Logger: logger}, slow{p, 1100 * time.Millisecond}, &application{})
	status := func(token string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, resource.String(), nil)
		r.Header.Set("Authorization", "Bearer "+token)
		chain.ServeHTTP(w, r)
		return w.Code
	}
	for i := 0; status("bad") != http.StatusTooManyRequests; i++ {
		if i > 100 {
			t.Fatal("nobody is told to wait")
		}
	}
	if got := status("good"); got != http.StatusTooManyRequests || issuer.about("good") != 0 {
		t.Errorf("answered %d after %d questions, want 429 after none", got, issuer.about("good"))
	}
}
