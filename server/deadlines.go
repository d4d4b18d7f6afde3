package server

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// closeWhenDraining tells clients, while the server drains, not to send another request on this connection: it would be lost when
// the connection closes.
func closeWhenDraining(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			if isDone(c.Draining) {
				ctx.Response().Header().Set("Connection", "close")
			}
			return next(ctx)
		}
	}
}

// writeTimeout is how long writing any answer of ours may take. Whoever never reads must not hold a connection.
const writeTimeout = 30 * time.Second

// deadlines bounds how long a body, and an answer outside the mount, may take.
func deadlines(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			// Event streams and slow tools may take as long as they like, and what they write has deadlines of its own; so has a refusal,
			// wherever it is.
			setDeadlines(ctx, c.Settings.ReadBodyTimeout, ctx.Path() != c.Resource.Path())
			return next(ctx)
		}
	}
}

// setDeadlines sets the deadlines of a request. That of reading is lifted when the body is there, because it would otherwise end the
// call that the body began.
func setDeadlines(ctx echo.Context, readBody time.Duration, limitWrite bool) {
	v, connection := stateOf(ctx), *http.NewResponseController(ctx.Response().Writer)
	if limitWrite { // net/http lifts it before the next request on the connection
		_ = connection.SetWriteDeadline(v.started.Add(writeTimeout)) // not supported by a test's recorder
	}
	if r := ctx.Request(); r.ContentLength != 0 && connection.SetReadDeadline(v.started.Add(readBody)) == nil {
		v.body = deadlineBody{ReadCloser: r.Body, connection: connection}
		r.Body = &v.body
	}
}

// deadlineBody lifts the deadline at its end, and lets go of the connection, which whoever keeps the visit need not keep.
type deadlineBody struct {
	io.ReadCloser
	connection http.ResponseController
}

// What a stranger's body may be for the connection to be used again. Every sign-in begins with a refusal, and a new connection
// costs far more than a small body that is on its way already.
const (
	maxDrainBytes = 64 << 10
	drainTimeout  = time.Second
)

// drainable reports whether a body that nobody will read can be waited for. net/http takes it off the wire before it sends the
// answer, unless the connection ends with it: whoever announces much, or does not say how much, would keep us waiting.
func (b *deadlineBody) drainable(announced int64, now time.Time) bool {
	if announced == 0 {
		return true
	}
	// Also for the others: net/http goes on reading a little when the answer is out.
	bounded := b.connection.SetReadDeadline(now.Add(drainTimeout)) == nil
	return bounded && announced > 0 && announced <= maxDrainBytes
}

func (b *deadlineBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.connection.SetReadDeadline(time.Time{})
		*b = deadlineBody{ReadCloser: http.NoBody}
	}
	return n, err
}
