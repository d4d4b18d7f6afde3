package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Lists are in memory, and what is refused is refused here: neither reaches an upstream, on HTTP or on stdio.
func TestUpstreams_ListsAndRefusalsDoNotReachThem(t *testing.T) {
	t.Parallel()
	notes := fixtureServer("notes")
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return notes },
		&mcp.StreamableHTTPOptions{Stateless: true})
	var posts atomic.Int64
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts.Add(1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(remote.Close)
	received := filepath.Join(t.TempDir(), "received")
	tools := "read_note > greet:read,write_note"
	srv := startServer(t, map[string]string{
		"provider.auto_approve": "true",
		"upstreams.far.url":     remote.URL + "/mcp", "upstreams.far.tools": tools,
		"upstreams.near.command": fmt.Sprintf(`["sh","-c","tee %s | exec %s"]`, received, self(t)),
		"upstreams.near.env":     runFixture + "=notes", "upstreams.near.tools": tools,
	})
	messages := func(more int) string {
		onStdio := strings.Count(readText(t, received), "\n")
		return fmt.Sprintf("%d by HTTP, %d on stdio", int(posts.Load())+more, onStdio+more)
	}
	use := srv.token(t, "alice", "mcp:use")
	greet := srv.token(t, "alice", "mcp:use", "greet:read")
	session := srv.openSession(t, greet)
	before := messages(0)

	call := func(tool, arguments string) request {
		body, header := callModern(tool, arguments)
		return request{header: header, body: body}
	}
	for name, c := range map[string]struct {
		token   string
		request request
		status  int
	}{
		"discover":             {use, modernRequest("server/discover", ""), 200},
		"a list":               {use, modernRequest("tools/list", ""), 200},
		"a list of all":        {greet, modernRequest("tools/list", ""), 200},
		"a list of prompts":    {greet, modernRequest("prompts/list", ""), 200},
		"a list of resources":  {greet, modernRequest("resources/list", ""), 200},
		"an initialize":        {greet, request{body: initializeBody}, 200},
		"no token":             {"", call("TOOL", "{}"), 401},
		"a wrong token":        {"x.y.z", call("TOOL", "{}"), 401},
		"a missing scope":      {use, call("TOOL", "{}"), 403},
		"an unknown tool":      {greet, call("TOOLS", "{}"), 400},
		"a tool not offered":   {greet, call("NAME_environment", "{}"), 400},
		"another header":       {greet, call("TOOL", "{}").with("Mcp-Name", "whoami"), 400},
		"no JSON":              {greet, call("TOOL", "{"), 400},
		"a batch":              {greet, request{body: "[" + call("TOOL", "{}").body + "]"}, 400},
		"a notification":       {greet, call("TOOL", "{}").withBody(`"id":7,`, ""), 400},
		"a foreign origin":     {greet, call("TOOL", "{}").with("Origin", "https://evil.example"), 403},
		"a list in a session":  {greet, legacyRequest(session, "tools/list", ""), 200},
		"ping in a session":    {greet, legacyRequest(session, "ping", ""), 200},
		"a scope in a session": {use, legacyRequest(session, "tools/call", `"name":"TOOL"`), 403},
		"an unknown session":   {greet, legacyRequest("none", "tools/call", `"name":"TOOL"`), 404},
	} {
		for _, upstream := range []string{"far", "near"} {
			r := c.request
			names := strings.NewReplacer("TOOL", upstream+"_read_note", "NAME", upstream)
			r = r.with("Mcp-Name", names.Replace(r.header["Mcp-Name"]))
			r.body = names.Replace(r.body)
			if got := r.send(t, srv, c.token); got.status != c.status {
				t.Errorf("%s, %s: %d %s, not %d", name, upstream, got.status, got.body, c.status)
			}
			if after := messages(0); after != before {
				t.Errorf("%s, %s: the upstreams have received %s messages; before, %s", name, upstream, after, before)
				before = after
			}
		}
	}

	// What is allowed does reach them: one message for each call.
	before = messages(1)
	for _, upstream := range []string{"far", "near"} {
		if got := call(upstream+"_read_note", "{}").send(t, srv, greet); !strings.Contains(got.body, "read {}") {
			t.Errorf("%s: %d %s", upstream, got.status, got.body)
		}
	}
	if after := messages(0); after != before {
		t.Errorf("after two calls, the upstreams have received %s messages, not %s", after, before)
	}
}

// legacyRequest is a request of 2025-11-25 in a session. params are the members of the object, or "".
func legacyRequest(session, method, params string) request {
	return request{
		header: map[string]string{"Mcp-Protocol-Version": legacy, "Mcp-Session-Id": session},
		body:   fmt.Sprintf(`{"jsonrpc":"2.0","id":"seven","method":%q,"params":{%s}}`, method, params),
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
