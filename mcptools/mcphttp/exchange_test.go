package mcphttp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// goneWriter is the writer of a client that has disconnected.
type goneWriter struct{ http.ResponseWriter }

func (goneWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func newTestExchange(w http.ResponseWriter, id float64) *exchange {
	made, _ := jsonrpc.MakeID(id) // a number is a valid ID
	e := &exchange{request: &jsonrpc.Request{ID: made}, writeTimeout: time.Minute, recorder: discard{}}
	e.start(w, httptest.NewRequest(http.MethodPost, "/", nil), alice())
	return e
}

// callContext is a context of the callContext on the request.
func (e *exchange) callContext() context.Context {
	return context.WithValue(context.Background(), callKey{}, &e.extra)
}

func newNotification() *jsonrpc.Request { return &jsonrpc.Request{Method: "notifications/x"} }

func (e *exchange) newResponse() *jsonrpc.Response {
	return &jsonrpc.Response{ID: e.request.ID, Result: []byte(`{"here":1}`)}
}

func TestExchange_WritesNothingAfterItsEnd(t *testing.T) {
	for name, end := range map[string]func(*exchange) bool{
		"its response": func(e *exchange) bool {
			return e.send(e.newResponse()) == nil && e.finish(context.Background())
		},
		"its response, before it is written": func(e *exchange) bool { return e.send(e.newResponse()) == nil },
		"its client's end":                   func(e *exchange) bool { e.detach(); return true },
	} {
		w := httptest.NewRecorder()
		e := newTestExchange(w, 1)
		if !end(e) {
			t.Errorf("%s: it did not end so", name)
		}
		before := w.Body.String()
		if err := e.send(newNotification()); !errors.Is(err, errNoReceiver) {
			t.Errorf("%s: a notification is taken: %v", name, err)
		}
		if err := e.send(e.newResponse()); !errors.Is(err, errNoReceiver) {
			t.Errorf("%s: a response is taken: %v", name, err)
		}
		if w.Body.String() != before {
			t.Errorf("%s: afterwards it wrote %q", name, w.Body)
		}
		select {
		case <-e.answered:
		default:
			t.Errorf("%s: answered is not closed", name)
		}
	}
}

func TestExchange_RepliesWithJSONOrEvents(t *testing.T) {
	w := httptest.NewRecorder()
	e := newTestExchange(w, 1)
	_ = e.send(e.newResponse())
	if w.Body.Len() > 0 {
		t.Errorf("the response was written before its time: %s", w.Body)
	}
	if !e.finish(context.Background()) || w.Body.String() != `{"jsonrpc":"2.0","id":1,"result":{"here":1}}` ||
		w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("answered %v %s", w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	e = newTestExchange(w, 1)
	if e.send(newNotification()) != nil || e.send(e.newResponse()) != nil || !e.finish(context.Background()) {
		t.Error("it was not answered")
	}
	if got := w.Body.String(); strings.Count(got, "event: message\ndata: {") != 2 ||
		!strings.HasSuffix(got, "}}\n\n") ||
		w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("answered %v %s", w.Header(), got)
	}
	for _, began := range []bool{false, true} { // without a response
		e = newTestExchange(httptest.NewRecorder(), 1)
		if began {
			_ = e.send(newNotification())
		}
		if e.finish(context.Background()) != began {
			t.Errorf("a stream that began, %v, is taken for the opposite", began)
		}
	}
}

// A timer that fires late finds that something was written meanwhile, or that there will be no more comments.
func TestExchange_CommentsOnlyInSilence(t *testing.T) {
	for name, c := range map[string]struct {
		silence time.Duration
		stopped bool
		want    string
	}{
		"silence":                           {2 * time.Hour, false, ": keepalive\n\n"},
		"something was written":             {time.Minute, false, ""},
		"silence, but the wait was stopped": {2 * time.Hour, true, ""},
	} {
		w := httptest.NewRecorder()
		e := newTestExchange(w, 1)
		e.keepalive = time.Hour
		e.startKeepalive()
		e.lastWrite = time.Now().Add(-c.silence)
		if c.stopped {
			e.stopKeepalive()
		}
		if e.keepAlive(); w.Body.String() != c.want {
			t.Errorf("%s: %q", name, w.Body)
		}
		if !c.stopped {
			e.stopKeepalive()
		}
	}
}

// A message that cannot be delivered must not break the connection: in a session, all other requests use it.
func TestExchange_AClientThatIsGoneDoesNotBreakTheConnection(t *testing.T) {
	e := newTestExchange(goneWriter{httptest.NewRecorder()}, 1)
	for range 2 {
		if err := e.send(newNotification()); !errors.Is(err, errNoReceiver) {
			t.Errorf("a notification without a receiver: %v", err)
		}
	}
	if err := e.send(e.newResponse()); !errors.Is(err, errNoReceiver) {
		t.Errorf("a response without a receiver: %v", err)
	}
}

func TestSession_WritesMessagesToTheirRequest(t *testing.T) {
	s := newSession("alice", newSessionTable(DefaultSettings()), time.Minute)
	defer s.Close()
	hears, other := httptest.NewRecorder(), httptest.NewRecorder()
	one, two := newTestExchange(hears, 1), newTestExchange(other, 2)
	if !s.register(one) || !s.register(two) || s.register(newTestExchange(other, 2)) {
		t.Fatal("not expected")
	}
	if err := s.Write(context.Background(), newNotification()); !errors.Is(err, errNoReceiver) {
		t.Errorf("without a receiver: %v", err)
	}
	streams := newQuota(1, 1)
	stream := newStandaloneStream(httptest.NewRecorder(), time.Now().Add(time.Hour))
	if rpcErr := s.attach(stream, streams); rpcErr != nil {
		t.Fatalf("the stream is rejected: %s", rpcErr.text)
	}
	if err := s.Write(one.callContext(), newNotification()); err != nil || hears.Body.Len() == 0 ||
		other.Body.Len() != 0 ||
		len(stream.queue) != 0 {
		t.Errorf(
			"the request heard %q, the other %q, the stream %d, %v", hears.Body, other.Body, len(stream.queue),
			err,
		)
	}
	if err := s.Write(newTestExchange(other, 3).callContext(), newNotification()); !errors.Is(
		err,
		errNoReceiver,
	) ||
		len(stream.queue) != 0 {
		t.Errorf("a message of a request that has ended was delivered: %v", err)
	}
	if err := s.Write(context.Background(), newNotification()); err != nil || len(stream.queue) != 1 {
		t.Errorf("what belongs to no request: %v", err)
	}
	if err := s.Write(context.Background(), two.newResponse()); err != nil ||
		s.Write(context.Background(), two.newResponse()) == nil {
		t.Errorf("a response is taken once: %v", err)
	}
	if !s.register(newTestExchange(other, 2)) {
		t.Error("an id is not free again after its response")
	}
	s.detachStream(stream, streams)
	if err := s.Write(context.Background(), newNotification()); !errors.Is(err, errNoReceiver) {
		t.Errorf("a detached stream received a message: %v", err)
	}
}

func TestSession_DeliversNothingAfterItsEnd(t *testing.T) {
	s := newSession("alice", newSessionTable(DefaultSettings()), time.Minute)
	_ = s.Close()
	_ = s.Close()
	delivered := make(chan bool, 1)
	go func() { delivered <- s.deliver(newNotification()) }()
	select {
	case ok := <-delivered:
		if ok {
			t.Error("delivered")
		}
	case <-time.After(time.Second):
		t.Error("it blocks")
	}
}
