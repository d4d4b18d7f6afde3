package token

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
)

// KeySource says where the issuer's keys are.
type KeySource struct {
	// URL finds the address of the JSON Web Key Set (RFC 7517). It is asked at every fetch: discovery may change.
	URL func(ctx context.Context) (string, error)
	// Patience bounds URL. Zero means 5 s.
	Patience time.Duration
	// Client makes the request. It must not follow redirects; see [NewClient].
	Client *http.Client
	// Issuer is the issuer that the metadata name, where tokens name another. A key that is bound to it ("issuer" in the
	// key, as Microsoft Entra has it) may sign for the issuer of the tokens.
	Issuer string
	// Introspects says that tokens can be verified without keys, by introspection.
	Introspects bool
}

// KeyPolicy bounds how keys are fetched and kept. A zero field means the default.
type KeyPolicy struct {
	// RefetchInterval is the least time between two fetches that tokens cause, whatever tokens arrive. A token with an
	// unknown key that comes earlier fails with ErrUnavailable until the interval is over. Default 30 s.
	RefetchInterval time.Duration
	// MaxAge is how long a withdrawn key may stay in use. Keys are renewed twice in it. Default 10 min.
	MaxAge time.Duration
	// MaxStale is how long keys are used when they cannot be renewed. Default 24 h.
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

// DurationLimits are the bounds of one setting.
type DurationLimits struct {
	Key         string
	Value       time.Duration
	Least, Most time.Duration
}

// KeyDurations are the settings of a [KeyPolicy], and the leeway, which every remote kind has.
func KeyDurations(leeway, refetchInterval, maxAge, maxStale time.Duration) []DurationLimits {
	return []DurationLimits{
		{"leeway", leeway, time.Second, 5 * time.Minute},
		{"key_refetch_interval", refetchInterval, time.Second, time.Hour},
		{"key_max_age", maxAge, 2 * time.Second, 24 * time.Hour},
		{"key_max_stale", maxStale, maxAge, 30 * 24 * time.Hour},
	}
}

// CheckDurations reports the settings that are out of their bounds.
func CheckDurations(report func(providers.Problem), durations []DurationLimits) {
	for _, d := range durations {
		if d.Value < d.Least || d.Value > d.Most {
			report(providers.Problem{Key: d.Key, Code: providers.CodeOutOfRange,
				Reason: "it is not between " + d.Least.String() + " and " + d.Most.String(),
				Fix:    "leave it out for the default"})
		}
	}
}

// KeySet is a remote key set that bounds what tokens can cause, which zitadel's own (rp.NewRemoteKeySet) does not:
//
//   - one fetch at a time, on a context of its own: a caller that hangs up does not end it for the others;
//   - at most one fetch per interval for tokens that no known key confirms, so that invented tokens cannot load the issuer;
//   - a key that was not looked up yet is an outage for the rest of the interval, and no bad token: after a rotation all good
//     tokens name one new key. One fetch at the end of the interval settles all keys that tokens named until then;
//   - keys are renewed in the background and dropped when the issuer drops them;
//   - when the issuer is down, known keys serve on, up to a bound, and an unknown key is an outage, not a bad token;
//   - a key is offered only for its own algorithms;
//   - keys that cannot be used are skipped one by one and never spoil their neighbours (see parseKeySet).
//
// It implements oidc.KeySet. Run must be running for keys to be renewed, and for the fetch at the end of an interval.
type KeySet struct {
	source KeySource
	policy KeyPolicy
	logger *slog.Logger
	// checks bounds how many signatures are checked at once: a flood of forgeries must leave a processor to the callers
	// whose tokens are known.
	checks chan struct{}
	// absent remembers the keys that tokens named and that are not known.
	absent *absentKeys
	// wake tells Run that a token waits for the end of the interval.
	wake chan struct{}
	// warned is the digest of the last key set whose skipped keys were logged. It belongs to the fetch under way.
	warned [sha256.Size]byte

	current atomic.Pointer[keySnapshot]

	mu       sync.Mutex
	inflight *fetch    // not nil while a fetch runs
	started  uint64    // counts fetches
	waiting  bool      // a token named an unknown key since the last fetch that tokens caused
	nextTry  time.Time // no fetch before, after one that failed
	// nextDemand is when tokens may cause a fetch again. A renewal does not put it off: a key that came into use just
	// after one would be refused for an interval, although nobody asked too much.
	nextDemand time.Time
	failures   int   // in a row
	lastErr    error // of the last fetch
}

var _ oidc.KeySet = (*KeySet)(nil)

// keySnapshot is the result of one good fetch.
type keySnapshot struct {
	keys    *keyring
	fetched time.Time
	// number grows when the issuer publishes other keys than before.
	number uint64
	digest [sha256.Size]byte // of what was published
}

type fetch struct {
	number   uint64
	demanded bool // by a token, not by the clock
	done     chan struct{}
	cancel   context.CancelFunc
	err      error
}

// NewKeySet returns a key set that holds no keys yet.
func NewKeySet(source KeySource, policy KeyPolicy, logger *slog.Logger) *KeySet {
	return &KeySet{
		source: source, policy: policy.WithDefaults(), logger: logger, checks: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		absent: newAbsentKeys(), wake: make(chan struct{}, 1),
	}
}

// Run fetches the keys now, and again before they grow old, until ctx ends. While there are none it tries more often,
// backing off from one second to the refetch interval. A fetch that is under way ends with ctx too.
func (s *KeySet) Run(ctx context.Context) {
	defer s.endFetch()
	for renewal := time.Now(); ctx.Err() == nil; {
		due, demanded := s.due(renewal)
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
			continue // a token may have caused the fetch meanwhile
		}
		// The error is in the log and in Status; here it only decides how long to wait.
		_ = s.refresh(ctx, demanded)
		renewal = time.Now().Add(s.untilRenewal())
	}
}

// due is when Run fetches next, and whether that is for tokens.
func (s *KeySet) due(renewal time.Time) (at time.Time, demanded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting {
		if at := later(s.nextDemand, s.nextTry); !at.After(renewal) {
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
func (s *KeySet) Status() providers.KeyStatus {
	var status providers.KeyStatus
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

// unpublished reports whether the last fetch found that the issuer publishes no usable key.
func (s *KeySet) unpublished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Is(s.lastErr, ErrNoUsableKeys)
}

// VerifySignature implements oidc.KeySet. The error wraps ErrInvalidToken or ErrUnavailable.
func (s *KeySet) VerifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	kid, alg := oidc.GetKeyIDAndAlg(jws)
	ring := s.freshKeys()
	payload, trouble := s.confirm(ctx, ring, kid, alg, jws)
	if trouble == nil {
		return payload, nil
	}
	waiting, cancel := context.WithTimeout(ctx, unknownKeyWait)
	defer cancel()
	l := lookUp{came: s.fetchesBegun()}
	for !trouble.isFinal && !l.isOver {
		l = s.step(waiting, l.came)
		fresh := s.freshKeys()
		if fresh == ring {
			continue
		}
		ring = fresh
		if payload, trouble = s.confirm(ctx, ring, kid, alg, jws); trouble == nil {
			return payload, nil
		}
	}
	switch {
	case trouble.isFinal:
		return nil, trouble.err
	case ring == nil:
		return nil, providers.Unavailablef(providers.ReasonKeysUnavailable, "no keys: %v", l.err)
	case trouble.isUnknown:
		return nil, s.unknown(ctx, kid, alg, l)
	case l.failed:
		// Another key may have come under the same id. "Invalid" would end good sessions.
		return nil, causedByToken(providers.Unavailablef(providers.ReasonKeysUnavailable, "no known key confirms the signature, and the keys cannot be renewed: %v", l.err), l.wait)
	case errors.Is(trouble.err, providers.ErrUnavailable):
		return nil, causedByToken(trouble.err, cmp.Or(l.wait, s.untilFetch(), s.policy.RefetchInterval))
	}
	return nil, trouble.err
}

// problem is why no key of a keyring confirms a signature.
type problem struct {
	err error
	// isUnknown says that the keyring has no such key, neither usable nor not. err is nil then.
	isUnknown bool
	// isFinal says that other keys would not help.
	isFinal bool
}

// confirm checks the signature by each key that may have made it, and returns what was signed.
func (s *KeySet) confirm(ctx context.Context, ring *keyring, kid, alg string, jws *jose.JSONWebSignature) ([]byte, *problem) {
	if ring == nil {
		return nil, &problem{isUnknown: true}
	}
	candidates, bound := ring.candidates(kid, alg, s.mayServe(jws))
	if len(candidates) > 0 {
		payload, err := s.verify(ctx, candidates, kid, jws)
		if err == nil {
			return payload, nil
		}
		if skipped, ok := ring.unusable(kid); ok && skipped.faulty && kid != "" && providers.ReasonOf(err) == ReasonSignatureInvalid {
			return nil, &problem{err: faultyKey(kid, skipped)}
		}
		return nil, &problem{err: err, isFinal: errors.Is(err, providers.ErrUnavailable)}
	}
	skipped, isSkipped := ring.unusable(kid)
	switch others := ring.otherAlgorithms(kid); {
	case isSkipped && skipped.faulty:
		return nil, &problem{err: faultyKey(kid, skipped)}
	case isSkipped:
		return nil, &problem{err: providers.Invalidf(ReasonKeyUnknown, "key %s "+keyUnfit+"cannot verify a signature: %s", quoted(kid), skipped.reason)}
	case bound > 0:
		return nil, &problem{err: providers.Invalidf(ReasonKeyUnknown, "key %s "+keyUnfit+keyBound, quoted(kid))}
	case kid != "" && len(others) > 0:
		return nil, &problem{err: providers.Invalidf(ReasonKeyUnknown, "key %s "+keyUnfit+"for %s, not for %s", quoted(kid), strings.Join(others, " "), quoted(alg))}
	}
	return nil, &problem{isUnknown: true}
}

// What is said of keys that are published, but not for the token, by which [Explanation.Hints] knows them.
const (
	keyUnfit = "is published, but "
	keyBound = "bound to another issuer than the token's"
)

// faultyKey is an outage: with a 401 the client would come back with the next token by the same key.
func faultyKey(kid string, key skippedKey) error {
	if kid == "" {
		return providers.Unavailablef(providers.ReasonKeysUnavailable, "the token names no key, and a published key cannot be used: %s", key)
	}
	return providers.Unavailablef(providers.ReasonKeysUnavailable, "key %s is published, but cannot be used: %s", quoted(kid), key.reason)
}

// mayServe says which keys that are bound to an issuer may sign the token.
func (s *KeySet) mayServe(jws *jose.JSONWebSignature) func(string) bool {
	issuer := sync.OnceValue(func() string { return unverifiedIssuer(jws) })
	return func(bound string) bool {
		if own := s.source.Issuer; own != "" && (boundTo(bound, own) || NamesIssuer(own, bound)) {
			return true
		}
		return boundTo(bound, issuer())
	}
}

// verify checks the signature by the first few candidates.
func (s *KeySet) verify(ctx context.Context, candidates []*jose.JSONWebKey, kid string, jws *jose.JSONWebSignature) ([]byte, error) {
	select {
	case s.checks <- struct{}{}:
		defer func() { <-s.checks }()
	case <-ctx.Done():
		return nil, providers.Unavailablef(providers.ReasonKeysUnavailable, "the caller left before its turn")
	}
	tried := candidates[:min(len(candidates), maxCandidates)]
	for _, key := range tried {
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	switch {
	case len(candidates) == 1:
		return nil, providers.Invalidf(ReasonSignatureInvalid, "it does not hold under the issuer's key %s", quoted(tried[0].KeyID))
	case kid == "":
		return nil, providers.Invalidf(ReasonSignatureInvalid, "the token names no key, and it holds under none of the %d tried, of %d for its algorithm", len(tried), len(candidates))
	}
	return nil, providers.Invalidf(ReasonSignatureInvalid, "it does not hold under any of the issuer's %d keys %s, of which %d were tried", len(candidates), quoted(kid), len(tried))
}

// unknown is the verdict on a token whose key the issuer does not publish as far as is known.
func (s *KeySet) unknown(ctx context.Context, kid, alg string, l lookUp) error {
	id := absentKeyOf(kid, alg)
	remember := !providers.IsOverLimit(ctx)
	switch {
	case l.succeeded:
		if remember {
			s.absent.add(id, l.came)
		}
		return providers.Invalidf(ReasonKeyUnknown, "key %s for %s is not published by the issuer", quoted(kid), quoted(alg))
	case l.err == nil && s.absent.isSettled(id):
		return providers.Invalidf(ReasonKeyUnknown, "key %s for %s was not published by the issuer when its keys were last fetched", quoted(kid), quoted(alg))
	}
	if remember {
		s.absent.add(id, l.came)
	}
	s.awaitInterval()
	if l.err != nil {
		// It may be a new key that we cannot see. Saying "invalid" now would end good sessions.
		return causedByToken(providers.Unavailablef(providers.ReasonKeysUnavailable, "key %s is not among those last seen, and they cannot be renewed: %v", quoted(kid), l.err), l.wait)
	}
	return causedByToken(providers.Unavailablef(providers.ReasonKeysUnavailable, "key %s is not among those last seen, and the next fetch may begin in %s", quoted(kid), l.wait.Round(time.Millisecond)), l.wait)
}

// awaitInterval has Run fetch the keys as soon as tokens may cause that.
func (s *KeySet) awaitInterval() {
	s.mu.Lock()
	s.waiting = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unknownKeyWait is how long a token that no known key confirms waits for a fetch, which goes on without it: a slow issuer must
// not hold up callers for as long as it likes.
const unknownKeyWait = 3 * time.Second

// lookUp is what became of a token that no known key confirms.
type lookUp struct {
	came uint64 // how many fetches had begun when the token came
	// isOver says that nothing more will be done for the token.
	isOver bool
	// succeeded says that a fetch which began after the token came has succeeded.
	succeeded bool
	// failed says that one failed, or did not end while the token waited.
	failed bool
	wait   time.Duration // until a token may cause a fetch; 0 if that is not known
	err    error         // of the latest fetch
}

func (s *KeySet) fetchesBegun() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// step has the keys fetched if a token may cause that now, or joins the fetch that is under way, and waits for it. A fetch
// that began before the token came does not end the look-up: the issuer may have answered before it published the key.
func (s *KeySet) step(ctx context.Context, came uint64) lookUp {
	l := lookUp{came: came}
	s.mu.Lock()
	f := s.inflight
	if f == nil {
		if wait := time.Until(later(s.nextDemand, s.nextTry)); wait > 0 {
			defer s.mu.Unlock()
			l.isOver, l.wait, l.err = true, wait, s.lastErr
			return l
		}
		f = s.begin(ctx, true)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		l.isOver, l.failed, l.err = true, true, errors.New("no answer while the caller waited")
		return l
	}
	if l.isOver = f.number > came; l.isOver {
		l.succeeded, l.failed, l.err = f.err == nil, f.err != nil, f.err
	}
	if l.failed {
		l.wait = s.untilFetch()
	}
	return l
}

// untilFetch is how long no token causes a fetch.
func (s *KeySet) untilFetch() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, time.Until(later(s.nextDemand, s.nextTry)))
}

// freshKeys returns the keys, or nil if there are none or they are too old.
func (s *KeySet) freshKeys() *keyring {
	g := s.current.Load()
	if g == nil || time.Since(g.fetched) >= s.policy.MaxStale {
		return nil
	}
	return g.keys
}

// version implements versionedKeys.
func (s *KeySet) version() (number uint64, usable bool) {
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
		f = s.begin(ctx, demanded)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return errors.New("no answer while the caller waited")
	}
}

// begin starts a fetch. s.mu is locked, and no fetch is under way. What the fetch needs of time is bounded in load, whatever
// the caller's context says.
func (s *KeySet) begin(ctx context.Context, demanded bool) *fetch {
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.started++
	f := &fetch{number: s.started, demanded: demanded, done: make(chan struct{}), cancel: cancel}
	s.inflight = f
	if demanded {
		s.waiting = false
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
			fresh.number, fresh.keys = old.number, old.keys
		} else if old != nil {
			fresh.number = old.number + 1
		}
		s.current.Store(fresh)
		s.failures, s.nextTry = 0, now
		if f.demanded {
			s.nextDemand = now.Add(s.policy.RefetchInterval)
			s.absent.settle(f.number)
		}
	} else {
		s.failures++
		s.nextTry = now.Add(s.backoff(err))
		s.waiting = s.waiting || f.demanded // the tokens that it was for still wait
		attrs := []any{"error", err, "reason", providers.ReasonKeysUnavailable, "next_try_in", time.Until(s.nextTry).Round(time.Millisecond)}
		if s.source.Introspects && errors.Is(err, ErrNoUsableKeys) {
			attrs = append(attrs, "fix", "set provider.introspection=always if the provider issues no JWTs")
		} else {
			attrs = append(attrs, "fix", "run `gatehouse doctor`, which examines the provider")
		}
		s.logger.Warn("the provider's keys could not be fetched", attrs...)
	}
	if err == nil && s.lastErr != nil {
		s.logger.Info("the provider's keys are back")
	}
	s.lastErr, f.err = err, err
	s.inflight = nil
	close(f.done)
}

// awaitFirst waits for the first keys, for a caller that has the time: every place where they may be is asked until then.
func (s *KeySet) awaitFirst(ctx context.Context) {
	if s.freshKeys() == nil {
		_ = s.refresh(ctx, false) // the error is that of the verdict, too
	}
}

// backoff is how long to wait after a failure: the issuer's Retry-After if it named one, else from one second doubling
// up to the refetch interval.
func (s *KeySet) backoff(err error) time.Duration {
	var busy *retryAfterError
	if errors.As(err, &busy) && busy.retryAfter > 0 {
		return min(busy.retryAfter, s.policy.MaxAge)
	}
	wait := time.Second << min(s.failures-1, 16)
	return min(wait, s.policy.RefetchInterval)
}
