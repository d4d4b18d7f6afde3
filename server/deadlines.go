package server

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// closeWhenDraining asks clients, while the server drains, not to reuse the connection: another request on
// it would be lost when the connection closes.
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

// writeTimeout limits writing a response of this package. Without it, a client that never reads would hold
// its connection.
const writeTimeout = 30 * time.Second

// deadlines limits reading a request body, and writing a response outside the mount.
func deadlines(c Config) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			// No write deadline at the mount: event streams and slow tools may take any time, and each of
			// their writes has a deadline of its own. errorHandler sets one for error responses.
			setDeadlines(ctx, c.Settings.ReadBodyTimeout, ctx.Path() != c.Resource.Path())
			err := next(ctx)
			state, r := stateOf(ctx), ctx.Request()
			if r.Close && state.body.unread() && !state.body.drain(r.ContentLength, time.Now()) {
				delayClose(state.writer)
			}
			return err
		}
	}
}

// setDeadlines sets the deadlines of a request. The read deadline is cleared at the end of the body, because
// it would otherwise cancel the running call.
func setDeadlines(ctx echo.Context, readBody time.Duration, limitWrite bool) {
	state, connection := stateOf(ctx), *http.NewResponseController(ctx.Response().Writer)
	if limitWrite { // net/http clears it before the next request
		_ = connection.SetWriteDeadline(state.started.Add(writeTimeout)) // fails only in tests with a recorder
	}
	r := ctx.Request()
	if r.ContentLength != 0 && connection.SetReadDeadline(state.started.Add(readBody)) == nil {
		state.body = deadlineBody{ReadCloser: r.Body, connection: connection, counted: connectionOf(r.Context())}
		r.Body = &state.body
		if state.body.counted != nil {
			state.body.counted.awaitBody()
		}
	}
}

// deadlineBody clears the read deadline at EOF. It then drops its reference to the connection, which a
// retained request would otherwise keep in memory.
type deadlineBody struct {
	io.ReadCloser
	connection http.ResponseController
	counted    *connection // nil if connections are not counted
}

// unread reports whether the request has a body of which the end was not read.
func (b *deadlineBody) unread() bool { return b.ReadCloser != nil && b.ReadCloser != http.NoBody }

// delayClose makes net/http wait half a second between a response and closing the connection. A client that
// is still sending its body then reads the response; closing at once resets the connection, which discards
// it. net/http waits by itself, except after a request with "Connection: close", which proxies that speak
// HTTP/1.0 send (golang.org/issue/3595). Exceeding a [http.MaxBytesReader] is the documented way to ask for
// it.
func delayClose(w http.ResponseWriter) {
	exceeded := http.MaxBytesReader(w, io.NopCloser(strings.NewReader(" ")), 0)
	_, _ = exceeded.Read(make([]byte, 1))
}

// proceed keeps the connection of the request from being closed to make room for another.
func (b *deadlineBody) proceed() {
	if b.counted != nil {
		b.counted.proceed()
		b.counted = nil
	}
}

// Limits for draining the body of an unauthenticated request so its connection can be reused: every sign-in
// starts with a 401, and a new connection costs far more than reading a small body that is already in
// transit.
const (
	maxDrainBytes = 64 << 10
	drainTimeout  = time.Second
)

// drainable reports whether the connection can be kept although the body is not read by a handler. net/http
// drains the body before it sends the response, unless the connection closes: a client that announces a
// large body, or no length, would delay the response.
func (b *deadlineBody) drainable(announced int64, now time.Time) bool {
	if announced == 0 {
		return true
	}
	// Set in every case: net/http reads a little more after the response is sent.
	bounded := b.connection.SetReadDeadline(now.Add(drainTimeout)) == nil
	return bounded && announced > 0 && announced <= maxDrainBytes
}

// drain reads the rest of a small body and reports whether it arrived.
func (b *deadlineBody) drain(announced int64, now time.Time) bool {
	if !b.drainable(announced, now) {
		return false
	}
	_, err := io.Copy(io.Discard, b)
	return err == nil
}

func (b *deadlineBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.proceed()
		_ = b.connection.SetReadDeadline(time.Time{})
		*b = deadlineBody{ReadCloser: http.NoBody}
	}
	return n, err
}
