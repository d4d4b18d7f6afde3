package authserver

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	requestLifetime = 10 * time.Minute // how long a consent page waits for an answer
	codeLifetime    = time.Minute      // RFC 6749, section 4.1.2 asks for a short life, at most 10 minutes

	// A spent code stays known a while longer, so that a late replay still ends what was issued for it.
	spentCodeLifetime = 10 * time.Minute

	// Nobody signs in before these fill, so they are bounded; the oldest entry makes room.
	maxRequests      = 1000
	maxClientPending = 20 // requests of one client
	maxCodes         = 1000
	maxRefreshTokens = 10_000
	maxAccessTokens  = 100_000
)

var (
	errUnknownGrant  = errors.New("unknown, expired, revoked, or issued to another client")
	errReplayedGrant = errors.New("used a second time; everything issued for it is revoked")
	errOutdatedToken = errors.New("replaced several times within the grace")
)

// authorization is what an authorization request asked for, once it has been found in order.
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

// grant is one decision to let a client act. Codes, access tokens and refresh tokens point to the grant they come from:
// revoking it ends them all (RFC 9700, section 4.14.2).
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

// behind is how many successors lie between this token and the current one of its grant: 0 for the current
// one itself.
func (t *refreshToken) replacements() int { return t.grant.rotation - t.rotation }

// pendingRequest is an authorization request on which a person has to decide.
type pendingRequest struct {
	*authorization
	shown bool // the person has its page
}

type accessToken struct {
	grant   *grant
	claims  accessClaims
	revoked bool
}

// store holds what the issuer has handed out and may still be asked about. Each method is one atomic step.
type store struct {
	refreshGrace time.Duration

	mu       sync.Mutex
	requests *expiringMap[string, *pendingRequest]
	codes    *expiringMap[string, *code]
	refresh  *expiringMap[string, *refreshToken]
	access   *expiringMap[[sha256.Size]byte, *accessToken] // by the token's digest: tokens are long
}

func newStore(accessLifetime, refreshLifetime, refreshGrace time.Duration) *store {
	return &store{
		refreshGrace: refreshGrace,

		requests: newExpiringMap[string, *pendingRequest](requestLifetime, maxRequests),
		codes:    newExpiringMap[string, *code](spentCodeLifetime, maxCodes),
		refresh:  newExpiringMap[string, *refreshToken](refreshLifetime, maxRefreshTokens),
		access:   newExpiringMap[[sha256.Size]byte, *accessToken](accessLifetime, maxAccessTokens),
	}
}

// putRequest keeps a request until a person has decided on it. Where a client has too many, another of its
// own makes room, and where all have, any other. One whose page was not shown goes first: requests that a
// page sends in the background must not end the sign-in that a person is looking at.
func (s *store) putRequest(now time.Time, a *authorization) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofClient := func(r *pendingRequest) bool { return r.client.id == a.client.id }
	ofAnyone := func(*pendingRequest) bool { return true }
	if s.requests.count(now, ofClient) >= maxClientPending {
		s.dropRequest(ofClient)
	}
	if s.requests.count(now, ofAnyone) >= maxRequests {
		s.dropRequest(ofAnyone)
	}
	id = rand.Text()
	s.requests.put(now, id, &pendingRequest{authorization: a})
	return id
}

func (s *store) dropRequest(candidate func(*pendingRequest) bool) {
	if !s.requests.removeOldest(func(r *pendingRequest) bool { return candidate(r) && !r.shown }) {
		s.requests.removeOldest(candidate)
	}
}

// showRequest returns a request whose page a person gets to see now.
func (s *store) showRequest(now time.Time, id string) (*authorization, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests.get(now, id)
	if !ok {
		return nil, false
	}
	r.shown = true
	return r.authorization, true
}

// takeRequest gives a request to the first who decides on it.
func (s *store) takeRequest(now time.Time, id string) (*authorization, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests.get(now, id)
	if !ok {
		return nil, false
	}
	s.requests.remove(id)
	return r.authorization, true
}

func (s *store) putCode(now time.Time, g *grant, a *authorization) (value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value = rand.Text()
	s.codes.put(now, value, &code{grant: g, authorization: a, issued: now})
	return value
}

// spendCode spends a code of the client if check agrees. A code that is refused stays good, so that neither a mistake
// nor a stranger burns it; a code that comes again takes down what it was exchanged for (OAuth 2.1, section 4.1.3).
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

// rotation is what a refresh token was exchanged for.
type rotation struct {
	grant     *grant
	successor string
	repeated  bool // the successor was issued before
}

// rotate replaces a refresh token of the client if check agrees.
//
// Clients send one token twice: two processes share it, or the answer got lost. Within the grace the previous
// token gets the successor that it got before, so the family does not fork, as long as that successor was not
// replaced itself. Otherwise a token that was replaced and comes again is in two hands, and it cannot be told
// which are the right ones: the family ends (OAuth 2.1, section 4.3.1). Only what is still older, within its
// grace, is refused and no more: that is a process of the client that fell behind several refreshes of
// another.
func (s *store) rotate(now time.Time, value, clientID string, check func(*grant) error) (rotation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.refresh.get(now, value)
	if !ok || t.grant.clientID != clientID || t.grant.revoked {
		return rotation{}, errUnknownGrant
	}
	behind, inGrace := t.replacements(), now.Before(t.replaced.Add(s.refreshGrace))
	switch {
	case behind == 0, behind == 1 && inGrace:
	case behind > 2 && inGrace:
		return rotation{}, errOutdatedToken
	default:
		t.grant.revoked = true
		return rotation{}, errReplayedGrant
	}
	if err := check(t.grant); err != nil {
		return rotation{}, err
	}
	if behind == 1 {
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

// revoke ends a token of the client: an access token alone, a refresh token with all that comes from its grant. It is
// no error if there is no such token (RFC 7009, section 2.2).
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
