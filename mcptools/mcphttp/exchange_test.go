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

// gone is a client that cannot be written to any more.
type gone struct{ http.ResponseWriter }

func (gone) Write([]byte) (int, error) { return 0, errors.New("gone") }

func someExchange(w http.ResponseWriter, id float64) *exchange {
	made, _ := jsonrpc.MakeID(id) // a number is one
	e := &exchange{request: &jsonrpc.Request{ID: made}, writeTimeout: time.Minute, recorder: discard{}}
	e.start(w, httptest.NewRequest(http.MethodPost, "/", nil), alice())
	return e
}

// work is a context of the work on the request.
func (e *exchange) work() context.Context {
	return context.WithValue(context.Background(), callKey{}, &e.extra)
}

func aNotification() *jsonrpc.Request { return &jsonrpc.Request{Method: "notifications/x"} }

func (e *exchange) itsResponse() *jsonrpc.Response {
	return &jsonrpc.Response{ID: e.request.ID, Result: []byte(`{"here":1}`)}
}

func TestAnExchangeSaysNothingAfterItsEnd(t *testing.T) {
	for name, end := range map[string]func(*exchange) bool{
		"its response":                       func(e *exchange) bool { return e.send(e.itsResponse()) == nil && e.finish(context.Background()) },
		"its response, before it is written": func(e *exchange) bool { return e.send(e.itsResponse()) == nil },
		"its client's end":                   func(e *exchange) bool { e.detach(); return true },
	} {
		w := httptest.NewRecorder()
		e := someExchange(w, 1)
		if !end(e) {
			t.Errorf("%s: it did not end so", name)
		}
		before := w.Body.String()
		if err := e.send(aNotification()); !errors.Is(err, errNoReceiver) {
			t.Errorf("%s: a notification is taken: %v", name, err)
		}
		if err := e.send(e.itsResponse()); !errors.Is(err, errNoReceiver) {
			t.Errorf("%s: a response is taken: %v", name, err)
		}
		if w.Body.String() != before {
			t.Errorf("%s: afterwards it wrote %q", name, w.Body)
		}
		select {
		case <-e.answered:
		default:
			t.Errorf("%s: somebody still waits for the response", name)
		}
	}
}

func TestAnExchangeIsAnsweredAtOnceOrInEvents(t *testing.T) {
	w := httptest.NewRecorder()
	e := someExchange(w, 1)
	_ = e.send(e.itsResponse())
	if w.Body.Len() > 0 {
		t.Errorf("the response was written before its time: %s", w.Body)
	}
	if !e.finish(context.Background()) || w.Body.String() != `{"jsonrpc":"2.0","id":1,"result":{"here":1}}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("answered %v %s", w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	e = someExchange(w, 1)
	if e.send(aNotification()) != nil || e.send(e.itsResponse()) != nil || !e.finish(context.Background()) {
		t.Error("it was not answered")
	}
	if got := w.Body.String(); strings.Count(got, "event: message\ndata: {") != 2 || !strings.HasSuffix(got, "}}\n\n") || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("answered %v %s", w.Header(), got)
	}
	for _, began := range []bool{false, true} { // and nobody will answer
		e = someExchange(httptest.NewRecorder(), 1)
		if began {
			_ = e.send(aNotification())
		}
		if e.finish(context.Background()) != began {
			t.Errorf("a stream that began, %v, is taken for the opposite", began)
		}
	}
}

// What cannot be told one client must not break the connection, which in a session carries all its other requests.
func TestAClientThatIsGoneIsToldNothingAndBreaksNothing(t *testing.T) {
	e := someExchange(gone{httptest.NewRecorder()}, 1)
	for range 2 {
		if err := e.send(aNotification()); !errors.Is(err, errNoReceiver) {
			t.Errorf("a notification to nobody: %v", err)
		}
	}
	if err := e.send(e.itsResponse()); !errors.Is(err, errNoReceiver) {
		t.Errorf("a response to nobody: %v", err)
	}
}

func TestASessionTellsEachRequestWhatIsItsOwn(t *testing.T) {
	s := newSession("alice", newSessionTable(DefaultSettings()), time.Minute)
	defer s.Close()
	hears, other := httptest.NewRecorder(), httptest.NewRecorder()
	one, two := someExchange(hears, 1), someExchange(other, 2)
	if !s.register(one) || !s.register(two) || s.register(someExchange(other, 2)) {
		t.Fatal("not expected")
	}
	if err := s.Write(context.Background(), aNotification()); !errors.Is(err, errNoReceiver) {
		t.Errorf("nobody heard it: %v", err)
	}
	streams := newQuota(1, 1)
	stream := newStandaloneStream(httptest.NewRecorder(), time.Now().Add(time.Hour))
	if rpcErr := s.attach(stream, streams); rpcErr != nil {
		t.Fatalf("the stream is rejected: %s", rpcErr.text)
	}
	if err := s.Write(one.work(), aNotification()); err != nil || hears.Body.Len() == 0 || other.Body.Len() != 0 || len(stream.queue) != 0 {
		t.Errorf("the request heard %q, the other %q, the stream %d, %v", hears.Body, other.Body, len(stream.queue), err)
	}
	if err := s.Write(someExchange(other, 3).work(), aNotification()); !errors.Is(err, errNoReceiver) || len(stream.queue) != 0 {
		t.Errorf("what belongs to a request that is over went to somebody: %v", err)
	}
	if err := s.Write(context.Background(), aNotification()); err != nil || len(stream.queue) != 1 {
		t.Errorf("what belongs to no request: %v", err)
	}
	if err := s.Write(context.Background(), two.itsResponse()); err != nil || s.Write(context.Background(), two.itsResponse()) == nil {
		t.Errorf("a response is taken once: %v", err)
	}
	if !s.register(someExchange(other, 2)) {
		t.Error("an id is not free again after its response")
	}
	s.detachStream(stream, streams)
	if err := s.Write(context.Background(), aNotification()); !errors.Is(err, errNoReceiver) {
		t.Errorf("a stream that fell was told something: %v", err)
	}
}

func TestNothingIsDeliveredToASessionThatIsOver(t *testing.T) {
	s := newSession("alice", newSessionTable(DefaultSettings()), time.Minute)
	_ = s.Close()
	_ = s.Close()
	delivered := make(chan bool, 1)
	go func() { delivered <- s.deliver(aNotification()) }()
	select {
	case ok := <-delivered:
		if ok {
			t.Error("delivered")
		}
	case <-time.After(time.Second):
		t.Error("it waits for ever")
	}
}
