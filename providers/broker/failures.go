package broker

import (
	"errors"
	"fmt"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/token"
)

// The errors for the client of a person who cannot sign in (RFC 6749, section 4.1.2.1).
const (
	codeDenied      = "access_denied"
	codeServerError = "server_error"
	codeUnavailable = "temporarily_unavailable"
)

// The sentences for a person who cannot sign in.
const (
	textUnavailable = "The sign-in page of your organization cannot be reached at the moment. Try again in a few " +
		"minutes."
	textDenied = "The sign-in page of your organization did not let you sign in."
	textError  = "The sign-in page of your organization reported an error. Try again; if that does not help, " +
		"tell the operator of this server."
	textNotAllowed = "This account is not allowed to use this server. Sign in with another account, or ask the " +
		"operator of this server."
	textOverage = "This account is in too many groups: your organization leaves them out of the sign-in. Tell the " +
		"operator of this server."
)

// unavailable returns the error for an outage: it ends no sign-in. cause is the error of a request, without text from
// the provider; its Retry-After is that of the [providers.Error] in the result.
func (u *Upstream) unavailable(cause error) *authserver.SignInError {
	err := providers.Unavailablef(ReasonProviderUnavailable, "%v", cause)
	if wait, ok := token.RetryAfter(cause); ok {
		if outage, ok := errors.AsType[*providers.Error](err); ok {
			outage.RetryAfter = wait
		}
	}
	return &authserver.SignInError{Reason: ReasonProviderUnavailable, Code: codeUnavailable, Text: textUnavailable,
		Err: err}
}

// refused returns the error for a person who cannot sign in. detail is without text from the provider.
func refused(reason providers.Reason, code, text, detail string) *authserver.SignInError {
	return &authserver.SignInError{Reason: reason, Code: code, Text: text, Err: errors.New(detail)}
}

// gone returns err as one that ends a sign-in.
func gone(err *authserver.SignInError) *authserver.SignInError {
	ended := *err
	ended.Err = fmt.Errorf("%w: %w", authserver.ErrGone, err.Err)
	return &ended
}
