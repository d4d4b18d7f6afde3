package server

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"gatehouse/providers"
)

// maxThrottledAddresses limits how many addresses are tracked. The one whose last failure is oldest is
// evicted first.
const maxThrottledAddresses = 10_000

// throttle limits the rate of failed authentications for each address. Only failures are counted, and only
// failures are rejected: behind a proxy all callers may share one address, and a flood of bad tokens must not
// lock out callers with good tokens. Other limits bound the cost of a bad token: claims are checked before
// the signature, keys are fetched once per interval, and few unknown tokens of one address are introspected
// at a time. If tokens are introspected, a good token is one that was active at the last introspection: a new
// token from a throttled address has to wait.
type throttle struct {
	tarpitSlots chan struct{}
	mu          sync.Mutex
	perMinute   int
	addresses   *lru.Cache[string, *allowance] // by rateLimitKey
}

// allowance is the number of failures that one address has left.
type allowance struct {
	// all is consumed by every failure, bad only by invalid tokens and canceled requests. After a key
	// rotation good tokens cannot be verified for a while; other tokens of their address are introspected
	// nevertheless.
	all, bad *rate.Limiter
}

func newThrottle(perMinute int) *throttle {
	addresses, _ := lru.New[string, *allowance](maxThrottledAddresses) // fails only for sizes below 1
	return &throttle{
		perMinute: perMinute, tarpitSlots: make(chan struct{}, maxTarpitted), addresses: addresses,
	}
}

// setLimit changes the limit of all addresses.
func (t *throttle) setLimit(perMinute int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if perMinute == t.perMinute {
		return
	}
	t.perMinute = perMinute
	limit := rate.Limit(float64(perMinute) / 60)
	for _, left := range t.addresses.Values() {
		for _, limiter := range []*rate.Limiter{left.all, left.bad} {
			limiter.SetLimit(limit)
			limiter.SetBurst(perMinute)
		}
	}
}

// recordFailure counts a bad token and returns how long its sender must wait; zero means that the limit is
// not reached.
func (t *throttle) recordFailure(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.allowanceOf(key)
	left.bad.Allow()
	return takeOne(left.all)
}

// recordUndecided counts a token that could not be verified because of an outage that its sender could
// cause. Unlike recordFailure, it does not stop introspection for the address.
func (t *throttle) recordUndecided(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return takeOne(t.allowanceOf(key).all)
}

func (t *throttle) allowanceOf(key string) *allowance {
	left, known := t.addresses.Get(key)
	if !known {
		limit := rate.Limit(float64(t.perMinute) / 60)
		left = &allowance{all: rate.NewLimiter(limit, t.perMinute), bad: rate.NewLimiter(limit, t.perMinute)}
		t.addresses.Add(key, left)
	}
	return left
}

func takeOne(limiter *rate.Limiter) time.Duration {
	if limiter.Allow() {
		return 0
	}
	return time.Duration((1 - limiter.Tokens()) / float64(limiter.Limit()) * float64(time.Second))
}

// exceeded reports whether the next failure of the address would exceed the limit, of all failures and of
// bad tokens alone.
func (t *throttle) exceeded(key string, now time.Time) (all, bad bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left, known := t.addresses.Peek(key)
	return known && left.all.TokensAt(now) < 1, known && left.bad.TokensAt(now) < 1
}

// tarpitDelay delays each 429. It costs one idle connection and keeps abusive clients from starving the
// rest. At most maxTarpitted responses are delayed at once: behind a proxy they occupy connections that
// other callers need.
const (
	tarpitDelay  = 100 * time.Millisecond
	maxTarpitted = 100
)

func (t *throttle) tarpit(ctx context.Context) {
	select {
	case t.tarpitSlots <- struct{}{}:
		defer func() { <-t.tarpitSlots }()
	default:
		return
	}
	timer := time.NewTimer(tarpitDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// rateLimitKey returns the key under which failures of an address are counted: a /64 for IPv6, within which
// one sender can choose any address.
func rateLimitKey(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if prefix, err := ip.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address
}

func errTooManyFailures(wait time.Duration, cause error) error {
	return &httpError{status: http.StatusTooManyRequests, code: "too_many_requests",
		description: "Too many invalid tokens came from this address. Wait, or sign in again.",
		reason:      providers.ReasonThrottled, cause: cause, retryAfter: max(1, int(math.Ceil(wait.Seconds())))}
}
