package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// transportCase is one request and the response that is expected.
type transportCase struct {
	name   string
	r      request
	status int
	want   string // a regular expression that the body matches
}

// The transport rules of 2026-07-28.
func TestTransport20260728(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	greet := modernRequest("tools/call", `"name":"greet","arguments":{"name":"Ada"}`).with("Mcp-Name", "greet")
	list := modernRequest("tools/list", "")
	const version = "Mcp-Protocol-Version"
	encoded := "=?base64?" + base64.StdEncoding.EncodeToString([]byte("greet")) + "?="
	newer := list.with(version, "2099-01-01").withBody("2026-07-28", "2099-01-01")
	older := list.with(version, "2019-01-01").withBody("2026-07-28", "2019-01-01")
	noCapabilities := list.withBody(`"io.modelcontextprotocol/clientCapabilities":{},`, "")
	noMetaVersion := list.withBody(`"io.modelcontextprotocol/protocolVersion":"2026-07-28",`, "")
	long := request{header: list.header, body: strings.Repeat(" ", 1<<20) + list.body}
	get := request{method: "GET"}.with(version, "2026-07-28", "Accept", "text/event-stream")
	for _, c := range []transportCase{
		{"TR-03 server/discover names the versions", modernRequest("server/discover", ""), 200, `"2026-07-28".*`},
		{"TR-04 the version header is missing", list.with(version, ""), 400, `-32020`},
		{"TR-04 the version header differs from _meta", list.withBody("2026-07-28", "2025-11-25"), 400, `-32020`},
		{"TR-05 Mcp-Method is missing", list.with("Mcp-Method", ""), 400, `-32020`},
		{"TR-05 Mcp-Method differs from the body", list.with("Mcp-Method", "tools/call"), 400, `-32020`},
		{"TR-08 Mcp-Method is case-sensitive", list.with("Mcp-Method", "Tools/List"), 400, `-32020`},
		{"TR-09 Mcp-Name is missing", greet.with("Mcp-Name", ""), 400, `-32020`},
		{"TR-09 Mcp-Name differs from the body", greet.with("Mcp-Name", "whoami"), 400, `-32020`},
		{"TR-09 Mcp-Name is trimmed", greet.with("Mcp-Name", "  greet "), 200, `Hello, Ada!`},
		{"TR-09b Mcp-Name is decoded", greet.with("Mcp-Name", encoded), 200, `Hello, Ada!`},
		{"TR-09b a decoded Mcp-Name is compared", greet.with("Mcp-Name", "=?base64?d2hvYW1p?="), 400, `-32020`},
		{"TR-09b invalid base64 is not decoded", greet.with("Mcp-Name", "=?base64?%%%?="), 400, `-32020`},
		{"TR-06 a newer version", newer, 400, `-32022.*supported|supported.*-32022`},
		{"TR-06b an unsupported older version", older, 400, `-32022`},
		{"TR-07 an unknown method", modernRequest("tools/nosuch", ""), 404, `-32601`},
		{"TR-07 a removed method", modernRequest("ping", ""), 404, `-32601`},
		{"TR-10 _meta without capabilities", noCapabilities, 400, `-32602`},
		{"TR-10 _meta without a version", noMetaVersion, 400, `-326(02)|-32020`},
		{"TR-11 a list may be cached by the caller only", list, 200,
			`"ttlMs":.*"cacheScope":"private"|"cacheScope":"private".*"ttlMs":`},
		{"TR-11 a result is complete", greet, 200, `"resultType":"complete"`},
		{"TR-13 a session ID is ignored", greet.with("Mcp-Session-Id", "made-up"), 200, `Hello, Ada!`},
		{"TR-14 a Last-Event-ID is ignored", greet.with("Last-Event-ID", "1"), 200, `Hello, Ada!`},
		{"TR-16 a batch", request{header: list.header, body: "[" + list.body + "]"}, 400, `-32600`},
		{"TR-17 malformed JSON", request{header: list.header, body: `{"jsonrpc":`}, 400, `-32700`},
		{"TR-17 a null id", list.withBody(`"id":7`, `"id":null`), 400, ``},
		{"TR-18 another content type", list.with("Content-Type", "text/plain"), 415, ``},
		{"TR-18 no content type", list.with("Content-Type", ""), 415, ``},
		{"TR-18 a compressed body", list.with("Content-Type", "application/gzip"), 415, ``},
		{"TR-18 a body over the limit", long, 413, ``},
		{"TR-24 GET", get, 400, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.r.send(t, srv, token)
			if r.status != c.status {
				t.Fatalf("got %d %s, want %d", r.status, r.body, c.status)
			}
			if !regexp.MustCompile(c.want).MatchString(r.body) {
				t.Errorf("the body does not match %s: %s", c.want, r.body)
			}
			if r.header.Get("Mcp-Session-Id") != "" {
				t.Error("a session was opened")
			}
			isStream := strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream")
			if isStream && r.header.Get("X-Accel-Buffering") != "no" {
				t.Error("TR-15 a proxy may buffer the stream")
			}
		})
	}
	t.Run("TR-06 the error repeats the id", func(t *testing.T) {
		if got := older.send(t, srv, token).rpc(t)["id"]; got != float64(7) {
			t.Errorf("id %v, want 7", got)
		}
	})
	t.Run("TR-12 tools are always in the same order", func(t *testing.T) {
		first := list.send(t, srv, token).body
		for range 5 {
			if again := list.send(t, srv, token).body; again != first {
				t.Fatalf("first %s, then %s", first, again)
			}
		}
	})
	t.Run("only implemented capabilities are declared", func(t *testing.T) {
		body := modernRequest("server/discover", "").send(t, srv, token).body
		if strings.Contains(body, `"logging"`) || strings.Contains(body, `"listChanged":true`) {
			t.Errorf("got %s", body)
		}
	})
}

// The transport rules of 2025-11-25 and older.
func TestTransportLegacy(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	session := srv.openSession(t, token)
	in := func(session, body string) request {
		return request{body: body}.with("Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25")
	}
	const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`
	greet := in(session, call)
	initialize := func(version string) request {
		return request{body: initializeBody}.withBody("2025-11-25", version)
	}
	method := func(method string) request { return request{method: method, header: greet.header, body: call} }
	stream := request{method: "GET"}.with("Accept", "text/event-stream")
	for _, c := range []transportCase{
		{"TR-30 a supported version is accepted", initialize("2025-06-18"), 200, `"protocolVersion":"2025-06-18"`},
		{"TR-30 the oldest too", initialize("2024-11-05"), 200, `"protocolVersion":"2024-11-05"`},
		{"TR-30 the response to an unknown one names a supported one", initialize("1999-01-01"), 200,
			`"protocolVersion":"20`},
		{"TR-32 a notification is accepted without a body", in(session, initializedBody), 202, `^$`},
		{"a call in a session", greet, 200, `Hello, Ada!`},
		{"TR-34 a call without a session", greet.with("Mcp-Session-Id", ""), 400, `session`},
		{"TR-35 an unknown session", greet.with("Mcp-Session-Id", "made-up"), 404, ``},
		{"TR-36 an unsupported version", greet.with("Mcp-Protocol-Version", "2020-02-02"), 400, `-32022`},
		{"no version header means 2025-03-26", greet.with("Mcp-Protocol-Version", ""), 200, `Hello, Ada!`},
		{"TR-16 a batch", in(session, "["+call+"]"), 400, `-32600`},
		{"TR-37 GET without a session", stream, 400, ``},
		{"TR-37 GET of an unknown session", stream.with("Mcp-Session-Id", "made-up"), 404, ``},
		{"PUT is not an MCP method", method("PUT"), 405, ``},
		{"PATCH is not an MCP method", method("PATCH"), 405, ``},
		{"ping", in(session, `{"jsonrpc":"2.0","id":3,"method":"ping"}`), 200, `"result":\{\}`},
		{"an unknown method", in(session, `{"jsonrpc":"2.0","id":3,"method":"nosuch"}`), 200, `-32601.*nosuch`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.r.send(t, srv, token)
			if r.status != c.status || !regexp.MustCompile(c.want).MatchString(r.body) {
				t.Errorf("got %d %s, want %d with %s", r.status, r.body, c.status, c.want)
			}
		})
	}
	t.Run("TR-31 session IDs are long, random and visible ASCII", func(t *testing.T) {
		other := srv.openSession(t, token)
		if other == session || len(session) < 20 || !regexp.MustCompile(`^[\x21-\x7e]+$`).MatchString(session) {
			t.Errorf("IDs %q and %q", session, other)
		}
	})
	t.Run("TR-39 DELETE ends a session, and TR-35 afterwards it is unknown", func(t *testing.T) {
		own := srv.openSession(t, token)
		end := in(own, "")
		end.method = "DELETE"
		if r := end.send(t, srv, token); r.status != 204 {
			t.Errorf("DELETE: %d %s", r.status, r.body)
		}
		if r := in(own, call).send(t, srv, token); r.status != 404 {
			t.Errorf("a call afterwards: %d", r.status)
		}
	})
}

func TestSessions_AreLimitedPerCallerAndInTotal(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"mcp.max_sessions": "3", "mcp.max_sessions_per_user": "2"})
	alice, bob := srv.token(t, "alice", "mcp:use"), srv.token(t, "bob", "mcp:use")
	initialize := request{body: initializeBody}
	end := func(session string) request {
		return request{method: "DELETE"}.with("Mcp-Session-Id", session)
	}
	replaced := srv.openSession(t, alice)
	first := srv.openSession(t, alice)
	second := srv.openSession(t, alice)
	if r := end(replaced).send(t, srv, alice); r.status != http.StatusNotFound {
		t.Errorf("after alice's third session the first one is still there: %d, want 404", r.status)
	}
	srv.openStream(t, alice, first) // neither is idle now
	srv.openStream(t, alice, second)
	if r := initialize.send(t, srv, alice); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" {
		t.Errorf("alice's third session: %d, Retry-After %q; want 429", r.status, r.header.Get("Retry-After"))
	}
	srv.openStream(t, bob, srv.openSession(t, bob))
	if r := initialize.send(t, srv, bob); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("the fourth session in total: %d, Retry-After %q; want 503", r.status, r.header.Get("Retry-After"))
	}
	if r := end(first).send(t, srv, alice); r.status != 204 {
		t.Fatalf("DELETE: %d", r.status)
	}
	srv.openSession(t, alice) // the limit is not reached any more
	t.Run("a long initialize is refused, because the session retains it", func(t *testing.T) {
		experimental := `"capabilities":{"experimental":{"x":["` + strings.Repeat("x", 20<<10) + `"]}}`
		r := initialize.withBody(`"capabilities":{}`, experimental).send(t, srv, bob)
		if r.status != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d %s, want 413", r.status, r.body)
		}
	})
	t.Run("a failed initialize does not count", func(t *testing.T) {
		srv := startServer(t, map[string]string{"mcp.max_sessions": "1", "mcp.max_sessions_per_user": "1"})
		token := srv.token(t, "alice", "mcp:use")
		for range 3 {
			initialize.withBody(`"params"`, `"parms"`).send(t, srv, token)
		}
		srv.openSession(t, token)
	})
}

func TestSession_EndsWhenIdle(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"mcp.session_timeout": "1s"})
	token := srv.token(t, "alice", "mcp:use")
	session := srv.openSession(t, token)
	if n := srv.MCP.Sessions(); n != 1 {
		t.Fatalf("%d sessions are open, want 1", n)
	}
	time.Sleep(1500 * time.Millisecond)
	body, header := callLegacy("whoami", "{}", session)
	if r := send(t, http.MethodPost, srv.url, token, body, header); r.status != http.StatusNotFound {
		t.Errorf("a call after the timeout: %d, want 404", r.status)
	}
	if n := srv.MCP.Sessions(); n != 0 {
		t.Errorf("%d sessions are open, want none", n)
	}
}

// RS-12, RS-12b and RS-23: a caller with the required scope only calls a tool that needs more, with messages that two
// parsers could read differently.
func TestRS23_NoSpellingBypassesScopes(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	token := srv.token(t, "alice", "mcp:use")
	session := srv.openSession(t, token)
	headers := map[string]map[string]string{
		"2026-07-28":                             modernRequest("tools/call", "").with("Mcp-Name", "stats").header,
		"2026-07-28, another tool in the header": modernRequest("tools/call", "").with("Mcp-Name", "whoami").header,
		"2025-11-25":                             {"Mcp-Protocol-Version": "2025-11-25", "Mcp-Session-Id": session},
		"2025-11-25 with headers of 2026-07-28": {
			"Mcp-Protocol-Version": "2025-11-25", "Mcp-Session-Id": session, "Mcp-Name": "whoami", "Mcp-Method": "tools/list",
		},
		"no version": {"Mcp-Session-Id": session},
	}
	const (
		begin  = `{"jsonrpc":"2.0","id":1,`
		method = `"method":"tools/call",`
		params = `"params":{"name":"stats",META}`
		plain  = begin + method + params + `}`
	)
	withParams := func(params string) string { return begin + method + `"params":{` + params + `,META}}` }
	for name, body := range map[string]string{
		"plain":                          plain,
		"another name first":             withParams(`"Name":"whoami","name":"stats"`),
		"another name last":              withParams(`"name":"stats","Name":"whoami"`),
		"two names":                      withParams(`"name":"whoami","name":"stats"`),
		"another method last":            begin + method + `"Method":"tools/list",` + params + `}`,
		"two methods":                    begin + `"method":"tools/list",` + method + params + `}`,
		"other params last":              begin + method + params + `,"Params":{"name":"whoami"}}`,
		"two params":                     begin + method + `"params":{"name":"whoami",META},` + params + `}`,
		"a batch":                        `[` + plain + `]`,
		"after another message":          begin + `"method":"tools/list"}` + plain,
		"an escaped name":                withParams(`"name":"st\u0061ts"`),
		"an escaped key":                 withParams(`"n\u0061me":"stats"`),
		"an escaped key and a plain one": withParams(`"n\u0061me":"stats","name":"whoami"`),
		"NUL in a key":                   withParams(`"name\u0000":"whoami","name":"stats"`),
		"a long s instead of s":          begin + method + `"param\u017f":{"name":"whoami"},` + params + `}`,
		"after a BOM":                    "\ufeff" + plain,
	} {
		for era, header := range headers {
			t.Run(name+", "+era, func(t *testing.T) {
				r := send(t, http.MethodPost, srv.url, token, strings.ReplaceAll(body, "META", clientMeta), header)
				if strings.Contains(r.body, "keys_usable") || r.status == http.StatusOK {
					t.Fatalf("the call was dispatched: %d %s", r.status, r.body)
				}
				challenge := r.header.Get("WWW-Authenticate")
				if r.status == http.StatusForbidden && !strings.Contains(challenge, `scope="mcp:use gatehouse:admin"`) {
					t.Errorf("the challenge lacks the required or the tool's scope: %s", challenge)
				}
			})
		}
	}
}

func TestLists_ShowWhatCallerMayUse(t *testing.T) {
	t.Parallel()
	const all = "confirm greet stats wait whoami"
	implied := map[string]string{"scopes.implies": "gatehouse:admin > greet:read greet:write"}
	for name, c := range map[string]struct {
		settings map[string]string
		scopes   []string
		want     string
	}{
		"no scope of a tool": {nil, []string{"mcp:use"}, "whoami"},
		"one scope":          {nil, []string{"mcp:use", "greet:read"}, "greet wait whoami"},
		"all scopes":         {nil, []string{"mcp:use", "greet:read", "greet:write", "gatehouse:admin"}, all},
		"implied scopes":     {implied, []string{"mcp:use", "gatehouse:admin"}, all},
		"tools.show_all":     {map[string]string{"tools.show_all": "true"}, []string{"mcp:use"}, all},
	} {
		t.Run(name, func(t *testing.T) {
			srv := startServer(t, c.settings)
			token := srv.token(t, "alice", c.scopes...)
			session := srv.openSession(t, token)
			list := request{body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`}
			for era, r := range map[string]request{
				modern: modernRequest("tools/list", ""), legacy: list.with("Mcp-Session-Id", session),
			} {
				result, _ := r.send(t, srv, token).rpc(t)["result"].(map[string]any)
				tools, _ := result["tools"].([]any)
				var names []string
				for _, tool := range tools {
					names = append(names, fmt.Sprint(tool.(map[string]any)["name"]))
				}
				if got := strings.Join(names, " "); got != c.want {
					t.Errorf("%s: %s, want %s", era, got, c.want)
				}
			}
		})
	}
}

// The SDK has a limit of its own, 4 MiB, which the setting must be able to exceed.
func TestBody_MayBeAsLongAsTheSetting(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"server.max_body_bytes": "8388608", "mcp.era": "stateless"})
	token := srv.token(t, "alice", "mcp:use")
	for era, r := range map[string]request{
		modern: modernRequest("tools/list", ""),
		legacy: {body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`},
	} {
		r.body += strings.Repeat(" ", 5<<20)
		if r := r.send(t, srv, token); r.status != http.StatusOK {
			t.Errorf("%s: %d", era, r.status)
		}
	}
}
