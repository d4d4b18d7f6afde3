package authserver

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// maxConfidentialClients limits the confidential clients of the demo that registered dynamically: those used, and those
// unused.
const maxConfidentialClients = 1000

// demoIDs are the [clientIDs] of the demo. The id of a public client contains its registration. Confidential clients
// are in memory; they are bounded, and those that have authenticated are kept separately: new registrations only evict
// others that were never used.
type demoIDs struct {
	public readableIDs

	mu     sync.Mutex
	unused *expiringMap[string, *client]
	recent *expiringMap[string, *client] // used; the least recently used is evicted first
}

func newDemoIDs(rules clientRules) *demoIDs {
	return &demoIDs{
		public: newReadableIDs(rules),
		unused: newExpiringMap[string, *client](0, maxConfidentialClients),
		recent: newExpiringMap[string, *client](0, maxConfidentialClients),
	}
}

// issue implements [clientIDs].
func (ids *demoIDs) issue(m clientMetadata) (registration, error) {
	if m.TokenEndpointAuthMethod == oidc.AuthMethodNone {
		id, err := ids.public.issue(m)
		return registration{id: id}, err
	}
	r := registration{id: rand.Text(), secret: rand.Text()}
	ids.add(&client{
		id:           r.id,
		name:         m.ClientName,
		origin:       dynamic,
		secret:       isSecret(r.secret),
		redirectURIs: m.RedirectURIs,
		grantTypes:   m.GrantTypes,
	})
	return r, nil
}

func (ids *demoIDs) add(c *client) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.unused.put(time.Time{}, c.id, c)
}

// read implements [clientIDs].
func (ids *demoIDs) read(_ context.Context, id string) (*client, error) {
	if c, ok := ids.public.read(id); ok {
		return c, nil
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if c, ok := ids.recent.get(time.Time{}, id); ok {
		return c, nil
	}
	if c, ok := ids.unused.get(time.Time{}, id); ok {
		return c, nil
	}
	return nil, errUnknownClient()
}

// used implements [clientIDs].
func (ids *demoIDs) used(c *client) {
	if c.origin != dynamic || c.public() {
		return
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.unused.remove(c.id)
	ids.recent.put(time.Time{}, c.id, c)
}
