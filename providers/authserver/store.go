package authserver

import "sync"

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

// store holds the requests that people have not decided yet, and how they have decided. Each method is atomic.
type store struct {
	ids      requestIDs
	deciding sync.Mutex // held while a request becomes an answer; before mu

	mu       sync.Mutex
	requests *expiringMap[string, *pendingRequest]
	answers  *expiringMap[string, answer]
}

func newStore() *store {
	return &store{
		ids:      newRequestIDs(),
		requests: newExpiringMap[string, *pendingRequest](requestLifetime, maxRequests),
		answers:  newExpiringMap[string, answer](answerLifetime, maxAnswers),
	}
}
