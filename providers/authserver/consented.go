package authserver

import (
	"slices"
	"time"
)

const maxConsents = 1000

// consentKey identifies what a user has granted to a client.
type consentKey struct{ clientID, subject, resource string }

// consented are the scopes that a user has granted to a client since the start of the issuer. They do not replace
// the consent of the user: the page marks what is new.
type consented struct {
	grant  *grant // the last one; if it is revoked, nothing is granted anymore
	scopes []string
}

// putConsent records a grant. The caller holds s.mu.
func (s *store) putConsent(now time.Time, g *grant) {
	key := consentKey{g.clientID, g.subject, g.resource}
	scopes := slices.Clone(g.scopes)
	if earlier, ok := s.consents.get(now, key); ok && !earlier.grant.revoked {
		for _, scope := range earlier.scopes {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	s.consents.put(now, key, consented{g, scopes})
}

// consented returns the scopes that a user has granted to a client, and when; none if the last grant is revoked.
func (s *store) consented(now time.Time, clientID, subject, resource string) (scopes []string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.consents.get(now, consentKey{clientID, subject, resource})
	if !ok || c.grant.revoked {
		return nil, time.Time{}
	}
	return c.scopes, c.grant.authTime
}
