package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// httpLink is a link by Streamable HTTP: each request is a POST, whose response has the answer. There is no stream for
// other messages: nothing was subscribed to.
type httpLink struct {
	endpoint  *endpoint
	version   string // of the protocol; set before the first concurrent request
	sessionID string // likewise; empty without a session

	background chan struct{} // limits the goroutines of later
	ended      chan struct{}
	ending     sync.Once
	endCause   error // set before ended is closed
}

// endpoint is the URL of an upstream, and how it is reached.
type endpoint struct {
	url           string
	userAgent     string
	authorization string // the header; empty omits it
	// own returns the headers of requests without a caller.
	own       func() (map[string]string, error)
	max       int // bytes of a message
	transport *http.Transport
	counters  *counters
	long      chan struct{} // has an element for each long message that is being read
	finishing chan struct{} // has an element for each body whose end is being read
}

const (
	versionHeader = "Mcp-Protocol-Version"
	sessionHeader = "Mcp-Session-Id"
	methodHeader  = "Mcp-Method"
	nameHeader    = "Mcp-Name"
)

// errSessionUnknown means that the upstream does not know the session, so that it has not handled the request.
var errSessionUnknown = errors.New("the upstream does not know the session any more")

// statusError is a status that no response of MCP has.
type statusError int

// Error implements error.
func (s statusError) Error() string { return fmt.Sprintf("it answered %d", int(s)) }

// isForeign reports whether an upstream of the other era may answer a request so.
func (s statusError) isForeign() bool {
	return s >= http.StatusBadRequest && s != http.StatusUnauthorized && s != http.StatusForbidden && !s.isTemporary()
}

// isTemporary reports whether a status says that the upstream, or what is behind a proxy, is not ready.
func (s statusError) isTemporary() bool {
	switch s {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func openHTTP(e *endpoint) *httpLink {
	return &httpLink{endpoint: e, ended: make(chan struct{}), background: make(chan struct{}, maxBackground)}
}

// newRequest makes a POST. Its headers are built from nothing: none of the caller's is among them.
func (l *httpLink) newRequest(ctx context.Context, r request) (*http.Request, error) {
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, l.endpoint.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if err := l.setHeaders(post.Header, r); err != nil {
		return nil, err
	}
	if r.tool != "" && l.version >= modernVersion {
		post.Header.Set(nameHeader, r.tool)
	}
	return post, nil
}

func (l *httpLink) setHeaders(header http.Header, r request) error {
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json, text/event-stream")
	header.Set("User-Agent", l.endpoint.userAgent)
	version := l.version
	if r.method == "server/discover" {
		version = modernVersion
	}
	if version != "" {
		header.Set(versionHeader, version)
	}
	if version >= modernVersion {
		header.Set(methodHeader, r.method)
	}
	if l.sessionID != "" {
		header.Set(sessionHeader, l.sessionID)
	}
	if l.endpoint.authorization != "" {
		header.Set("Authorization", l.endpoint.authorization)
	}
	more := r.headers
	if more == nil {
		var err error
		if more, err = l.endpoint.own(); err != nil {
			return err
		}
	}
	for name, value := range more {
		header.Set(name, value)
	}
	return nil
}

// roundTrip implements link.
func (l *httpLink) roundTrip(ctx context.Context, r request, report func(progress)) (reply, error) {
	// The request has a context of its own, because the rest of its response is read after the end of ctx.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	answer, err := l.post(own, cancel, r, report)
	stop()
	if ctx.Err() != nil && err != nil {
		l.cancelled(r)
		return reply{}, ctx.Err()
	}
	return answer, err
}

// cancelled tells a legacy upstream that a request was given up. A modern one learns it from the end of the
// connection (MCP 2026-07-28, Streamable HTTP, Cancellation).
func (l *httpLink) cancelled(r request) {
	if l.version == "" || l.version >= modernVersion {
		return
	}
	params := append(r.id.appendTo([]byte(`{"requestId":`)), '}')
	l.later(request{body: appendNotification(nil, "notifications/cancelled", params), headers: r.headers})
}

// post sends a request and reads the response. It calls cancel, which ends ctx, when the body is not read any more.
// The transport sends a request again only if its connection was closed before one byte was written.
func (l *httpLink) post(
	ctx context.Context, cancel context.CancelFunc, r request, report func(progress),
) (reply, error) {
	begun := &atomic.Bool{}
	trace := &httptrace.ClientTrace{
		GetConn:      func(string) { begun.Store(false) },
		WroteHeaders: func() { begun.Store(true) },
	}
	post, err := l.newRequest(httptrace.WithClientTrace(ctx, trace), r)
	if err != nil {
		cancel()
		return reply{}, errNotSent(err)
	}
	resp, err := l.endpoint.transport.RoundTrip(post) // which follows no redirect
	if err != nil {
		cancelled := ctx.Err() != nil
		cancel()
		switch {
		case begun.Load():
			return reply{}, errLost(err)
		case !cancelled:
			l.end(err)
		}
		return reply{}, errNotSent(err)
	}
	body := &boundedBody{ReadCloser: resp.Body, ctx: ctx, long: l.endpoint.long}
	if r.method == "initialize" && resp.StatusCode == http.StatusOK {
		l.sessionID = sessionOf(resp.Header)
	}
	answer, hasRest, err := l.read(resp, body, r, report)
	if hasRest {
		l.endpoint.finish(body, cancel)
		return answer, err
	}
	_ = body.Close()
	cancel()
	return answer, err
}

// sessionOf returns the session of a response. An id consists of visible ASCII (MCP 2025-11-25, Transports, Session
// Management).
func sessionOf(header http.Header) string {
	id := header.Get(sessionHeader)
	const maxSessionID = 1 << 10
	if len(id) > maxSessionID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return id
}

// read reads the response to a request. hasRest is true if the end of the body is left to be read.
func (l *httpLink) read(
	resp *http.Response, body *boundedBody, r request, report func(progress),
) (_ reply, hasRest bool, _ error) {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status >= 300 && status < 400:
		return reply{}, false, errRefused(statusError(status))
	case kind == "text/event-stream" && status == http.StatusOK:
		answer, err := l.readEvents(body, r, report)
		return answer, err == nil, err
	case kind == "application/json":
		answer, err := l.readJSON(resp.StatusCode, body, r)
		return answer, false, err
	default:
		return reply{}, false, l.errStatus(status)
	}
}

// readJSON reads a response that is one message. With a status other than 200, it can only be an error.
func (l *httpLink) readJSON(status int, body io.Reader, r request) (reply, error) {
	text, err := io.ReadAll(io.LimitReader(body, int64(l.endpoint.max)+1))
	if err != nil {
		return reply{}, errLost(err)
	}
	if len(text) > l.endpoint.max {
		return reply{}, errTooLarge()
	}
	m, err := parseMessage(bytes.TrimSpace(text))
	isAnswer := err == nil && m.isResponse() && parseRequestID(m.id) == r.id
	if !isAnswer && status == http.StatusOK {
		return reply{}, errMalformed(errors.New("the body is not the response to the request"))
	}
	if !isAnswer || m.fault == nil && status != http.StatusOK {
		return reply{}, l.errStatus(status)
	}
	answer, err := m.reply()
	if err != nil {
		return reply{}, errMalformed(err)
	}
	if status != http.StatusOK && !isAboutParams(answer.fault) && l.isUnknownSession(status) {
		return reply{}, l.errStatus(status)
	}
	return answer, nil
}

// isUnknownSession reports whether a status can mean that the upstream does not know the session. After a restart,
// some answer 400 rather than 404.
func (l *httpLink) isUnknownSession(status int) bool {
	return l.sessionID != "" && (status == http.StatusNotFound || status == http.StatusBadRequest)
}

// isAboutParams reports whether an error is about the request rather than about its session.
func isAboutParams(fault *jsonrpc.Error) bool {
	return fault.Code == jsonrpc.CodeInvalidParams || fault.Code == jsonrpc.CodeMethodNotFound
}

// errStatus is the error for a status without a response of MCP.
func (l *httpLink) errStatus(status int) error {
	switch {
	case l.isUnknownSession(status):
		l.end(errSessionUnknown)
		return errSessionUnknown
	case status >= 500:
		return errLost(statusError(status))
	case status >= 300:
		return errRefused(statusError(status))
	}
	return errMalformed(statusError(status))
}

// readEvents reads a stream up to the response.
func (l *httpLink) readEvents(body *boundedBody, r request, report func(progress)) (reply, error) {
	wait := func(bytes int) { l.endpoint.counters.throttle.wait(bytes, body.ctx.Done()) }
	events := newEventReader(body, l.endpoint.max, wait)
	defer body.nextMessage()
	for ; ; body.nextMessage() {
		text, err := events.next()
		if reasonOf(err) == ReasonTooLarge || errors.Is(err, errEndlessLine) {
			return reply{}, errTooLarge()
		}
		if err != nil {
			return reply{}, errLost(fmt.Errorf("the stream ended without a response: %w", err))
		}
		m, err := parseMessage(text)
		switch {
		case err != nil:
			l.endpoint.counters.addNoise()
		case m.isResponse() && parseRequestID(m.id) == r.id:
			answer, err := m.reply()
			if err != nil {
				return reply{}, errMalformed(err)
			}
			return answer, nil
		case m.isResponse():
			l.endpoint.counters.stray.Add(1)
		case m.id != nil:
			if answer := answerTo(m); answer != nil && l.version < modernVersion {
				l.later(request{body: answer, headers: r.headers})
			}
		case m.method == "notifications/progress":
			if id, p, ok := readProgress(m.params); ok && id == r.id && report != nil {
				report(p)
			}
		}
		wait(len(text))
	}
}

// later sends a message that nothing waits for.
func (l *httpLink) later(r request) {
	select {
	case l.background <- struct{}{}:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), backgroundTimeout)
	post, err := l.newRequest(ctx, r) // here, because the session may be opened meanwhile
	go func() {
		defer func() { <-l.background }()
		defer cancel()
		if err == nil {
			_ = l.send(post)
		}
	}()
}

// notify implements link.
func (l *httpLink) notify(ctx context.Context, method string) error {
	post, err := l.newRequest(ctx, request{method: method, body: appendNotification(nil, method, nil)})
	if err != nil {
		return errNotSent(err)
	}
	return l.send(post)
}

// send sends a message that has no response.
func (l *httpLink) send(post *http.Request) error {
	resp, err := l.endpoint.transport.RoundTrip(post)
	if err != nil {
		return errLost(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, finishBytes)
	if resp.StatusCode >= 300 {
		return l.errStatus(resp.StatusCode)
	}
	return nil
}

// agreed implements link.
func (l *httpLink) agreed(version string) { l.version = version }

// end records that no request can be sent any more.
func (l *httpLink) end(err error) {
	l.ending.Do(func() {
		l.endCause = err
		close(l.ended)
	})
}

// lost implements link.
func (l *httpLink) lost() <-chan struct{} { return l.ended }

// cause implements link.
func (l *httpLink) cause() error { return l.endCause }

// output implements link.
func (l *httpLink) output() []string { return nil }

// close implements link. It ends the session, if there is one and the upstream can be reached.
func (l *httpLink) close(hurry <-chan struct{}) {
	isReachable := !isClosed(l.ended)
	l.end(errors.New("this server stops"))
	defer l.endpoint.transport.CloseIdleConnections()
	if l.sessionID == "" || !isReachable {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	go func() {
		select {
		case <-hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, l.endpoint.url, nil)
	if err != nil {
		return
	}
	if l.setHeaders(r.Header, request{}) != nil {
		return
	}
	if resp, err := l.endpoint.transport.RoundTrip(r); err == nil {
		_ = resp.Body.Close()
	}
}
