package authserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"gatehouse/providers"
)

// The errors that a client gets after a person has approved its request (RFC 6749, section 4.1.2.1).
const (
	codeAccessDenied = "access_denied"
	codeServerError  = "server_error"
	codeUnavailable  = "temporarily_unavailable"
)

// errorForClient returns what the client gets for the code of a [SignInError], and the status of the page. Codes
// that are not listed become server_error. The client gets no text of the provider, and none that is for the person.
func errorForClient(code string) (e *oidc.Error, status int) {
	switch code {
	case codeAccessDenied:
		return &oidc.Error{ErrorType: codeAccessDenied, Description: "the person may not sign in"}, http.StatusForbidden
	case codeUnavailable:
		return &oidc.Error{ErrorType: codeUnavailable, Description: "the sign-in is unavailable at the moment"},
			http.StatusServiceUnavailable
	}
	return &oidc.Error{ErrorType: codeServerError, Description: "the sign-in failed"}, http.StatusBadGateway
}

// signedIn creates the grant of a person who has approved the request and has signed in. The client gets those of the
// requested scopes that the person may have. The error is a [*SignInError].
func (i *Issuer) signedIn(ctx context.Context, a *authorization, who Person, id string) (
	code, target string, err error,
) {
	if who.Time.IsZero() {
		who.Time = i.config.Now()
	}
	event := requestEvent(EventComplete, a)
	event.Subject = who.Subject
	if id != "" {
		event.SignIn = signInDigest(id)
	}
	code, target, err = i.grantTo(ctx, a, who, id, &event)
	event.Reason = signInReason(err)
	i.record(ctx, event)
	return code, target, err
}

func (i *Issuer) grantTo(ctx context.Context, a *authorization, who Person, id string, event *providers.SignInEvent) (
	code, target string, err error,
) {
	if err := i.checkDenied(a, who); err != nil {
		i.signIn.Dismiss(ctx, who)
		return "", "", err
	}
	scopes, err := allowedScopes(a.scopes, who)
	if err != nil {
		if signInReason(err) == ReasonAccountNotAllowed { // else the person may have other sign-ins at the provider
			i.signIn.Dismiss(ctx, who)
		}
		return "", "", err
	}
	event.Scopes = scopes
	// The grant has all that the person has consented to: a scope that the rules give later needs no other consent.
	code, target, err = i.approve(ctx, a, who, id)
	switch {
	case errors.Is(err, errGrantExists):
		return "", "", &SignInError{Reason: ReasonSignInRepeated, Code: codeServerError,
			Text: "This sign-in is finished already.", Err: err}
	case errors.Is(err, errStoreUnavailable):
		return "", "", &SignInError{Reason: ReasonStoreUnavailable, Code: codeUnavailable,
			Text: "You have signed in, but this server cannot store it at the moment. Try again in a minute.", Err: err}
	case err != nil:
		return "", "", &SignInError{Reason: providers.ReasonInternalError, Code: codeServerError,
			Text: "Internal error.", Err: err}
	}
	return code, target, nil
}

// isDeniedClient reports whether the operator has denied the client. Browsers are not sent to such a client.
func (i *Issuer) isDeniedClient(c *client) bool {
	_, denied := i.config.Denied(&providers.Identity{Issuer: i.config.Issuer, Client: c.id})
	return denied
}

// checkDenied refuses people and clients that the operator has denied.
func (i *Issuer) checkDenied(a *authorization, who Person) error {
	reason, denied := i.config.Denied(&providers.Identity{Issuer: i.config.Issuer, Subject: who.Subject,
		Client: a.client.id, Scopes: a.scopes, IssuedAt: who.Time})
	if !denied {
		return nil
	}
	return &SignInError{Reason: reason, Code: codeAccessDenied,
		Text: "The operator of this server has denied access.", Err: errors.New("the operator has denied the caller")}
}

// allowedScopes returns those of the requested scopes that the person may have.
func allowedScopes(requested []string, who Person) ([]string, error) {
	if !who.Unrestricted && len(who.Scopes) == 0 {
		return nil, notAllowed(ReasonAccountNotAllowed, "This account is not allowed: "+
			"the rules of this server give it no permission. Sign in with another account, or ask the operator.")
	}
	allowed := who.allowed(requested)
	if !hasResourceScope(allowed) && hasResourceScope(requested) {
		return nil, notAllowed(ReasonScopesNotAllowed, "This account is not allowed to use this application: "+
			"it has none of the permissions that the application requests. Ask the operator for them.")
	}
	return allowed, nil
}

func notAllowed(reason providers.Reason, text string) error {
	return &SignInError{Reason: reason, Code: codeAccessDenied, Text: text,
		Err: errors.New("no scope is left for the person")}
}

// fail ends a sign-in that a person has approved. The client gets an error of the list, and the person a sentence.
func (i *Issuer) fail(w http.ResponseWriter, r *http.Request, a *authorization, failed *SignInError) {
	answer, status := errorForClient(failed.Code)
	level := slog.LevelWarn
	if status == http.StatusForbidden {
		level = slog.LevelInfo
	}
	i.config.Logger.Log(r.Context(), level, "sign-in failed", slog.String("client_id", displayClientID(a.client.id)),
		slog.String("error", string(answer.ErrorType)), slog.String("reason", string(failed.Reason)),
		slog.Any("detail", failed.Err))
	if i.isDeniedClient(a.client) {
		i.pages.problem(w, http.StatusForbidden, deniedClientText)
		return
	}
	answer.State = a.state
	target, err := i.responseURL(a, answer)
	if err != nil {
		i.explainEnded(w, r, fmt.Errorf("error response: %w", err))
		return
	}
	to := toClient(a, failedTitle, target)
	to.failed = &failure{status, failed.Text}
	i.departure.depart(w, r, http.StatusSeeOther, to)
}

// recordDecision records what a person has clicked.
func (i *Issuer) recordDecision(ctx context.Context, a *authorization, d decision) {
	event := requestEvent(EventApprove, a)
	if d == deny {
		event.Reason = ReasonDeniedByPerson
	}
	i.record(ctx, event)
}

// signInReason returns the reason of a [*SignInError], or "" for nil.
func signInReason(err error) providers.Reason {
	failed := new(SignInError)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &failed):
		return failed.Reason
	}
	return providers.ReasonInternalError
}
