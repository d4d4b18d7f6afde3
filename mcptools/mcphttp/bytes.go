package mcphttp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"gatehouse/providers"
)

// The other limits count messages. These count what the messages weigh, because a few large ones fill the memory of a
// small container.
const (
	// byteStep is how much is taken at once for a body whose length is not announced.
	byteStep = 64 << 10
	// bytesPerValue is what a decoded JSON value weighs at most on average (measured: an object with one member, 175).
	bytesPerValue = 176
	// uncountedValues are covered by the bytes of the message itself and by the call that it becomes.
	uncountedValues = 64
	// defaultMaxBytes is mcp.max_bytes where the process has no memory limit.
	defaultMaxBytes = 64 << 20
)

// byteQuota bounds the bytes of messages that are being read and of calls in flight, for each caller and in all.
type byteQuota struct {
	perUser, inAll int

	mu    sync.Mutex
	users map[string]int
	total int
}

func newByteQuota(s Settings) *byteQuota {
	return &byteQuota{perUser: s.MaxBytesPerUser, inAll: s.MaxBytes, users: map[string]int{}}
}

// take grants n bytes to user, or says why not. own is what the message holds already. The first piece of a message must
// fit the limits. A message may then grow past a limit as long as nothing else is held under it: otherwise it could never
// be served. A caller who would hold no more than byteStep may exceed the limit in all by a quarter: a few callers that
// hold all of it must not keep ordinary messages of others out.
func (q *byteQuota) take(user string, n, own int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	held, inAll := q.users[user], q.inAll
	if held+n <= byteStep {
		inAll += inAll / 4
	}
	switch {
	case held+n > q.perUser && (own == 0 || held > own):
		return errTooManyOfYours
	case q.total+n > inAll && q.total > own:
		return errTooManyInAll
	}
	q.users[user] += n
	q.total += n
	return nil
}

func (q *byteQuota) give(user string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total -= n
	if q.users[user] -= n; q.users[user] <= 0 {
		delete(q.users, user)
	}
}

// reservation is what one message holds of a [byteQuota], from before its body is read until its request and its call
// are over, whichever is later.
type reservation struct {
	quota   *byteQuota
	user    string
	n       int
	holders atomic.Int32
}

func (q *byteQuota) reserve(user string) *reservation {
	r := &reservation{quota: q, user: user}
	r.holders.Store(1)
	return r
}

// grow takes n bytes more. It must not be called concurrently, nor after the last release.
func (r *reservation) grow(n int) error {
	if err := r.quota.take(r.user, n, r.n); err != nil {
		return err
	}
	r.n += n
	return nil
}

// hold adds a holder, which must call release. A nil reservation holds nothing.
func (r *reservation) hold() {
	if r != nil {
		r.holders.Add(1)
	}
}

// release gives the bytes back when the last holder calls it.
func (r *reservation) release() {
	if r != nil && r.holders.Add(-1) == 0 {
		r.quota.give(r.user, r.n)
	}
}

// readBody reads the body of a request, of at most limit bytes if that is not 0. It takes the bytes before it reads them:
// all at once where Content-Length says how many there are, and otherwise in steps.
func readBody(r *http.Request, limit int, held *reservation) ([]byte, *refusal) {
	if r.ContentLength > 0 {
		return readAnnounced(r, int64(limit), held)
	}
	var body []byte
	for taken := 0; ; {
		if len(body) == taken {
			if err := held.grow(byteStep); err != nil {
				return nil, tooManyBytes(err)
			}
			taken += byteStep
		}
		body = slices.Grow(body, min(bytes.MinRead, taken-len(body)))
		n, err := r.Body.Read(body[len(body):min(cap(body), taken)])
		body = body[:len(body)+n]
		switch {
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, unreadable(err)
		}
	}
}

// readAnnounced reads a body of r.ContentLength bytes. (net/http ends the body at Content-Length.)
func readAnnounced(r *http.Request, limit int64, held *reservation) ([]byte, *refusal) {
	if limit > 0 && r.ContentLength > limit {
		return nil, unreadable(&http.MaxBytesError{Limit: limit})
	}
	if err := held.grow(int(r.ContentLength)); err != nil {
		return nil, tooManyBytes(err)
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, unreadable(err)
	}
	return body, nil
}

// weigh takes what the values of a message weigh when they are decoded.
func (m *message) weigh(held *reservation) *refusal {
	if m.values <= uncountedValues {
		return nil
	}
	if err := held.grow(m.values * bytesPerValue); err != nil {
		return tooManyBytes(err)
	}
	return nil
}

func tooManyBytes(err error) *refusal {
	f := tooMany("calls", providers.TooManyBytes, err)
	f.text, f.retryAfter = "too many bytes in flight", "1"
	return f
}
