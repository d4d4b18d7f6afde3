// Package signins is what operators may ask of a provider with an authorization server that keeps sign-ins: its state,
// a list of the sign-ins, and their end.
package signins

import (
	"context"
	"time"

	"gatehouse/providers"
)

// Reporter is implemented by a provider whose authorization server can report its state.
type Reporter interface {
	// SignInStatus must not wait for the store or the network: it is called at each scrape.
	SignInStatus() Status
}

// Status is the state of an authorization server, as its process sees it. It names no person and has no text of
// another server.
type Status struct {
	// Store is what keeps the sign-ins: memory, file or redis.
	Store string
	// StoreProblem is why the last operation of the store failed; empty if it succeeded.
	StoreProblem providers.Reason
	// ProviderProblem is why the provider where people sign in did not answer the last question, or has refused this
	// program; empty if its answer was about the person.
	ProviderProblem providers.Reason
	// Confirmed is when that provider has last said that a person may sign in; zero if not since the start.
	Confirmed time.Time
	// KeyCreated is when the key that signs tokens was made; zero if there is none.
	KeyCreated time.Time
}

// Keeper is implemented by settings whose provider is a [Manager]: the tools for operators are in the catalog before
// the provider is open.
type Keeper interface {
	KeepsSignIns() bool
}

// Manager is implemented by a provider whose sign-ins an operator can list and end. The error of both methods is for
// the log, and wraps [providers.ErrUnavailable] if the store could not be reached.
type Manager interface {
	// SignIns returns up to limit sign-ins that match f and come after the one with the id after, sorted by id, and the
	// id after which the next call continues: empty at the end.
	SignIns(ctx context.Context, f Filter, after string, limit int) (list []SignIn, next string, err error)

	// EndSignIns ends the sign-ins that match f, which must not be empty, and returns how many it has ended, even with
	// an error. Access tokens that were issued stay valid until they expire.
	EndSignIns(ctx context.Context, f Filter) (n int, err error)
}

// Filter selects sign-ins. Empty members select all.
type Filter struct{ ID, Subject, ClientID string }

// SignIn is a sign-in as operators see it. It has no credential.
type SignIn struct {
	// ID identifies the sign-in in audit records.
	ID                   string
	Subject              string
	ClientID, ClientName string
	Resource             string
	// Scopes are those that a token has now.
	Scopes []string
	// SignedIn is when the person has signed in, Refreshed when the client got its refresh token, and Confirmed when
	// the provider has last said that the person may sign in.
	SignedIn, Refreshed, Confirmed time.Time
	// Expires is when the sign-in ends.
	Expires time.Time
	// WithoutRefresh means that the provider has issued no refresh token: it is not asked again, and the sign-in ends
	// earlier.
	WithoutRefresh bool
	// Unreadable means that the record does not open with the current keys: nothing but ID and Expires is known.
	Unreadable bool
}
