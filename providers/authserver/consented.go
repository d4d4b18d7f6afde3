package authserver

import (
	"slices"
	"sync"
	"time"
)

const maxConsents = 1000

// consentKey identifies what a user has granted to a client.
type consentKey struct{ clientID, subject, resource string }

// consented are the scopes that a user has granted to a client since the start of the issuer.
type consented struct {
	grant  string // the digest of the last one; if it ends, nothing is granted anymore
	at     time.Time
	scopes []string
}

// consents are what users have granted in this process. They do not replace the consent of the user: the page marks
// what is new.
type consents struct {
	mu    sync.Mutex
	given *expiringMap[consentKey, consented]
}

func newConsents(lifetime time.Duration) *consents {
	return &consents{given: newExpiringMap[consentKey, consented](lifetime, maxConsents)}
}

// put records a grant.
func (c *consents) put(now time.Time, g *storedGrant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := consentKey{g.ClientID, g.Person.Subject, g.Resource}
	scopes := slices.Clone(g.Scopes)
	earlier, _ := c.given.get(now, key)
	for _, scope := range earlier.scopes {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	c.given.put(now, key, consented{g.digest, g.Created, scopes})
}

// end forgets what was granted if the last grant was the one that has ended.
func (c *consents) end(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.removeOldest(func(one consented) bool { return one.grant == digest })
}

// of returns the scopes that a user has granted to a client, and when; none if the last grant has ended.
func (c *consents) of(now time.Time, clientID, subject, resource string) (scopes []string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, ok := c.given.get(now, consentKey{clientID, subject, resource})
	if !ok {
		return nil, time.Time{}
	}
	return one.scopes, one.at
}
