package token

import (
	"errors"
	"strings"
	"time"

	"gatehouse/providers"
)

// causedByToken marks err, an outage, as one that any sender of a token can cause, and sets when it may be
// over.
func causedByToken(err error, retryAfter time.Duration) error {
	if r, ok := errors.AsType[*providers.Error](err); ok {
		marked := *r
		marked.RetryAfter, marked.CountsAsFailure = retryAfter, true
		return &marked
	}
	return err
}

// quoted is a value from a token. It is quoted when a message is formatted, which few refusals need.
type quoted string

// String implements fmt.Stringer.
func (q quoted) String() string { return providers.Quote(string(q)) }

// quotedList is a list of values from a token.
type quotedList []string

// String implements fmt.Stringer.
func (q quotedList) String() string { return providers.Quote(strings.Join(q, " ")) }
