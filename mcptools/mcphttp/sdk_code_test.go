package mcphttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// rejectingConn is a connection to the SDK's server that has two calls for it, and rejects all notifications.
type rejectingConn struct {
	requests  chan jsonrpc.Message
	responses chan *jsonrpc.Response
	err       error // of a rejected notification
}

func (c *rejectingConn) Connect(context.Context) (mcp.Connection, error) { return c, nil }
func (c *rejectingConn) SessionID() string                               { return "" }
func (c *rejectingConn) Close() error                                    { return nil }

func (c *rejectingConn) Read(context.Context) (jsonrpc.Message, error) {
	if request, ok := <-c.requests; ok {
		return request, nil
	}
	return nil, io.EOF
}

func (c *rejectingConn) Write(_ context.Context, message jsonrpc.Message) error {
	if response, ok := message.(*jsonrpc.Response); ok {
		c.responses <- response
		return nil
	}
	return c.err
}

// answersAfterRejection reports whether the SDK's server still answers on a connection after Write rejected a
// notification with err.
func answersAfterRejection(t *testing.T, err error) (answers bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := handlerOf(fullCatalog())
		defer h.CloseSessions()
		conn := &rejectingConn{
			requests:  make(chan jsonrpc.Message),
			responses: make(chan *jsonrpc.Response, 2),
			err:       err,
		}
		options := &mcp.ServerSessionOptions{State: h.initialStates[""]}
		if _, err := h.server.Connect(t.Context(), conn, options); err != nil {
			t.Fatal(err)
		}
		defer close(conn.requests)
		for n := range cap(conn.responses) {
			id, _ := jsonrpc.MakeID(float64(n))
			conn.requests <- &jsonrpc.Request{
				ID: id, Method: methodCallTool, Params: []byte(`{"name":"report"}`), // sends notifications
				Extra: requestExtra(&http.Request{}, alice(), &callContext{policy: h.first.policy}),
			}
			synctest.Wait()
		}
		answers = len(conn.responses) == cap(conn.responses)
	})
	return answers
}

// errNoReceiver repeats the code of an internal error of the SDK, because only that error leaves a connection usable.
func TestErrNoReceiver_HasTheCodeOfTheSDK(t *testing.T) {
	if !answersAfterRejection(t, errNoReceiver) {
		t.Errorf(
			"the SDK stops answering on a connection after Write returned the code %d. The code must be that of jsonrpc2."+
				"ErrRejected: look it up in internal/jsonrpc2/wire.go of the SDK and change errNoReceiver in exchange.go. If "+
				"the SDK no longer has it, see how its own HTTP transport reports a message that it cannot deliver "+
				"(mcp/streamable.go, Write).",
			errNoReceiver.Code,
		)
	}
	if answersAfterRejection(t, errors.New("another error")) {
		t.Error(
			"the SDK keeps a connection after any error of Write, so errNoReceiver needs no code: remove it",
		)
	}
}
