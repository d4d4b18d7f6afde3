package authserver

import (
	"errors"

	"gatehouse/providers"
)

// ReasonStoreForeign is why an issuer refuses to use a store.
const ReasonStoreForeign providers.Reason = "store_foreign"

func storeReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonStoreForeign, Meaning: "the store of sign-ins belongs to another authorization server, or to " +
			"other secrets"},
	}
}

// storeError is why records cannot be used.
type storeError struct {
	reason providers.Reason
	err    error
	// fix is a hint for the operator.
	fix string
}

// Error implements error.
func (e *storeError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *storeError) Unwrap() error { return e.err }

func storeUnreachable(err error) error {
	return &storeError{ReasonStoreUnavailable, err, "check provider.store, and that the store runs"}
}

func recordUnreadable(err error) error {
	return &storeError{ReasonRecordUnreadable, err, "put the secret that sealed it back as the last line of " +
		"provider.secrets_file; if there is no such secret, remove the record, or empty the store: " +
		"people sign in again"}
}

// reasonOf returns the reason of an error of the store, or "".
func reasonOf(err error) providers.Reason {
	if e, ok := errors.AsType[*storeError](err); ok {
		return e.reason
	}
	return ""
}
