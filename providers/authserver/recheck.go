package authserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatehouse/providers"
	records "gatehouse/providers/authserver/store"
)

const (
	// leaseTime bounds a question to the provider and the answer to it.
	leaseTime = 10 * time.Second
	// leaseSkew is added before another replica takes the lease: the answer has to be stored.
	leaseSkew = 5 * time.Second
	// clockSkew is how far the clocks of replicas may be apart. A lease whose time is over for longer has ended, even
	// if this process has not watched it.
	clockSkew = 5 * time.Minute
	// leaseWait is how long a request waits for the lease of another one. Clients give up after about 10 s.
	leaseWait       = 5 * time.Second
	leaseRetryAfter = time.Second
	maxWatched      = 10_000

	// recheckPause is how long the provider is not asked again about a grant after it could not be reached.
	recheckPause = 10 * time.Second

	// savePatience is how long a new credential is kept in hand while the store fails: the previous one may be void.
	savePatience = 4 * time.Second

	maxDismissals  = 4
	dismissTimeout = 10 * time.Second
)

// lease is the right to ask the provider about a grant. At a provider whose refresh tokens are good for one use, two
// questions with the same one end the sign-in.
type lease struct {
	ID    string    `json:"id"`
	Until time.Time `json:"until"`
}

// rechecker asks, at a refresh, whether a person may still sign in.
type rechecker interface {
	// confirm returns the grant, which may have changed, if its client may have another token, and nil if the grant has
	// to be read again. waited is how long the request has waited for others. The error wraps errUnavailable or is an
	// [*grantEnded].
	confirm(ctx context.Context, g *storedGrant, waited *time.Duration) (*storedGrant, error)
	// dismiss tells the provider that a grant of the person has ended, best effort, and does not wait.
	dismiss(ctx context.Context, who Person)
}

// noRecheck is for people who exist in this process only.
type noRecheck struct{}

func (noRecheck) confirm(_ context.Context, g *storedGrant, _ *time.Duration) (*storedGrant, error) {
	return g, nil
}

func (noRecheck) dismiss(context.Context, Person) {}

// providerRecheck asks the provider where people sign in.
type providerRecheck struct {
	*Issuer
	// wait and patience are leaseWait and savePatience, but for tests.
	wait, patience time.Duration

	dismissals chan struct{}

	mu      sync.Mutex
	watched *expiringMap[string, time.Time] // when a lease was seen first, by id
}

func newProviderRecheck(i *Issuer) *providerRecheck {
	return &providerRecheck{
		Issuer:     i,
		wait:       leaseWait,
		patience:   savePatience,
		dismissals: make(chan struct{}, maxDismissals),
		watched:    newExpiringMap[string, time.Time](leaseTime+leaseSkew+clockSkew, maxWatched),
	}
}

// confirm asks the provider if its last confirmation is too old. What the provider cannot answer ends nothing.
func (p *providerRecheck) confirm(ctx context.Context, g *storedGrant, waited *time.Duration) (*storedGrant, error) {
	now, policy := p.config.Now(), p.config.Sessions
	if g.Person.Credential == "" || isWithin(now, g.Confirmed, policy.RecheckInterval) {
		return g, nil
	}
	if p.isLeased(now, g.Lease) {
		return nil, p.waitFor(ctx, waited)
	}
	if isWithin(now, g.Failed, recheckPause) {
		return p.unconfirmed(now, g)
	}
	g.Lease = &lease{rand.Text(), now.Add(leaseTime)}
	switch err := p.grants.replace(ctx, g, 0); {
	case errors.Is(err, records.ErrChanged):
		return nil, nil
	case err != nil:
		return nil, err
	}
	// The question has been asked when the client goes away; its answer must not be lost.
	return p.ask(context.WithoutCancel(ctx), g)
}

// isLeased reports whether another request may be asking. The clocks of two replicas are not compared, unless they
// would have to be minutes apart: each watches a lease by its own clock.
func (p *providerRecheck) isLeased(now time.Time, l *lease) bool {
	if l == nil || now.After(l.Until.Add(leaseSkew+clockSkew)) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, ok := p.watched.get(now, l.ID)
	if !ok {
		p.watched.put(now, l.ID, now)
		return true
	}
	return now.Sub(seen) < leaseTime+leaseSkew
}

func (p *providerRecheck) waitFor(ctx context.Context, waited *time.Duration) error {
	pause := min(20*time.Millisecond+*waited/4, 200*time.Millisecond)
	if *waited+pause > p.wait {
		return &unavailableError{ReasonRecheckPending, leaseRetryAfter, errors.New("another request asks the provider")}
	}
	*waited += pause
	if err := sleep(ctx, pause); err != nil {
		return &unavailableError{ReasonRecheckPending, leaseRetryAfter, err}
	}
	return nil
}

// ask asks the provider and stores what it has said. The new credential is stored before anything else is done with
// the answer: a crash or a bad answer afterwards must not cost the sign-in.
func (p *providerRecheck) ask(ctx context.Context, g *storedGrant) (*storedGrant, error) {
	asking, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	renewal, err := p.config.SignIn.Renew(asking, g.Person)
	if err != nil {
		return p.settle(ctx, g, Person{}, err)
	}
	if renewal.Credential != "" && renewal.Credential != g.Person.Credential {
		if g, err = p.saveCredential(ctx, g, renewal.Credential); err != nil {
			return nil, err
		}
	}
	who, err := renewal.Judge(asking)
	if err == nil && who.Subject != g.Person.Subject {
		err = &SignInError{Reason: ReasonAccountChanged, Err: fmt.Errorf("the provider names another person: %w", ErrGone)}
	}
	return p.settle(ctx, g, who, err)
}

// saveCredential stores a new credential. If another replica has stored one since, which needs a lease that lasted
// too short, that one stays.
func (p *providerRecheck) saveCredential(ctx context.Context, g *storedGrant, credential string) (*storedGrant, error) {
	before := g.Person
	g.Person.Credential = credential
	err := p.grants.replace(ctx, g, p.patience)
	if err == nil || !errors.Is(err, records.ErrChanged) {
		return g, err
	}
	stored, err := p.grants.update(ctx, g.digest, p.patience, func(other *grant) bool {
		if other.Ended != nil || other.Person.Credential != before.Credential {
			return false
		}
		other.Person.Credential = credential
		return true
	})
	if err == nil && stored.Ended != nil {
		before.Credential = credential
		p.dismiss(ctx, before)
		return nil, &grantEnded{stored.Ended.Reason}
	}
	return stored, err
}

// settle ends the lease with what the provider has said: who the person is, or why it did not say it.
func (p *providerRecheck) settle(ctx context.Context, g *storedGrant, who Person, failure error) (*storedGrant, error) {
	reason := recheckReason(failure)
	if failure != nil {
		p.config.Logger.WarnContext(ctx, "recheck of a sign-in", slog.String("sign_in", g.digest),
			slog.Bool("ended", errors.Is(failure, ErrGone)), slog.Any("error", failure))
	}
	if errors.Is(failure, ErrGone) {
		return nil, p.endGone(ctx, g, reason)
	}
	held, now := g.Lease.ID, p.config.Now()
	stored, err := p.grants.update(ctx, g.digest, p.patience, func(other *grant) bool {
		if other.Ended != nil || other.Lease == nil || other.Lease.ID != held {
			return false
		}
		other.Lease = nil
		if failure != nil {
			other.Failed = now
			return true
		}
		other.Person.Scopes, other.Person.Unrestricted = who.Scopes, who.Unrestricted
		if len(who.Details) > 0 {
			other.Person.Details = who.Details
		}
		other.Confirmed, other.Failed = now, time.Time{}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case stored.Ended != nil:
		return nil, errUnknownGrant
	case stored.Lease != nil: // of another replica, which stores its own answer
		return nil, nil
	}
	p.record(ctx, grantEvent(EventRecheck, reason, stored))
	if failure != nil {
		return p.unconfirmed(now, stored)
	}
	if stored.lacksScopes() {
		return nil, p.endNow(ctx, stored, ReasonScopesNotAllowed)
	}
	return stored, nil
}

// endGone ends a grant after a definite answer. If another replica has asked at the same time, the answer may be about
// a credential that its question has replaced, and means nothing.
func (p *providerRecheck) endGone(ctx context.Context, g *storedGrant, reason providers.Reason) error {
	stored, err := p.grants.readDigest(ctx, g.digest)
	if err != nil || stored.Person.Credential != g.Person.Credential {
		return err
	}
	p.record(ctx, grantEvent(EventRecheck, reason, g))
	return p.endNow(ctx, g, reason)
}

// unconfirmed decides about a grant whose provider could not be asked.
func (p *providerRecheck) unconfirmed(now time.Time, g *storedGrant) (*storedGrant, error) {
	if isWithin(now, g.Confirmed, p.config.Sessions.RecheckMaxStale) {
		return g, nil
	}
	return nil, &unavailableError{ReasonRecheckFailed, recheckPause,
		errors.New("the last confirmation by the provider is too old")}
}

// dismiss implements [rechecker]. If too many wait for the provider already, it drops this one: tokens of this issuer
// have ended in any case.
func (p *providerRecheck) dismiss(ctx context.Context, who Person) {
	if who.Credential == "" {
		return
	}
	select {
	case p.dismissals <- struct{}{}:
	default:
		p.config.Logger.WarnContext(ctx, "the provider is not told that a sign-in has ended: too many ended at once")
		return
	}
	go func() {
		defer func() { <-p.dismissals }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dismissTimeout)
		defer cancel()
		p.config.SignIn.Dismiss(ctx, who)
	}()
}

// recheckReason returns the reason of an Authenticator's error, or "" without one.
func recheckReason(err error) providers.Reason {
	if err == nil {
		return ""
	}
	if e := new(SignInError); errors.As(err, &e) && e.Reason != "" {
		return e.Reason
	}
	return ReasonRecheckFailed
}
