package authserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
)

const (
	brokerURL      = "http://127.0.0.1:9"
	brokerResource = brokerURL + "/mcp"
	foreverGrace   = time.Minute
	shortWait      = 300 * time.Millisecond
)

var errDown = errors.New("down for the test")

// replicas are issuers of one authorization server whose people sign in at another provider.
type replicas struct {
	t        *testing.T
	store    *failingStore
	keys     *seal.Keys
	provider *provider
	clock    *clock
	events   *eventLog
	all      []*testIssuer
	signIns  atomic.Int64
	ahead    []time.Duration // of clock, by replica
}

// openReplicas starts n issuers with one store, one clock and the same keys.
func openReplicas(t *testing.T, n int, change ...func(*authserver.Config)) *replicas {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &replicas{t: t, keys: seal.Random(), provider: newProvider(), clock: &clock{now: time.Now()},
		events: new(eventLog)}
	r.store = &failingStore{Store: store.NewMemory(10_000, r.clock.Now)}
	for at := range n {
		r.ahead = append(r.ahead, 0)
		now := func() time.Time { return r.clock.Now().Add(r.ahead[at]) }
		issuer := open(t, append([]func(*authserver.Config){func(c *authserver.Config) {
			c.AutoApprove = false
			c.Issuer, c.Resources = brokerURL, []string{brokerResource, brokerURL + "/other"}
			c.Clients = slices.DeleteFunc(c.Clients, func(c authserver.Client) bool { return c.ID == "service" })
			c.SigningKey, c.Keys, c.Store, c.SignIn, c.Now = key, r.keys, r.store, r.provider, now
			c.Record, c.RefreshGrace = r.events.record, foreverGrace
		}}, change...)...)
		issuer.resource = brokerResource
		issuer.SetPatience(shortWait, shortWait)
		r.all = append(r.all, issuer)
	}
	return r
}

// clocksApart sets how far the clocks of the replicas are ahead.
func (r *replicas) clocksApart(ahead ...time.Duration) { copy(r.ahead, ahead) }

func (r *replicas) first() *testIssuer { return r.all[0] }

// person signs in as alice, with a credential of the provider, and every scope unless some are named.
func (r *replicas) person(scopes ...string) authserver.Person {
	return authserver.Person{Subject: "alice", Scopes: scopes, Unrestricted: len(scopes) == 0,
		Credential: r.provider.issue("alice")}
}

// code signs a person in to the client public, and returns the code.
func (r *replicas) code(who authserver.Person, scopes ...string) string {
	r.t.Helper()
	return r.codeFor("public", who, scopes...)
}

func (r *replicas) codeFor(client string, who authserver.Person, scopes ...string) string {
	r.t.Helper()
	if len(scopes) == 0 {
		scopes = []string{"notes:read", "notes:write", "offline_access"}
	}
	code, err := r.first().Approve(r.t.Context(), authserver.Request{ClientID: client, RedirectURI: callback,
		Challenge: challengeOf(verifier), Resource: brokerResource, Scopes: scopes}, who,
		fmt.Sprint("state ", r.signIns.Add(1)))
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

// tokens signs alice in and returns the token response.
func (r *replicas) tokens(who authserver.Person, scopes ...string) map[string]any {
	r.t.Helper()
	return wantTokens(r.t, r.first().exchangeCode(r.code(who, scopes...)))
}

func (issuer *testIssuer) exchangeCode(code string, changes ...string) answer {
	issuer.t.Helper()
	return issuer.post("/token", issuer.exchange(code, changes...))
}

func (issuer *testIssuer) revoke(token any, client string) answer {
	issuer.t.Helper()
	return issuer.post("/revoke", url.Values{"token": {token.(string)}, "client_id": {client}})
}

func refreshForm(token any) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {"public"}, "refresh_token": {token.(string)}}
}

func formBody(form url.Values) io.Reader { return strings.NewReader(form.Encode()) }

func wantTokens(t *testing.T, a answer) map[string]any {
	t.Helper()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	return a.json(t)
}

func wantInvalidGrant(t *testing.T, a answer) {
	t.Helper()
	wantError(t, a, http.StatusBadRequest, "invalid_grant")
}

// wantUnavailable checks the response to a request that may succeed later.
func wantUnavailable(t *testing.T, a answer, retryAfter string) {
	t.Helper()
	wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
	if got := a.Header.Get("Retry-After"); got != retryAfter {
		t.Errorf("Retry-After %q, want %q", got, retryAfter)
	}
	if strings.Contains(a.body, errDown.Error()) {
		t.Errorf("the response has the error of the store: %s", a.body)
	}
}

// rounds is how often a race is repeated.
func rounds(short, long int) int {
	if os.Getenv("GATEHOUSE_LONG") != "" {
		return long
	}
	return short
}

// provider takes the place of the company's provider: it is strict, each of its refresh tokens is good for one use.
type provider struct {
	mu        sync.Mutex
	issued    int
	valid     map[string]string // current credential to subject
	used      map[string]bool
	asked     []string // credentials
	dismissed []string // credentials

	// down makes it unreachable, and disabled removes people.
	down, disabled bool
	// judge changes who a person is, or fails.
	judge func(*authserver.Person) error
	// lenient lets a used credential be used again.
	lenient bool
	// before is called with the question, without a lock.
	before func()
}

func newProvider() *provider {
	return &provider{valid: map[string]string{}, used: map[string]bool{}}
}

func (p *provider) set(change func(*provider)) { p.mu.Lock(); defer p.mu.Unlock(); change(p) }

func (p *provider) questions() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.asked) }

func (p *provider) issue(subject string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next(subject)
}

func (p *provider) next(subject string) string {
	p.issued++
	credential := fmt.Sprint("credential ", p.issued)
	p.valid[credential] = subject
	return credential
}

func (p *provider) Choices() []authserver.Person { return nil }

func (p *provider) Begin(context.Context, authserver.Attempt) (*authserver.Person, string, error) {
	return nil, "https://login.example/authorize", nil
}

func (p *provider) Finish(context.Context, authserver.Attempt, url.Values) (authserver.Person, error) {
	return authserver.Person{}, errors.New("not part of these tests")
}

func (p *provider) Renew(ctx context.Context, who authserver.Person) (authserver.Renewal, error) {
	p.mu.Lock()
	before := p.before
	p.mu.Unlock()
	if before != nil {
		before()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, who.Credential)
	subject, ok := p.valid[who.Credential]
	switch {
	case p.down || ctx.Err() != nil:
		return authserver.Renewal{}, &authserver.SignInError{Reason: "provider_unavailable", Err: errDown}
	case p.disabled, !ok, p.used[who.Credential] && !p.lenient:
		return authserver.Renewal{}, &authserver.SignInError{Reason: "account_gone",
			Err: fmt.Errorf("invalid_grant: %w", authserver.ErrGone)}
	}
	p.used[who.Credential] = true
	judge := p.judge
	return authserver.Renewal{Credential: p.next(subject), Judge: func(context.Context) (authserver.Person, error) {
		now := authserver.Person{Subject: subject, Scopes: who.Scopes, Unrestricted: who.Unrestricted}
		if judge != nil {
			if err := judge(&now); err != nil {
				return authserver.Person{}, err
			}
		}
		return now, nil
	}}, nil
}

func (p *provider) Dismiss(_ context.Context, who authserver.Person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dismissed = append(p.dismissed, who.Credential)
}

// wantDismissed waits until the provider was told that a grant has ended.
func (p *provider) wantDismissed(t *testing.T, credential string) {
	t.Helper()
	for range 200 {
		p.mu.Lock()
		told := slices.Contains(p.dismissed, credential)
		p.mu.Unlock()
		if told {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("the provider was not told that the sign-in with %q has ended", credential)
}

// eventLog keeps what an issuer has recorded.
type eventLog struct {
	mu  sync.Mutex
	all []providers.SignInEvent
}

func (l *eventLog) record(_ context.Context, e providers.SignInEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *eventLog) find(kind string, reason providers.Reason) (found []providers.SignInEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Kind == kind && e.Reason == reason {
			found = append(found, e)
		}
	}
	return found
}

func (l *eventLog) want(t *testing.T, n int, kind string, reason providers.Reason) {
	t.Helper()
	if found := l.find(kind, reason); len(found) != n {
		t.Errorf("%d events %s with reason %q, want %d: %+v", len(found), kind, reason, n, l.all)
	}
}

// failingStore is a store that fails on demand, and counts what it is asked.
type failingStore struct {
	store.Store

	mu sync.Mutex
	// fails reports whether an operation does not reach the store, and loses whether its answer is lost.
	fails, loses func(op string) bool
	ops          map[string]int
}

func (s *failingStore) set(fails, loses func(string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails, s.loses = fails, loses
}

func (s *failingStore) heal() { s.set(nil, nil) }

// counts returns what was asked since the last call, and forgets it.
func (s *failingStore) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := s.ops
	s.ops = nil
	return counted
}

func (s *failingStore) begin(op string) (failed, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ops == nil {
		s.ops = map[string]int{}
	}
	s.ops[op]++
	return s.fails != nil && s.fails(op), s.loses != nil && s.loses(op)
}

func (s *failingStore) Create(ctx context.Context, r store.Record) error {
	failed, lost := s.begin("Create")
	if failed {
		return errDown
	}
	if err := s.Store.Create(ctx, r); err != nil || !lost {
		return err
	}
	return errDown
}

func (s *failingStore) Get(ctx context.Context, id string) (store.Record, error) {
	if failed, lost := s.begin("Get"); failed || lost {
		return store.Record{}, errDown
	}
	return s.Store.Get(ctx, id)
}

func (s *failingStore) Replace(ctx context.Context, r store.Record) (uint64, error) {
	failed, lost := s.begin("Replace")
	if failed {
		return 0, errDown
	}
	version, err := s.Store.Replace(ctx, r)
	if err == nil && lost {
		return 0, errDown
	}
	return version, err
}

func (s *failingStore) ByOwner(ctx context.Context, owner, after string, limit int) ([]store.Record, error) {
	if failed, lost := s.begin("ByOwner"); failed || lost {
		return nil, errDown
	}
	return s.Store.ByOwner(ctx, owner, after, limit)
}

func (s *failingStore) All(ctx context.Context, after string, limit int) ([]store.Record, error) {
	if failed, lost := s.begin("All"); failed || lost {
		return nil, errDown
	}
	return s.Store.All(ctx, after, limit)
}

func always(string) bool { return true }

func only(op string) func(string) bool { return func(asked string) bool { return asked == op } }

// records returns all records.
func (s *failingStore) records(t *testing.T) []store.Record {
	t.Helper()
	all, err := s.All(t.Context(), "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// restore makes a record what it was, as a store that has lost its last writes does.
func (s *failingStore) restore(t *testing.T, r store.Record) {
	t.Helper()
	if err := s.Delete(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for version := range r.Version - 1 {
		r.Version = version + 1
		if _, err := s.Store.Replace(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func withAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, providers.AddressKey{}, address)
}
