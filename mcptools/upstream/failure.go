package upstream

import (
	"errors"

	"gatehouse/providers"
)

// failure is why a request to an upstream has no response. Callers get one fixed text for each kind, because the
// cause may name addresses and files of this machine; the cause is for the log.
type failure struct {
	reason providers.Reason
	text   string
	cause  error
}

// Error implements error. It has the cause only: logs and commands show the reason separately.
func (f *failure) Error() string { return providers.Printable(f.cause.Error(), maxCause) }

// maxCause bounds the text of a cause, in bytes: net/http quotes what it cannot parse.
const maxCause = 512

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

// errNotSent is for a request of which not one byte was sent.
func errNotSent(cause error) error {
	return &failure{ReasonUnavailable,
		"the server behind this tool cannot be reached; nothing was sent, try again later", cause}
}

// errBusy is for a request for which there is no room at the upstream.
func errBusy(why string) error {
	return &failure{ReasonUnavailable, "the server behind this tool is busy; nothing was sent, try again later",
		errors.New(why)}
}

func errRefused(cause error) error {
	return &failure{ReasonRefused,
		"the server behind this tool refused the call; the operator has to look at it", cause}
}

// errLost is for a request that was sent, at least in part.
func errLost(cause error) error {
	return &failure{ReasonLost, "the server behind this tool stopped while it ran; it may have taken effect", cause}
}

const textUnusable = "the server behind this tool answered what cannot be passed on; it may have taken effect"

func errMalformed(cause error) error { return &failure{ReasonMalformed, textUnusable, cause} }

func errTooLarge() error {
	return &failure{ReasonTooLarge, textUnusable, errors.New("a message is longer than max_message_bytes")}
}

func errChanged() error {
	return &failure{ReasonChanged, "this tool was withdrawn by the operator until reviewed",
		errors.New("the definition changed")}
}

// reasonOf returns the reason of err; empty if it has none.
func reasonOf(err error) providers.Reason {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return ""
}
