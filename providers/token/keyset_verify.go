package token

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
)

// VerifySignature implements oidc.KeySet. The error wraps ErrInvalidToken or ErrUnavailable.
func (s *KeySet) VerifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	kid, alg := oidc.GetKeyIDAndAlg(jws)
	ring := s.freshKeys()
	payload, failure := s.verifyWith(ctx, ring, kid, alg, jws)
	if failure == nil {
		return payload, nil
	}
	waiting, cancel := context.WithTimeout(ctx, unknownKeyWait)
	defer cancel()
	l := keyLookup{startedBefore: s.fetchesStarted()}
	for !failure.isFinal && !l.isOver {
		l = s.awaitFetch(waiting, l.startedBefore)
		fresh := s.freshKeys()
		if fresh == ring {
			continue
		}
		ring = fresh
		if payload, failure = s.verifyWith(ctx, ring, kid, alg, jws); failure == nil {
			return payload, nil
		}
	}
	switch {
	case failure.isFinal:
		return nil, failure.err
	case ring == nil:
		return nil, providers.Unavailablef(providers.ReasonKeysUnavailable, "no keys: %v", l.err)
	case failure.isUnknown:
		return nil, s.unknownKeyError(ctx, kid, alg, l)
	case l.failed:
		// Another key may be published under the same id by now, and a 401 would end good sessions.
		err := providers.Unavailablef(providers.ReasonKeysUnavailable,
			"no known key verifies the signature, and the keys cannot be renewed: %v", l.err)
		return nil, causedByToken(err, l.wait)
	case errors.Is(failure.err, providers.ErrUnavailable):
		return nil, causedByToken(failure.err, cmp.Or(l.wait, s.untilFetch(), s.policy.RefetchInterval))
	}
	return nil, failure.err
}

// verifyFailure is why no key of a keyring verifies a signature.
type verifyFailure struct {
	err error
	// isUnknown reports that the keyring has no such key, usable or not. err is nil then.
	isUnknown bool
	// isFinal reports that other keys would not change the result.
	isFinal bool
}

// verifyWith checks the signature with each key that may have made it, and returns the signed payload.
func (s *KeySet) verifyWith(
	ctx context.Context, ring *keyring, kid, alg string, jws *jose.JSONWebSignature,
) ([]byte, *verifyFailure) {
	if ring == nil {
		return nil, &verifyFailure{isUnknown: true}
	}
	candidates, bound := ring.candidates(kid, alg, s.acceptsBinding(jws))
	if len(candidates) > 0 {
		payload, err := s.verify(ctx, candidates, kid, jws)
		if err == nil {
			return payload, nil
		}
		skipped, ok := ring.unusable(kid)
		if ok && skipped.faulty && kid != "" && providers.ReasonOf(err) == ReasonSignatureInvalid {
			return nil, &verifyFailure{err: faultyKeyError(kid, skipped)}
		}
		return nil, &verifyFailure{err: err, isFinal: errors.Is(err, providers.ErrUnavailable)}
	}
	var err error
	skipped, isSkipped := ring.unusable(kid)
	switch others := ring.otherAlgorithms(kid); {
	case isSkipped && skipped.faulty:
		err = faultyKeyError(kid, skipped)
	case isSkipped:
		err = providers.Invalidf(ReasonKeyUnknown, "key %s "+keyUnfit+"cannot verify a signature: %s",
			quoted(kid), skipped.reason)
	case bound > 0:
		err = providers.Invalidf(ReasonKeyUnknown, "key %s "+keyUnfit+keyBound, quoted(kid))
	case kid != "" && len(others) > 0:
		err = providers.Invalidf(ReasonKeyUnknown, "key %s "+keyUnfit+"for %s, not for %s",
			quoted(kid), strings.Join(others, " "), quoted(alg))
	}
	return nil, &verifyFailure{err: err, isUnknown: err == nil}
}

// Parts of the messages about keys that are published but not for the token, by which [Explanation.Hints]
// recognizes them.
const (
	keyUnfit = "is published, but "
	keyBound = "bound to another issuer than the token's"
)

// faultyKeyError reports an outage: after a 401 the client would return with another token signed by the same
// key.
func faultyKeyError(kid string, key skippedKey) error {
	if kid == "" {
		return providers.Unavailablef(providers.ReasonKeysUnavailable,
			"the token names no key, and a published key cannot be used: %s", key)
	}
	return providers.Unavailablef(providers.ReasonKeysUnavailable,
		"key %s is published, but cannot be used: %s", quoted(kid), key.reason)
}

// acceptsBinding returns a function that reports whether a key bound to an issuer may sign the token.
func (s *KeySet) acceptsBinding(jws *jose.JSONWebSignature) func(string) bool {
	issuer := sync.OnceValue(func() string { return unverifiedIssuer(jws) })
	return func(bound string) bool {
		if own := s.source.Issuer; own != "" && (boundTo(bound, own) || NamesIssuer(own, bound)) {
			return true
		}
		return boundTo(bound, issuer())
	}
}

// verify checks the signature with the first few candidates.
func (s *KeySet) verify(
	ctx context.Context, candidates []*jose.JSONWebKey, kid string, jws *jose.JSONWebSignature,
) ([]byte, error) {
	select {
	case s.signatureSlots <- struct{}{}:
		defer func() { <-s.signatureSlots }()
	case <-ctx.Done():
		return nil, providers.Unavailablef(providers.ReasonKeysUnavailable,
			"the caller disconnected before the signature was checked")
	}
	tried := candidates[:min(len(candidates), maxCandidates)]
	for _, key := range tried {
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	switch {
	case len(candidates) == 1:
		return nil, providers.Invalidf(ReasonSignatureInvalid,
			"the issuer's key %s does not verify the signature", quoted(tried[0].KeyID))
	case kid == "":
		return nil, providers.Invalidf(ReasonSignatureInvalid,
			"the token names no key, and none of the %d keys tried verifies the signature (%d have its "+
				"algorithm)",
			len(tried), len(candidates))
	}
	return nil, providers.Invalidf(ReasonSignatureInvalid,
		"none of the issuer's %d keys %s verifies the signature (%d were tried)",
		len(candidates), quoted(kid), len(tried))
}

// unknownKeyError is the error for a token whose key is not in the key set as far as is known.
func (s *KeySet) unknownKeyError(ctx context.Context, kid, alg string, l keyLookup) error {
	id := absentKeyOf(kid, alg)
	remember := !providers.IsOverLimit(ctx)
	switch {
	case l.succeeded:
		if remember {
			s.absent.add(id, l.startedBefore)
		}
		return providers.Invalidf(ReasonKeyUnknown,
			"key %s for %s is not published by the issuer", quoted(kid), quoted(alg))
	case l.err == nil && s.absent.isSettled(id):
		return providers.Invalidf(ReasonKeyUnknown,
			"key %s for %s was not published by the issuer when its keys were last fetched", quoted(kid), quoted(alg))
	}
	if remember {
		s.absent.add(id, l.startedBefore)
	}
	s.requestFetch()
	// It may be a new key, and a 401 would end good sessions.
	err := providers.Unavailablef(providers.ReasonKeysUnavailable,
		"key %s is not among those last fetched, and the next fetch may start in %s",
		quoted(kid), l.wait.Round(time.Millisecond))
	if l.err != nil {
		err = providers.Unavailablef(providers.ReasonKeysUnavailable,
			"key %s is not among those last fetched, and they cannot be renewed: %v", quoted(kid), l.err)
	}
	return causedByToken(err, l.wait)
}

// requestFetch makes Run fetch the keys as soon as tokens may cause that.
func (s *KeySet) requestFetch() {
	s.mu.Lock()
	s.fetchWanted = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unknownKeyWait is how long a token that no known key verifies waits for a fetch, which continues without
// it: a slow issuer must not delay callers for longer.
const unknownKeyWait = 3 * time.Second

// keyLookup is the state of the lookup for a token that no known key verifies.
type keyLookup struct {
	startedBefore uint64 // number of fetches started before the token came
	// isOver reports that there will be no other fetch for the token.
	isOver bool
	// succeeded reports that a fetch which started after the token came has succeeded.
	succeeded bool
	// failed reports that it failed, or did not end while the token waited.
	failed bool
	wait   time.Duration // until a token may cause a fetch; 0 if unknown
	err    error         // of the latest fetch
}

func (s *KeySet) fetchesStarted() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// awaitFetch starts a fetch if a token may cause one now, or joins the one in progress, and waits for it. A
// fetch that started before the token came does not end the lookup: the issuer may have responded before it
// published the key.
func (s *KeySet) awaitFetch(ctx context.Context, startedBefore uint64) keyLookup {
	l := keyLookup{startedBefore: startedBefore}
	s.mu.Lock()
	f := s.inflight
	if f == nil {
		if wait := time.Until(later(s.nextTokenFetch, s.nextTry)); wait > 0 {
			defer s.mu.Unlock()
			l.isOver, l.wait, l.err = true, wait, s.lastErr
			return l
		}
		f = s.startFetch(ctx, true)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		l.isOver, l.failed, l.err = true, true, errors.New("no answer while the caller waited")
		return l
	}
	if l.isOver = f.number > startedBefore; l.isOver {
		l.succeeded, l.failed, l.err = f.err == nil, f.err != nil, f.err
	}
	if l.failed {
		l.wait = s.untilFetch()
	}
	return l
}

// untilFetch returns the time until a token can cause a fetch.
func (s *KeySet) untilFetch() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, time.Until(later(s.nextTokenFetch, s.nextTry)))
}
