// Package diagnostics is what `gatehouse doctor` asks an adapter: the facts to compare with what the provider
// publishes ([Diagnosis]), checks that only one kind of provider has ([Check]), and their results ([Outcome]).
package diagnostics

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

// Diagnoser is implemented by settings that can say what an examination of their provider needs to know. Found by
// assertion; what a kind without it shares with every other is examined nevertheless.
type Diagnoser interface {
	// Diagnose returns facts. It asks nobody: the examination decides what is asked, when, and for how long.
	Diagnose(info providers.ServerInfo) Diagnosis
}

// Diagnosis are the facts of one provider that an examination compares with the world.
type Diagnosis struct {
	// Metadata is the document that the server serves with these settings.
	Metadata providers.Metadata
	// Embedded says that the issuer is part of the server itself: it can be asked only while that runs, and there.
	Embedded bool
	// Authorities are the issuers whose metadata somebody reads: this server, its clients, or both.
	Authorities []Authority
	// Keys is where the keys are.
	Keys Endpoint
	// Keyless says that no token is verified by a key.
	Keyless bool
	// Algorithms are the accepted signature algorithms.
	Algorithms []jose.SignatureAlgorithm
	// Introspect asks at address about a token that nobody issued. It returns nil if the answer is that the
	// token is not good, as it must be; the error wraps [providers.ErrUnavailable] otherwise, and
	// [token.ErrUnauthorizedWithoutCause] if the answer does not say whether it refuses the token or the
	// credentials of this server. It is nil if no token is asked about.
	Introspect func(ctx context.Context, client *http.Client, address string) error
	// Introspection is where to ask about tokens.
	Introspection Endpoint
	// Leeway is how far the clocks may differ.
	Leeway time.Duration
	// DefaultScopes are the scopes of a token without a scope claim, as this server names them.
	DefaultScopes []string
	// HTTPAllowedHosts are the hosts besides this computer that may be asked over plain http.
	HTTPAllowedHosts []string
	// Checks are what only this kind of provider can be asked, in this order.
	Checks []Check
}

// Endpoint is an address of the provider. URL is empty if the metadata of the authority that this server reads says it;
// otherwise Setting is what it follows from.
type Endpoint struct{ URL, Setting string }

// Authority is an issuer whose metadata count.
type Authority struct {
	// Identifier is the issuer identifier that the settings say.
	Identifier string
	// Setting is where they say it, and Fix what to do with it when the metadata names another issuer.
	Setting, Fix string
	// MetadataURLs are where its metadata may be, in the order in which they are tried.
	MetadataURLs []string
	// Issuers are the values of issuer of which the metadata must have one.
	Issuers []string
	// Predecessors are issuers that the metadata may still name, from before a migration. Their tokens are good here, but
	// strict clients refuse the metadata (RFC 8414, section 3.3).
	Predecessors []string
	// ForServer says that this server finds addresses in the metadata, and cannot do without.
	ForServer bool
	// ForClients says that clients are sent there to sign in.
	ForClients bool
}

// Names reports whether metadata with that issuer is of this authority.
func (a Authority) Names(issuer string) bool {
	return slices.ContainsFunc(a.Issuers, func(want string) bool { return token.NamesIssuer(want, issuer) })
}

// Check is one question that only one kind of provider can be asked.
type Check struct {
	// Name is for people and machines, such as registration.scopes.
	Name string
	// Expected is what would be good.
	Expected string
	// Needs are names of earlier examinations without which this one makes no sense.
	Needs []string
	// Run asks. The client makes no redirects; ctx bounds the time.
	Run func(ctx context.Context, client *http.Client) Outcome
}

// Verdict is how one check ended.
type Verdict string

// The verdicts. A check that was skipped says nothing, neither good nor bad.
const (
	VerdictOK      Verdict = "ok"
	VerdictWarning Verdict = "warning"
	VerdictFailed  Verdict = "failed"
	VerdictSkipped Verdict = "skipped"
)

// Outcome is a verdict with all that a person needs who has to mend something. No text holds a token, a secret, or what
// the other side sent, but for names that are quoted by [providers.Quote].
type Outcome struct {
	Verdict Verdict
	// Expected is what would have been good, if that is more than the check's name says.
	Expected string
	// Found is what there was.
	Found string
	// Fix is what to do.
	Fix string
	// Reason is why the check was skipped.
	Reason string
	// Stop is why nothing that needs this check makes sense now. After a failure nothing that needs it is tried, whatever
	// Stop says.
	Stop string
}

// OK is the outcome of a check that found nothing wrong.
func OK(found string) Outcome { return Outcome{Verdict: VerdictOK, Found: found} }

// Warning is the outcome of a check that found what is wrong for some, or may be meant.
func Warning(found, fix string) Outcome {
	return Outcome{Verdict: VerdictWarning, Found: found, Fix: fix}
}

// Failed is the outcome of a check that found what cannot work.
func Failed(found, fix string) Outcome {
	return Outcome{Verdict: VerdictFailed, Found: found, Fix: fix}
}

// Skipped is the outcome of a check that does not apply.
func Skipped(reason string) Outcome { return Outcome{Verdict: VerdictSkipped, Reason: reason} }
