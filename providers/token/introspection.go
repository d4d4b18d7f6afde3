package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/providers"
)

const (
	maxIntrospectionBytes = 64 << 10

	// maxActiveTokens bounds how many active tokens are remembered, at about 200 bytes each, and
	// maxIntrospectedBytes the memory of their identities and claims: 10,000 of usual length fit.
	maxActiveTokens      = 10_000
	maxIntrospectedBytes = 16 << 20
)

// Introspector introspects tokens at the issuer (RFC 7662), and applies the same checks to the response as to
// the claims of a JWT.
type Introspector struct {
	protocol IntrospectionProtocol
	endpoint *EndpointResolver
	client   *http.Client
	verifier *Verifier // only its checks of claims are used
	ttl      time.Duration
	logger   *slog.Logger
	ctx      context.Context // requests end with it

	flight singleflight.Group
	queue  *requestQueue
	cache  tokenCache
	// active holds the tokens that were active at their last introspection, until they expire. A token whose
	// identity is no longer cached is introspected again, but before unknown tokens.
	active *cache[struct{}]
	// No request is sent before these times, in Unix nanoseconds. They follow from the Retry-After of the
	// issuer. Requests for active tokens are delayed only by a Retry-After in the response to such a request:
	// anyone can make the issuer limit requests for other tokens.
	retryAt, activeRetryAt atomic.Int64
	// nextLog is when the log may report again that the issuer rejects introspection requests, in Unix
	// nanoseconds.
	nextLog atomic.Int64
}

// logInterval is the least time between two log lines about rejected introspection requests, which every
// token would cause.
const logInterval = time.Minute

// forCaller returns the result for one of several callers.
func (r result) forCaller() (*providers.Identity, error) {
	if r.err != nil {
		return nil, r.err
	}
	return &copyIdentity(r.id).Identity, nil
}

// NewIntrospector returns an introspector that sends requests of protocol to endpoint and applies rules to
// the responses. A response is used for ttl, never past the token's expiry. Requests end with ctx.
func NewIntrospector(
	ctx context.Context, protocol IntrospectionProtocol, endpoint *EndpointResolver, client *http.Client,
	rules Rules, ttl time.Duration, logger *slog.Logger,
) *Introspector {
	verifier := NewVerifier(rules, nil)
	typeCheck := check{members("token_type", "token_use"), fixed("that of a bearer access token, or absent"),
		checkIntrospectedType}
	verifier.claimChecks = slices.Insert(verifier.claimChecks, 0, typeCheck)
	return &Introspector{
		protocol: protocol, endpoint: endpoint, client: client, verifier: verifier, ttl: ttl, logger: logger,
		ctx: ctx, queue: newRequestQueue(), cache: newTokenCache(maxActiveTokens, maxIntrospectedBytes),
		active: newCache[struct{}](maxActiveTokens, 0),
	}
}

// Verify introspects token, unless the result is cached. The request continues when the caller hangs up,
// because others may wait for it.
//
// Anyone can cause requests by inventing tokens. A token that was active at its last introspection, and has
// not expired, is therefore introspected in any case, and before the others.
func (i *Introspector) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if longest := i.verifier.rules.MaxTokenBytes; len(token) > longest {
		return nil, providers.Invalidf(ReasonTooLong,
			"%d bytes, at most %d are accepted", len(token), longest)
	}
	key := keyOf(token, 0)
	if known, ok := i.cache.get(key, i.now()); ok {
		if known.err == nil {
			i.cache.counts.remembered.Add(1)
		}
		return known.forCaller()
	}
	_, active := i.active.get(key, i.now())
	if !active && providers.IsWithoutIntrospection(ctx) {
		return nil, providers.Invalidf(providers.ReasonThrottled,
			"unknown tokens are not introspected for an address that sent too many bad ones")
	}
	id, err := i.await(ctx, token, key, active)
	if err == nil {
		i.cache.counts.checked.Add(1)
	}
	return id, err
}

// introspectionWait is how long a caller waits for the result of an introspection.
const introspectionWait = 3 * time.Second

// await introspects the token, or joins the callers that wait for its introspection already.
func (i *Introspector) await(
	ctx context.Context, token string, key tokenKey, active bool,
) (*providers.Identity, error) {
	sender := providers.AddressFrom(ctx)
	ctx, cancel := context.WithTimeout(ctx, introspectionWait)
	defer cancel()
	done := i.flight.DoChan(string(key.hash[:]), func() (any, error) {
		if known, ok := i.cache.get(key, i.now()); ok {
			return known, nil
		}
		return i.introspect(token, key, active, sender), nil
	})
	select {
	case got := <-done:
		return got.Val.(result).forCaller()
	case <-ctx.Done():
		if active {
			return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
				"no response while the caller waited")
		}
		return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable,
			"no response about an unknown token while the caller waited")
	}
}

func (i *Introspector) now() time.Time { return i.verifier.rules.Now() }

// introspect introspects the token and caches the result. An outage is not cached.
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

// request sends one introspection request and returns the claims of an active token. active reports that the
// token was active at its last introspection; sender is the address that it came from.
func (i *Introspector) request(
	ctx context.Context, token string, active bool, sender string,
) (rawObject, error) {
	retryAt := &i.retryAt
	if active {
		retryAt = &i.activeRetryAt
	}
	if wait := time.Until(time.Unix(0, retryAt.Load())); wait > 0 {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable,
			"the Retry-After of the issuer ends in %s", wait.Round(time.Second))
	}
	endpoint, err := i.endpoint.current()
	if err != nil {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	leave, err := i.queue.enter(ctx, active, sender)
	if err != nil {
		return nil, err
	}
	defer leave()
	req, err := i.protocol.request(ctx, endpoint, token)
	if err != nil {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	resp, err := doJSON(i.client, req, maxIntrospectionBytes)
	if err != nil {
		var busy *retryAfterError
		if errors.As(err, &busy) && busy.retryAfter > 0 {
			until := time.Now().Add(min(busy.retryAfter, time.Minute)).UnixNano()
			i.retryAt.Store(until)
			retryAt.Store(until)
		}
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	claims, err := i.protocol.claims(resp, i.verifier.knownClaims)
	if errors.Is(err, providers.ErrUnavailable) {
		i.logRejected(err)
	}
	if err != nil {
		return nil, err
	}
	// The response comes from the issuer itself, which may omit iss (RFC 7662, section 2.2). If iss is present
	// it is checked, and with several tenants it is required.
	if !claims.has("iss") && len(i.verifier.rules.Issuers) == 1 {
		claims = claims.with("iss", mustMarshal(i.verifier.rules.Issuers[0]))
	}
	return claims, nil
}

// status reports whether tokens can be introspected: once the endpoint is known.
func (i *Introspector) status() providers.KeyStatus {
	if _, err := i.endpoint.current(); err != nil {
		return providers.KeyStatus{Reason: providers.ReasonIntrospectionUnavailable, Problem: err.Error()}
	}
	return providers.KeyStatus{Usable: true}
}

// logRejected logs a response that does not tell the state of the token, at most once per logInterval.
func (i *Introspector) logRejected(err error) {
	now := time.Now()
	next := i.nextLog.Load()
	if now.UnixNano() >= next && i.nextLog.CompareAndSwap(next, now.Add(logInterval).UnixNano()) {
		i.logger.Error("the issuer rejects introspection requests",
			"reason", providers.ReasonIntrospectionUnavailable, "error", err)
	}
}

// Explain implements [Explainer] for tokens that only the issuer can read. If live, it looks up the endpoint
// itself: a command that runs once cannot rely on the lookup in the background.
func (i *Introspector) Explain(ctx context.Context, token string, live bool) Explanation {
	e := Explanation{rules: i.verifier.rules}
	e.shape, _ = shapeHint(token)
	f := Finding{Name: "introspection", Got: fmt.Sprintf("%d bytes", len(token)), Want: "active at the issuer"}
	if !live {
		f.Skipped = skippedOffline
		e.Findings = append(e.Findings, f)
		return e
	}
	var claims rawObject
	err := i.endpoint.lookUp(ctx)
	if err != nil {
		err = providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
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
		e.addCheck(i.verifier, check, "claim ", claims, id)
	}
	e.identity, _ = i.verifier.checkClaims(claims) // the error is among the findings
	e.addOthers(i.verifier)
	return e
}
