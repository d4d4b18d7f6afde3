package authserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"

	"gatehouse/providers"
	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
)

const (
	codeLifetime = time.Minute // RFC 6749, section 4.1.2 recommends at most 10 minutes

	// A used code stays known for a while, so that a late replay still ends its grant.
	spentCodeLifetime = 10 * time.Minute

	// A grant whose code was not used stays longer than its code: the response of a provider must not make a second
	// grant from the same transaction, and a store that loses the exchange still has the grant at the first refresh.
	unusedGrantLifetime = time.Hour

	// An ended grant stays for a while, so that what is under way on other replicas finds its end. Afterwards, its
	// tokens cost the same, one MAC and one read, and get the same answer.
	endedGrantLifetime = time.Hour

	// Limits of what one person can store. The second one is for clients that register at every sign-in.
	maxClientGrants = 20
	maxPersonGrants = 100

	grantPrefix  = "grant:"
	storeTimeout = 3 * time.Second // of one operation
	maxReads     = 100             // of a record by one request, while others change it or ask the provider
)

// grant is the decision of a person to authorize a client, and how far the client has used it. Codes, access tokens and
// refresh tokens refer to their grant: ending it ends all of them (RFC 9700, section 4.14.2).
//
// Its JSON is the content of a record. All members are always written, so that members of a later version, which a
// replica of this version does not know, can be told apart and are written back. A later version must add members
// here, not to the objects inside.
type grant struct {
	Format     int    `json:"v"`
	ClientID   string `json:"client"`
	ClientName string `json:"client_name"`
	Resource   string `json:"resource"`
	// Scopes are those that the person has consented to.
	Scopes []string `json:"scopes"`
	// Person has the scopes that the person may have now.
	Person  Person    `json:"person"`
	Created time.Time `json:"created"`
	Ends    time.Time `json:"ends"`
	// Code is nil once the client has exchanged the code.
	Code *codeTerms `json:"code"`
	// Generation is that of the current refresh token; 0 is the code.
	Generation uint64 `json:"generation"`
	// Rotated are the times at which the last generations were replaced, the current one's predecessor last.
	Rotated []time.Time `json:"rotated"`
	// Address sent the token that was replaced last.
	Address string `json:"address"`
	// Confirmed is when the provider has last said that the person may sign in, and Failed when it could not be asked
	// since.
	Confirmed time.Time `json:"confirmed"`
	Failed    time.Time `json:"failed"`
	Lease     *lease    `json:"lease"`
	Ended     *ending   `json:"ended"`
	// Writer is random for each version of the record, so that a writer whose answer was lost recognizes its own.
	Writer string `json:"writer"`

	others map[string]json.RawMessage // members of a later version
}

// codeTerms are what the exchange of the code must fit.
type codeTerms struct {
	RedirectURI string `json:"redirect_uri"`
	Challenge   string `json:"challenge"` // PKCE, method S256
	Nonce       string `json:"nonce"`
}

// ending is why and when a grant has ended.
type ending struct {
	Reason providers.Reason `json:"reason"`
	At     time.Time        `json:"at"`
}

const grantFormat = 1

func (g *grant) encode() ([]byte, error) {
	known, err := json.Marshal(g)
	if err != nil || len(g.others) == 0 {
		return known, err
	}
	all := make(map[string]json.RawMessage, len(g.others))
	for name, value := range g.others {
		all[name] = value
	}
	if err := json.Unmarshal(known, &all); err != nil { // replaces the members that this version knows
		return nil, err
	}
	return json.Marshal(all)
}

func decodeGrant(plain []byte) (*grant, error) {
	g := new(grant)
	d := json.NewDecoder(strings.NewReader(string(plain)))
	d.DisallowUnknownFields()
	if d.Decode(g) == nil {
		return g, nil
	}
	*g = grant{}
	if err := json.Unmarshal(plain, g); err != nil {
		return nil, err
	}
	return g, json.Unmarshal(plain, &g.others)
}

// isLive reports whether the client can get tokens for the grant.
func (g *grant) isLive(now time.Time) bool {
	return g.Ended == nil && now.Before(g.Ends) && (g.Code == nil || g.hasFreshCode(now))
}

func (g *grant) hasFreshCode(now time.Time) bool { return isWithin(now, g.Created, codeLifetime) }

// isWithin reports whether less than d has passed since at. A time in the future, beyond the difference of the
// clocks of two replicas, was stored by one whose clock was wrong: it would put off for as long what d is the limit of.
func isWithin(now, at time.Time, d time.Duration) bool {
	return now.Before(at.Add(d)) && !at.After(now.Add(clockSkew))
}

// issued is when the current refresh token was issued.
func (g *grant) issued() time.Time {
	if len(g.Rotated) == 0 {
		return g.Created
	}
	return g.Rotated[len(g.Rotated)-1]
}

// allowedScopes returns the consented scopes that the person may have now: they may shrink, and grow again up to what
// was consented.
func (g *grant) allowedScopes() []string { return g.Person.allowed(g.Scopes) }

// lacksScopes reports whether the person may have none of the scopes of resources that the grant is for.
func (g *grant) lacksScopes() bool {
	return hasResourceScope(g.Scopes) && !hasResourceScope(g.allowedScopes())
}

// errGrantExists means that a sign-in with this id has a grant already.
var errGrantExists = errors.New("the sign-in has a grant already")

// grants keeps grants in a store. One record holds one grant; every change of it is a Replace of the version that was
// read, so that replicas that work on the same grant exclude each other.
type grants struct {
	store records.Store
	keys  *seal.Keys
	now   func() time.Time
}

// storedGrant is a grant with the record that it was read from.
type storedGrant struct {
	*grant
	id     grantID // zero unless it was read with a token
	digest string
	record records.Record
}

// create stores a new grant. The error is errGrantExists, or wraps errStoreUnavailable.
func (s *grants) create(ctx context.Context, id grantID, g *grant) (*storedGrant, error) {
	g.Writer = rand.Text()
	r := records.Record{ID: grantPrefix + id.digest(), Expires: g.Ends,
		Owner: ownerText(s.keys.MAC(seal.Owner, g.Person.Subject))}
	plain, err := g.encode()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	r = sealRecord(s.keys, r, plain)
	switch err := s.store.Create(ctx, r); {
	case errors.Is(err, records.ErrExists):
		return nil, errGrantExists
	case err != nil:
		return nil, storeUnavailable(err)
	}
	r.Version = 1
	return &storedGrant{g, id, id.digest(), r}, nil
}

func ownerText(mac []byte) string { return base64.RawURLEncoding.EncodeToString(mac) }

// read returns the grant of a token. The error is errUnknownGrant or wraps errUnavailable.
func (s *grants) read(ctx context.Context, id grantID) (*storedGrant, error) {
	g, err := s.readDigest(ctx, id.digest())
	if err == nil {
		g.id = id
	}
	return g, err
}

func (s *grants) readDigest(ctx context.Context, digest string) (*storedGrant, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	r, err := s.store.Get(ctx, grantPrefix+digest)
	switch {
	case errors.Is(err, records.ErrNotFound):
		return nil, errUnknownGrant
	case err != nil:
		return nil, storeUnavailable(err)
	}
	return s.open(r)
}

// open returns the grant of a record. A record that does not open is no reason to end a sign-in: the operator has to
// restore a secret, or find out who writes into the store.
func (s *grants) open(r records.Record) (*storedGrant, error) {
	plain, err := openRecord(s.keys, r)
	if err != nil {
		return nil, &unavailableError{ReasonRecordUnreadable, storeRetryAfter, err}
	}
	g, err := decodeGrant(plain)
	if err != nil {
		return nil, &unavailableError{ReasonRecordUnreadable, storeRetryAfter, err}
	}
	return &storedGrant{grant: g, digest: strings.TrimPrefix(r.ID, grantPrefix), record: r}, nil
}

// replace stores g in place of the version that was read. The error is [records.ErrChanged], errUnknownGrant, or wraps
// errUnavailable. While the store fails, it tries again for as long as patience: what it stores is lost otherwise.
func (s *grants) replace(ctx context.Context, g *storedGrant, patience time.Duration) error {
	g.Writer = rand.Text()
	plain, err := g.encode()
	if err != nil {
		return err
	}
	r := g.record
	r.Expires = g.Ends
	r = sealRecord(s.keys, r, plain)
	for began, pause := time.Now(), 20*time.Millisecond; ; pause *= 2 {
		version, err := s.replaceOnce(ctx, r, g.Writer)
		switch {
		case err == nil:
			r.Version = version
			g.record = r
			return nil
		case errors.Is(err, records.ErrChanged):
			return err
		case errors.Is(err, records.ErrNotFound):
			return errUnknownGrant
		case time.Since(began)+pause > patience:
			return storeUnavailable(err)
		}
		if err := sleep(ctx, pause); err != nil {
			return storeUnavailable(err)
		}
	}
}

// replaceOnce is Replace. The store may have done what it could not confirm, so a version that is not the one that was
// read can be the one that an earlier try has stored.
func (s *grants) replaceOnce(ctx context.Context, r records.Record, writer string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	version, err := s.store.Replace(ctx, r)
	if !errors.Is(err, records.ErrChanged) {
		return version, err
	}
	stored, readErr := s.store.Get(ctx, r.ID)
	if readErr != nil {
		return 0, readErr
	}
	if g, openErr := s.open(stored); openErr == nil && stored.Version == r.Version+1 && g.Writer == writer {
		return stored.Version, nil
	}
	return 0, err
}

// update reads a grant and stores it as change leaves it, until no other writer comes between, and returns what is
// stored. If change returns false, it stores nothing.
func (s *grants) update(
	ctx context.Context, digest string, patience time.Duration, change func(*grant) bool,
) (*storedGrant, error) {
	for began := time.Now(); ; {
		g, err := s.readDigest(ctx, digest)
		if errors.Is(err, errUnavailable) && time.Since(began) < patience && sleep(ctx, 50*time.Millisecond) == nil {
			continue
		}
		if err != nil || !change(g.grant) {
			return g, err
		}
		if err = s.replace(ctx, g, patience-time.Since(began)); err == nil {
			return g, nil
		}
		if !errors.Is(err, records.ErrChanged) {
			return nil, err
		}
		if time.Since(began) > max(patience, storeTimeout) {
			return nil, storeUnavailable(err)
		}
	}
}

// end ends a grant and returns it as it was. It is nil if the grant had ended before.
func (s *grants) end(ctx context.Context, digest string, reason providers.Reason) (before *grant, err error) {
	_, err = s.update(ctx, digest, 0, func(g *grant) bool {
		before = nil
		now := s.now()
		if g.Ended != nil {
			return false
		}
		copied := *g
		before = &copied
		g.Ended = &ending{reason, now}
		g.Ends = now.Add(endedGrantLifetime)
		g.Person.Credential, g.Person.Details, g.Code, g.Lease = "", nil, nil, nil
		return true
	})
	if errors.Is(err, errUnknownGrant) {
		return nil, nil
	}
	return before, err
}

// ofPerson returns the grants of a subject, whatever secret its owner was computed with.
func (s *grants) ofPerson(ctx context.Context, subject string) ([]*storedGrant, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var all []*storedGrant
	for _, mac := range s.keys.MACs(seal.Owner, subject) {
		for after := ""; ; {
			page, err := s.store.ByOwner(ctx, ownerText(mac), after, scanPage)
			if err != nil {
				return nil, storeUnavailable(err)
			}
			for _, r := range page {
				after = r.ID
				// What does not open cannot be counted; it is reported where it is used.
				if g, err := s.open(r); err == nil && strings.HasPrefix(r.ID, grantPrefix) {
					all = append(all, g)
				}
			}
			if len(page) < scanPage {
				break
			}
		}
	}
	return all, nil
}

// grantLifetime returns when a grant ends whose client has just got a refresh token.
type grantLifetime func(now time.Time, g *grant) time.Time

// slidingLifetime gives each refresh token the same lifetime.
func slidingLifetime(lifetime time.Duration) grantLifetime {
	return func(now time.Time, _ *grant) time.Time { return now.Add(lifetime) }
}

// absoluteLifetime counts from the sign-in. Without a credential, the provider cannot say that a person is gone.
func absoluteLifetime(policy SessionPolicy) grantLifetime {
	return func(_ time.Time, g *grant) time.Time {
		if g.Person.Credential == "" {
			return g.Created.Add(min(policy.Lifetime, policy.LifetimeWithoutRefresh))
		}
		return g.Created.Add(policy.Lifetime)
	}
}

// approve creates a grant with the scopes of a, and returns its code and the redirect to the client. The id is random
// if empty; two calls with the same one make one grant, on all replicas: the second error is errGrantExists. Other
// errors wrap errStoreUnavailable.
func (i *Issuer) approve(ctx context.Context, a *authorization, who Person, id string) (
	code, target string, err error,
) {
	now := i.config.Now()
	if who.Time.IsZero() {
		who.Time = now
	}
	g := &grant{
		Format:     grantFormat,
		ClientID:   a.client.id,
		ClientName: a.client.name,
		Resource:   a.resource,
		Scopes:     a.scopes,
		Person:     who,
		Created:    now,
		Confirmed:  now,
		Ends:       now.Add(unusedGrantLifetime),
		Code:       &codeTerms{RedirectURI: a.redirectURI, Challenge: a.challenge, Nonce: a.nonce},
	}
	if err := i.makeRoom(ctx, g); err != nil {
		return "", "", err
	}
	grantID := newGrantID(id)
	stored, err := i.grants.create(ctx, grantID, g)
	if err != nil {
		return "", "", err
	}
	i.access.granted(now, stored)
	code = mintToken(i.config.Keys, codeKind, grantID, 0)
	target, err = i.responseURL(a, &op.CodeResponseType{Code: code, State: a.state})
	return code, target, err
}

// limitGrants limits the grants of a person who signs in at another provider: the oldest ends. Two sign-ins at the same
// time may exceed a limit by one each.
func (i *Issuer) limitGrants(ctx context.Context, g *grant) error {
	all, err := i.grants.ofPerson(ctx, g.Person.Subject)
	if err != nil {
		return err
	}
	now := i.config.Now()
	all = slices.DeleteFunc(all, func(other *storedGrant) bool { return !other.isLive(now) })
	slices.SortFunc(all, func(a, b *storedGrant) int { return a.Created.Compare(b.Created) })
	for _, limit := range []struct {
		most    int
		applies func(*storedGrant) bool
	}{
		{maxClientGrants, func(other *storedGrant) bool { return other.ClientID == g.ClientID }},
		{maxPersonGrants, func(other *storedGrant) bool { return other.Ended == nil }},
	} {
		var counted []*storedGrant
		for _, other := range all {
			if other.Ended == nil && limit.applies(other) {
				counted = append(counted, other)
			}
		}
		for len(counted) >= limit.most {
			if err := i.endGrant(ctx, counted[0], ReasonTooManySignIns); err != nil {
				return err
			}
			counted[0].Ended = &ending{ReasonTooManySignIns, now}
			counted = counted[1:]
		}
	}
	return nil
}

// keepAll is limitGrants for the demo, whose people are shared by everyone who tries it.
func keepAll(context.Context, *grant) error { return nil }

// endGrant ends a grant and tells whom it concerns. The error wraps errUnavailable.
func (i *Issuer) endGrant(ctx context.Context, g *storedGrant, reason providers.Reason) error {
	before, err := i.grants.end(ctx, g.digest, reason)
	if err != nil || before == nil {
		return err
	}
	i.access.ended(i.config.Now(), g.digest)
	i.record(ctx, grantEvent(EventEnd, reason, &storedGrant{grant: before, digest: g.digest}))
	i.recheck.dismiss(ctx, before.Person)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
