package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/providers"
)

// fakeIssuer responds to introspection requests in memory. Tokens that begin with "good" are active; those
// that begin with "hang" get no response; all others are not active.
type fakeIssuer struct {
	mu       sync.Mutex
	open     int            // requests in flight
	requests map[string]int // by token
	claims   map[string]any // of good tokens, on top of the usual; nil removes
	revoked  bool
	busy     string // prefix of the tokens with a 429
}

func (f *fakeIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	token := r.PostFormValue("token")
	f.mu.Lock()
	if f.requests == nil {
		f.requests = map[string]int{}
	}
	f.requests[token]++
	f.open++
	active, busy := strings.HasPrefix(token, "good") && !f.revoked,
		f.busy != "" && strings.HasPrefix(token, f.busy)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.open--; f.mu.Unlock() }()
	status, header, claims := http.StatusOK, http.Header{}, map[string]any{"active": active}
	switch {
	case strings.HasPrefix(token, "hang"):
		<-r.Context().Done()
		return nil, r.Context().Err()
	case busy:
		status = http.StatusTooManyRequests
		header.Set("Retry-After", "30")
	case active:
		claims["sub"], claims["aud"], claims["client_id"], claims["exp"] = "alice", fakeResource, "web",
			time.Now().Add(time.Hour).Unix()
		for name, value := range f.claims {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
	text, err := json.Marshal(claims)
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(text))}, err
}

func (f *fakeIssuer) inFlight() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

func (f *fakeIssuer) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeIssuer) count(token string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[token]
}

const fakeResource = "https://mcp.example.com/mcp"

func (f *fakeIssuer) introspector(t *testing.T, ttl time.Duration, change func(*Rules)) *Introspector {
	rules := Rules{Issuers: []string{"https://login.example.com"}, Audiences: []string{fakeResource},
		ScopeClaims: []string{"scope"}, ClientClaims: []string{"client_id"}}
	if change != nil {
		change(&rules)
	}
	return NewIntrospector(t.Context(), RFC7662(NoAuthentication),
		StaticEndpoint("https://login.example.com/introspect"), &http.Client{Transport: f}, rules, ttl,
		slog.New(slog.DiscardHandler))
}

func fromAddress(address string) context.Context {
	return context.WithValue(context.Background(), providers.AddressKey{}, address)
}

func TestIntrospectorServesActiveTokensOfThrottledAddresses(t *testing.T) {
	const ttl = 30 * time.Second
	for name, c := range map[string]struct {
		before  string // the token introspected before, if any
		claims  map[string]any
		revoked bool
		wait    time.Duration
		want    providers.Reason
	}{
		"active, cache time over":      {before: "good", wait: ttl, want: ""},
		"active, cache time long over": {before: "good", wait: 50 * time.Minute, want: ""},
		"active, without exp": {before: "good", claims: map[string]any{"exp": nil},
			wait: 50 * time.Hour, want: ""},
		"expired since": {before: "good", wait: 2 * time.Hour, want: providers.ReasonThrottled},
		"revoked since": {before: "good", revoked: true, wait: ttl,
			want: ReasonInactive},
		"not introspected before":         {before: "good-other", wait: ttl, want: providers.ReasonThrottled},
		"introspected before, not active": {wait: ttl, want: providers.ReasonThrottled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &fakeIssuer{claims: c.claims}
				i := issuer.introspector(t, ttl, func(r *Rules) { r.WithoutExpiry = ttl })
				token := "good"
				if c.before == "" {
					token = "bad"
					c.before = token
				}
				_, _ = i.Verify(context.Background(), c.before)
				time.Sleep(c.wait)
				issuer.update(func() { issuer.revoked = c.revoked })
				_, err := i.Verify(providers.WithoutIntrospection(context.Background()), token)
				if got := providers.ReasonOf(err); got != c.want {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if n := issuer.count(token); c.want == providers.ReasonThrottled && n > 1 ||
					c.want != providers.ReasonThrottled && n != 2 {
					t.Errorf("%d introspection requests", n)
				}
				if c.revoked {
					time.Sleep(ttl)
					if _, err := i.Verify(providers.WithoutIntrospection(context.Background()),
						token); providers.ReasonOf(err) != providers.ReasonThrottled {
						t.Errorf("a token that is no longer active is introspected again: %v", err)
					}
				}
			})
		})
	}
}

// Unauthenticated clients at many addresses, each within its limits, wait for a slow issuer. Tokens that were
// active at their last introspection are introspected at once.
func TestRequestQueueNeverDelaysActiveTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{}
		i := issuer.introspector(t, time.Second, nil)
		const active = 40
		for n := range active {
			if _, err := i.Verify(context.Background(), fmt.Sprint("good-", n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) // the cache time is over
		var mu sync.Mutex
		refused := 0
		var flood sync.WaitGroup
		for n := range 400 {
			flood.Go(func() {
				_, err := i.Verify(fromAddress(fmt.Sprint("192.0.2.", n%20)), fmt.Sprint("hang-", n))
				if !errors.Is(err, providers.ErrUnavailable) || !errors.Is(err, providers.ErrTooManyUnknown) {
					t.Errorf("an unknown token: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				refused++
			})
		}
		synctest.Wait()
		mu.Lock()
		if at := refused; at != 400-maxQueued || issuer.inFlight() != maxInFlight-reservedInFlight {
			t.Errorf("%d unknown tokens are refused at once, and %d are in flight", at, issuer.inFlight())
		}
		mu.Unlock()
		began := time.Now()
		var calls sync.WaitGroup
		for n := range active {
			calls.Go(func() {
				if _, err := i.Verify(fromAddress("192.0.2.1"), fmt.Sprint("good-", n)); err != nil {
					t.Errorf("an active token: %v", err)
				}
			})
		}
		calls.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("active tokens waited %s", took)
		}
		flood.Wait()
		time.Sleep(fetchTimeout) // the requests end without their callers
		synctest.Wait()
		i.queue.mu.Lock()
		defer i.queue.mu.Unlock()
		if len(i.queue.addresses) != 0 || len(i.queue.queued) != 0 || len(i.queue.shared) != 0 ||
			len(i.queue.reserved) != 0 || len(i.queue.activeQueued) != 0 {
			t.Errorf("the queue is not empty: %+v", i.queue)
		}
	})
}

func TestRequestQueueLimitsOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{}
		i := issuer.introspector(t, time.Second, nil)
		var flood sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for n := range 100 {
			flood.Go(func() {
				_, err := i.Verify(fromAddress("192.0.2.1"), fmt.Sprint("hang-", n))
				if !errors.Is(err, providers.ErrTooManyUnknown) {
					t.Errorf("got %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				refused++
			})
		}
		synctest.Wait()
		mu.Lock()
		if issuer.inFlight() != maxInFlightPerAddress || refused != 100-maxQueuedPerAddress {
			t.Errorf("%d requests are in flight, and %d tokens refused", issuer.inFlight(), refused)
		}
		mu.Unlock()
		for _, ctx := range []context.Context{fromAddress("192.0.2.2"), context.Background()} {
			began := time.Now()
			if _, err := i.Verify(ctx, fmt.Sprint("good-", ctx.Value(providers.AddressKey{}))); err != nil ||
				time.Since(began) != 0 {
				t.Errorf("an unknown token of another address: %v after %s", err, time.Since(began))
			}
		}
		flood.Wait()
		time.Sleep(2 * fetchTimeout)
	})
}

// Neither a wait that ends in time nor an outage counts as a failure of the address.
func TestRequestQueueCountsOnlyTimeoutsAsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{busy: "busy"}
		i := issuer.introspector(t, time.Second, nil)
		for n := range 3 * maxInFlightPerAddress {
			if _, err := i.Verify(fromAddress("192.0.2.1"), fmt.Sprint("good-", n)); err != nil {
				t.Error(err)
			}
		}
		if _, err := i.Verify(fromAddress("192.0.2.1"), "busy"); !errors.Is(err, providers.ErrUnavailable) ||
			errors.Is(err, providers.ErrTooManyUnknown) {
			t.Errorf("got %v", err)
		}
	})
}

// Anyone can cause a Retry-After for unknown tokens.
func TestRetryAfterForUnknownTokensDoesNotDelayActiveOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{}
		i := issuer.introspector(t, time.Second, nil)
		if _, err := i.Verify(context.Background(), "good"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		issuer.update(func() { issuer.busy = "invented" })
		for n := range 3 {
			if _, err := i.Verify(context.Background(), fmt.Sprint("invented-", n)); !errors.Is(err,
				providers.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
		if issuer.count("invented-1") != 0 {
			t.Error("unknown tokens are introspected in spite of Retry-After")
		}
		if _, err := i.Verify(context.Background(), "good"); err != nil {
			t.Errorf("an active token: %v", err)
		}
		time.Sleep(2 * time.Second)
		issuer.update(func() { issuer.busy = "good" })
		for range 3 {
			if _, err := i.Verify(context.Background(), "good"); !errors.Is(err, providers.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
		if n := issuer.count("good"); n != 3 {
			t.Errorf("%d introspection requests for a token with Retry-After", n)
		}
	})
}

// Tokens that were active are known as such until they expire, whatever the size of the answers about them.
func TestIntrospectorRemembersActiveTokensBeyondTheBytesOfTheirAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{claims: map[string]any{"groups": strings.Repeat("x", 32<<10)}}
		i := issuer.introspector(t, time.Second, nil)
		for n := range maxActiveTokens {
			if _, err := i.Verify(context.Background(), fmt.Sprint("good-", n)); err != nil {
				t.Fatal(err)
			}
			if i.cache.accepted.bytes > maxIntrospectedBytes {
				t.Fatalf("%d bytes of answers are cached", i.cache.accepted.bytes)
			}
		}
		if n := i.cache.accepted.len(); n < 100 || n > maxIntrospectedBytes>>15 {
			t.Errorf("%d answers are cached", n)
		}
		for n := range 2 * maxCachedRefusals {
			if _, err := i.Verify(context.Background(), fmt.Sprint("invented-",
				n)); providers.ReasonOf(err) != ReasonInactive {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // no answer may be used any more
		for n := range maxActiveTokens {
			if _, active := i.active.get(keyOf(fmt.Sprint("good-", n), 0), time.Now()); !active {
				t.Fatalf("token %d is not known to be active", n)
			}
		}
		throttled := providers.WithoutIntrospection(context.Background())
		if _, err := i.Verify(throttled, "good-0"); err != nil {
			t.Errorf("an active token of a throttled address: %v", err)
		}
		if _, err := i.Verify(throttled, "good-other"); providers.ReasonOf(err) != providers.ReasonThrottled {
			t.Errorf("an unknown token of a throttled address: %v", err)
		}
	})
}

func TestCachedClaimsDoNotRetainTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{claims: map[string]any{"groups": []string{"a", "b"}}}
		i := issuer.introspector(t, time.Minute, nil)
		id, err := i.Verify(context.Background(), "good")
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		claims, _ := id.TokenDetails().Claims.(rawObject)
		for _, m := range claims {
			size += len(m.name) + len(m.value)
			if cap(m.name) != len(m.name) || cap(m.value) != len(m.value) {
				t.Errorf("%s shares capacity with the next member", m.name)
			}
		}
		if got := string(id.Claims()["groups"]); got != `["a","b"]` {
			t.Errorf("groups are %s", got)
		}
		if i.cache.accepted.bytes < size || i.cache.accepted.bytes > size+8<<10 {
			t.Errorf("%d bytes are counted for %d", i.cache.accepted.bytes, size)
		}
	})
}

// A command that runs once does not wait for the lookup in the background.
func TestExplainLooksUpTheIntrospectionEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{}
		i := issuer.introspector(t, time.Minute, nil)
		found := 0
		i.endpoint = NewEndpointResolver(func(context.Context) (string, error) {
			found++
			return "https://login.example.com/introspect", nil
		}, fetchTimeout)
		if e := i.Explain(context.Background(), "good", false); found != 0 || issuer.count("good") != 0 ||
			len(e.Findings) != 1 || e.Findings[0].Skipped == "" {
			t.Errorf("without the network: %+v", e.Findings)
		}
		for range 2 {
			e := i.Explain(context.Background(), "good", true)
			if f, open := e.Unchecked(); open || !e.OK() || len(e.Findings) < 2 {
				t.Errorf("an active token: %+v, %+v", f, e.Findings)
			}
		}
		if found != 1 {
			t.Errorf("the address was looked up %d times", found)
		}
		i.endpoint = NewEndpointResolver(func(context.Context) (string, error) {
			return "",
				errors.New("no metadata")
		}, fetchTimeout)
		if f, open := i.Explain(context.Background(), "good", true).Unchecked(); !open ||
			!strings.Contains(f.Skipped, "no metadata") {
			t.Errorf("without an address: %+v", f)
		}
	})
}

func TestHintForIntrospectionResponseWithoutExp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{claims: map[string]any{"exp": nil}}
		for want, change := range map[providers.Reason]func(*Rules){ReasonExpiryMissing: nil,
			"": func(r *Rules) { r.WithoutExpiry = time.Minute }} {
			e := issuer.introspector(t, time.Minute, change).Explain(context.Background(), "good", true)
			if e.failed(ReasonExpiryMissing) != (want == ReasonExpiryMissing) || e.OK() != (want == "") {
				t.Errorf("%+v", e.Findings)
			}
			if hints := e.Hints(); want != "" && (len(hints) != 1 ||
				!strings.Contains(hints[0].Fix, "provider.introspection_without_exp")) {
				t.Errorf("hints %+v", hints)
			}
		}
	})
}
