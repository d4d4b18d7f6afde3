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

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"gatehouse/providers"
)

const (
	maxIntrospectionBytes = 64 << 10
	// refusalsKept and refusalKept bound how long and how many tokens are remembered as refused. They have a cache of
	// their own, so that invented tokens cannot push good ones out.
	refusalsKept = 1_000
	refusalKept  = 5 * time.Second
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
	active *activeTokens
	bad    *lru.Cache[fingerprint, verdict]
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

// verdict is what became of a token, for as long as it may be remembered. It holds no token.
type verdict struct {
	id    *providers.Identity
	err   error
	until time.Time
}

// answer returns a copy: a tool that changed its caller's scopes would change them for the next call.
func (v verdict) answer() (*providers.Identity, error) {
	if v.err != nil {
		return nil, v.err
	}
	one := *v.id
	one.Audience, one.Scopes = slices.Clone(v.id.Audience), slices.Clone(v.id.Scopes)
	return &one, nil
}

// NewIntrospector returns an introspector that asks by protocol at the endpoint, and applies rules to the answers. An
// answer may be used again for ttl, never past the token's end. Requests end with ctx.
func NewIntrospector(ctx context.Context, protocol IntrospectionProtocol, address *EndpointResolver, client *http.Client, rules Rules, ttl time.Duration, logger *slog.Logger) *Introspector {
	// The size is a constant above zero, of which alone the constructor would complain.
	bad, _ := lru.New[fingerprint, verdict](refusalsKept)
	verifier := NewVerifier(rules, nil)
	introspected := check{named("token_type", "token_use"), words("a bearer access token's, or absent"), checkIntrospectedType}
	verifier.claimChecks = slices.Insert(verifier.claimChecks, 0, introspected)
	return &Introspector{
		protocol: protocol, address: address, client: client, verifier: verifier, ttl: ttl, logger: logger, ctx: ctx,
		queue: newQuestionQueue(), active: newActiveTokens(), bad: bad,
	}
}

// Verify asks the issuer, unless it did lately. The question goes on when the caller hangs up: others may wait for it.
//
// Anyone can cause questions by inventing tokens. A token that was active at its last question, and has not
// expired, is therefore asked about in any case, and before the others.
func (i *Introspector) Verify(ctx context.Context, token string) (*providers.Identity, error) {
	if longest := i.verifier.rules.MaxTokenBytes; len(token) > longest {
		return nil, providers.Invalidf(ReasonTooLong, "%d bytes, at most %d are accepted", len(token), longest)
	}
	sum := fingerprintOf(token)
	v, known, active := i.remembered(sum)
	switch {
	case known:
		return v.answer()
	case active:
		return i.await(ctx, token, sum, true)
	}
	if providers.IsWithoutIntrospection(ctx) {
		return nil, providers.Invalidf(providers.ReasonThrottled, "the issuer is not asked for an address that sent too many bad tokens")
	}
	return i.await(ctx, token, sum, false)
}

// await has the question asked, or joins the callers that wait for its answer already.
func (i *Introspector) await(ctx context.Context, token string, sum fingerprint, active bool) (*providers.Identity, error) {
	address := providers.AddressFrom(ctx)
	ctx, cancel := context.WithTimeout(ctx, unknownKeyWait)
	defer cancel()
	answer := i.flight.DoChan(string(sum[:]), func() (any, error) {
		if v, known, _ := i.remembered(sum); known {
			return v, nil
		}
		return i.introspect(token, sum, active, address), nil
	})
	select {
	case got := <-answer:
		return got.Val.(verdict).answer()
	case <-ctx.Done():
		if active {
			return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "no answer while the caller waited")
		}
		return nil, providers.Errorf(providers.ErrTooManyUnknown, providers.ReasonIntrospectionUnavailable, "no answer about an unknown token while the caller waited")
	}
}

// remembered returns the verdict on a token, if known. active says that the token was active at its last
// question and has not expired.
func (i *Introspector) remembered(sum fingerprint) (v verdict, known, active bool) {
	now := i.now()
	id, active := i.active.find(sum, now)
	if id != nil {
		return verdict{id: id}, true, active
	}
	v, ok := i.bad.Get(sum)
	return v, ok && now.Before(v.until), active
}

func (i *Introspector) now() time.Time { return i.verifier.rules.Now() }

func (i *Introspector) introspect(token string, sum fingerprint, active bool, sender string) verdict {
	claims, err := i.request(i.ctx, token, active, sender)
	v := verdict{err: err}
	if err == nil {
		v.id, v.err = i.verifier.checkClaims(claims)
	}
	now := i.now()
	switch {
	case v.err == nil:
		details := v.id.TokenDetails()
		details.Claims = claims.compact()
		v.id.SetTokenDetails(details)
		expiry := v.id.ExpiryWithLeeway
		if !claims.has("exp") {
			expiry = time.Unix(maxTime, 0)
		}
		// Never past the end of the token, whatever the leeway.
		v.until = now.Add(i.ttl)
		if v.id.Expiry.Before(v.until) {
			v.until = v.id.Expiry
		}
		i.active.add(sum, v.id, v.until, expiry, now)
	case errors.Is(v.err, providers.ErrInvalidToken):
		v.err, v.until = detached(v.err), now.Add(min(refusalKept, i.ttl))
		i.active.remove(sum)
		i.bad.Add(sum, v)
	}
	return v
}

// request puts one question to the issuer and returns the claims of an active token. active says that the token
// was active at its last question; sender is the address that it came from.
func (i *Introspector) request(ctx context.Context, token string, active bool, sender string) (rawObject, error) {
	busyUntil := &i.busyUntil
	if active {
		busyUntil = &i.activeBusyUntil
	}
	if wait := time.Until(time.Unix(0, busyUntil.Load())); wait > 0 {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "the issuer wants to be left alone for another %s", wait.Round(time.Second))
	}
	address, err := i.address.current()
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
	req, err := i.protocol.request(ctx, address, token)
	if err != nil {
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	answer, err := send(i.client, req, maxIntrospectionBytes)
	if err != nil {
		var busy *retryAfterError
		if errors.As(err, &busy) && busy.retryAfter > 0 {
			until := time.Now().Add(min(busy.retryAfter, time.Minute)).UnixNano()
			i.busyUntil.Store(until)
			busyUntil.Store(until)
		}
		return nil, providers.Unavailablef(providers.ReasonIntrospectionUnavailable, "%v", err)
	}
	claims, err := i.protocol.claims(answer, i.verifier.fixed)
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
		return providers.KeyStatus{Reason: providers.ReasonIntrospectionUnavailable, Problem: err.Error()}
	}
	return providers.KeyStatus{Usable: true}
}

// complain logs that the issuer does not answer questions as it should, at most once per complaintInterval.
func (i *Introspector) complain(err error) {
	now := time.Now()
	if next := i.nextComplaint.Load(); now.UnixNano() >= next && i.nextComplaint.CompareAndSwap(next, now.Add(complaintInterval).UnixNano()) {
		i.logger.Error("the issuer refuses to be asked about tokens", "reason", providers.ReasonIntrospectionUnavailable, "error", err)
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
