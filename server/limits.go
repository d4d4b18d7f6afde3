package server

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// leaving tells clients, while the server drains, not to send another request on this connection: it would be lost when
// the connection closes.
func leaving(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			if ended(c.Draining) {
				ctx.Response().Header().Set("Connection", "close")
			}
			return next(ctx)
		}
	}
}

// shortAnswer is how long writing any answer of ours may take. Whoever never reads must not hold a connection.
const shortAnswer = 30 * time.Second

// slowPeers bounds how long a body, and an answer outside the mount, may take.
func slowPeers(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			// Event streams and slow tools may take as long as they like, and what they write has deadlines of its own; so has a refusal,
			// wherever it is.
			hurry(ctx, c.Settings.ReadBodyTimeout, ctx.Path() != c.Resource.Path())
			return next(ctx)
		}
	}
}

// hurry sets the deadlines of a request. That of reading is lifted when the body is there, because it would otherwise end the
// call that the body began.
func hurry(ctx echo.Context, readBody time.Duration, short bool) {
	v, connection := visitOf(ctx), *http.NewResponseController(ctx.Response().Writer)
	if short { // net/http lifts it before the next request on the connection
		_ = connection.SetWriteDeadline(v.began.Add(shortAnswer)) // not supported by a test's recorder
	}
	if r := ctx.Request(); r.ContentLength != 0 && connection.SetReadDeadline(v.began.Add(readBody)) == nil {
		v.body = timedBody{ReadCloser: r.Body, connection: connection, counted: connectionOf(r.Context())}
		r.Body = &v.body
		if v.body.counted != nil {
			v.body.counted.awaitBody()
		}
	}
}

// timedBody lifts the deadline at its end, and lets go of the connection, which whoever keeps the visit need not keep.
type timedBody struct {
	io.ReadCloser
	connection http.ResponseController
	counted    *connection // nil if connections are not counted
}

// proceed says that the connection of the request must not make room for another any more.
func (b *timedBody) proceed() {
	if b.counted != nil {
		b.counted.proceed()
		b.counted = nil
	}
}

// What a stranger's body may be for the connection to be used again. Every sign-in begins with a refusal, and a new connection
// costs far more than a small body that is on its way already.
const (
	strangersBody = 64 << 10
	strangersTime = time.Second
)

// shortly reports whether a body that nobody will read can be waited for. net/http takes it off the wire before it sends the
// answer, unless the connection ends with it: whoever announces much, or does not say how much, would keep us waiting.
func (b *timedBody) shortly(announced int64, now time.Time) bool {
	if announced == 0 {
		return true
	}
	// Also for the others: net/http goes on reading a little when the answer is out.
	bounded := b.connection.SetReadDeadline(now.Add(strangersTime)) == nil
	return bounded && announced > 0 && announced <= strangersBody
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.proceed()
		_ = b.connection.SetReadDeadline(time.Time{})
		*b = timedBody{ReadCloser: http.NoBody}
	}
	return n, err
}
