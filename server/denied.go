package server

import (
	"net/http"

	"gatehouse/providers"
	"gatehouse/server/denials"
)

// Denials tells which callers the operator has denied.
type Denials interface {
	// Check reports whether a caller is denied, and why: [denials.ReasonTokenRevoked] if another sign-in helps,
	// else [denials.ReasonCallerDenied].
	Check(*providers.Identity) (reason providers.Reason, denied bool)
}

// checkDenials returns the error for a caller that the operator has denied. It is called after the token was
// verified, so that invented tokens do not show whom the list denies, and again when the body of a call was read.
//
// Denied requests do not count towards server.failed_auth_per_minute. That limit is for senders that anyone
// can be; its 429 would hit the other callers behind the same proxy, whose tokens would not be introspected
// any more. A denied caller that keeps trying costs no more than one that is served: its token is valid, and
// remembered.
func checkDenials(cfg Config, id *providers.Identity) error {
	if cfg.Denials == nil {
		return nil
	}
	reason, denied := cfg.Denials.Check(id)
	switch {
	case !denied:
		return nil
	case reason == denials.ReasonTokenRevoked:
		return errInvalidToken(providers.Invalidf(reason, "it is denied by denials.file"))
	}
	return errCallerDenied(reason)
}

// errCallerDenied has no challenge: clients would sign in again and again.
func errCallerDenied(reason providers.Reason) error {
	return &httpError{status: http.StatusForbidden, description: "The operator of this server has denied access.",
		reason: reason, noChallenge: true}
}
