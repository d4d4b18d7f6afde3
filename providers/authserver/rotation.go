package authserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/providers"
	records "gatehouse/providers/authserver/store"
)

const (
	// maxRotations bounds the memory for replacements within the grace period.
	maxRotations = 32

	exchangePatience = time.Second
)

var (
	errUnknownGrant  = errors.New("unknown, expired, revoked, or issued to another client")
	errReplayedGrant = errors.New("used twice; all tokens issued for it are revoked")
	errOutdatedToken = errors.New("replaced several times within the grace period")
)

// grantEnded refuses a token whose grant has ended because of this request.
type grantEnded struct{ reason providers.Reason }

func (e *grantEnded) Error() string { return "the sign-in has ended: " + string(e.reason) }

// redeem marks the code of a client as used if check succeeds. A failed check leaves the code valid, so that neither a
// mistake nor another client can use it up: a thief of the code without its verifier could otherwise end a sign-in by
// a wrong redirect_uri. A second use ends the grant (OAuth 2.1, section 4.1.3), and so does one of two at the same
// time on two replicas, because only one Replace succeeds.
func (i *Issuer) redeem(
	ctx context.Context, value, clientID string, mayRefresh bool, check func(*grant) error,
) (*storedGrant, *codeTerms, error) {
	id, _, ok := readToken(i.config.Keys, codeKind, value)
	if !ok {
		return nil, nil, errUnknownGrant
	}
	for range maxReads {
		g, err := i.grants.read(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		now := i.config.Now()
		switch {
		case g.ClientID != clientID || g.Ended != nil || !now.Before(g.Ends):
			return nil, nil, errUnknownGrant
		case g.Code == nil && now.Before(g.Created.Add(spentCodeLifetime)):
			return g, nil, i.endReplayed(ctx, g)
		case g.Code == nil || !g.hasFreshCode(now):
			return nil, nil, errUnknownGrant
		}
		if err := i.checkPolicy(ctx, g); err != nil {
			return g, nil, err
		}
		if err := check(g.grant); err != nil {
			return g, nil, err
		}
		terms := g.Code
		g.advance(now, 1, i.config.RefreshGrace, providers.AddressFrom(ctx))
		g.Ends = now.Add(max(spentCodeLifetime, i.config.AccessTokenLifetime))
		if mayRefresh && g.isRefreshable() {
			g.Ends = i.lifetime(now, g.grant)
		}
		switch err := i.grants.replace(ctx, g, exchangePatience); {
		case err == nil:
			return g, terms, nil
		case !errors.Is(err, records.ErrChanged):
			return g, nil, err
		}
	}
	return nil, nil, storeUnavailable(records.ErrChanged)
}

// isSpent reports whether the client has exchanged a code.
func (i *Issuer) isSpent(ctx context.Context, value string) bool {
	id, _, ok := readToken(i.config.Keys, codeKind, value)
	if !ok {
		return false
	}
	g, err := i.grants.read(ctx, id)
	return err == nil && g.Code == nil
}

// checkPolicy ends a grant that the operator does not want any more.
func (i *Issuer) checkPolicy(ctx context.Context, g *storedGrant) error {
	if g.Created.Before(i.config.Sessions.RevokeBefore) {
		return i.endNow(ctx, g, ReasonSignInTooOld)
	}
	reason, denied := i.config.Denied(&providers.Identity{Issuer: i.config.Issuer, Subject: g.Person.Subject,
		Client: g.ClientID, IssuedAt: g.Created})
	if denied {
		return i.endNow(ctx, g, reason)
	}
	return nil
}

// endNow ends a grant and returns the error for the request that has caused it.
func (i *Issuer) endNow(ctx context.Context, g *storedGrant, reason providers.Reason) error {
	if err := i.endGrant(ctx, g, reason); err != nil {
		return err
	}
	return &grantEnded{reason}
}

func (i *Issuer) endReplayed(ctx context.Context, g *storedGrant) error {
	if err := i.endGrant(ctx, g, ReasonReplayed); err != nil {
		return err
	}
	return errReplayedGrant
}

// advance makes generation the current one. What was replaced longer ago than the grace period needs no time.
func (g *grant) advance(now time.Time, generation uint64, grace time.Duration, address string) {
	rotated := slices.DeleteFunc(slices.Clone(g.Rotated), func(at time.Time) bool { return !isWithin(now, at, grace) })
	rotated = append(rotated, now)
	g.Rotated = rotated[max(0, len(rotated)-maxRotations):]
	g.Generation, g.Address, g.Code = generation, address, nil
}

// replacement is how an earlier generation relates to the current one.
type replacement int

const (
	current    replacement = iota
	repeatable             // it gets the same successor again
	outdated               // refused only
	replayed               // the grant ends
	unknown                // newer than what is stored
)

// judge decides about the token of a generation.
//
// Clients may send a token twice: two processes share it, or the response was lost. Within the grace period a
// token whose successor was not replaced itself returns the same successor again, so that the token family
// does not fork. Any other replaced token that is sent again may have been stolen: whether the client or an
// attacker sent it is unknown, so the family is revoked (OAuth 2.1, section 4.3.1). The exception is a token
// within its grace period that at least three others have followed. It is only refused, because it comes from
// a process of the client that missed several refreshes of another process.
//
// A generation that is newer by one than the stored one is current: its MAC proves that this issuer has made it, so the
// store has lost its last write, as Redis may at a fail-over.
func (g *grant) judge(now time.Time, generation uint64, grace time.Duration) replacement {
	if generation >= g.Generation {
		if generation-g.Generation > 1 {
			return unknown
		}
		return current
	}
	replacements := g.Generation - generation
	inGrace := replacements <= uint64(len(g.Rotated)) &&
		isWithin(now, g.Rotated[uint64(len(g.Rotated))-replacements], grace)
	if replacements > maxRotations && len(g.Rotated) == maxRotations {
		inGrace = isWithin(now, g.Rotated[0], grace) // its own time is forgotten
	}
	switch {
	case replacements == 1 && inGrace:
		return repeatable
	case replacements > 2 && inGrace:
		return outdated
	}
	return replayed
}

// rotation is the result of a refresh.
type rotation struct {
	grant     *storedGrant
	scopes    []string
	successor string
	repeated  bool // the successor had been issued before
}

// rotate replaces a refresh token of the client if choose, which returns the scopes of the new access token, succeeds.
func (i *Issuer) rotate(
	ctx context.Context, value, clientID string, choose func(*grant) ([]string, error),
) (rotation, error) {
	id, generation, ok := readToken(i.config.Keys, refreshKind, value)
	if !ok {
		return rotation{}, errUnknownGrant
	}
	var waited time.Duration
	wasCurrent := false
	for range maxReads {
		g, err := i.grants.read(ctx, id)
		if err != nil {
			return rotation{}, err
		}
		now := i.config.Now()
		if g.ClientID != clientID || g.Ended != nil || !now.Before(g.Ends) || !now.Before(i.lifetime(now, g.grant)) {
			return rotation{}, errUnknownGrant
		}
		if err := i.checkPolicy(ctx, g); err != nil {
			return rotation{grant: g}, err
		}
		verdict := g.judge(now, generation, i.config.RefreshGrace)
		if verdict == replayed && wasCurrent {
			verdict = outdated // others have replaced it while this request waited
		}
		wasCurrent = wasCurrent || verdict == current
		switch verdict {
		case unknown:
			return rotation{grant: g}, errUnknownGrant
		case outdated:
			return rotation{grant: g}, errOutdatedToken
		case replayed:
			return rotation{grant: g}, i.endReplayed(ctx, g)
		}
		scopes, err := choose(g.grant)
		if err != nil {
			return rotation{grant: g}, err
		}
		successor := mintToken(i.config.Keys, refreshKind, id, generation+1)
		if verdict == repeatable {
			return rotation{g, scopes, successor, true}, nil
		}
		stored := g.Generation
		confirmed, err := i.recheck.confirm(ctx, g, &waited)
		if err != nil {
			return rotation{grant: g}, err
		}
		if confirmed == nil || confirmed.Generation != stored {
			continue
		}
		g, now = confirmed, i.config.Now()
		if scopes, err = choose(g.grant); err != nil { // they may be fewer now
			return rotation{grant: g}, err
		}
		g.advance(now, generation+1, i.config.RefreshGrace, providers.AddressFrom(ctx))
		g.Ends = i.lifetime(now, g.grant)
		switch err := i.grants.replace(ctx, g, 0); {
		case err == nil:
			return rotation{g, scopes, successor, false}, nil
		case !errors.Is(err, records.ErrChanged):
			return rotation{grant: g}, err
		}
	}
	return rotation{}, storeUnavailable(records.ErrChanged)
}
