package token

import (
	"errors"
	"strings"
	"time"

	"gatehouse/providers"
)

// causedByToken marks an outage that any sender can cause, and says when it may be over.
func causedByToken(err error, retryAfter time.Duration) error {
	if r, ok := errors.AsType[*providers.Error](err); ok {
		marked := *r
		marked.RetryAfter, marked.CountsAsFailure = retryAfter, true
		return &marked
	}
	return err
}

// quoted is a value from a token, which is quoted when the detail is put together.
type quoted string

// String implements fmt.Stringer.
func (q quoted) String() string { return providers.Quote(string(q)) }

// quotedList are several.
type quotedList []string

// String implements fmt.Stringer.
func (q quotedList) String() string { return providers.Quote(strings.Join(q, " ")) }
