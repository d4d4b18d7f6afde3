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

// maxThrottledAddresses bounds how many addresses are remembered. The one that failed longest ago is forgotten first.
const maxThrottledAddresses = 10_000

// throttle tells an address that sends one bad token after another to wait. It counts failures only, and only
// failures are told to wait: behind a proxy all callers may share one address, and a flood of bad tokens must
// not lock out the good ones. What a bad token may cost is bounded elsewhere: claims are looked at before the
// signature, keys are fetched once per interval, and the issuer is asked about few unknown tokens of one
// address at a time. Where the issuer is asked about tokens, a good one is one that was active when the
// issuer was last asked: a new one from such an address waits.
type throttle struct {
	perMinute   int
	tarpitSlots chan struct{}
	mu          sync.Mutex
	addresses   *lru.Cache[string, *allowance] // by neighbourhood
}

// allowance is how many failures one sender has left.
type allowance struct {
	// all is used up by every failure, bad only by tokens that were found bad, or whose sender hung up. After a rotation
	// of the keys a good token cannot be judged for a while: the issuer is asked about others of its sender nevertheless.
	all, bad *rate.Limiter
}

func newThrottle(perMinute int) *throttle {
	addresses, _ := lru.New[string, *allowance](maxThrottledAddresses) // fails only for sizes below 1
	return &throttle{perMinute: perMinute, tarpitSlots: make(chan struct{}, maxTarpitted), addresses: addresses}
}

// recordFailure notes a bad token and returns how long its sender must wait; zero means not yet.
func (t *throttle) recordFailure(sender string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.allowanceOf(sender)
	left.bad.Allow()
	return takeOne(left.all)
}

// recordUndecided notes a token that could not be judged, by an outage that its sender could cause. It counts as failed does,
// but for the questions that the issuer is asked.
func (t *throttle) recordUndecided(sender string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return takeOne(t.allowanceOf(sender).all)
}

func (t *throttle) allowanceOf(sender string) *allowance {
	left, known := t.addresses.Get(sender)
	if !known {
		limit := rate.Limit(float64(t.perMinute) / 60)
		left = &allowance{all: rate.NewLimiter(limit, t.perMinute), bad: rate.NewLimiter(limit, t.perMinute)}
		t.addresses.Add(sender, left)
	}
	return left
}

func takeOne(limiter *rate.Limiter) time.Duration {
	if limiter.Allow() {
		return 0
	}
	return time.Duration((1 - limiter.Tokens()) / float64(limiter.Limit()) * float64(time.Second))
}

// exceeded reports whether the sender's next failure would be one too many, of all and of bad tokens alone.
func (t *throttle) exceeded(sender string, now time.Time) (all, bad bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left, known := t.addresses.Peek(sender)
	return known && left.all.TokensAt(now) < 1, known && left.bad.TokensAt(now) < 1
}

// tarpitDelay is how long whoever was told to wait waits for the next answer. It costs us an idle connection, and leaves the time to
// those who behave: without it, as many good calls would wait behind as many bad ones as somebody cares to open.
// Only so many linger at once: behind a proxy they hold connections that others wait for.
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

// rateLimitKey is what one sender can choose its addresses from: a whole /64 for IPv6.
func rateLimitKey(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if prefix, err := ip.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address
}

func errTooManyFailures(wait time.Duration, cause error) error {
	return &httpError{status: http.StatusTooManyRequests, code: "too_many_requests", description: "Too many bad tokens from this address. Wait, or sign in again.",
		reason: providers.Throttled, cause: cause, retryAfter: max(1, int(math.Ceil(wait.Seconds())))}
}
