package token

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

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
)

// KeySource describes where the issuer's keys are.
type KeySource struct {
	// URL returns the address of the JSON Web Key Set (RFC 7517). It is called for every fetch, because metadata
	// may change.
	URL func(ctx context.Context) (string, error)
	// Timeout bounds URL. Zero means 5 s.
	Timeout time.Duration
	// Client makes the request. It must not follow redirects; see [NewClient].
	Client *http.Client
	// Issuer is the issuer in the metadata, if tokens have another one. A key that is bound to it (by its
	// member "issuer", as at Microsoft Entra) may sign for the issuer of the tokens.
	Issuer string
	// Introspects reports that tokens can be verified without keys, by introspection.
	Introspects bool
}

// KeyPolicy bounds how keys are fetched and kept. A zero field means the default.
type KeyPolicy struct {
	// RefetchInterval is the minimum time between two fetches that tokens cause, whatever tokens arrive.
	// Until it is over, a token with an unknown key fails with ErrUnavailable. Default 30 s.
	RefetchInterval time.Duration
	// MaxAge is how long a withdrawn key may stay in use. Keys are renewed twice in this time. Default 10 min.
	MaxAge time.Duration
	// MaxStale is how long keys are used while they cannot be renewed. Default 24 h.
	MaxStale time.Duration
}

// WithDefaults returns p with the defaults in its zero fields.
func (p KeyPolicy) WithDefaults() KeyPolicy {
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

// KeySet is a remote key set that bounds the requests that tokens can cause. zitadel's own
// (rp.NewRemoteKeySet) does not:
//
//   - there is one fetch at a time, with a context of its own: a caller that hangs up does not cancel it;
//   - there is at most one fetch per interval for tokens that no known key verifies, so that invented tokens
//     cannot load the issuer;
//   - until the next fetch, an unknown key is reported as an outage, not as a bad token: after a rotation,
//     all good tokens name one new key. One fetch at the end of the interval settles all keys that tokens
//     named until then;
//   - keys are renewed in the background and dropped when the issuer drops them;
//   - while the issuer is down, known keys stay in use, up to a limit, and an unknown key is reported as an
//     outage;
//   - a key is used only for its own algorithms;
//   - a key that cannot be used is skipped and does not affect the others (see parseKeySet).
//
// It implements oidc.KeySet. Run must be running for keys to be renewed, and for the fetch at the end of an
// interval.
type KeySet struct {
	source KeySource
	policy KeyPolicy
	logger *slog.Logger
	// signatureSlots bounds how many signatures are checked at once: a flood of forgeries must leave a processor
	// to callers with known tokens.
	signatureSlots chan struct{}
	// absent are the keys that tokens named and that are not known.
	absent *absentKeys
	// wake tells Run that fetchWanted was set.
	wake chan struct{}
	// loggedSkipped is the digest of the last key set whose skipped keys were logged. Only the fetch in progress
	// uses it.
	loggedSkipped [sha256.Size]byte

	current atomic.Pointer[keySnapshot]

	mu          sync.Mutex
	inflight    *fetch    // not nil while a fetch runs
	started     uint64    // number of fetches started
	fetchWanted bool      // a token named an unknown key since the last fetch that tokens caused
	nextTry     time.Time // no fetch before, after one that failed
	// nextTokenFetch is when tokens may cause a fetch again. A renewal does not delay it: otherwise a key
	// that came into use just after a renewal would be unknown for an interval.
	nextTokenFetch time.Time
	failures       int   // in a row
	lastErr        error // of the last fetch
	// succeeded and failed count fetches.
	succeeded, failed int64
}

var _ oidc.KeySet = (*KeySet)(nil)

// keySnapshot is the result of one successful fetch.
type keySnapshot struct {
	keys    *keyring
	fetched time.Time
	// version grows when the issuer publishes other keys than before.
	version uint64
	digest  [sha256.Size]byte // of the key set document
}

type fetch struct {
	number    uint64
	forTokens bool // caused by tokens, not by the clock
	done      chan struct{}
	cancel    context.CancelFunc
	err       error
}

// NewKeySet returns a key set that holds no keys yet.
func NewKeySet(source KeySource, policy KeyPolicy, logger *slog.Logger) *KeySet {
	return &KeySet{
		source: source, policy: policy.WithDefaults(), logger: logger,
		signatureSlots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		absent:         newAbsentKeys(), wake: make(chan struct{}, 1),
	}
}

// Run fetches the keys now, and again before they are too old, until ctx ends. While there are no keys it
// tries more often, with a backoff from one second to the refetch interval. A fetch in progress ends with ctx
// too.
func (s *KeySet) Run(ctx context.Context) {
	defer s.cancelFetch()
	for renewal := time.Now(); ctx.Err() == nil; {
		due, forTokens := s.nextFetch(renewal)
		if wait := time.Until(due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-s.wake: // due may be earlier now
				timer.Stop()
				continue
			case <-ctx.Done():
				timer.Stop()
				return
			}
			continue // a token may have caused the fetch in the meantime
		}
		// The error is in the log and in Status, and decides how long untilRenewal is.
		_ = s.refresh(ctx, forTokens)
		renewal = time.Now().Add(s.untilRenewal())
	}
}

// nextFetch returns when Run fetches next, and whether that is for tokens.
func (s *KeySet) nextFetch(renewal time.Time) (at time.Time, forTokens bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetchWanted {
		if at := later(s.nextTokenFetch, s.nextTry); !at.After(renewal) {
			return at, true
		}
	}
	return renewal, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *KeySet) cancelFetch() {
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

// Status returns the state of the keys.
func (s *KeySet) Status() providers.KeyStatus {
	var status providers.KeyStatus
	if current := s.current.Load(); current != nil {
		status.Age = time.Since(current.fetched)
		status.Usable = status.Age < s.policy.MaxStale
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr != nil {
		status.Problem = s.lastErr.Error()
	}
	status.Fetches, status.FailedFetches = s.succeeded, s.failed
	return status
}

// publishesNone reports whether the issuer published no usable key at the last fetch.
func (s *KeySet) publishesNone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Is(s.lastErr, ErrNoUsableKeys)
}

// freshKeys returns the keys, or nil if there are none or they are too old.
func (s *KeySet) freshKeys() *keyring {
	current := s.current.Load()
	if current == nil || time.Since(current.fetched) >= s.policy.MaxStale {
		return nil
	}
	return current.keys
}

// version implements versionedKeys.
func (s *KeySet) version() (number uint64, usable bool) {
	current := s.current.Load()
	if current == nil || time.Since(current.fetched) >= s.policy.MaxStale {
		return 0, false
	}
	return current.version, true
}

// refresh fetches the keys unless it is too early, or joins the fetch in progress. It returns the error of
// the latest fetch, or another error if ctx ended first.
func (s *KeySet) refresh(ctx context.Context, forTokens bool) error {
	s.mu.Lock()
	f := s.inflight
	if f == nil {
		if now := time.Now(); now.Before(s.nextTry) || forTokens && now.Before(s.nextTokenFetch) {
			defer s.mu.Unlock()
			return s.lastErr
		}
		f = s.startFetch(ctx, forTokens)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return errors.New("no answer while the caller waited")
	}
}

// startFetch starts a fetch. s.mu must be locked, and no fetch in progress. The fetch does not end with ctx;
// load bounds its time.
func (s *KeySet) startFetch(ctx context.Context, forTokens bool) *fetch {
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.started++
	f := &fetch{number: s.started, forTokens: forTokens, done: make(chan struct{}), cancel: cancel}
	s.inflight = f
	if forTokens {
		s.fetchWanted = false
	}
	go s.fetch(detached, f)
	return f
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
			fresh.version, fresh.keys = old.version, old.keys
		} else if old != nil {
			fresh.version = old.version + 1
		}
		s.current.Store(fresh)
		s.failures, s.nextTry = 0, now
		s.succeeded++
		if f.forTokens {
			s.nextTokenFetch = now.Add(s.policy.RefetchInterval)
			s.absent.settle(f.number)
		}
	} else {
		s.failures++
		s.failed++
		s.nextTry = now.Add(s.backoff(err))
		s.fetchWanted = s.fetchWanted || f.forTokens // these tokens still need the keys
		attrs := []any{"error", err, "reason", providers.ReasonKeysUnavailable,
			"next_try_in", time.Until(s.nextTry).Round(time.Millisecond)}
		if s.source.Introspects && errors.Is(err, ErrNoUsableKeys) {
			attrs = append(attrs, "fix", "set provider.introspection=always if the provider issues no JWTs")
		} else {
			attrs = append(attrs, "fix", "run `gatehouse doctor` with the same settings: it names the cause")
		}
		s.logger.Warn("the provider's keys could not be fetched", attrs...)
	}
	if err == nil && s.lastErr != nil {
		s.logger.Info("the provider's keys are available again")
	}
	s.lastErr, f.err = err, err
	s.inflight = nil
	close(f.done)
}

// waitForKeys waits for the first keys until every metadata URL was tried. It is for commands: verifying the
// token of a request must not take that long.
func (s *KeySet) waitForKeys(ctx context.Context) {
	if s.freshKeys() == nil {
		_ = s.refresh(ctx, false) // VerifySignature returns the error too
	}
}

// backoff returns how long to wait after a failure: the issuer's Retry-After if there is one, otherwise one
// second, doubled for each failure up to the refetch interval.
func (s *KeySet) backoff(err error) time.Duration {
	var busy *retryAfterError
	if errors.As(err, &busy) && busy.retryAfter > 0 {
		return min(busy.retryAfter, s.policy.MaxAge)
	}
	wait := time.Second << min(s.failures-1, 16)
	return min(wait, s.policy.RefetchInterval)
}
