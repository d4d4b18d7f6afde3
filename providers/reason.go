package providers

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Reason is why a request was rejected: a closed list for the log, the metrics and the documentation. Responses do not
// contain it. Each package has the reasons that only it gives, and documents them with a function Reasons.
type Reason string

// The reasons that more than one package gives or reads.
const (
	ReasonNoCredentials            Reason = "no_credentials"
	ReasonInsufficientScope        Reason = "insufficient_scope"
	ReasonThrottled                Reason = "throttled"
	ReasonKeysUnavailable          Reason = "keys_unavailable"
	ReasonIntrospectionUnavailable Reason = "introspection_unavailable"
	ReasonInternalError            Reason = "internal_error"
)

// ReasonDoc is a reason with its meaning.
type ReasonDoc struct {
	Code    Reason
	Meaning string
}

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []ReasonDoc {
	return []ReasonDoc{
		{ReasonNoCredentials, "there is no Authorization header, or its scheme is not Bearer"},
		{ReasonInsufficientScope, "the token lacks a scope that the operation needs"},
		{ReasonThrottled, "too many invalid tokens, or unknown ones that delayed others, came from this address"},
		{ReasonKeysUnavailable, "the issuer's keys could not be fetched, the key of a token was not looked up yet " +
			"(`provider.key_refetch_interval`), or the issuer publishes the key in an unusable form; the " +
			"token may be valid"},
		{ReasonIntrospectionUnavailable, "the token could not be introspected, or too many unknown " +
			"tokens are queued; the token may be valid"},
		{ReasonInternalError, "an error in this program; the log line has the details"},
	}
}

// Error is an error with a reason. Its text is for the log.
type Error struct {
	Reason Reason
	// RetryAfter is the time after which the same token may be accepted; 0 if it is not known.
	RetryAfter time.Duration
	// CountsAsFailure is true if the sender of the token can cause the error at will. The server counts it against the
	// sender's address, although it wraps ErrUnavailable.
	CountsAsFailure bool

	kind error
	// The detail is formatted on demand: in a flood of invalid tokens it is not logged.
	format string
	args   []any
}

// Detail explains the error without the token. Values of the token are quoted and truncated.
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

// CountsAsFailure reports whether err has [Error.CountsAsFailure].
func CountsAsFailure(err error) bool {
	r, ok := errors.AsType[*Error](err)
	return ok && r.CountsAsFailure
}

// Errorf returns an [Error] that wraps kind: [ErrInvalidToken], [ErrUnavailable], or an error that wraps one
// of them. The detail is formatted on demand. It must not contain the token. Values from outside must be
// quoted with [Quote].
func Errorf(kind error, reason Reason, format string, args ...any) error {
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

// quoteLimit bounds the length of a value of an unverified token in the log, in bytes.
const quoteLimit = 200

// Quote returns a value from outside as a quoted string: escaped to ASCII, so that look-alike characters are
// visible, and truncated to 200 bytes after that, because an escape is up to ten times as long as its
// character.
func Quote(s string) string {
	quoted := strconv.QuoteToASCII(s[:min(len(s), quoteLimit)])
	if len(s) > quoteLimit || len(quoted) > quoteLimit {
		return quoted[:min(len(quoted), quoteLimit)-1] + `"...`
	}
	return quoted
}
