// Package diagnostics connects an adapter to `gatehouse doctor`: the facts to compare with what the provider
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

// Diagnoser is implemented by settings that describe how their provider is checked. It is found by assertion;
// for other settings, [FromMetadata] is used.
type Diagnoser interface {
	// Diagnose returns facts that follow from the settings alone. It makes no requests: doctor decides which are
	// made, when, and with which timeout.
	Diagnose(info providers.ServerInfo) Diagnosis
}

// Diagnosis holds the facts about one provider that doctor compares with what the provider publishes.
type Diagnosis struct {
	// Metadata is the document that the server serves with these settings.
	Metadata providers.Metadata
	// Embedded is set if the issuer is part of the server: it can be reached only while the server runs.
	Embedded bool
	// Authorities are the issuers whose metadata this server, its clients, or both read.
	Authorities []Authority
	// Keys is the location of the key set.
	Keys Endpoint
	// Keyless is set if no token is verified by a key.
	Keyless bool
	// Algorithms are the accepted signature algorithms.
	Algorithms []jose.SignatureAlgorithm
	// Introspect queries the endpoint at address about a random token. It returns nil if the response is that
	// the token is not active. Any other error wraps [providers.ErrUnavailable]; it also wraps
	// [token.ErrUnauthorizedWithoutCause] if the response does not tell whether the token or the credentials
	// of this server are refused. Introspect itself is nil if tokens are not introspected.
	Introspect func(ctx context.Context, client *http.Client, address string) error
	// Introspection is the location of the introspection endpoint.
	Introspection Endpoint
	// Leeway is the accepted difference between the clocks.
	Leeway time.Duration
	// DefaultScopes are the scopes of a token without a scope claim, by this server's names.
	DefaultScopes []string
	// HTTPAllowedHosts are the hosts other than loopback that may be reached over plain http.
	HTTPAllowedHosts []string
	// Routes are requests to an embedded issuer that have no effect, and their responses: one for each path that a
	// proxy in front must forward, besides those of the metadata and the keys.
	Routes []Route
	// FreeRegistration is set if the issuer stores nothing for a client that registers, so that a check may register
	// one.
	FreeRegistration bool
	// SecretFiles are files with secrets that settings of the kind name in their values.
	SecretFiles []SecretFile
	// SealedFile is a file with data that secrets in other files protect; empty if there is none.
	SealedFile string
	// Checks are specific to this kind of provider. They run in this order.
	Checks []Check
}

// FromMetadata returns the facts that the metadata of any provider contains: the authorization servers that
// clients are sent to. Keys, introspection and leeway are unknown.
func FromMetadata(m providers.Metadata) Diagnosis {
	d := Diagnosis{Metadata: m}
	for _, server := range m.AuthorizationServers {
		d.Authorities = append(d.Authorities, Authority{
			Identifier: server, Setting: "the provider's settings",
			Fix: "set the issuer that the metadata names, if this is your provider: " +
				"clients compare it byte for byte",
			MetadataURLs: token.MetadataURLs(server), Issuers: []string{server}, ForClients: true,
		})
	}
	return d
}

// Route is a request without parameters, and its response.
type Route struct {
	Method, Path string
	Status       int
	// IsPage is set if the response is a page for people; otherwise it is JSON.
	IsPage bool
}

// SecretFile is a file with a secret. Setting names it.
type SecretFile struct{ Setting, Path string }

// Endpoint is an address of the provider. If URL is empty, it is in the metadata of the authority that this
// server reads; otherwise Setting is the setting that it follows from.
type Endpoint struct{ URL, Setting string }

// Authority is an issuer that publishes metadata (RFC 8414; OpenID Connect Discovery 1.0).
type Authority struct {
	// Identifier is the configured issuer identifier.
	Identifier string
	// Setting is the setting it comes from, and Fix the fix if the metadata names another issuer.
	Setting, Fix string
	// MetadataURLs are where its metadata may be, in the order in which they are tried.
	MetadataURLs []string
	// Issuers are the accepted values of issuer in the metadata.
	Issuers []string
	// Predecessors are issuers that the metadata may still name, from before a migration. This server accepts
	// their tokens, but strict clients reject the metadata (RFC 8414, section 3.3).
	Predecessors []string
	// ForServer is set if this server needs addresses from the metadata. The first such authority has the keys of the
	// tokens that callers send.
	ForServer bool
	// ForClients is set if clients are sent there to sign in.
	ForClients bool
}

// Names reports whether metadata with that issuer belongs to this authority.
func (a Authority) Names(issuer string) bool {
	return slices.ContainsFunc(a.Issuers, func(want string) bool { return token.NamesIssuer(want, issuer) })
}

// Check is a check that only one kind of provider has.
type Check struct {
	// Name is its name in the output, such as registration.scopes.
	Name string
	// Subject tells checks of the same name apart; it may be empty.
	Subject string
	// Expected describes what the check finds if nothing is wrong.
	Expected string
	// Offline is set if it makes no requests to the provider: it runs even if the provider cannot be reached.
	Offline bool
	// Authority is the identifier of one of [Diagnosis.Authorities]; if its metadata is wrong, this check is skipped.
	Authority string
	// Needs are names of earlier checks; if one of them fails, this one is skipped.
	Needs []string
	// Run performs the check. The client follows no redirects; ctx has a deadline.
	Run func(ctx context.Context, client *http.Client) Outcome
}

// Verdict is the result of a check.
type Verdict string

// The verdicts. A skipped check has found neither a problem nor the absence of one.
const (
	VerdictOK      Verdict = "ok"
	VerdictWarning Verdict = "warning"
	VerdictFailed  Verdict = "failed"
	VerdictSkipped Verdict = "skipped"
)

// Outcome is a verdict with what the operator needs to fix the problem. No text contains a token, a secret,
// or data from the provider, except names quoted by [providers.Quote].
type Outcome struct {
	Verdict Verdict
	// Expected replaces the Expected of the check if it can be more precise; it may be empty.
	Expected string
	// Found is what was found.
	Found string
	// Fix is what to do about it.
	Fix string
	// Reason is why the check was skipped.
	Reason string
	// Stop, if not empty, is why the checks that need this one are skipped. They are also skipped after a
	// failure.
	Stop string
}

// OK is the outcome of a check that found no problem.
func OK(found string) Outcome { return Outcome{Verdict: VerdictOK, Found: found} }

// Warning is the outcome of a check that found a problem for some clients or cases, or one that may be
// intended.
func Warning(found, fix string) Outcome {
	return Outcome{Verdict: VerdictWarning, Found: found, Fix: fix}
}

// Failed is the outcome of a check that found a problem with which sign-in or verification cannot work.
func Failed(found, fix string) Outcome {
	return Outcome{Verdict: VerdictFailed, Found: found, Fix: fix}
}

// Skipped is the outcome of a check that does not apply.
func Skipped(reason string) Outcome { return Outcome{Verdict: VerdictSkipped, Reason: reason} }
