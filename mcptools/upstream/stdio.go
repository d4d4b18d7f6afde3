package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// stdioLink is a link to a process, which reads and writes one message on each line (MCP 2026-07-28, stdio).
type stdioLink struct {
	process *process
	logger  *slog.Logger
	max     int // bytes of a message
	stderr  stderrTail

	// writing is a lock with a deadline: at most one element. unsent is what a write that was given up has left of its
	// message, and belongs to the holder of the lock.
	writing chan struct{}
	unsent  []byte
	// background limits the goroutines of [stdioLink.later].
	background chan struct{}

	mu      sync.Mutex
	waiting map[requestID]*waiter

	ended    chan struct{}
	endCause error // set before ended is closed
	closing  sync.Once
	closed   chan struct{}

	counters *counters
}

// waiter is a request in flight.
type waiter struct {
	response chan response // has room for one
	progress chan progress // nil if the caller wants none
}

type response struct {
	reply reply
	err   error
}

const (
	maxBackground     = 64
	backgroundTimeout = 5 * time.Second
	// maxWaitingProgress is how many progress notifications wait for a slow caller. More are dropped: one caller must
	// not stop the others.
	maxWaitingProgress = 16
)

// openStdio starts a process.
func openStdio(s Settings, user string, grace time.Duration, c *counters, logger *slog.Logger) (*stdioLink, error) {
	p, err := startProcess(commandFor(s, user), environment(s, user), grace)
	if err != nil {
		return nil, err
	}
	l := &stdioLink{
		process: p, logger: logger, max: s.MaxMessageBytes,
		writing: make(chan struct{}, 1), background: make(chan struct{}, maxBackground),
		waiting: map[requestID]*waiter{}, ended: make(chan struct{}), closed: make(chan struct{}),
		counters: c,
	}
	go func() {
		l.stderr.drain(p.stderr, logger, p.exited)
		close(p.drained)
	}()
	go l.read()
	return l, nil
}

// read receives messages until the end of the output.
func (l *stdioLink) read() {
	lines := newLineReader(l.process.stdout, l.max)
	for first := true; ; first = false {
		text, err := lines.next()
		size, isResponse := len(text.text), false
		switch {
		case err != nil:
			l.end(err)
			return
		case text.tooLong:
			size, isResponse = l.max, l.fail(errTooLarge(), text.head, text.tail)
		default:
			isResponse = l.receive(text.text, first)
		}
		if !isResponse {
			l.counters.throttle.wait(size, l.process.exited)
		}
	}
}

// end records why there will be no more messages. Every request in flight fails at once.
func (l *stdioLink) end(err error) {
	if !errors.Is(err, errEndlessLine) {
		select {
		case <-l.process.exited:
			err = fmt.Errorf("the process ended: %s", l.process.end())
		case <-time.After(lastWordsTimeout): // the end of the output is seen a little before that of the process
			err = errors.New("the process closed its input or output")
		}
	}
	l.endCause = err
	close(l.ended)
}

// receive takes one line, and reports whether it ends a request. first is true for the first line of the process.
func (l *stdioLink) receive(text []byte, first bool) (isResponse bool) {
	m, err := parseMessage(text)
	if err != nil && first {
		m, err = parseMessage(afterBanner(text))
	}
	switch {
	case err != nil:
		l.counters.addNoise()
		if text[0] == '{' && !isForeignJSON(text) {
			return l.fail(errMalformed(err), text[:min(len(text), sampleBytes)], text[max(0, len(text)-sampleBytes):])
		}
	case m.isResponse():
		r, err := m.reply()
		if err != nil {
			err = errMalformed(err)
		}
		return l.respond(parseRequestID(m.id), response{r, err})
	case m.id != nil:
		if answer := answerTo(m); answer != nil {
			l.later(answer)
		}
	case m.method == "notifications/progress":
		l.report(m)
	}
	return false
}

// respond passes a response to the request that waits for it, and reports false if none does.
func (l *stdioLink) respond(id requestID, r response) bool {
	l.mu.Lock()
	w := l.waiting[id]
	delete(l.waiting, id) // a second response finds nothing
	l.mu.Unlock()
	if w == nil {
		l.counters.stray.Add(1)
		return false
	}
	w.response <- r
	return true
}

// fail ends the requests whose ids are in parts of a line that cannot be passed on, and reports whether there are any.
func (l *stdioLink) fail(err error, parts ...[]byte) (hasFailed bool) {
	for _, id := range idsIn(parts...) {
		l.mu.Lock()
		_, isWaiting := l.waiting[id]
		l.mu.Unlock()
		if isWaiting {
			hasFailed = l.respond(id, response{err: err}) || hasFailed
		}
	}
	return hasFailed
}

// report passes a progress notification to its caller.
func (l *stdioLink) report(m message) {
	id, p, ok := readProgress(m.params)
	if !ok {
		return
	}
	l.mu.Lock()
	w := l.waiting[id]
	l.mu.Unlock()
	if w == nil || w.progress == nil {
		l.counters.stray.Add(1)
		return
	}
	select {
	case w.progress <- p:
	default: // the caller is slower than the upstream
	}
}

// roundTrip implements link.
func (l *stdioLink) roundTrip(ctx context.Context, r request, report func(progress)) (reply, error) {
	w := &waiter{response: make(chan response, 1)}
	if report != nil {
		w.progress = make(chan progress, maxWaitingProgress)
	}
	l.mu.Lock()
	l.waiting[r.id] = w
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, r.id)
		l.mu.Unlock()
	}()
	if err := l.write(ctx, r.body, r.id); err != nil {
		return reply{}, err
	}
	for {
		select {
		case p := <-w.progress:
			report(p)
		case answer := <-w.response:
			w.flush(report)
			return answer.reply, answer.err
		case <-l.ended:
			select {
			case answer := <-w.response: // it came before the end
				w.flush(report)
				return answer.reply, answer.err
			default:
				return reply{}, errLost(l.endCause)
			}
		case <-ctx.Done():
			l.later(cancellationOf(r.id))
			return reply{}, ctx.Err()
		}
	}
}

// cancellationOf returns the notification that a request was given up.
func cancellationOf(id requestID) []byte {
	params := append(id.appendTo([]byte(`{"requestId":`)), '}')
	return appendNotification(nil, "notifications/cancelled", params)
}

// flush reports the progress that came before the response.
func (w *waiter) flush(report func(progress)) {
	for len(w.progress) > 0 {
		report(<-w.progress)
	}
}

// notify implements link.
func (l *stdioLink) notify(ctx context.Context, method string) error {
	return l.write(ctx, appendNotification(nil, method, nil), 0)
}

// write writes one message; id is that of a request, or 0. If ctx ends in between, the rest of the message stays in
// unsent, followed by the cancellation of a request, and is written in the background, or before the next message at
// the latest: its line would otherwise begin in the middle. A nil message writes only what is unsent.
func (l *stdioLink) write(ctx context.Context, message []byte, id requestID) error {
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-l.ended:
		return errNotSent(l.endCause)
	case <-ctx.Done():
		return ctx.Err()
	}
	if len(l.unsent) > 0 {
		n, err := l.writeUntilDone(ctx, l.unsent)
		if l.unsent = l.unsent[n:]; err != nil {
			return l.writeError(ctx, err, 0)
		}
	}
	if message == nil {
		return nil
	}
	text := append(message, '\n')
	n, err := l.writeUntilDone(ctx, text)
	if err == nil {
		return nil
	}
	if n > 0 {
		l.unsent = text[n:]
		if id != 0 {
			l.unsent = append(append(l.unsent, cancellationOf(id)...), '\n')
		}
		l.later(nil)
	}
	return l.writeError(ctx, err, n)
}

// writeUntilDone writes text until ctx ends. It sets no deadline in advance: that would be one more timer for each
// call, and a timer may wake a thread.
func (l *stdioLink) writeUntilDone(ctx context.Context, text []byte) (int, error) {
	stdin, interrupted := l.process.stdin, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = stdin.SetWriteDeadline(time.Unix(0, 1)) // now
	})
	n, err := stdin.Write(text)
	if !stop() {
		<-interrupted
		_ = stdin.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// writeError returns the error of a write after n bytes of a message. A process that does not read any more has ended,
// or is of no use; what it wrote before is still read.
func (l *stdioLink) writeError(ctx context.Context, err error, n int) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return cmp.Or(ctx.Err(), err)
	}
	_ = l.process.stdout.SetReadDeadline(time.Now().Add(lastWordsTimeout))
	<-l.ended
	if n > 0 {
		return errLost(l.endCause)
	}
	return errNotSent(l.endCause)
}

// later writes a message that nothing waits for. It is dropped if the process does not read: a process that asks
// without reading the answers must not take up memory here.
func (l *stdioLink) later(message []byte) {
	select {
	case l.background <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-l.background }()
		ctx, cancel := context.WithTimeout(context.Background(), backgroundTimeout)
		defer cancel()
		_ = l.write(ctx, message, 0)
	}()
}

// agreed implements link. Messages on stdio do not depend on the version.
func (l *stdioLink) agreed(string) {}

// lost implements link.
func (l *stdioLink) lost() <-chan struct{} { return l.ended }

// cause implements link.
func (l *stdioLink) cause() error { return l.endCause }

// output implements link.
func (l *stdioLink) output() []string { return l.stderr.last() }

// close implements link.
func (l *stdioLink) close(hurry <-chan struct{}) {
	l.closing.Do(func() {
		l.process.stop(hurry)
		<-l.ended
		close(l.closed)
	})
	<-l.closed
}

// afterBanner returns the message that follows a banner on the same line: some programs print one without a line end
// before they serve. Only the first line can have one.
func afterBanner(text []byte) []byte {
	if i := indexMessage(text); i > 0 {
		return text[i:]
	}
	return nil
}
