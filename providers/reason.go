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
		{ReasonNoCredentials, "there is no Authorization header, or one of another scheme"},
		{ReasonInsufficientScope, "the token lacks a scope that the operation needs"},
		{ReasonThrottled, "too many invalid tokens, or unknown ones that delayed others, came from this address"},
		{ReasonKeysUnavailable, "the issuer's keys could not be fetched, the key of a token was not looked up yet " +
			"(`provider.key_refetch_interval`), or the issuer publishes it in an unusable form: not the token's fault"},
		{ReasonIntrospectionUnavailable, "the issuer could not be asked about a token, or too many unknown tokens " +
			"wait: not the token's fault"},
		{ReasonInternalError, "an error in this program; the log line has it"},
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
