package authserver

import (
	"context"
	"errors"
	"net/url"
	"time"

	"gatehouse/providers"
)

// Authenticator signs people in, after they have approved the request of a client.
type Authenticator interface {
	// Choices are the people that the consent page offers, the default first. It is empty if people sign in elsewhere.
	Choices() []Person

	// Begin starts the sign-in of a person who has approved a request. It returns the person if [Attempt.Choice] is
	// enough, else the URL at which the browser continues; the response comes to [CallbackPath].
	Begin(ctx context.Context, a Attempt) (who *Person, address string, err error)

	// Finish returns the person of the response to an attempt. The error is a [*SignInError].
	Finish(ctx context.Context, a Attempt, response url.Values) (Person, error)

	// Renew asks whether the person may still sign in. Its error is a [*SignInError]; only one that wraps [ErrGone] is
	// definite. The caller stores the credential of the result before it calls Judge: the previous one may be void.
	Renew(ctx context.Context, p Person) (Renewal, error)

	// Dismiss tells the provider that a grant has ended, best effort, and does not wait for the answer for long.
	Dismiss(ctx context.Context, p Person)
}

// Attempt is what the request to a provider and its response have in common. State, Nonce and Verifier are random.
type Attempt struct {
	State    string
	Nonce    string // OpenID Connect Core 1.0, section 3.1.2.1
	Verifier string // of PKCE (RFC 7636), towards the provider
	// Choice is the subject that was chosen on the consent page.
	Choice string
	// LoginHint is that of the client, or "".
	LoginHint string
}

// Person is who has signed in.
type Person struct {
	// Subject is the sub of tokens.
	Subject string `json:"sub"`
	// Name is shown and put into tokens; empty for a person of another provider.
	Name string `json:"name,omitempty"`
	// Unrestricted means that the person may have every scope.
	Unrestricted bool `json:"unrestricted,omitempty"`
	// Scopes are the scopes that the person may have, unless Unrestricted.
	Scopes []string `json:"scopes,omitempty"`
	// Credential is what Renew and Dismiss need, such as the refresh token of the provider. Without one, Renew is not
	// called, and the sign-in ends earlier.
	Credential string `json:"credential,omitempty"`
	// Details are other values that Renew compares, such as the tenant.
	Details map[string]string `json:"details,omitempty"`
	// Time is when the person has signed in.
	Time time.Time `json:"time"`
}

// Renewal is the answer of a provider that a person has not been removed from.
type Renewal struct {
	// Credential replaces that of the person.
	Credential string
	// Judge checks the rest of the answer and returns the person with current scopes. It may need the network, to
	// fetch keys. Its error is that of Renew.
	Judge func(context.Context) (Person, error)
}

// ErrGone is wrapped by a [SignInError] that ends a sign-in: the provider has said that the person may not sign in
// any more, or is another person. Everything else is an outage, and ends nothing.
var ErrGone = errors.New("the sign-in has ended at the provider")

// SignInError is why a person could not sign in.
type SignInError struct {
	// Reason is for log, metric and audit.
	Reason providers.Reason
	// Code is the error for the client (RFC 6749, section 4.1.2.1): access_denied, server_error or
	// temporarily_unavailable.
	Code string
	// Text is a sentence for the person, without text from the provider.
	Text string
	// Err has details for the log, without tokens and secrets, and wraps ErrGone where the answer is definite.
	Err error
}

// Error implements error.
func (e *SignInError) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *SignInError) Unwrap() error { return e.Err }

// host is implemented by an [Authenticator] that knows where people sign in. The consent page says so.
type host interface {
	// Host returns the host, with a port if it is not the default.
	Host() string
}

// CallbackPath is the path of the redirect URI at the provider where people sign in.
const CallbackPath = "/callback"
