package mcphttp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
)

// The other limits count messages. The byte limit counts their memory, because a few large messages fill the
// memory of a small container.
const (
	// byteStep is how much is reserved at once for a body without Content-Length.
	byteStep = 64 << 10
	// bytesPerValue bounds the average memory of a decoded JSON value. The largest measured average is 175
	// bytes, for objects with one member.
	bytesPerValue = 176
	// uncountedValues is the number of values for which nothing extra is reserved: the bytes of the message
	// itself and the limit of calls cover them.
	uncountedValues = 64
	// defaultMaxBytes is mcp.max_bytes if the process has no memory limit.
	defaultMaxBytes = 64 << 20
)

// acquireBytes adds n bytes for user. own is the number of bytes that the same message already holds.
//
// The first part of a message must fit the limits. Later parts may exceed a limit if no other message counts
// towards it: otherwise the message could never be served. A caller that holds at most byteStep may exceed
// the total by a quarter, so that a few callers that use up the total do not block ordinary messages of other
// callers.
func (q *quota) acquireBytes(user string, n, own int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	held, maxTotal := q.users[user], q.maxTotal
	if held+n <= byteStep {
		maxTotal += maxTotal / 4
	}
	switch {
	case held+n > q.maxPerUser && (own == 0 || held > own):
		return errUserLimit
	case q.total+n > maxTotal && q.total > own:
		return errTotalLimit
	}
	q.add(user, n)
	return nil
}

// reservation is the part of the byte limit that one message holds, from before its body is read until its
// request and its call are over, whichever is later.
type reservation struct {
	quota   *quota
	user    string
	n       int
	holders atomic.Int32
}

// reserve returns an empty reservation with one holder, which must call release.
func (q *quota) reserve(user string) *reservation {
	r := &reservation{quota: q, user: user}
	r.holders.Store(1)
	return r
}

// grow adds n bytes. It must not be called concurrently, nor after the last release.
func (r *reservation) grow(n int) error {
	if err := r.quota.acquireBytes(r.user, n, r.n); err != nil {
		return err
	}
	r.n += n
	return nil
}

// retain adds a holder, which must call release. A nil reservation holds nothing.
func (r *reservation) retain() {
	if r != nil {
		r.holders.Add(1)
	}
}

// retainHeld is retain for a call that may outlive the last holder. It reports false if it has.
func (r *reservation) retainHeld() bool {
	for {
		n := r.holders.Load()
		if n == 0 {
			return false
		}
		if r.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release returns the bytes to the limit when the last holder calls it.
func (r *reservation) release() {
	if r != nil && r.holders.Add(-1) == 0 {
		r.quota.release(r.user, r.n)
	}
}

// readBody reads the body of a request, of at most limit bytes if that is not 0. It reserves the bytes before it
// reads them: all at once if Content-Length is known, and otherwise in steps.
func readBody(r *http.Request, limit int, reserved *reservation) ([]byte, *rpcError) {
	if r.ContentLength > 0 {
		return readSizedBody(r, int64(limit), reserved)
	}
	var body []byte
	for acquired := 0; ; {
		if len(body) == acquired {
			if err := reserved.grow(byteStep); err != nil {
				return nil, errByteLimit(err)
			}
			acquired += byteStep
		}
		body = slices.Grow(body, min(bytes.MinRead, acquired-len(body)))
		n, err := r.Body.Read(body[len(body):min(cap(body), acquired)])
		body = body[:len(body)+n]
		switch {
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, errBody(err)
		}
	}
}

// readSizedBody reads a body of r.ContentLength bytes. (net/http ends the body at Content-Length.)
func readSizedBody(r *http.Request, limit int64, reserved *reservation) ([]byte, *rpcError) {
	if limit > 0 && r.ContentLength > limit {
		return nil, errBody(&http.MaxBytesError{Limit: limit})
	}
	if err := reserved.grow(int(r.ContentLength)); err != nil {
		return nil, errByteLimit(err)
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, errBody(err)
	}
	return body, nil
}

// reserveValues reserves the memory of the decoded values of a message.
func (m *message) reserveValues(reserved *reservation) *rpcError {
	if m.values <= uncountedValues {
		return nil
	}
	if err := reserved.grow(m.values * bytesPerValue); err != nil {
		return errByteLimit(err)
	}
	return nil
}

func errByteLimit(err error) *rpcError {
	e := errLimit("calls", ReasonTooManyBytes, err)
	e.text, e.retryAfter = "too many bytes in flight", "1"
	return e
}
