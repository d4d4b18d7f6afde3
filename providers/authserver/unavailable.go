package authserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"gatehouse/providers"
)

const storeRetryAfter = 5 * time.Second

// errUnavailable is wrapped by errors that pass: the same request may succeed later, and nothing was used up.
var errUnavailable = errors.New("temporarily unavailable")

type unavailableError struct {
	reason     providers.Reason
	retryAfter time.Duration
	cause      error
}

func (e *unavailableError) Error() string   { return string(e.reason) + ": " + e.cause.Error() }
func (e *unavailableError) Unwrap() []error { return []error{errUnavailable, e.cause} }

// errStoreUnavailable is wrapped by those whose cause is the store. Whether it did what was asked is unknown.
var errStoreUnavailable = errors.New("the store is unavailable")

func storeUnavailable(cause error) error {
	return &unavailableError{ReasonStoreUnavailable, storeRetryAfter, fmt.Errorf("%w: %w", errStoreUnavailable, cause)}
}

// unavailable returns the answer of a form endpoint to an error that wraps errUnavailable: 503 and not invalid_grant,
// which would make the client drop its token. Its code is that of RFC 6749, section 4.1.2.1; section 5.2 has none.
func (i *Issuer) unavailable(ctx context.Context, err error) error {
	e := &unavailableError{ReasonStoreUnavailable, storeRetryAfter, err}
	errors.As(err, &e)
	level := slog.LevelWarn
	if e.reason == ReasonRecordUnreadable { // passes only if the operator acts
		level = slog.LevelError
	}
	i.config.Logger.Log(ctx, level, "token request refused for now", slog.String("reason", string(e.reason)),
		slog.Any("error", e.cause))
	setRetryAfter(ctx, e.retryAfter)
	return errTemporarilyUnavailable(nil)
}

func errTemporarilyUnavailable(cause error) error {
	return op.NewStatusError(&oidc.Error{ErrorType: codeUnavailable, Parent: cause,
		Description: "the request cannot be answered at the moment; repeat it"}, http.StatusServiceUnavailable)
}

// internalError returns server_error. The library would send the text of err to the client; it logs it now.
func internalError(err error) error {
	return oidc.ErrServerError().WithDescription("internal error").WithParent(err)
}

type responseHeaderKey struct{}

// withResponseHeader lets the library's handlers set header fields of error responses, for which it has no way.
func withResponseHeader(r *http.Request, h http.Header) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), responseHeaderKey{}, h))
}

func setRetryAfter(ctx context.Context, d time.Duration) {
	if h, ok := ctx.Value(responseHeaderKey{}).(http.Header); ok {
		h.Set("Retry-After", strconv.Itoa(int(d.Seconds())))
	}
}
