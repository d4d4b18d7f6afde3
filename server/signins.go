package server

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// eventRegister is the kind of [providers.SignInEvent] that is counted and not recorded: some clients register at every
// sign-in, and a registration allows nothing.
const eventRegister = "client.register"

// SignInEvents returns the kinds of [providers.SignInEvent] that are known: values of a label of metrics.
func SignInEvents() []string {
	kinds := []string{eventRegister}
	for _, event := range audit.SignInEvents() {
		kinds = append(kinds, string(event))
	}
	return kinds
}

// Limits of the audit records of one kind of event. Anyone can approve requests without a sign-in, and send invented
// tokens, so that only some of the events that name no person have a record; the rest is counted. Refusals of a person
// have the limits of denied callers.
const (
	strangerInterval = time.Second
	strangerBurst    = 500
)

// SignIns records what happens at an authorization server of this program: an audit record for each event, and counts.
// One of them serves all configurations of a process. It is safe for concurrent use.
type SignIns struct {
	issuer string
	log    *audit.Log

	mu        sync.Mutex
	counts    map[signInKey]int64
	strangers map[string]*rate.Limiter // by the kind of event
	refused   *rate.Limiter
}

type signInKey struct{ event, outcome string }

// NewSignIns returns the recorder for the authorization server with that issuer identifier. Without an audit log, it
// counts only.
func NewSignIns(issuer string, log *audit.Log) *SignIns {
	return &SignIns{issuer: issuer, log: log, counts: map[signInKey]int64{}, strangers: map[string]*rate.Limiter{},
		refused: rate.NewLimiter(linesPerSecond, lineBurst)}
}

// Counts returns how many events there were since the start: by kind, and then by outcome, which is ok or the reason.
func (s *SignIns) Counts() map[string]map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]map[string]int64{}
	for key, n := range s.counts {
		if all[key.event] == nil {
			all[key.event] = map[string]int64{}
		}
		all[key.event][key.outcome] = n
	}
	return all
}

// Record is [providers.ServerInfo].Record. An event of a request that needs no token must be recorded before that
// request ends, and from the goroutine that writes its response, as [RecordResult].
func (s *SignIns) Record(ctx context.Context, e providers.SignInEvent) {
	mayHaveRecord := s.count(e)
	request := stateFrom(ctx)
	if request.identity == nil {
		request.hasSignInEvent = true
		if refusesRequest(e) {
			request.reason = e.Reason // for the access log, and for the counts of requests
		}
	}
	if s.log == nil || e.Kind == eventRegister {
		return
	}
	r := s.record(request, e)
	if mayHaveRecord {
		s.log.Put(r)
	} else {
		s.log.Count(r.Event, r.Decision, r.Reason)
	}
}

// count counts an event, and reports whether it may have a record of its own.
func (s *SignIns) count(e providers.SignInEvent) bool {
	key := signInKey{e.Kind, string(e.Reason)}
	if key.outcome == "" {
		key.outcome = string(OutcomeOK)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[key]++
	switch {
	case e.Subject == "":
		limiter := s.strangers[e.Kind]
		if limiter == nil {
			limiter = rate.NewLimiter(rate.Every(strangerInterval), strangerBurst)
			s.strangers[e.Kind] = limiter
		}
		return limiter.Allow()
	case refusesRequest(e):
		return s.refused.Allow()
	}
	return true
}

// isDecided reports whether an event is the answer to a request, and not what the server did or found out by itself.
func isDecided(e providers.SignInEvent) bool {
	kind := audit.Event(e.Kind)
	return kind != audit.EventSignInRecheck && kind != audit.EventSignInEnd
}

func refusesRequest(e providers.SignInEvent) bool { return e.Reason != "" && isDecided(e) }

func (s *SignIns) record(request *requestState, e providers.SignInEvent) audit.Record {
	r := audit.Record{
		Event: audit.Event(e.Kind), Reason: string(e.Reason), Issuer: s.issuer, Subject: e.Subject, Client: e.ClientID,
		Scopes: e.Scopes, SignIn: e.SignIn, Resource: e.Resource, OtherAddress: e.OtherAddress, Duration: -1,
	}
	switch {
	case refusesRequest(e):
		r.Decision = audit.Deny
	case isDecided(e):
		r.Decision = audit.Allow
	}
	a := request.audited
	if a == nil { // not during a request
		r.Config = s.log.Config()
		return r
	}
	r.Address, r.RequestID, r.Config = a.address, request.id, a.config
	if request.identity == nil {
		r.TraceID = request.traceID(a.header)
	}
	return r
}
