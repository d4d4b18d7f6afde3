package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// requestState is what the chain learns about one request on its way. It is the request's context, so that every step, the access
// log and the application behind the gate can reach it, and all of it costs one value.
type requestState struct {
	context.Context
	id      string
	started time.Time
	// rateLimitKey is the neighbourhood of the address that the request comes from; empty until the token is looked
	// at.
	rateLimitKey string
	// identity is nil until the token was verified.
	identity *providers.Identity
	// handler serves the operation at the mount, once that is known.
	handler http.Handler
	// reason is why the request was refused, and cause more of it, for the log. They never leave the house.
	reason providers.Reason
	cause  error
	// operation is what the application reads of the request, and outcome what it says came of it. detail says more about
	// the reason, where there is no cause.
	operation providers.Operation
	outcome   providers.RequestOutcome
	detail    string
	// duration is how long it was until the answer was written; set just before the access log is.
	duration time.Duration

	// Kept here for what else would be a piece of memory of its own.
	body           deadlineBody
	caller         [2]slog.Attr
	operationAttrs [4]slog.Attr
	idHeader       [1]string
}

type stateKey struct{}

// Value implements context.Context.
func (v *requestState) Value(key any) any {
	switch key.(type) {
	case stateKey, providers.NoterKey:
		return v
	case providers.IdentityKey:
		return v.identity
	case providers.AddressKey:
		return v.rateLimitKey
	}
	return v.Context.Value(key)
}

// Note implements providers.Noter.
func (v *requestState) Note(reason providers.Reason) { v.reason = reason }

// NoteOperation implements providers.OperationNoter.
func (v *requestState) NoteOperation(o providers.Operation) { v.operation = o }

// NoteOutcome implements providers.OperationNoter.
func (v *requestState) NoteOutcome(o providers.RequestOutcome) { v.outcome = o }

// NoteDetail implements providers.OperationNoter.
func (v *requestState) NoteDetail(detail string) { v.detail = detail }

// stateFrom returns the visit that ctx belongs to. Outside a chain it is an empty one: nobody signed in.
func stateFrom(ctx context.Context) *requestState {
	if v, ok := ctx.Value(stateKey{}).(*requestState); ok {
		return v
	}
	return &requestState{Context: ctx}
}

func stateOf(c echo.Context) *requestState { return stateFrom(c.Request().Context()) }

// validRequestID is what a request id from a proxy in front may look like; anything else is replaced.
var validRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// newRequestID is for telling requests apart, and for nothing that must not be guessed.
func newRequestID() string {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return hex.EncodeToString(id[:])
}

// withRequestState makes the visit, and gives it an id: in the log, and in the answer for the person who reports it. The request from here on is
// a copy, because net/http looks at the body of its own when it decides whether to drain it or to hang up.
func withRequestState(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		v := &requestState{Context: r.Context(), id: r.Header.Get(echo.HeaderXRequestID), started: time.Now()}
		if v.id == "" || !validRequestID.MatchString(v.id) {
			v.id = newRequestID()
		}
		v.idHeader[0] = v.id
		c.Response().Header()[echo.HeaderXRequestID] = v.idHeader[:]
		c.SetRequest(r.WithContext(v))
		return next(c)
	}
}
