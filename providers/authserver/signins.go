package authserver

import (
	"context"
	"errors"
	"strings"
	"time"

	"gatehouse/providers/authserver/seal"
	records "gatehouse/providers/authserver/store"
	"gatehouse/providers/signins"
)

const scanPage = 200 // records that are read at once

// SignIn is a grant as operators see it. It has no credential. Its ID is the first part of the jti of its tokens.
type SignIn = signins.SignIn

// SignInFilter selects sign-ins. A client is also named by the short form of its id in log and audit.
type SignInFilter = signins.Filter

func matches(f SignInFilter, s SignIn) bool {
	return (f.ID == "" || f.ID == s.ID) && (f.Subject == "" || f.Subject == s.Subject) &&
		(f.ClientID == "" || f.ClientID == s.ClientID || f.ClientID == displayClientID(s.ClientID))
}

// SignIns returns up to limit sign-ins that have not ended and come after the one with the id after, sorted by id, and
// the id after which the next call continues: empty at the end.
func (i *Issuer) SignIns(ctx context.Context, f SignInFilter, after string, limit int) (list []SignIn, next string,
	err error) {
	return i.grants.list(ctx, f, after, limit)
}

// EndSignIns ends the sign-ins that match, and returns how many it has ended, even with an error. The filter must not
// be empty. Access tokens that were issued stay valid until they expire.
func (i *Issuer) EndSignIns(ctx context.Context, f SignInFilter) (n int, err error) {
	return i.grants.endAll(ctx, f, func(digest string) (bool, error) {
		g := &storedGrant{digest: digest}
		return true, i.endGrant(ctx, g, ReasonEndedByOperator)
	})
}

// ListSignIns is [Issuer.SignIns] for a store that no issuer of this process uses.
func ListSignIns(ctx context.Context, s records.Store, k *seal.Keys, f SignInFilter, after string, limit int,
) (list []SignIn, next string, err error) {
	return (&grants{store: s, keys: k, now: time.Now}).list(ctx, f, after, limit)
}

// EndSignIns is [Issuer.EndSignIns] for a store that no issuer of this process uses. The provider where people have
// signed in is not told.
func EndSignIns(ctx context.Context, s records.Store, k *seal.Keys, f SignInFilter) (n int, err error) {
	all := &grants{store: s, keys: k, now: time.Now}
	return all.endAll(ctx, f, func(digest string) (bool, error) {
		before, err := all.end(ctx, digest, ReasonEndedByOperator)
		return before != nil, err
	})
}

// list reads all records even for one subject: the owners of records that were created with a secret that is removed
// meanwhile cannot be computed, and ending what is listed would leave a sign-in.
func (s *grants) list(ctx context.Context, f SignInFilter, after string, limit int) ([]SignIn, string, error) {
	var list []SignIn
	for from := grantPrefix + after; ; {
		page, err := s.store.All(ctx, from, scanPage)
		if err != nil {
			return nil, "", storeUnavailable(err)
		}
		for _, r := range page {
			digest, isGrant := strings.CutPrefix(r.ID, grantPrefix)
			if !isGrant {
				return list, "", nil // sorted by id: no other grant follows
			}
			from = r.ID
			one, live := s.describe(r, digest)
			if !live || !matches(f, one) {
				continue
			}
			if len(list) == limit {
				return list, list[limit-1].ID, nil
			}
			list = append(list, one)
		}
		if len(page) < scanPage {
			return list, "", nil
		}
	}
}

func (s *grants) describe(r records.Record, digest string) (one SignIn, live bool) {
	g, err := s.open(r)
	if err != nil {
		return SignIn{ID: digest, Expires: r.Expires, Unreadable: true}, true
	}
	return SignIn{
		ID:         digest,
		Subject:    g.Person.Subject,
		ClientID:   g.ClientID,
		ClientName: g.ClientName,
		Resource:   g.Resource,
		Scopes:     g.allowedScopes(),
		SignedIn:   g.Created,
		Refreshed:  g.issued(),
		Confirmed:  g.Confirmed,
		Expires:    g.Ends,

		WithoutRefresh: g.Person.Credential == "",
	}, g.isLive(s.now())
}

// endAll ends what matches. A record that does not open is deleted if the filter names it.
func (s *grants) endAll(ctx context.Context, f SignInFilter, end func(digest string) (bool, error)) (n int, err error) {
	if f == (SignInFilter{}) {
		return 0, errors.New("which sign-ins is not said: name a sign-in, a subject or a client")
	}
	for after := ""; ; {
		page, next, err := s.list(ctx, f, after, scanPage)
		if err != nil {
			return n, err
		}
		for _, one := range page {
			ended := one.Unreadable
			if one.Unreadable {
				err = s.store.Delete(ctx, grantPrefix+one.ID)
			} else {
				ended, err = end(one.ID)
			}
			if err != nil {
				return n, err
			}
			if ended {
				n++
			}
		}
		if next == "" {
			return n, nil
		}
		after = next
	}
}
