package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"regexp"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// requestState is what the chain knows about one request. It is the request's context, so that every step,
// the access log and the application can reach it at the cost of one allocation.
type requestState struct {
	context.Context
	id      string
	started time.Time
	// rateLimitKey is the sender's key in the throttle; empty until the credentials are checked,
	// or a route of the provider is reached.
	rateLimitKey string
	// recordFailure counts a failed authentication at a route of the provider; nil for other routes.
	recordFailure func() time.Duration
	// identity is nil until the token is verified.
	identity *providers.Identity
	// admitted is set once the token is verified and its caller is not denied. Before that the body is not read.
	admitted bool
	// handler serves the operation at the mount; nil until [Mount.Route] has chosen it.
	handler http.Handler
	// reason is why the request was rejected, and cause is the error behind it. Both are for the log only
	// and never part of a response.
	reason providers.Reason
	cause  error
	// operation is what the application read from the request, and outcome how it says the request ended.
	// detail explains the reason where there is no cause.
	operation Operation
	outcome   Outcome
	detail    string
	// rpcCode is the code of the JSON-RPC error in the response, and timedOut that the operation took too long.
	rpcCode  int
	timedOut bool
	// hasSignInEvent is set if the authorization server of the provider has reported an event of this request, which then
	// has an audit record or is counted.
	hasSignInEvent bool
	// audited is nil without an audit log, and measured without metrics and traces.
	audited  *auditedRequest
	measured *measuredRequest
	// body is the request's body, and writer is the ResponseWriter of net/http.
	body   deadlineBody
	writer http.ResponseWriter
}

type stateKey struct{}

// Value implements context.Context.
func (s *requestState) Value(key any) any {
	switch key.(type) {
	case stateKey:
		return s
	case providers.AddressKey:
		return s.rateLimitKey
	case providers.FailureKey:
		return s.recordFailure
	}
	return s.Context.Value(key)
}

// stateFrom returns the state of the request that ctx belongs to. Outside the chain it is an empty state
// without an identity.
func stateFrom(ctx context.Context) *requestState {
	if state, ok := ctx.Value(stateKey{}).(*requestState); ok {
		return state
	}
	return &requestState{Context: ctx}
}

func stateOf(c echo.Context) *requestState { return stateFrom(c.Request().Context()) }

// validRequestID is the form of a request ID that is accepted from a proxy; any other value is replaced.
var validRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// newRequestID returns an ID that is unique, but not unpredictable: nothing may rely on it being secret.
func newRequestID() string {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return hex.EncodeToString(id[:])
}

// withRequestState attaches per-request state and an ID, returned as X-Request-Id. It clones the request:
// net/http inspects the original Body to decide whether to drain or close.
func withRequestState(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		state := &requestState{
			Context: r.Context(), id: r.Header.Get(echo.HeaderXRequestID), started: time.Now(), writer: c.Response().Writer,
		}
		if state.id == "" || !validRequestID.MatchString(state.id) {
			state.id = newRequestID()
		}
		c.Response().Header().Set(echo.HeaderXRequestID, state.id)
		c.SetRequest(r.WithContext(state))
		return next(c)
	}
}
