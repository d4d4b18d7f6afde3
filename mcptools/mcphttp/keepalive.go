package mcphttp

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"sync"
	"time"
)

// withKeepalive writes comments between the events of next, the SDK's handler, which has no keepalive of its own. It
// also sets write deadlines, as all other transports do.
func (h *Handler) withKeepalive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		interval := callContextFrom(r.Context()).policy.Settings.Keepalive
		if interval <= 0 || !acceptsBoth(r.Header) { // next will reject a request that does not accept both
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		k := &keepaliveWriter{
			w: w, header: http.Header{}, interval: interval, writeTimeout: h.writeTimeout,
			clientGone: cancel, lastWrite: time.Now(),
		}
		k.start()
		defer k.close()
		next.ServeHTTP(k, r.WithContext(ctx))
	})
}

// keepaliveWriter is the writer of a response that may become an event stream. Each call of Write is a whole event, as
// the SDK writes them, so that a comment can be written between any two calls. It has no Unwrap method: the underlying
// writer is for one goroutine at a time.
type keepaliveWriter struct {
	interval, writeTimeout time.Duration
	clientGone             func() // called after a failed write
	// header is for the handler's goroutines, and is copied when they start the response.
	header http.Header

	mu        sync.Mutex
	w         http.ResponseWriter
	timer     *time.Timer
	lastWrite time.Time // or the start
	started   bool
	isStream  bool
	// startedByComment is true if a comment started the response. If the handler then responds with anything
	// but an event stream with status 200, its response is buffered in late and becomes the last event.
	startedByComment bool
	late             bytes.Buffer
	isLate           bool
	closed           bool
}

func (k *keepaliveWriter) start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(k.interval, k.tick)
}

// tick writes a comment if nothing was written for the interval.
func (k *keepaliveWriter) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.started && !k.isStream {
		return
	}
	if left := k.interval - time.Since(k.lastWrite); left > 0 {
		k.timer.Reset(left)
		return
	}
	if !k.started {
		k.started, k.isStream, k.startedByComment = true, true, true
		startSSE(k.w, "")
	}
	if writeComment(k.w, k.writeTimeout) != nil {
		k.clientGone()
		return
	}
	k.lastWrite = time.Now()
	k.timer.Reset(k.interval)
}

// Header implements http.ResponseWriter.
func (k *keepaliveWriter) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *keepaliveWriter) WriteHeader(status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writeHeader(status)
}

// writeHeader writes the handler's status and header, unless a comment started the response; mu must be held.
func (k *keepaliveWriter) writeHeader(status int) {
	isStream := k.header.Get("Content-Type") == "text/event-stream"
	switch {
	case k.startedByComment:
		k.isLate = k.isLate || status != http.StatusOK || !isStream
	case !k.started:
		k.started, k.isStream = true, isStream
		maps.Copy(k.w.Header(), k.header)
		setWriteDeadline(k.w, k.writeTimeout)
		k.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (k *keepaliveWriter) Write(text []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writeHeader(http.StatusOK)
	if k.isLate {
		return k.late.Write(text)
	}
	if err := writeChunks(k.w, text, k.writeTimeout); err != nil {
		return 0, err
	}
	k.lastWrite = time.Now()
	return len(text), nil
}

// FlushError is for [http.ResponseController].
func (k *keepaliveWriter) FlushError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.writeHeader(http.StatusOK); k.isLate {
		return nil
	}
	return http.NewResponseController(k.w).Flush()
}

// close ends the response. Nothing is written afterwards.
func (k *keepaliveWriter) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.timer.Stop()
	switch message := bytes.TrimSpace(k.late.Bytes()); {
	case bytes.HasPrefix(message, []byte("{")): // a JSON-RPC response; plain text cannot be an event
		_ = writeEvent(k.w, message, k.writeTimeout) // fails if the client is gone
	case k.isStream:
		setWriteDeadline(k.w, k.writeTimeout) // for the end of the stream
	}
}
