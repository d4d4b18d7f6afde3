package providers

import (
	"context"
	"crypto/sha256"
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
)

const (
	maxIntrospectionBytes = 64 << 10
	// maxQuestions bounds how many questions an issuer gets at once: whoever sends invented tokens must not have this
	// server flood it.
	maxQuestions = 32
	// maxWaiting bounds how many tokens wait for their turn, also those whose callers hung up. Beyond it the answer is an
	// outage at once.
	maxWaiting = 128
	// refusalsKept and refusalKept bound how long and how many tokens are remembered as refused. They have a cache of
	// their own, so that invented tokens cannot push good ones out.
	refusalsKept = 1_000
	refusalKept  = 5 * time.Second
	answersKept  = 10_000
)

// introspector asks the issuer about a token (RFC 7662) and applies the same rules to the answer that stand for the claims
// of a JWT.
type introspector struct {
	style    introspectionStyle
	address  *locator
	client   *http.Client
	verifier *Verifier // of which only the rules for claims are used
	keep     time.Duration
	logger   *slog.Logger
	life     context.Context // questions end with it

	flight    singleflight.Group
	questions chan struct{}
	waiting   chan struct{}
	good      *lru.Cache[[sha256.Size]byte, verdict]
	bad       *lru.Cache[[sha256.Size]byte, verdict]
	busyUntil atomic.Int64 // Unix nanoseconds
}

// verdict is what became of a token, for as long as it may be remembered. It holds no token.
type verdict struct {
	id    *Identity
	err   error
	until time.Time
}

// answer returns a copy: a tool that changed its caller's scopes would change them for the next call.
func (v verdict) answer() (*Identity, error) {
	if v.err != nil {
		return nil, v.err
	}
	one := *v.id
	one.Audience, one.Scopes = slices.Clone(v.id.Audience), slices.Clone(v.id.Scopes)
	return &one, nil
}

func newIntrospector(life context.Context, style introspectionStyle, address *locator, client *http.Client, rules Rules, keep time.Duration, logger *slog.Logger) *introspector {
	// The sizes are constants above zero, of which alone the constructor would complain.
	good, _ := lru.New[[sha256.Size]byte, verdict](answersKept)
	bad, _ := lru.New[[sha256.Size]byte, verdict](refusalsKept)
	verifier := NewVerifier(rules, nil)
	introspected := check{named("token_type", "token_use"), words("a bearer access token's, or absent"), checkIntrospectedType}
	verifier.claimChecks = slices.Insert(verifier.claimChecks, 0, introspected)
	return &introspector{
		style: style, address: address, client: client, verifier: verifier, keep: keep, logger: logger, life: life,
		questions: make(chan struct{}, maxQuestions), waiting: make(chan struct{}, maxWaiting), good: good, bad: bad,
	}
}

// Verify asks the issuer, unless it did lately. The question goes on when the caller hangs up: others may wait for it.
func (i *introspector) Verify(ctx context.Context, token string) (*Identity, error) {
	if longest := i.verifier.rules.MaxTokenBytes; len(token) > longest {
		return nil, refuse(TokenTooLong, "%d bytes, at most %d are accepted", len(token), longest)
	}
	sum := sha256.Sum256([]byte(token))
	if v, ok := i.remembered(sum); ok {
		return v.answer()
	}
	if isSparing(ctx) {
		return nil, refuse(Throttled, "the issuer is not asked for an address that sent too many bad tokens")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := i.flight.DoChan(string(sum[:]), func() (any, error) {
		if v, ok := i.remembered(sum); ok {
			return v, nil
		}
		return i.decide(token, sum), nil
	})
	select {
	case got := <-answer:
		return got.Val.(verdict).answer()
	case <-ctx.Done():
		return nil, unavailable(IntrospectionUnavailable, "no answer while the caller waited")
	}
}

func (i *introspector) remembered(sum [sha256.Size]byte) (verdict, bool) {
	for _, cache := range []*lru.Cache[[sha256.Size]byte, verdict]{i.good, i.bad} {
		if v, ok := cache.Get(sum); ok && i.now().Before(v.until) {
			return v, true
		}
	}
	return verdict{}, false
}

func (i *introspector) now() time.Time { return i.verifier.rules.Now() }

func (i *introspector) decide(token string, sum [sha256.Size]byte) verdict {
	claims, err := i.ask(token)
	v := verdict{err: err}
	if err == nil {
		v.id, v.err = i.verifier.identify(claims)
	}
	switch {
	case v.err == nil:
		// Never past the end of the token, whatever the leeway.
		v.until = i.now().Add(i.keep)
		if v.id.Expiry.Before(v.until) {
			v.until = v.id.Expiry
		}
		i.good.Add(sum, v)
	case errors.Is(v.err, ErrInvalidToken):
		v.err, v.until = settled(v.err), i.now().Add(min(refusalKept, i.keep))
		i.bad.Add(sum, v)
	}
	return v
}

// ask puts one question to the issuer and returns the claims of an active token.
func (i *introspector) ask(token string) (object, error) {
	if wait := time.Until(time.Unix(0, i.busyUntil.Load())); wait > 0 {
		return nil, unavailable(IntrospectionUnavailable, "the issuer wants to be left alone for another %s", wait.Round(time.Second))
	}
	address, err := i.address.current()
	if err != nil {
		return nil, unavailable(IntrospectionUnavailable, "%v", err)
	}
	select {
	case i.waiting <- struct{}{}:
		defer func() { <-i.waiting }()
	default:
		return nil, unavailable(IntrospectionUnavailable, "%d tokens wait already", maxWaiting)
	}
	ctx, cancel := context.WithTimeout(i.life, fetchTimeout)
	defer cancel()
	select {
	case i.questions <- struct{}{}:
		defer func() { <-i.questions }()
	case <-ctx.Done():
		return nil, unavailable(IntrospectionUnavailable, "%d questions are open already", maxQuestions)
	}
	req, err := i.style.request(ctx, address, token)
	if err != nil {
		return nil, unavailable(IntrospectionUnavailable, "%v", err)
	}
	status, body, err := exchange(i.client, req, maxIntrospectionBytes)
	if err != nil {
		var busy *busyError
		if errors.As(err, &busy) && busy.retryAfter > 0 {
			i.busyUntil.Store(time.Now().Add(min(busy.retryAfter, time.Minute)).UnixNano())
		}
		return nil, unavailable(IntrospectionUnavailable, "%v", err)
	}
	claims, err := i.style.claims(status, body, i.verifier.fixed)
	if errors.Is(err, ErrUnavailable) {
		i.logger.Error("the issuer refuses to be asked about tokens", "reason", IntrospectionUnavailable, "error", err)
	}
	if err != nil {
		return nil, err
	}
	// The answer comes from the issuer itself, which need not repeat who it is (RFC 7662, section 2.2). If it does, it
	// must be right, and with many tenants it has to say which.
	if !claims.has("iss") && len(i.verifier.rules.Issuers) == 1 {
		claims = claims.with("iss", mustText(i.verifier.rules.Issuers[0]))
	}
	return claims, nil
}

// Explain implements [Explainer] for tokens that only the issuer understands.
func (i *introspector) Explain(_ context.Context, token string, live bool) Explanation {
	e := Explanation{rules: i.verifier.rules}
	f := Finding{Name: "introspection", Got: fmt.Sprintf("%d bytes", len(token)), Want: "active, by the word of the issuer"}
	if !live {
		f.Skipped = "nothing was asked over the network"
		e.Findings = append(e.Findings, f)
		return e
	}
	claims, err := i.ask(token)
	if errors.Is(err, ErrUnavailable) {
		f.Skipped, err = err.Error(), nil
	}
	e.add(f, err)
	if claims == nil {
		return e
	}
	e.claims = claims
	id := &Identity{}
	for _, check := range i.verifier.claimChecks {
		e.apply(i.verifier, check, "claim ", claims, id)
	}
	e.others(i.verifier)
	return e
}

// locator keeps the address of an endpoint that the issuer's metadata names.
type locator struct {
	find     func(context.Context) (string, error)
	patience time.Duration // of one search

	mu      sync.Mutex
	address string
	err     error
}

func newLocator(find func(context.Context) (string, error), patience time.Duration) *locator {
	return &locator{find: find, patience: patience, err: errors.New("its metadata was not read yet")}
}

// locatedAt is a locator that knows its address from the start. It need not run.
func locatedAt(address string) *locator { return &locator{address: address} }

// run looks the address up now and every ten minutes until ctx ends; after a failure sooner, backing off from one second.
// A failure does not make a known address unknown.
func (l *locator) run(ctx context.Context) {
	for wait := time.Second; ; {
		asking, cancel := context.WithTimeout(ctx, l.patience)
		address, err := l.find(asking)
		cancel()
		l.mu.Lock()
		if err == nil {
			l.address = address
		}
		l.err = err
		l.mu.Unlock()
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

func (l *locator) current() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.address == "" {
		return "", l.err
	}
	return l.address, nil
}
