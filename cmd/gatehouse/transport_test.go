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

// wire is one request as it stands on the wire. Headers that are set to "" are left out.
type wire struct {
	method string // default POST
	header map[string]string
	body   string
}

// modernWire is a good request of 2026-07-28.
func modernWire(method, params string) wire {
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}`
	if params != "" {
		params += ","
	}
	return wire{
		header: map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method},
		body:   fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s%s}}`, method, params, meta),
	}
}

func (w wire) with(pairs ...string) wire {
	header := map[string]string{}
	for k, v := range w.header {
		header[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		header[pairs[i]] = pairs[i+1]
	}
	w.header = header
	return w
}

func (w wire) withBody(old, new string) wire {
	w.body = strings.Replace(w.body, old, new, 1)
	return w
}

func (w wire) send(t *testing.T, h *running, token string) answer {
	t.Helper()
	method := w.method
	if method == "" {
		method = http.MethodPost
	}
	return send(t, method, h.url, token, w.body, w.header)
}

// The transport rules of 2026-07-28, as a client on the wire sees them.
func TestTransport20260728(t *testing.T) {
	h := startHouse(t, nil)
	token := h.token(t, "alice", "mcp:use", "greet:read")
	greet := modernWire("tools/call", `"name":"greet","arguments":{"name":"Ada"}`).with("Mcp-Name", "greet")
	list := modernWire("tools/list", "")
	encoded := "=?base64?" + base64.StdEncoding.EncodeToString([]byte("greet")) + "?="
	for name, c := range map[string]struct {
		wire   wire
		status int
		want   string // a regular expression over the body
	}{
		"TR-03 server/discover names the versions and the server": {modernWire("server/discover", ""), 200, `"2026-07-28".*`},
		"TR-04 the version header is missing":                     {list.with("Mcp-Protocol-Version", ""), 400, `-32020`},
		"TR-04 the version header differs from _meta":             {list.withBody("2026-07-28", "2025-11-25"), 400, `-32020`},
		"TR-05 Mcp-Method is missing":                             {list.with("Mcp-Method", ""), 400, `-32020`},
		"TR-05 Mcp-Method differs from the body":                  {list.with("Mcp-Method", "tools/call"), 400, `-32020`},
		"TR-08 Mcp-Method is case-sensitive":                      {list.with("Mcp-Method", "Tools/List"), 400, `-32020`},
		"TR-09 Mcp-Name is missing":                               {greet.with("Mcp-Name", ""), 400, `-32020`},
		"TR-09 Mcp-Name differs from the body":                    {greet.with("Mcp-Name", "whoami"), 400, `-32020`},
		"TR-09 Mcp-Name is trimmed":                               {greet.with("Mcp-Name", "  greet "), 200, `Hello, Ada!`},
		"TR-09b Mcp-Name is decoded first":                        {greet.with("Mcp-Name", encoded), 200, `Hello, Ada!`},
		"TR-09b a decoded Mcp-Name must be equal too":             {greet.with("Mcp-Name", "=?base64?d2hvYW1p?="), 400, `-32020`},
		"TR-09b what only looks encoded is not":                   {greet.with("Mcp-Name", "=?base64?%%%?="), 400, `-32020`},
		"TR-06 a newer version":                                   {modernWire("tools/list", "").with("Mcp-Protocol-Version", "2099-01-01").withBody("2026-07-28", "2099-01-01"), 400, `-32022.*supported|supported.*-32022`},
		"TR-06b an older version that nobody speaks":              {list.with("Mcp-Protocol-Version", "2019-01-01").withBody("2026-07-28", "2019-01-01"), 400, `-32022`},
		"TR-07 an unknown method":                                 {modernWire("tools/nosuch", ""), 404, `-32601`},
		"TR-07 a removed method":                                  {modernWire("ping", ""), 404, `-32601`},
		"TR-10 _meta without the client's capabilities":           {list.withBody(`"io.modelcontextprotocol/clientCapabilities":{},`, ""), 400, `-32602`},
		"TR-10 _meta without the version":                         {list.withBody(`"io.modelcontextprotocol/protocolVersion":"2026-07-28",`, ""), 400, `-326(02)|-32020`},
		"TR-11 a list says how it may be cached: by nobody else":  {list, 200, `"ttlMs":.*"cacheScope":"private"|"cacheScope":"private".*"ttlMs":`},
		"TR-11 a result says that it is complete":                 {greet, 200, `"resultType":"complete"`},
		"TR-13 a stray session id is ignored":                     {greet.with("Mcp-Session-Id", "made-up"), 200, `Hello, Ada!`},
		"TR-14 a stray Last-Event-ID is ignored":                  {greet.with("Last-Event-ID", "1"), 200, `Hello, Ada!`},
		"TR-16 a batch":                                           {wire{header: list.header, body: "[" + list.body + "]"}, 400, `-32600`},
		"TR-17 malformed JSON":                                    {wire{header: list.header, body: `{"jsonrpc":`}, 400, `-32700`},
		"TR-17 a null id":                                         {list.withBody(`"id":7`, `"id":null`), 400, ``},
		"TR-18 another content type":                              {list.with("Content-Type", "text/plain"), 415, ``},
		"TR-18 no content type":                                   {list.with("Content-Type", ""), 415, ``},
		"TR-18 a compressed body":                                 {list.with("Content-Type", "application/gzip"), 415, ``},
		"TR-18 a body over the limit":                             {wire{header: list.header, body: strings.Repeat(" ", 1<<20) + list.body}, 413, ``},
		"TR-24 GET":                                               {wire{method: "GET", header: map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Accept": "text/event-stream"}}, 400, ``},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.wire.send(t, h, token)
			if a.status != c.status {
				t.Fatalf("answered %d %s, want %d", a.status, a.body, c.status)
			}
			if !regexp.MustCompile(c.want).MatchString(a.body) {
				t.Errorf("the body does not match %s: %s", c.want, a.body)
			}
			if a.header.Get("Mcp-Session-Id") != "" {
				t.Error("a session was opened")
			}
			if strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") && a.header.Get("X-Accel-Buffering") != "no" {
				t.Error("TR-15 a proxy may hold the events back")
			}
		})
	}
	t.Run("TR-06 the error echoes the id", func(t *testing.T) {
		a := list.with("Mcp-Protocol-Version", "2019-01-01").send(t, h, token)
		if got := a.rpc(t)["id"]; got != float64(7) {
			t.Errorf("id %v, want 7", got)
		}
	})
	t.Run("TR-12 tools come in the same order every time", func(t *testing.T) {
		first := list.send(t, h, token).body
		for range 5 {
			if again := list.send(t, h, token).body; again != first {
				t.Fatalf("first %s, then %s", first, again)
			}
		}
	})
	t.Run("capabilities are said on purpose", func(t *testing.T) {
		body := modernWire("server/discover", "").send(t, h, token).body
		if strings.Contains(body, `"logging"`) || strings.Contains(body, `"listChanged":true`) {
			t.Errorf("something is announced that does not exist: %s", body)
		}
	})
}

// The transport rules of 2025-11-25 and older.
func TestTransportLegacy(t *testing.T) {
	h := startHouse(t, nil)
	token := h.token(t, "alice", "mcp:use", "greet:read")
	session := h.openSession(t, token)
	inSession := map[string]string{"Mcp-Session-Id": session, "Mcp-Protocol-Version": "2025-11-25"}
	greet := wire{header: inSession, body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`}
	initialize := func(version string) wire {
		return wire{body: fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, version)}
	}
	for name, c := range map[string]struct {
		wire   wire
		status int
		want   string
	}{
		"TR-30 a version that is spoken is agreed to":        {initialize("2025-06-18"), 200, `"protocolVersion":"2025-06-18"`},
		"TR-30 the oldest too":                               {initialize("2024-11-05"), 200, `"protocolVersion":"2024-11-05"`},
		"TR-30 an unknown one is answered with a spoken one": {initialize("1999-01-01"), 200, `"protocolVersion":"20`},
		"TR-32 a notification is accepted without a body":    {wire{header: inSession, body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`}, 202, `^$`},
		"a call in a session":                                {greet, 200, `Hello, Ada!`},
		"TR-34 a call without a session":                     {greet.with("Mcp-Session-Id", ""), 400, `session`},
		"TR-35 a session that never was":                     {greet.with("Mcp-Session-Id", "made-up"), 404, ``},
		"TR-36 a version that nobody speaks":                 {greet.with("Mcp-Protocol-Version", "2020-02-02"), 400, `-32022`},
		"no version header at all means 2025-03-26":          {greet.with("Mcp-Protocol-Version", ""), 200, `Hello, Ada!`},
		"TR-16 a batch":                                      {wire{header: inSession, body: "[" + greet.body + "]"}, 400, `-32600`},
		"TR-37 GET without a session":                        {wire{method: "GET", header: map[string]string{"Accept": "text/event-stream"}}, 400, ``},
		"TR-37 GET of a session that never was":              {wire{method: "GET", header: map[string]string{"Accept": "text/event-stream", "Mcp-Session-Id": "made-up"}}, 404, ``},
		"PUT is no method of MCP":                            {wire{method: "PUT", header: inSession, body: greet.body}, 405, ``},
		"PATCH neither":                                      {wire{method: "PATCH", header: inSession, body: greet.body}, 405, ``},
		"ping":                                               {wire{header: inSession, body: `{"jsonrpc":"2.0","id":3,"method":"ping"}`}, 200, `"result":\{\}`},
		"an unknown method":                                  {wire{header: inSession, body: `{"jsonrpc":"2.0","id":3,"method":"nosuch"}`}, 200, `-32601.*nosuch`},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.wire.send(t, h, token)
			if a.status != c.status || !regexp.MustCompile(c.want).MatchString(a.body) {
				t.Errorf("answered %d %s, want %d with %s", a.status, a.body, c.status, c.want)
			}
		})
	}
	t.Run("TR-31 session ids are long, random and visible ASCII", func(t *testing.T) {
		other := h.openSession(t, token)
		if other == session || len(session) < 20 || !regexp.MustCompile(`^[\x21-\x7e]+$`).MatchString(session) {
			t.Errorf("ids %q and %q", session, other)
		}
	})
	t.Run("TR-39 DELETE ends a session, and TR-35 what is over is 404", func(t *testing.T) {
		own := h.openSession(t, token)
		over := map[string]string{"Mcp-Session-Id": own, "Mcp-Protocol-Version": "2025-11-25"}
		if a := (wire{method: "DELETE", header: over}).send(t, h, token); a.status != 204 {
			t.Errorf("DELETE answered %d %s", a.status, a.body)
		}
		if a := greet.with("Mcp-Session-Id", own).send(t, h, token); a.status != 404 {
			t.Errorf("afterwards a call answered %d", a.status)
		}
	})
}

func TestSessionsAreBoundedForEachCallerAndInAll(t *testing.T) {
	h := startHouse(t, map[string]string{"mcp.max_sessions": "3", "mcp.max_sessions_per_user": "2"})
	alice, bob := h.token(t, "alice", "mcp:use"), h.token(t, "bob", "mcp:use")
	begin := wire{body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`}
	over := h.openSession(t, alice)
	first := h.openSession(t, alice)
	second := h.openSession(t, alice)
	if a := (wire{method: "DELETE", header: map[string]string{"Mcp-Session-Id": over}}).send(t, h, alice); a.status != http.StatusNotFound {
		t.Errorf("alice's third session: the end of the first answered %d, want 404", a.status)
	}
	h.openStream(t, alice, first) // neither is idle now
	h.openStream(t, alice, second)
	if a := begin.send(t, h, alice); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("alice's third session: %d, Retry-After %q; want 429", a.status, a.header.Get("Retry-After"))
	}
	h.openStream(t, bob, h.openSession(t, bob))
	if a := begin.send(t, h, bob); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("the fourth session in all: %d, Retry-After %q; want 503", a.status, a.header.Get("Retry-After"))
	}
	if a := (wire{method: "DELETE", header: map[string]string{"Mcp-Session-Id": first}}).send(t, h, alice); a.status != 204 {
		t.Fatalf("DELETE answered %d", a.status)
	}
	h.openSession(t, alice) // there is room again
	t.Run("a client that says too much about itself is refused, because a session remembers it", func(t *testing.T) {
		long := begin.withBody(`"capabilities":{}`, `"capabilities":{"experimental":{"x":["`+strings.Repeat("x", 20<<10)+`"]}}`)
		if a := long.send(t, h, bob); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("answered %d %s, want 413", a.status, a.body)
		}
	})
	t.Run("what fails to begin takes no place", func(t *testing.T) {
		h := startHouse(t, map[string]string{"mcp.max_sessions": "1", "mcp.max_sessions_per_user": "1"})
		token := h.token(t, "alice", "mcp:use")
		for range 3 {
			begin.withBody(`"params"`, `"parms"`).send(t, h, token)
		}
		h.openSession(t, token)
	})
}

func TestAnIdleSessionEnds(t *testing.T) {
	h := startHouse(t, map[string]string{"mcp.session_timeout": "1s"})
	token := h.token(t, "alice", "mcp:use")
	session := h.openSession(t, token)
	if n := h.MCP.Sessions(); n != 1 {
		t.Fatalf("%d sessions are open, want 1", n)
	}
	time.Sleep(1500 * time.Millisecond)
	body, header := callLegacy("whoami", "{}", session)
	if a := send(t, http.MethodPost, h.url, token, body, header); a.status != http.StatusNotFound {
		t.Errorf("a call after the timeout answered %d, want 404", a.status)
	}
	if n := h.MCP.Sessions(); n != 0 {
		t.Errorf("%d sessions are open, want none", n)
	}
}

// RS-12, RS-12b and RS-23: a caller with the base scope tries to reach a tool that needs more, by every way in which two
// parsers could read one message differently.
func TestRS23NoSpellingGetsPastTheScopes(t *testing.T) {
	h := startHouse(t, nil)
	token := h.token(t, "alice", "mcp:use")
	session := h.openSession(t, token)
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	headers := map[string]map[string]string{
		"2026-07-28":                     {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "server_stats"},
		"2026-07-28, a header that lies": {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "whoami"},
		"2025-11-25":                     {"Mcp-Protocol-Version": "2025-11-25", "Mcp-Session-Id": session},
		"an old version with new names":  {"Mcp-Protocol-Version": "2025-11-25", "Mcp-Session-Id": session, "Mcp-Name": "whoami", "Mcp-Method": "tools/list"},
		"no version":                     {"Mcp-Session-Id": session},
	}
	for name, body := range map[string]string{
		"plainly":                      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"server_stats",META}}`,
		"with another name before":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"whoami","name":"server_stats",META}}`,
		"with another name behind":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"server_stats","Name":"whoami",META}}`,
		"with the name twice":          `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","name":"server_stats",META}}`,
		"with another method behind":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"tools/list","params":{"name":"server_stats",META}}`,
		"with the method twice":        `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"server_stats",META}}`,
		"with other params behind":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"server_stats",META},"Params":{"name":"whoami"}}`,
		"with params twice":            `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami",META},"params":{"name":"server_stats",META}}`,
		"in a batch":                   `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"server_stats",META}}]`,
		"behind another message":       `{"jsonrpc":"2.0","id":1,"method":"tools/list"}{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"server_stats",META}}`,
		"with an escaped name":         `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"server\u005fstats",META}}`,
		"with an escaped key":          `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n\u0061me":"server_stats",META}}`,
		"with an escaped key and more": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n\u0061me":"server_stats","name":"whoami",META}}`,
		"with a NUL in the key":        `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name\u0000":"whoami","name":"server_stats",META}}`,
		"with a long s for an s":       `{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{"name":"whoami"},"params":{"name":"server_stats",META}}`,
		"behind a BOM":                 "\ufeff" + `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"server_stats",META}}`,
	} {
		for era, header := range headers {
			t.Run(name+", "+era, func(t *testing.T) {
				a := send(t, http.MethodPost, h.url, token, strings.ReplaceAll(body, "META", meta), header)
				if strings.Contains(a.body, "uptime_seconds") || a.status == http.StatusOK {
					t.Fatalf("got through: %d %s", a.status, a.body)
				}
				if a.status == http.StatusForbidden && !strings.Contains(a.header.Get("WWW-Authenticate"), `scope="mcp:use gatehouse:admin"`) {
					t.Errorf("the challenge does not name base and operation scopes: %s", a.header.Get("WWW-Authenticate"))
				}
			})
		}
	}
}

func TestListsShowWhatTheCallerMayUse(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]string
		scopes   []string
		want     string
	}{
		"little":                        {nil, []string{"mcp:use"}, "whoami"},
		"more":                          {nil, []string{"mcp:use", "greet:read"}, "countdown greet whoami"},
		"everything":                    {nil, []string{"mcp:use", "greet:read", "greet:write", "gatehouse:admin"}, "countdown greet send_greeting server_stats whoami"},
		"everything by implication":     {map[string]string{"scopes.implies": "gatehouse:admin > greet:read greet:write"}, []string{"mcp:use", "gatehouse:admin"}, "countdown greet send_greeting server_stats whoami"},
		"all, for clients that step up": {map[string]string{"tools.show_all": "true"}, []string{"mcp:use"}, "countdown greet send_greeting server_stats whoami"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHouse(t, c.settings)
			token := h.token(t, "alice", c.scopes...)
			session := h.openSession(t, token)
			for era, w := range map[string]wire{
				modern: modernWire("tools/list", ""),
				legacy: {header: map[string]string{"Mcp-Session-Id": session}, body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`},
			} {
				result, _ := w.send(t, h, token).rpc(t)["result"].(map[string]any)
				var names []string
				for _, tool := range result["tools"].([]any) {
					names = append(names, tool.(map[string]any)["name"].(string))
				}
				if got := strings.Join(names, " "); got != c.want {
					t.Errorf("%s: %s, want %s", era, got, c.want)
				}
			}
		})
	}
}

// The SDK has a limit of its own, 4 MiB, which the setting must be able to exceed.
func TestABodyMayBeAsLongAsTheSettingSays(t *testing.T) {
	h := startHouse(t, map[string]string{"server.max_body_bytes": "8388608", "mcp.era": "stateless"})
	token := h.token(t, "alice", "mcp:use")
	for era, w := range map[string]wire{
		modern: modernWire("tools/list", ""),
		legacy: {body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`},
	} {
		w.body += strings.Repeat(" ", 5<<20)
		if a := w.send(t, h, token); a.status != http.StatusOK {
			t.Errorf("%s: answered %d", era, a.status)
		}
	}
}
