package authserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"gatehouse/providers"
)

// The reasons why a client is refused.
const (
	reasonClientUnknown        providers.Reason = "client_unknown"
	reasonClientExpired        providers.Reason = "client_registration_expired"
	reasonClientRedirects      providers.Reason = "client_redirects_refused"
	reasonClientDenied         providers.Reason = "client_denied"
	reasonClientDocument       providers.Reason = "client_document_unusable"
	reasonRegistrationRefused  providers.Reason = "registration_refused"
	reasonClientAuthentication providers.Reason = "client_authentication_failed"
)

func clientReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: reasonClientUnknown, Meaning: "the `client_id` is unknown: invented, damaged, or sealed with a secret that " +
			"was removed from `provider.secrets_file`"},
		{Code: reasonClientExpired, Meaning: "the client registered longer ago than `provider.registration_lifetime`"},
		{Code: reasonClientRedirects, Meaning: "the redirect URIs with which the client registered are not allowed any " +
			"more (`provider.redirect_hosts`, `provider.redirect_schemes`)"},
		{Code: reasonClientDenied, Meaning: "`provider.denied_clients` lists the client"},
		{Code: reasonClientDocument, Meaning: "the client ID metadata document cannot be fetched or used"},
		{Code: reasonRegistrationRefused, Meaning: "the metadata of a client that wants to register is not accepted"},
		{Code: reasonClientAuthentication, Meaning: "the client did not authenticate, or with a wrong secret or key"},
	}
}

// clientError is why a client_id is not accepted.
type clientError struct {
	reason providers.Reason
	// text is for the person who sees a page, with what to do.
	text string
	// status is that of the page.
	status int
	// response is the error of the token endpoint.
	response error
}

// Error implements error.
func (e clientError) Error() string { return string(e.reason) }

const registerAgainText = "Delete the registration that the application has stored and let it register again."

// errUnknownClient is for an id that the demo does not know.
func errUnknownClient() error {
	return clientError{reasonClientUnknown, "The client is unknown. Registrations end when the issuer restarts, except " +
		"those of public clients with a loopback redirect URI. " + registerAgainText,
		http.StatusBadRequest, errAuthentication()}
}

// errUnopenedClient is for an id that cannot be opened.
func errUnopenedClient() error {
	return clientError{reasonClientUnknown, "The application is not registered here: its client_id is damaged, or the " +
		"keys of this server have changed since it registered. " + registerAgainText,
		http.StatusBadRequest, errAuthentication()}
}

func errTooManyUnknownClients() error {
	return clientError{providers.ReasonThrottled, "Too many unknown applications were named from this address. Wait a " +
		"minute, then start the sign-in again in the application.", http.StatusTooManyRequests,
		op.NewStatusError((&oidc.Error{ErrorType: "too_many_requests"}).WithDescription(
			"too many unknown clients came from this address"), http.StatusTooManyRequests)}
}

func errExpiredRegistration() error {
	return clientError{reasonClientExpired, "The registration of the application has expired. " + registerAgainText,
		http.StatusBadRequest, errAuthentication()}
}

func errRefusedRedirects() error {
	return clientError{reasonClientRedirects, "The operator of this server does not allow the redirect URIs with which " +
		"the application has registered. " + registerAgainText, http.StatusBadRequest, errAuthentication()}
}

// errDeniedClient is not invalid_client, after which clients register again.
func errDeniedClient() error {
	return clientError{reasonClientDenied, "The operator of this server does not allow the application.",
		http.StatusForbidden, oidc.ErrUnauthorizedClient().WithDescription("the operator does not allow the client")}
}

func errDocumentsOff() error {
	return clientError{reasonClientDocument, "The client_id is the URL of a client ID metadata document, and this " +
		"issuer does not fetch them. Use dynamic registration instead, or ask the operator to enable client documents.",
		http.StatusBadRequest, errAuthentication()}
}

func errAuthentication() error { return invalidClient("client authentication failed") }

// tokenEndpointError returns the response of the token endpoint to an error of [Issuer.findClient].
func tokenEndpointError(err error) error {
	if refused := new(clientError); errors.As(err, refused) {
		return refused.response
	}
	if unreachable := new(documentError); errors.As(err, unreachable) && unreachable.temporary {
		// Not invalid_client, which makes clients discard their registration.
		return op.NewStatusError(oidc.ErrServerError().WithDescription(
			"the client ID metadata document is unavailable"), http.StatusServiceUnavailable)
	}
	return errAuthentication()
}

// refuseClient shows why an error of [Issuer.findClient] ends an authorization request. There is no redirect: where it
// would lead is not known.
func (i *Issuer) refuseClient(ctx context.Context, w http.ResponseWriter, err error) {
	i.config.Logger.InfoContext(ctx, "authorization request of an unknown client", slog.Any("reason", err))
	status, text := http.StatusBadRequest, unknownClientText(err)
	if refused := new(clientError); errors.As(err, refused) {
		status = refused.status
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "60")
	}
	i.pages.problem(w, status, text)
}

func unknownClientText(err error) string {
	if broken := new(documentError); errors.As(err, broken) {
		return "The application's client ID metadata document is not usable: " + broken.reason + "."
	}
	if refused := new(clientError); errors.As(err, refused) {
		return refused.text
	}
	return "The application is unknown."
}
