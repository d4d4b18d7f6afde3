package mcptools

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// glance says whom the context of a call names, and whom the call itself does.
func glance() Tool {
	return Define(Definition{Name: "glance", Description: "x"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		inContext := "nobody"
		if info := auth.TokenInfoFromContext(ctx); info != nil {
			inContext = info.UserID
		}
		return text(fmt.Sprintf("context: %s, call: %s, over: %v", inContext, Caller(req).Subject, ctx.Err())), nil, nil
	})
}

// The SDK makes the request that opens a session the context of all later calls in it. Whatever it knew then may be over by now.
func TestASessionForgetsTheRequestThatOpenedIt(t *testing.T) {
	h := handlerOf(Catalog{Tools: []Tool{glance()}})
	var opener weak.Pointer[auth.TokenInfo]
	inject := auth.RequireBearerToken(func(_ context.Context, _ string, r *http.Request) (*auth.TokenInfo, error) {
		id := &providers.Identity{Issuer: "http://issuer", Subject: "alice", GoodUntil: time.Now().Add(time.Hour)}
		info := id.TokenInfo()
		if opener == (weak.Pointer[auth.TokenInfo]{}) {
			opener = weak.Make(&info)
		}
		return &info, nil
	}, nil)
	server := httptest.NewServer(inject(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, handler := h.Route(r)
		handler.ServeHTTP(w, r)
	})))
	t.Cleanup(func() {
		h.CloseStreams()
		server.Close()
		h.CloseSessions()
	})
	s := session(t, server.URL, "2025-11-25")
	if opener.Value() == nil {
		t.Fatal("nobody opened the session")
	}
	for range 2 { // the SDK keeps the last request of a session
		result, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "glance"})
		if err != nil {
			t.Fatal(err)
		}
		if got := result.Content[0].(*mcp.TextContent).Text; got != "context: nobody, call: alice, over: <nil>" {
			t.Errorf("a tool sees %q", got)
		}
	}
	for range 100 {
		runtime.GC()
		if opener.Value() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // its connection may not be done yet
	}
	t.Error("the session keeps the identity and with it the token that opened it")
}

func TestAContextFadesIntoOneThatEnded(t *testing.T) {
	type key struct{}
	ended, end := context.WithCancel(context.Background())
	end()
	inner, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, "here"), time.Hour)
	defer cancel()
	f := fadingInto(&ended, inner)
	child, cancelChild := context.WithCancel(f)
	defer cancelChild()
	if _, timed := f.Deadline(); f.Value(key{}) != "here" || f.Err() != nil || f.Done() == nil || !timed {
		t.Error("it is not the context that it was made of")
	}
	f.end()
	if _, timed := f.Deadline(); f.Value(key{}) != nil || child.Value(key{}) != nil || f.Err() == nil || timed {
		t.Error("it still is the context that it was made of")
	}
	select {
	case <-f.Done():
	default:
		t.Error("it is over and not done")
	}
}
