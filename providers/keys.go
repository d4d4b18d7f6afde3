package providers

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// KeySource says where the issuer's keys are.
type KeySource struct {
	// URL finds the address of the JSON Web Key Set (RFC 7517). It is asked at every fetch: discovery may change.
	URL func(ctx context.Context) (string, error)
	// Client makes the request. It must not follow redirects; see newFetchClient.
	Client *http.Client
}

// KeyPolicy bounds how keys are fetched and kept. A zero field means the default.
type KeyPolicy struct {
	// RefetchInterval is the least time between two fetches that tokens cause, whatever tokens arrive. Default 30 s.
	RefetchInterval time.Duration
	// MaxAge is how long a withdrawn key may stay in use. Keys are renewed twice in it. Default 10 min.
	MaxAge time.Duration
	// MaxStale is how long keys are used when they cannot be renewed. Default 24 h.
	MaxStale time.Duration
}

func (p KeyPolicy) withDefaults() KeyPolicy {
	if p.RefetchInterval == 0 {
		p.RefetchInterval = 30 * time.Second
	}
	if p.MaxAge == 0 {
		p.MaxAge = 10 * time.Minute
	}
	if p.MaxStale == 0 {
		p.MaxStale = 24 * time.Hour
	}
	return p
}

// durationLimits are the bounds of one setting.
type durationLimits struct {
	key         string
	value       time.Duration
	least, most time.Duration
}

// keyDurations are the settings of a [KeyPolicy], and the leeway, which every remote kind has.
func keyDurations(leeway, refetchInterval, maxAge, maxStale time.Duration) []durationLimits {
	return []durationLimits{
		{"leeway", leeway, time.Second, 5 * time.Minute},
		{"key_refetch_interval", refetchInterval, time.Second, time.Hour},
		{"key_max_age", maxAge, 2 * time.Second, 24 * time.Hour},
		{"key_max_stale", maxStale, maxAge, 30 * 24 * time.Hour},
	}
}

func checkDurations(report func(key, reason, wayOut string), durations []durationLimits) {
	for _, d := range durations {
		if d.value < d.least || d.value > d.most {
			report(d.key, "it is not between "+d.least.String()+" and "+d.most.String(), "leave it out for the default")
		}
	}
}

// KeySet is a remote key set with the manners that zitadel's own (rp.NewRemoteKeySet) lacks. The library picks the key
// for a token; KeySet decides what it may choose from, and when anything is fetched:
//
//   - one fetch at a time, on a context of its own: a caller who hangs up takes nobody along;
//   - at most one fetch per interval for tokens with unknown keys, so that invented key ids cannot hammer the issuer;
//   - keys are renewed in the background and dropped when the issuer drops them;
//   - when the issuer is down, known keys serve on, up to a bound, and an unknown key is an outage, not a bad token;
//   - a key is offered only for its own algorithms, which the library would not look at;
//   - keys that cannot be used are skipped one by one and never spoil their neighbours (see sanitize).
//
// It implements oidc.KeySet. Run must be running for keys to be renewed.
type KeySet struct {
	source KeySource
	policy KeyPolicy
	logger *slog.Logger
	// checks bounds how many signatures are checked at once: a flood of forgeries must leave a processor to the callers
	// whose tokens are known.
	checks chan struct{}

	current atomic.Pointer[generation]

	mu       sync.Mutex
	inflight *fetch    // not nil while a fetch runs
	nextTry  time.Time // no fetch before, after one that failed
	// nextDemand is when tokens may cause a fetch again. A renewal does not put it off: a key that came into use just
	// after one would be refused for an interval, although nobody asked too much.
	nextDemand time.Time
	failures   int   // in a row
	lastErr    error // of the last fetch
}

var _ oidc.KeySet = (*KeySet)(nil)

// generation is the result of one good fetch.
type generation struct {
	keys    *keyring
	fetched time.Time
	// number grows when the issuer publishes other keys than before.
	number uint64
	digest [sha256.Size]byte // of what was published
}

type fetch struct {
	demanded bool // by a token, not by the clock
	done     chan struct{}
	cancel   context.CancelFunc
	err      error
}

// NewKeySet returns a key set that holds no keys yet.
func NewKeySet(source KeySource, policy KeyPolicy, logger *slog.Logger) *KeySet {
	return &KeySet{source: source, policy: policy.withDefaults(), logger: logger, checks: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
}

// Run fetches the keys now, and again before they grow old, until ctx ends. While there are none it tries more often,
// backing off from one second to the refetch interval. A fetch that is under way ends with ctx too.
func (s *KeySet) Run(ctx context.Context) {
	defer s.endFetch()
	for ctx.Err() == nil {
		// The error is in the log and in Status; here it only decides how long to wait.
		_ = s.refresh(ctx, false)
		timer := time.NewTimer(s.untilRenewal())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *KeySet) endFetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight != nil {
		s.inflight.cancel()
	}
}

func (s *KeySet) untilRenewal() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr != nil {
		return max(time.Until(s.nextTry), time.Millisecond)
	}
	return s.policy.MaxAge / 2
}

// Status says how the keys stand.
func (s *KeySet) Status() KeyStatus {
	var status KeyStatus
	if g := s.current.Load(); g != nil {
		status.Age = time.Since(g.fetched)
		status.Usable = status.Age < s.policy.MaxStale
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr != nil {
		status.Problem = s.lastErr.Error()
	}
	return status
}

// VerifySignature implements oidc.KeySet. The error wraps ErrInvalidToken or ErrUnavailable.
func (s *KeySet) VerifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	kid, alg := oidc.GetKeyIDAndAlg(jws)
	key, err := s.key(ctx, kid, alg, jws)
	if err != nil {
		return nil, err
	}
	select {
	case s.checks <- struct{}{}:
		defer func() { <-s.checks }()
	case <-ctx.Done():
		return nil, unavailable(KeysUnavailable, "the caller left before its turn")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, refuse(SignatureInvalid, "it does not hold under the issuer's key %s", quoted(kid))
	}
	return payload, nil
}

// patience is how long a token with an unknown key waits for a fetch, which goes on without it: a slow issuer must not
// hold up callers for as long as it likes.
const patience = 3 * time.Second

// key returns the key for kid and alg, fetching once if that may help.
func (s *KeySet) key(ctx context.Context, kid, alg string, jws *jose.JSONWebSignature) (*jose.JSONWebKey, error) {
	if key, ok := s.usable().find(kid, alg, jws); ok {
		return key, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.refresh(ctx, true)
	keys := s.usable()
	if key, ok := keys.find(kid, alg, jws); ok {
		return key, nil
	}
	switch {
	case keys == nil:
		return nil, unavailable(KeysUnavailable, "no keys: %v", err)
	case err != nil:
		// It may be a new key that we cannot see. Saying "invalid" now would end good sessions.
		return nil, unavailable(KeysUnavailable, "key %s is not among those last seen, and they cannot be renewed: %v", quoted(kid), err)
	default:
		return nil, refuse(KeyUnknown, "key %s for %s is not published by the issuer", quoted(kid), quoted(alg))
	}
}

// usable returns the keys, or nil if there are none or they are too old.
func (s *KeySet) usable() *keyring {
	g := s.current.Load()
	if g == nil || time.Since(g.fetched) >= s.policy.MaxStale {
		return nil
	}
	return g.keys
}

// generation implements generations.
func (s *KeySet) generation() (number uint64, usable bool) {
	g := s.current.Load()
	if g == nil || time.Since(g.fetched) >= s.policy.MaxStale {
		return 0, false
	}
	return g.number, true
}

// refresh fetches the keys unless it is too early, or joins the fetch that is already under way. It returns the outcome
// of the latest fetch, or ctx's error if the caller gave up first.
func (s *KeySet) refresh(ctx context.Context, demanded bool) error {
	s.mu.Lock()
	f := s.inflight
	if f == nil {
		if now := time.Now(); now.Before(s.nextTry) || demanded && now.Before(s.nextDemand) {
			defer s.mu.Unlock()
			return s.lastErr
		}
		// Time for discovery and for the keys, whatever the caller's context says.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*fetchTimeout)
		f = &fetch{demanded: demanded, done: make(chan struct{}), cancel: cancel}
		s.inflight = f
		go s.fetch(detached, f)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return errors.New("no answer while the caller waited")
	}
}

func (s *KeySet) fetch(ctx context.Context, f *fetch) {
	defer f.cancel()
	fresh, err := s.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err == nil {
		fresh.fetched = now
		if old := s.current.Load(); old != nil && old.digest == fresh.digest {
			fresh.number = old.number
		} else if old != nil {
			fresh.number = old.number + 1
		}
		s.current.Store(fresh)
		s.failures, s.nextTry = 0, now
		if f.demanded {
			s.nextDemand = now.Add(s.policy.RefetchInterval)
		}
	} else {
		s.failures++
		s.nextTry = now.Add(s.backoff(err))
		s.logger.Warn("the provider's keys could not be fetched", "reason", KeysUnavailable, "error", err, "next_try_in", time.Until(s.nextTry).Round(time.Millisecond))
	}
	if err == nil && s.lastErr != nil {
		s.logger.Info("the provider's keys are back")
	}
	s.lastErr, f.err = err, err
	s.inflight = nil
	close(f.done)
}

// backoff is how long to wait after a failure: the issuer's Retry-After if it named one, else from one second doubling
// up to the refetch interval.
func (s *KeySet) backoff(err error) time.Duration {
	var busy *busyError
	if errors.As(err, &busy) && busy.retryAfter > 0 {
		return min(busy.retryAfter, s.policy.MaxAge)
	}
	wait := time.Second << min(s.failures-1, 16)
	return min(wait, s.policy.RefetchInterval)
}
