package mcphttp

import "gatehouse/providers"

// retained is what a session keeps of the caller of its latest request: what a denial can name. It refers
// neither to the token nor to its claims, and is not longer than they are.
func retained(caller *providers.Identity) *providers.Identity {
	return &providers.Identity{
		Issuer: caller.Issuer, Subject: caller.Subject, Client: caller.Client,
		TokenID: caller.TokenID, IssuedAt: caller.IssuedAt,
	}
}

// usedBy notes the caller of a request in s. Without a [Denier], nothing is kept.
func (h *Handler) usedBy(s *session, caller *providers.Identity) {
	if h.open == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = retained(caller)
}

// endIfDenied ends s if the caller of a request in it is denied. It must be called when the request or its
// stream is part of the session, so that a caller that is denied later is found by End.
func (h *Handler) endIfDenied(s *session, caller *providers.Identity) bool {
	reason, denied := h.open.check(caller)
	if denied {
		s.endWith(reason)
	}
	return denied
}

// endOfDenied ends s if match denies a caller in it, and returns how much it ended: the session, its stream
// and its calls.
func (s *session) endOfDenied(match func(*providers.Identity) (providers.Reason, bool)) int {
	for _, caller := range s.callersInUse() {
		if reason, denied := match(caller); denied {
			return s.endWith(reason)
		}
	}
	return 0
}

// callersInUse returns the callers of the latest request, of the stream and of the calls in flight.
func (s *session) callersInUse() []*providers.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	callers := []*providers.Identity{s.latest}
	if s.stream != nil {
		callers = append(callers, s.stream.caller)
	}
	for _, e := range s.exchanges {
		callers = append(callers, e.caller)
	}
	return callers
}

// endWith ends the session and answers its calls. It returns how much it ended.
func (s *session) endWith(reason providers.Reason) int {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return 0
	}
	n := 1
	s.endReason = reason
	if s.stream != nil {
		n++
	}
	for _, e := range s.exchanges {
		if e.end(reason) {
			n++
		}
	}
	s.mu.Unlock()
	s.end(SessionDenied)
	return n
}

// endedBy returns why the operator ended the session, or "".
func (s *session) endedBy() providers.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endReason
}
