package server

import (
	"crypto/sha256"
	"math"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"gatehouse/providers"
)

const (
	// throttledAddresses bounds how many addresses are remembered. The one that failed longest ago is forgotten first.
	throttledAddresses = 10_000
	// rememberedTokens bounds how many good tokens are remembered.
	rememberedTokens = 10_000
)

// throttle makes an address wait that sends one bad token after another: each may cost a signature check. It counts failures
// only, and a token that was good lately passes all the same, so that one broken client does not lock out its colleagues
// behind the same address.
type throttle struct {
	perMinute int
	addresses *lru.Cache[string, *rate.Limiter]
	good      *lru.Cache[[sha256.Size]byte, struct{}]
	mu        sync.Mutex
}

func newThrottle(perMinute int) *throttle {
	// New fails only for sizes below 1.
	addresses, _ := lru.New[string, *rate.Limiter](throttledAddresses)
	good, _ := lru.New[[sha256.Size]byte, struct{}](rememberedTokens)
	return &throttle{perMinute: perMinute, addresses: addresses, good: good}
}

// wait returns how long address must wait before token is even looked at; zero means not at all.
func (t *throttle) wait(address, token string) time.Duration {
	limiter, known := t.addresses.Get(address)
	if !known || limiter.Tokens() >= 1 || t.good.Contains(sha256.Sum256([]byte(token))) {
		return 0
	}
	return time.Duration((1 - limiter.Tokens()) / float64(limiter.Limit()) * float64(time.Second))
}

// passed notes a good token.
func (t *throttle) passed(address, token string) {
	if t.addresses.Contains(address) { // only then does it matter who is known to be good
		t.good.Add(sha256.Sum256([]byte(token)), struct{}{})
	}
}

// failed notes a bad token.
func (t *throttle) failed(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limiter, known := t.addresses.Get(address)
	if !known {
		limiter = rate.NewLimiter(rate.Limit(float64(t.perMinute)/60), t.perMinute)
		t.addresses.Add(address, limiter)
	}
	limiter.Allow()
}

func tooManyFailures(wait time.Duration) error {
	return &refusal{status: http.StatusTooManyRequests, code: "too_many_requests", text: "Too many bad tokens from this address. Wait, or sign in again.",
		reason: providers.Throttled, retryAfter: max(1, int(math.Ceil(wait.Seconds())))}
}
