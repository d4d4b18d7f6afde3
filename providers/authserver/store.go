package authserver

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	codeLifetime = time.Minute // RFC 6749, section 4.1.2 recommends at most 10 minutes

	// A used code stays known for a while, so that a late replay still revokes what was issued for it.
	spentCodeLifetime = 10 * time.Minute

	// Limits against floods; the oldest entry is removed.
	maxCodes         = 1000
	maxRefreshTokens = 10_000
	maxAccessTokens  = 100_000
)

var (
	errUnknownGrant  = errors.New("unknown, expired, revoked, or issued to another client")
	errReplayedGrant = errors.New("used twice; all tokens issued for it are revoked")
	errOutdatedToken = errors.New("replaced several times within the grace period")
)

// authorization is a validated authorization request.
type authorization struct {
	client      *client
	redirectURI string
	state       string
	nonce       string
	challenge   string // PKCE, method S256
	resource    string // as configured
	scopes      []string
	loginHint   string
}

// grant is the decision of a user to authorize a client. Codes, access tokens and refresh tokens refer to
// their grant: revoking it revokes all of them (RFC 9700, section 4.14.2).
type grant struct {
	clientID string
	subject  string
	name     string // empty unless the subject is a person
	resource string
	scopes   []string
	authTime time.Time
	revoked  bool
	rotation int // how often its refresh token was replaced
}

type code struct {
	grant         *grant
	authorization *authorization
	issued        time.Time
	spent         bool
}

type refreshToken struct {
	grant     *grant
	issued    time.Time
	rotation  int       // of the grant, when this token was issued
	replaced  time.Time // when its successor was issued
	successor string
}

// replacements returns how many successors of this token were issued: 0 for the current one.
func (t *refreshToken) replacements() int { return t.grant.rotation - t.rotation }

type accessToken struct {
	grant   *grant
	claims  accessClaims
	revoked bool
}

// store holds what the issuer has issued. Each method is atomic.
type store struct {
	refreshGrace time.Duration

	mu       sync.Mutex
	consents *expiringMap[consentKey, consented]
	codes    *expiringMap[string, *code]
	refresh  *expiringMap[string, *refreshToken]
	access   *expiringMap[[sha256.Size]byte, *accessToken] // by digest, because tokens are long
}

func newStore(accessLifetime, refreshLifetime, refreshGrace time.Duration) *store {
	return &store{
		refreshGrace: refreshGrace,

		consents: newExpiringMap[consentKey, consented](refreshLifetime, maxConsents),
		codes:    newExpiringMap[string, *code](spentCodeLifetime, maxCodes),
		refresh:  newExpiringMap[string, *refreshToken](refreshLifetime, maxRefreshTokens),
		access:   newExpiringMap[[sha256.Size]byte, *accessToken](accessLifetime, maxAccessTokens),
	}
}

func (s *store) putCode(now time.Time, g *grant, a *authorization) (value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value = rand.Text()
	s.codes.put(now, value, &code{grant: g, authorization: a, issued: now})
	s.putConsent(now, g)
	return value
}

// isSpent reports whether the client has exchanged a code.
func (s *store) isSpent(now time.Time, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.codes.get(now, value)
	return ok && c.spent
}

// spendCode marks a code of the client as used if check succeeds. A failed check leaves the code valid, so
// that neither a mistake nor another client can use it up; a second use revokes what was issued for it (OAuth
// 2.1, section 4.1.3).
func (s *store) spendCode(now time.Time, value, clientID string, check func(*code) error) (*code, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.codes.get(now, value)
	switch {
	case !ok || c.grant.clientID != clientID:
		return nil, errUnknownGrant
	case c.spent:
		c.grant.revoked = true
		return nil, errReplayedGrant
	case !now.Before(c.issued.Add(codeLifetime)):
		return nil, errUnknownGrant
	}
	if err := check(c); err != nil {
		return nil, err
	}
	c.spent = true
	return c, nil
}

func (s *store) putRefreshToken(now time.Time, g *grant) (value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newRefreshToken(now, g)
}

func (s *store) newRefreshToken(now time.Time, g *grant) (value string) {
	value = rand.Text()
	s.refresh.put(now, value, &refreshToken{grant: g, issued: now, rotation: g.rotation})
	return value
}

// rotation is the result of a refresh.
type rotation struct {
	grant     *grant
	successor string
	repeated  bool // the successor had been issued before
}

// rotate replaces a refresh token of the client if check succeeds.
//
// Clients may send a token twice: two processes share it, or the response was lost. Within the grace period a
// token whose successor was not replaced itself returns the same successor again, so that the token family
// does not fork. Any other replaced token that is sent again may have been stolen: whether the client or an
// attacker sent it is unknown, so the family is revoked (OAuth 2.1, section 4.3.1). The exception is a token
// within its grace period that at least three others have followed. It is only refused, because it comes from
// a process of the client that missed several refreshes of another process.
func (s *store) rotate(now time.Time, value, clientID string, check func(*grant) error) (rotation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.refresh.get(now, value)
	if !ok || t.grant.clientID != clientID || t.grant.revoked {
		return rotation{}, errUnknownGrant
	}
	replacements, inGrace := t.replacements(), now.Before(t.replaced.Add(s.refreshGrace))
	switch {
	case replacements == 0, replacements == 1 && inGrace:
	case replacements > 2 && inGrace:
		return rotation{}, errOutdatedToken
	default:
		t.grant.revoked = true
		return rotation{}, errReplayedGrant
	}
	if err := check(t.grant); err != nil {
		return rotation{}, err
	}
	if replacements == 1 {
		return rotation{t.grant, t.successor, true}, nil
	}
	t.grant.rotation++
	t.replaced, t.successor = now, s.newRefreshToken(now, t.grant)
	return rotation{t.grant, t.successor, false}, nil
}

func (s *store) putAccessToken(now time.Time, value string, g *grant, claims accessClaims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access.put(now, sha256.Sum256([]byte(value)), &accessToken{grant: g, claims: claims})
}

// activeAccessToken returns the claims of an access token that is neither expired nor revoked.
func (s *store) activeAccessToken(now time.Time, value string) (accessClaims, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.access.get(now, sha256.Sum256([]byte(value)))
	if !ok || t.revoked || t.grant.revoked {
		return accessClaims{}, false
	}
	return t.claims, true
}

// activeRefreshToken returns the grant of a refresh token that is neither replaced, expired nor revoked, and
// when it was issued.
func (s *store) activeRefreshToken(now time.Time, value string) (g *grant, issued time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.refresh.get(now, value)
	if !ok || t.replacements() > 0 || t.grant.revoked {
		return nil, time.Time{}, false
	}
	return t.grant, t.issued, true
}

// revoke revokes a token of the client. For an access token it revokes only that token; for a refresh token,
// everything from its grant. An unknown token is not an error (RFC 7009, section 2.2).
func (s *store) revoke(now time.Time, value, clientID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.refresh.get(now, value); ok {
		if t.grant.clientID != clientID {
			return errUnknownGrant
		}
		t.grant.revoked = true
	}
	if t, ok := s.access.get(now, sha256.Sum256([]byte(value))); ok {
		if t.grant.clientID != clientID {
			return errUnknownGrant
		}
		t.revoked = true
	}
	return nil
}
