package authserver

import (
	"net/http"
	"sync"
	"time"

	"gatehouse/providers/authserver/seal"
)

const (
	requestLifetime = 10 * time.Minute // how long a consent page can be answered
	repeatLifetime  = 10 * time.Second // how long the same answer, such as a double click, gets the same redirect
	answerLifetime  = time.Hour        // how long the page of an answered request says what the answer was

	// Limits against floods; see also store.go.
	maxRequests      = 1000
	maxClientPending = 20 // requests per client
	maxAnswers       = 1000
)

// pendingRequests keeps authorization requests until a person has decided them.
type pendingRequests interface {
	// put returns the id with which the consent page finds the request. The error is an [*endedError].
	put(now time.Time, a *authorization) (id string, err error)

	// show returns a request for its consent page. The error is an [*endedError].
	show(now time.Time, id string) (*authorization, error)

	// check returns an [*endedError] for a request that cannot be answered, neither for the first time nor again.
	check(now time.Time, id string) error

	// decide answers a request with what respond returns. An answer that is repeated, as by a double click, may return
	// the first one again. The error is an [*endedError] or that of respond.
	decide(now time.Time, id string, given answer, respond func(*authorization, answer) (answer, error)) (answer, error)
}

// endedError is why a request cannot be answered anymore, or never could.
type endedError struct {
	status int
	problem
}

// Error implements error.
func (e *endedError) Error() string { return e.Title + ": " + e.Text }

const (
	againText        = " Start the sign-in again in the application."
	interruptedTitle = "Sign-in interrupted"
	expiredTitle     = "Sign-in expired"
	expiredText      = "This page can be answered for 10 minutes, which have passed." + againText
)

// decision is the button of the consent page that the person has clicked.
type decision string

const (
	approve decision = "approve"
	deny    decision = "deny"
)

// answer is what a person has decided, and the response to it.
type answer struct {
	decision decision
	choice   string // the subject that was chosen; empty if there was no choice
	next     destination
	code     string // in next; empty for a denial, and for a person who signs in elsewhere
	at       time.Time
}

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

// pendingRequest is an authorization request that a person has to decide.
type pendingRequest struct {
	*authorization
	shown bool // the page was sent
}

// memoryRequests keeps requests and answers in memory. Each method is atomic.
type memoryRequests struct {
	ids      datedIDs
	deciding sync.Mutex // held while a request becomes an answer; before mu

	mu      sync.Mutex
	pending *expiringMap[string, *pendingRequest]
	answers *expiringMap[string, answer]
}

func newMemoryRequests(keys *seal.Keys) *memoryRequests {
	return &memoryRequests{
		ids:     datedIDs{keys, "request"},
		pending: newExpiringMap[string, *pendingRequest](requestLifetime, maxRequests),
		answers: newExpiringMap[string, answer](answerLifetime, maxAnswers),
	}
}

// put implements [pendingRequests]. If the client has too many requests, another of them is removed, and if there are
// too many in total, any other. Requests whose page was not sent are removed first, so that requests in the background
// cannot end the sign-in that a user is looking at.
func (s *memoryRequests) put(now time.Time, a *authorization) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofClient := func(r *pendingRequest) bool { return r.client.id == a.client.id }
	ofAnyone := func(*pendingRequest) bool { return true }
	if s.pending.count(now, ofClient) >= maxClientPending {
		s.drop(ofClient)
	}
	if s.pending.count(now, ofAnyone) >= maxRequests {
		s.drop(ofAnyone)
	}
	id = s.ids.issue(now)
	s.pending.put(now, id, &pendingRequest{authorization: a})
	return id, nil
}

func (s *memoryRequests) drop(candidate func(*pendingRequest) bool) {
	if !s.pending.removeOldest(func(r *pendingRequest) bool { return candidate(r) && !r.shown }) {
		s.pending.removeOldest(candidate)
	}
}

// show implements [pendingRequests], and marks the page as sent.
func (s *memoryRequests) show(now time.Time, id string) (*authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.pending.get(now, id)
	if !ok {
		return nil, s.ended(now, id)
	}
	r.shown = true
	return r.authorization, nil
}

// take returns and removes a request, so that it is decided once.
func (s *memoryRequests) take(now time.Time, id string) (*authorization, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.pending.get(now, id)
	if !ok {
		return nil, false
	}
	s.pending.remove(id)
	return r.authorization, true
}

// decide implements [pendingRequests]. The same answer within repeatLifetime returns the first one again: a browser
// that sends the form twice drops the first response and follows the second.
func (s *memoryRequests) decide(
	now time.Time, id string, given answer, respond func(*authorization, answer) (answer, error),
) (answer, error) {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	a, ok := s.take(now, id)
	if !ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		first, ok := s.answers.get(now, id)
		if !ok || first.decision != given.decision || !first.isRepeatable(now) ||
			first.decision == approve && first.choice != given.choice {
			return answer{}, s.ended(now, id)
		}
		return first, nil
	}
	done, err := respond(a, given)
	if err != nil {
		return answer{}, err
	}
	done.at = now
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers.put(now, id, done)
	return done, nil
}

func (a answer) isRepeatable(now time.Time) bool { return now.Before(a.at.Add(repeatLifetime)) }

// check implements [pendingRequests].
func (s *memoryRequests) check(now time.Time, id string) error {
	s.deciding.Lock() // or the request could be neither pending nor answered yet
	defer s.deciding.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	first, isAnswered := s.answers.get(now, id)
	_, isPending := s.pending.get(now, id)
	if isPending || isAnswered && first.isRepeatable(now) {
		return nil
	}
	return s.ended(now, id)
}

// ended says why a request cannot be answered. The caller holds s.mu.
func (s *memoryRequests) ended(now time.Time, id string) error {
	because := func(title, text string) error {
		return &endedError{http.StatusBadRequest, problem{title, text}}
	}
	if done, ok := s.answers.get(now, id); ok {
		verb := "approved"
		if done.decision == deny {
			verb = "denied"
		}
		return because("Already "+verb, "This request was already answered: you have "+verb+" it. "+
			"Return to the application. If it is still waiting, start the sign-in again there.")
	}
	issued, ok := s.ids.issuedAt(id)
	switch {
	case !ok:
		return because(interruptedTitle, "The issuer has restarted since this page was opened, "+
			"or the address of the page is incomplete."+againText)
	case !now.Before(issued.Add(requestLifetime)):
		return because(expiredTitle, expiredText)
	}
	return because("Sign-in removed", "Too many sign-ins were open at the same time, and this one was removed."+againText)
}
