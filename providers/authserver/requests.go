package authserver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
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

var errNotPending = errors.New("the request is not pending")

// pendingRequest is an authorization request that a user has to decide.
type pendingRequest struct {
	*authorization
	shown bool // the page was sent
}

// decision is the button of the consent page that the user has clicked.
type decision string

const (
	approve decision = "approve"
	deny    decision = "deny"
)

// answer is what a user has decided, and the response to it.
type answer struct {
	decision decision
	subject  string
	target   string // the redirect to the client
	code     string // in target; empty for a denial
	at       time.Time
}

// requestIDs issues the ids of pending requests, of the form RANDOM-TIME-MAC. TIME is when the id was issued, in
// seconds since 1970 to base 36. MAC proves that this process has issued it. A page without a request can thus say
// whether its time is over or the issuer has restarted; nothing else depends on it.
type requestIDs struct{ key []byte }

func newRequestIDs() requestIDs { return requestIDs{[]byte(rand.Text())} }

func (ids requestIDs) issue(now time.Time) string {
	id := rand.Text() + "-" + strconv.FormatInt(now.Unix(), 36)
	return id + "-" + ids.mac(id)
}

// issuedAt returns when this process has issued the id.
func (ids requestIDs) issuedAt(id string) (time.Time, bool) {
	at := strings.LastIndexByte(id, '-')
	if at < 0 || !hmac.Equal([]byte(id[at+1:]), []byte(ids.mac(id[:at]))) {
		return time.Time{}, false
	}
	_, issued, _ := strings.Cut(id[:at], "-")
	seconds, err := strconv.ParseInt(issued, 36, 64)
	return time.Unix(seconds, 0), err == nil
}

func (ids requestIDs) mac(s string) string {
	mac := hmac.New(sha256.New, ids.key)
	mac.Write([]byte(s))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// putRequest stores a request until a user decides. If the client has too many, another of its requests is
// removed, and if there are too many in total, any other. Requests whose page was not sent are removed first,
// so that requests in the background cannot end the sign-in that a user is looking at.
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
	id = s.ids.issue(now)
	s.requests.put(now, id, &pendingRequest{authorization: a})
	return id
}

func (s *store) dropRequest(candidate func(*pendingRequest) bool) {
	if !s.requests.removeOldest(func(r *pendingRequest) bool { return candidate(r) && !r.shown }) {
		s.requests.removeOldest(candidate)
	}
}

// showRequest returns a request and marks its page as sent.
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

// takeRequest returns and removes a request, so that it is decided once.
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

// decide answers a request with what respond returns. The same answer within repeatLifetime returns the first one
// again: a browser that sends the form twice drops the first response and follows the second. The error is
// errNotPending or that of respond.
func (s *store) decide(
	now time.Time, id string, given answer, respond func(*authorization, answer) (answer, error),
) (answer, error) {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	a, ok := s.takeRequest(now, id)
	if !ok {
		first, ok := s.answered(now, id)
		if !ok || first.decision != given.decision || !first.isRepeatable(now) {
			return answer{}, errNotPending
		}
		if first.decision == approve && first.subject != given.subject {
			return answer{}, errNotPending
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

// answered returns the answer to a request.
func (s *store) answered(now time.Time, id string) (answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers.get(now, id)
}

// isOpen reports whether a request can be answered, for the first time or again.
func (s *store) isOpen(now time.Time, id string) bool {
	s.deciding.Lock() // or the request could be neither pending nor answered yet
	defer s.deciding.Unlock()
	if first, ok := s.answered(now, id); ok {
		return first.isRepeatable(now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, pending := s.requests.get(now, id)
	return pending
}
