package providers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Reason is why a request was refused: a closed list, shared by the log, the statistics and the documentation. Callers
// never see it; they get the dull text of the status.
type Reason string

// The closed list. What each means is in [Reasons].
const (
	NoCredentials        Reason = "no_credentials"
	CredentialsMalformed Reason = "credentials_malformed"
	TokenTooLong         Reason = "token_too_long"
	TokenOpaque          Reason = "token_opaque"
	TokenMalformed       Reason = "token_malformed"
	HeaderRefused        Reason = "header_refused"
	AlgorithmRefused     Reason = "algorithm_refused"
	TypeRefused          Reason = "type_refused"
	ClaimsMalformed      Reason = "claims_malformed"
	IssuerMismatch       Reason = "issuer_mismatch"
	AudienceMismatch     Reason = "audience_mismatch"
	TokenExpired         Reason = "token_expired"
	ExpiryMissing        Reason = "expiry_missing"
	TokenNotYetValid     Reason = "token_not_yet_valid"
	SubjectMissing       Reason = "subject_missing"
	IDToken              Reason = "id_token"
	ClaimMismatch        Reason = "claim_mismatch"
	ClientRefused        Reason = "client_refused"
	SenderConstrained    Reason = "sender_constrained"
	TokenInactive        Reason = "token_inactive"
	KeyUnknown           Reason = "key_unknown"
	SignatureInvalid     Reason = "signature_invalid"
	KeysUnavailable      Reason = "keys_unavailable"

	IntrospectionUnavailable Reason = "introspection_unavailable"

	InsufficientScope  Reason = "insufficient_scope"
	ScopeUnobtainable  Reason = "scope_unobtainable"
	OriginRefused      Reason = "origin_refused"
	Throttled          Reason = "throttled"
	HostRefused        Reason = "host_refused"
	MessageMalformed   Reason = "message_malformed"
	BodyTooLarge       Reason = "body_too_large"
	VersionUnsupported Reason = "version_unsupported"
	HeaderRepeated     Reason = "header_repeated"
	HeaderTooLong      Reason = "header_too_long"
	HeaderMismatch     Reason = "header_mismatch"
	MediaTypeRefused   Reason = "media_type_refused"
	HTTPMethodRefused  Reason = "http_method_refused"
	MethodUnknown      Reason = "method_unknown"
	ParamsInvalid      Reason = "params_invalid"
	CapabilityMissing  Reason = "capability_missing"
	SessionUnknown     Reason = "session_unknown"
	TooManySessions    Reason = "too_many_sessions"
	TooManyStreams     Reason = "too_many_streams"
	TooManyCalls       Reason = "too_many_calls"
	TooManyBytes       Reason = "too_many_bytes"
	InternalError      Reason = "internal_error"
	AnswerNotSent      Reason = "answer_not_sent"
)

// ReasonDoc is a reason with its meaning, for the documentation and for people.
type ReasonDoc struct {
	Code    Reason
	Meaning string
}

// Reasons returns all reasons, in the order in which a request meets them.
func Reasons() []ReasonDoc {
	return []ReasonDoc{
		{NoCredentials, "there is no Authorization header, or it is not for this scheme"},
		{CredentialsMalformed, "not one well-formed Bearer credential (RFC 6750, section 2.1)"},
		{TokenTooLong, "the token is longer than is accepted"},
		{TokenOpaque, "the token is not a JWT at all; `provider.introspection` would ask the issuer about it"},
		{TokenMalformed, "the token is not a compact JWS with a JSON object inside (RFC 7515, section 7.1)"},
		{HeaderRefused, "`crit`, `b64` or another header that changes how the token must be read"},
		{AlgorithmRefused, "`alg` is not on the list (RFC 8725, section 3.1)"},
		{TypeRefused, "the header `typ` is not an access token's (RFC 9068, section 4), or a claim says that it is a refresh, ID or logout token"},
		{ClaimsMalformed, "a claim of the wrong type, twice, or spelled in another case; more than 256 claims; or half a character in the subject or the client"},
		{IssuerMismatch, "`iss` is not the configured issuer, byte for byte"},
		{AudienceMismatch, "`aud` does not name this resource (RFC 8707)"},
		{TokenExpired, "`exp` is past"},
		{ExpiryMissing, "there is no `exp`; `provider.introspection_without_exp` accepts an introspection answer without it"},
		{TokenNotYetValid, "`nbf` or `iat` is ahead: compare the clocks"},
		{SubjectMissing, "there is no `sub`"},
		{IDToken, "an ID token, which says who signed in and opens nothing"},
		{ClaimMismatch, "a claim that `provider.required_claims` names, or the tenant, is missing or another"},
		{ClientRefused, "the token was issued to a client that is not in `provider.allowed_clients`"},
		{SenderConstrained, "the token is bound to a key (`cnf`), which a plain bearer request does not prove"},
		{KeyUnknown, "the issuer publishes no key of that id for that algorithm, or one that is not for such tokens"},
		{SignatureInvalid, "the signature does not hold"},
		{KeysUnavailable, "the issuer's keys could not be fetched, the key of a token was not looked up yet (`provider.key_refetch_interval`), or the issuer publishes it in a form that cannot be used: not the token's fault"},
		{TokenInactive, "the issuer says that the token is not, or no longer, active (RFC 7662)"},
		{IntrospectionUnavailable, "the issuer could not be asked about a token, or too many unknown tokens wait: not the token's fault"},
		{InsufficientScope, "the token lacks a scope that the operation needs"},
		{ScopeUnobtainable, "the same, but the token has no scope claim and got its scopes from `provider.default_scopes`, so that no sign-in can add one"},
		{OriginRefused, "a web page of a foreign origin"},
		{Throttled, "too many bad tokens, or unknown ones that made others wait, came from this address; it is told to wait"},
		{HostRefused, "a Host header that is not ours: DNS rebinding, or a proxy that rewrites it"},
		{MessageMalformed, "the body is not one JSON-RPC message that every parser reads alike, and batches are not either; or MCP does not allow it here"},
		{BodyTooLarge, "the body is longer than `server.max_body_bytes`; `_meta`, `initialize`, a notification or a subscription than 16 KiB; or the message has too many values: 10,000 in arguments, 200 in `_meta`, `initialize` and notifications"},
		{VersionUnsupported, "a protocol version older than all that are served, or in a session one that knows none"},
		{HeaderTooLong, "the request has more than 200 header fields"},
		{HeaderRepeated, "two fields of Origin, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method or Mcp-Name: a proxy may read the other one"},
		{HeaderMismatch, "an Mcp-... header is missing, too long, or does not say what the message says (MCP 2026-07-28)"},
		{MediaTypeRefused, "Content-Type is not application/json, or Accept does not name both application/json and text/event-stream"},
		{HTTPMethodRefused, "an HTTP method that the MCP endpoint does not serve"},
		{MethodUnknown, "a JSON-RPC method that the server does not have"},
		{ParamsInvalid, "params that the method does not take, or a tool, prompt or resource that does not exist"},
		{CapabilityMissing, "the method needs a capability that the client does not declare"},
		{SessionUnknown, "no session, one that is over, or somebody else's"},
		{TooManySessions, "more sessions than `mcp.max_sessions_per_user` or `mcp.max_sessions`, and none that may end is idle"},
		{TooManyStreams, "more standing streams than `mcp.max_streams_per_user` or `mcp.max_streams`"},
		{TooManyCalls, "more calls in flight than `mcp.max_calls_per_user` or `mcp.max_calls`"},
		{TooManyBytes, "more bytes of messages in flight than `mcp.max_bytes_per_user` or `mcp.max_bytes`"},
		{InternalError, "a mistake in this program; the log line has it"},
		{AnswerNotSent, "the caller was gone before the answer was"},
	}
}

// Noter notes why a request is refused. The server puts one into the context of every request, under [NoterKey], so that what
// the application behind the gate refuses stands in the request's log line and in the statistics too.
type Noter interface{ Note(Reason) }

// NoterKey is the key of a [Noter] in a context.
type NoterKey struct{}

// Note says why the request of ctx is refused. Call it before the answer is written, from the goroutine that writes it.
func Note(ctx context.Context, reason Reason) {
	if noter, ok := ctx.Value(NoterKey{}).(Noter); ok {
		noter.Note(reason)
	}
}

// Error is an error with a reason. Its text is for the log.
type Error struct {
	Reason Reason
	// RetryAfter is when the same token may be judged otherwise; 0 if that is not known.
	RetryAfter time.Duration
	// CountsAsFailure says that the sender of the token could cause the refusal at will. The server counts it against the
	// sender's address, although it wraps ErrUnavailable.
	CountsAsFailure bool

	kind error
	// The detail is put together when somebody asks, because in a flood of bad tokens nobody does.
	format string
	args   []any
}

// Detail says what was expected and what was found, without the token. What came from the token is quoted and cut.
func (r *Error) Detail() string { return fmt.Sprintf(r.format, r.args...) }

// Error implements error.
func (r *Error) Error() string {
	if r.format == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail()
}

// Unwrap returns ErrInvalidToken or ErrUnavailable.
func (r *Error) Unwrap() error { return r.kind }

// ReasonOf returns the reason that err carries, or "" if it carries none.
func ReasonOf(err error) Reason {
	if r, ok := errors.AsType[*Error](err); ok {
		return r.Reason
	}
	return ""
}

// CountsAsFailure reports whether err, an outage or not, counts against the address of the token's sender; see
// [Error.CountsAsFailure].
func CountsAsFailure(err error) bool {
	r, ok := errors.AsType[*Error](err)
	return ok && r.CountsAsFailure
}

// Errorf returns an [Error] that wraps kind: [ErrInvalidToken], [ErrUnavailable], or an error that wraps one of
// them. The detail is formatted when it is read; it must not contain the token, and quotes what comes from outside.
func Errorf(kind error, reason Reason, format string, args ...any) error {
	if false { // so that go vet checks the arguments against the format
		_ = fmt.Sprintf(format, args...)
	}
	return &Error{Reason: reason, kind: kind, format: format, args: args}
}

// Invalidf is [Errorf] for [ErrInvalidToken].
func Invalidf(reason Reason, format string, args ...any) error {
	return Errorf(ErrInvalidToken, reason, format, args...)
}

// Unavailablef is [Errorf] for [ErrUnavailable].
func Unavailablef(reason Reason, format string, args ...any) error {
	return Errorf(ErrUnavailable, reason, format, args...)
}

// quoteLimit bounds what an unverified token can write into the log.
const quoteLimit = 200

// Quote makes a value that comes from outside fit to be shown: escaped to ASCII, where look-alikes show, and then cut to quoteLimit
// bytes, because an escape is up to ten times as long as what it stands for.
func Quote(s string) string {
	quoted := strconv.QuoteToASCII(s[:min(len(s), quoteLimit)])
	if len(s) > quoteLimit || len(quoted) > quoteLimit {
		return quoted[:min(len(quoted), quoteLimit)-1] + `"...`
	}
	return quoted
}
