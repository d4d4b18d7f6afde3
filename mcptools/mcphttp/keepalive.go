package mcphttp

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"sync"
	"time"
)

// keptAlive writes comments between the events of next, the SDK's handler, which has no keepalive of its own.
// It also bounds the time that a client has to read, as everywhere else.
func (h *Handler) keptAlive(next http.Handler) http.Handler {
	interval := h.settings.Keepalive
	if interval <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !acceptsBoth(r.Header) { // it is refused
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		k := &keptAliveWriter{w: w, header: http.Header{}, interval: interval, patience: h.patience, gone: cancel, wrote: time.Now()}
		k.start()
		defer k.close()
		next.ServeHTTP(k, r.WithContext(ctx))
	})
}

// keptAliveWriter is the writer of an answer that may become a stream of events. Each call of Write is a
// whole event, as the SDK writes them, so that a comment can be written between any two calls. It does not
// unwrap: the writer behind it is for one goroutine at a time.
type keptAliveWriter struct {
	interval, patience time.Duration
	gone               func() // called when the client takes nothing more
	// header is what the handler sets. It belongs to the handler's goroutines, and is copied when they begin
	// the answer.
	header http.Header

	mu     sync.Mutex
	w      http.ResponseWriter
	timer  *time.Timer
	wrote  time.Time // when something was written last, or began
	begun  bool
	events bool // it is a stream of events
	// ours says that a comment began the answer. What the handler wants to answer with another status is then
	// kept in late, and becomes the last event.
	ours   bool
	late   bytes.Buffer
	isLate bool
	closed bool
}

func (k *keptAliveWriter) start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(k.interval, k.tick)
}

// tick writes a comment if the answer was silent for the interval.
func (k *keptAliveWriter) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.begun && !k.events {
		return
	}
	if left := k.interval - time.Since(k.wrote); left > 0 {
		k.timer.Reset(left)
		return
	}
	if !k.begun {
		k.begun, k.events, k.ours = true, true, true
		beginEvents(k.w, "")
	}
	if writeComment(k.w, k.patience) != nil {
		k.gone()
		return
	}
	k.wrote = time.Now()
	k.timer.Reset(k.interval)
}

// Header implements http.ResponseWriter.
func (k *keptAliveWriter) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *keptAliveWriter) WriteHeader(status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begin(status)
}

// begin takes over the handler's status and header, unless a comment has begun the answer; mu must be held.
func (k *keptAliveWriter) begin(status int) {
	events := k.header.Get("Content-Type") == "text/event-stream"
	switch {
	case k.ours:
		k.isLate = k.isLate || status != http.StatusOK || !events
	case !k.begun:
		k.begun, k.events = true, events
		maps.Copy(k.w.Header(), k.header)
		hurry(k.w, k.patience)
		k.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (k *keptAliveWriter) Write(text []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begin(http.StatusOK)
	if k.isLate {
		return k.late.Write(text)
	}
	if err := writeSlowly(k.w, text, k.patience); err != nil {
		return 0, err
	}
	k.wrote = time.Now()
	return len(text), nil
}

// FlushError is for [http.ResponseController].
func (k *keptAliveWriter) FlushError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.begin(http.StatusOK); k.isLate {
		return nil
	}
	return http.NewResponseController(k.w).Flush()
}

// close ends the answer. Nothing is written afterwards.
func (k *keptAliveWriter) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.timer.Stop()
	switch message := bytes.TrimSpace(k.late.Bytes()); {
	case bytes.HasPrefix(message, []byte("{")): // a response; what is no message cannot be an event
		_ = writeEvent(k.w, message, k.patience) // a client that has gone is told nothing
	case k.events:
		hurry(k.w, k.patience) // for the end of the stream
	}
}
