package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/providers"
)

const (
	maxIntrospectionBytes = 64 << 10

	// maxActiveTokens bounds how many active tokens are remembered, at about 200 bytes each, and
	// maxIntrospectedBytes the memory of what the issuer answered about them: 10,000 answers of usual length fit.
	maxActiveTokens      = 10_000
	maxIntrospectedBytes = 16 << 20
)

// Introspector asks the issuer about a token (RFC 7662) and applies the same rules to the answer that stand for the claims
// of a JWT.
type Introspector struct {
	protocol IntrospectionProtocol
	address  *EndpointResolver
	client   *http.Client
	verifier *Verifier // of which only the rules for claims are used
	ttl      time.Duration
	logger   *slog.Logger
	ctx      context.Context // questions end with it

	flight singleflight.Group
	queue  *questionQueue
	cache  tokenCache
	// active holds the tokens that were active at their last introspection, until they expire. A token whose
	// identity is not cached any more is introspected again, but before the tokens that nothing is known of.
	active *cache[struct{}]
	// The issuer is not asked before these times, in Unix nanoseconds. Tokens that were active at their last
	// question wait only for a Retry-After that was answered to such a question: anyone can make the issuer
	// refuse the others.
	busyUntil, activeBusyUntil atomic.Int64
	// nextComplaint is when the log may say again that the issuer refuses this server's credentials, in Unix
	// nanoseconds.
	nextComplaint atomic.Int64
}

// complaintInterval is the least time between two log lines about this server's credentials, which every
// token would cause.
const complaintInterval = time.Minute

// forCaller returns the result for one of several callers.
func (r result) forCaller() (*providers.Identity, error) {
	if r.err != nil {
		return nil, r.err
	}
	return &copyIdentity(r.id).Identity, nil
}

// NewIntrospector returns an introspector that asks by protocol at the endpoint, and applies rules to the answers. An
// answer may be used again for ttl, never past the token's end. Requests end with ctx.
func NewIntrospector(ctx context.Context, protocol IntrospectionProtocol, address *EndpointResolver, client *http.Client, rules Rules, ttl time.Duration, logger *slog.Logger) *Introspector {
	verifier := NewVerifier(rules, nil)
	introspected := check{members("token_type", "token_use"), fixed("a bearer access token's, or absent"), checkIntrospectedType}
	verifier.claimChecks = slices.Insert(verifier.claimChecks, 0, introspected)
	return &Introspector{
		protocol: protocol, address: address, client: client, verifier: verifier, ttl: ttl, logger: logger, ctx: ctx,
		queue: newQuestionQueue(), cache: newTokenCache(maxActiveTokens, maxIntrospectedBytes),
		active: newCache[struct{}](maxActiveTokens, 0),
	}
}

// Verify asks the issuer, unless it did lately. The question goes on when the caller hangs up: others may wait for it.
//
// Anyone can cause questions by inventing tokens. A token that was active at its last question, and has not
// expired, is therefore asked about in any case, and before the others.
func (i *Introspector) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if longest := i.verifier.rules.MaxTokenBytes; len(token) > longest {
		return nil, providers.Invalidf(providers.TokenTooLong, "%d bytes, at most %d are accepted", len(token), longest)
	}
	key := keyOf(token, 0)
	if known, ok := i.cache.get(key, i.now()); ok {
		return known.forCaller()
	}
	_, active := i.active.get(key, i.now())
	if !active && providers.IsWithoutIntrospection(ctx) {
		return nil, providers.Invalidf(providers.Throttled, "the issuer is not asked for an address that sent too many bad tokens")
	}
	return i.await(ctx, token, key, active)
}

// await has the question asked, or joins the callers that wait for its answer already.
func (i *Introspector) await(ctx context.Context, token string, key tokenKey, active bool) (*providers.Identity, error) {
	address := providers.AddressFrom(ctx)
	ctx, cancel := context.WithTimeout(ctx, unknownKeyWait)
	defer cancel()
	answer := i.flight.DoChan(string(key.hash[:]), func() (any, error) {
		if known, ok := i.cache.get(key, i.now()); ok {
			return known, nil
		}
		return i.introspect(token, key, active, address), nil
	})
	select {
	case got := <-answer:
		return got.Val.(result).forCaller()
	case <-ctx.Done():
		if active {
			return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "no answer while the caller waited")
		}
		return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.IntrospectionUnavailable, "no answer about an unknown token while the caller waited")
	}
}

func (i *Introspector) now() time.Time { return i.verifier.rules.Now() }

func (i *Introspector) introspect(token string, key tokenKey, active bool, sender string) result {
	claims, err := i.request(i.ctx, token, active, sender)
	var id *providers.Identity
	if err == nil {
		id, err = i.verifier.checkClaims(claims)
	}
	now := i.now()
	switch {
	case err == nil:
		id = cachedIdentity(id, claims)
		expiry := id.ExpiryWithLeeway
		if !claims.has("exp") {
			expiry = time.Unix(maxTime, 0)
		}
		i.active.put(key, struct{}{}, 0, now, expiry)
		// Never past the expiry of the token, leeway or not.
		end := now.Add(i.ttl)
		if id.Expiry.Before(end) {
			end = id.Expiry
		}
		i.cache.accept(key, id, now, end)
	case errors.Is(err, providers.ErrInvalidToken):
		i.active.remove(key)
		i.cache.refuse(key, providers.ReasonOf(err), now, i.ttl)
	}
	return result{id, err}
}

// request puts one question to the issuer and returns the claims of an active token. active says that the token
// was active at its last question; sender is the address that it came from.
func (i *Introspector) request(ctx context.Context, token string, active bool, sender string) (rawObject, error) {
	busyUntil := &i.busyUntil
	if active {
		busyUntil = &i.activeBusyUntil
	}
	if wait := time.Until(time.Unix(0, busyUntil.Load())); wait > 0 {
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "the issuer wants to be left alone for another %s", wait.Round(time.Second))
	}
	address, err := i.address.current()
	if err != nil {
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	leave, err := i.queue.enter(ctx, active, sender)
	if err != nil {
		return nil, err
	}
	defer leave()
	req, err := i.protocol.request(ctx, address, token)
	if err != nil {
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "%v", err)
	}
	answer, err := send(i.client, req, maxIntrospectionBytes)
	if err != nil {
		var busy *retryAfterError
		if errors.As(err, &busy) && busy.retryAfter > 0 {
			until := time.Now().Add(min(busy.retryAfter, time.Minute)).UnixNano()
			i.busyUntil.Store(until)
			busyUntil.Store(until)
		}
		return nil, providers.Unavailablef(providers.IntrospectionUnavailable, "%v", err)
	}
	claims, err := i.protocol.claims(answer, i.verifier.knownClaims)
	if errors.Is(err, providers.ErrUnavailable) {
		i.complain(err)
	}
	if err != nil {
		return nil, err
	}
	// The answer comes from the issuer itself, which need not repeat who it is (RFC 7662, section 2.2). If it does, it
	// must be right, and with many tenants it has to say which.
	if !claims.has("iss") && len(i.verifier.rules.Issuers) == 1 {
		claims = claims.with("iss", mustMarshal(i.verifier.rules.Issuers[0]))
	}
	return claims, nil
}

// status says whether the issuer can be asked: once the address is known.
func (i *Introspector) status() providers.KeyStatus {
	if _, err := i.address.current(); err != nil {
		return providers.KeyStatus{Reason: providers.IntrospectionUnavailable, Problem: err.Error()}
	}
	return providers.KeyStatus{Usable: true}
}

// complain logs that the issuer does not answer questions as it should, at most once per complaintInterval.
func (i *Introspector) complain(err error) {
	now := time.Now()
	if next := i.nextComplaint.Load(); now.UnixNano() >= next && i.nextComplaint.CompareAndSwap(next, now.Add(complaintInterval).UnixNano()) {
		i.logger.Error("the issuer refuses to be asked about tokens", "reason", providers.IntrospectionUnavailable, "error", err)
	}
}

// Explain implements [Explainer] for tokens that only the issuer understands. If live, it looks the address
// up itself: a command that asks once does not wait for the background.
func (i *Introspector) Explain(ctx context.Context, token string, live bool) Explanation {
	e := Explanation{rules: i.verifier.rules}
	f := Finding{Name: "introspection", Got: fmt.Sprintf("%d bytes", len(token)), Want: "active, by the word of the issuer"}
	if !live {
		f.Skipped = "nothing was asked over the network"
		e.Findings = append(e.Findings, f)
		return e
	}
	var claims rawObject
	err := i.address.lookUp(ctx)
	if err != nil {
		err = providers.Unavailablef(providers.IntrospectionUnavailable, "%v", err)
	} else {
		claims, err = i.request(ctx, token, false, "")
	}
	if errors.Is(err, providers.ErrUnavailable) {
		f.Skipped, err = err.Error(), nil
	}
	e.add(f, err)
	if claims == nil {
		return e
	}
	e.claims = claims
	id := &providers.Identity{}
	for _, check := range i.verifier.claimChecks {
		e.apply(i.verifier, check, "claim ", claims, id)
	}
	e.others(i.verifier)
	return e
}

// EndpointResolver keeps the address of an endpoint that the issuer's metadata names.
type EndpointResolver struct {
	find     func(context.Context) (string, error)
	patience time.Duration // of one search

	mu      sync.Mutex
	address string
	err     error
}

// NewEndpointResolver returns a resolver that looks the address up by find, each time for at most patience. Run must be
// running.
func NewEndpointResolver(find func(context.Context) (string, error), patience time.Duration) *EndpointResolver {
	return &EndpointResolver{find: find, patience: patience, err: errors.New("its metadata was not read yet")}
}

// StaticEndpoint is a locator that knows its address from the start. It need not run.
func StaticEndpoint(address string) *EndpointResolver { return &EndpointResolver{address: address} }

// Run looks the address up now and every ten minutes until ctx ends; after a failure sooner, backing off from one second.
// A failure does not make a known address unknown.
func (l *EndpointResolver) Run(ctx context.Context) {
	for wait := time.Second; ; {
		err := l.refresh(ctx)
		pause := 10 * time.Minute
		if err != nil {
			pause, wait = wait, min(2*wait, 30*time.Second)
		} else {
			wait = time.Second
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// refresh looks the address up now.
func (l *EndpointResolver) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	address, err := l.find(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.address = address
	}
	l.err = err
	return err
}

// lookUp looks the address up if it is not known yet.
func (l *EndpointResolver) lookUp(ctx context.Context) error {
	if _, err := l.current(); err == nil {
		return nil
	}
	return l.refresh(ctx)
}

func (l *EndpointResolver) current() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.address == "" {
		return "", l.err
	}
	return l.address, nil
}
