package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/configs"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

// withUpstreams adds three upstreams: notes by stdio, web by HTTP, and old by HTTP with a session. All have the tools
// of the fixture "ops".
func withUpstreams(t testing.TB, settings map[string]string) map[string]string {
	t.Helper()
	settings["upstreams.web.url"] = overHTTP(t, "ops", &mcp.StreamableHTTPOptions{
		Stateless: true, PropagateRequestCancellation: true})
	settings["upstreams.old.url"] = overHTTP(t, "ops", nil)
	settings["upstreams.web.tools"], settings["upstreams.old.tools"] = "*", "*"
	return withFixture(t, settings, "notes", "ops", "tools=*")
}

// exists reports whether there is a file.
func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("waited 10 s for this: %s", what)
		}
	}
}

// waitCall is a call of a tool of an upstream that lasts until it is cancelled there.
type waitCall struct {
	pending
	begun, cancelled string // files
}

func (srv *testServer) beginWait(t *testing.T, token, id, tool string, isLegacy bool) waitCall {
	t.Helper()
	w := waitCall{begun: filepath.Join(t.TempDir(), "begun"), cancelled: filepath.Join(t.TempDir(), "cancelled")}
	arguments := fmt.Sprintf(`{"begun":%q,"cancelled":%q}`, w.begun, w.cancelled)
	body, header := callModern(tool, arguments)
	if isLegacy {
		body, header = callLegacy(tool, arguments, srv.openSession(t, token))
	}
	w.pending = srv.begin(t, token, id, request{body: body, header: header})
	eventually(t, id+" has begun", func() bool { return fileExists(w.begun) })
	return w
}

// A denied caller's calls in flight are ended, at the upstream too. Those of others are not.
func TestDenials_EndCallsAtUpstreams(t *testing.T) {
	t.Parallel()
	file, folder := newDenyFile(t, "[]\n"), newAuditFolder(t)
	srv := startServer(t, withUpstreams(t, map[string]string{}), file.use, folder.use)
	alice, bob := srv.token(t, "alice", "mcp:use"), srv.token(t, "bob", "mcp:use")
	var hers, his []waitCall
	for _, name := range []string{"notes", "web", "old"} {
		for _, era := range []string{"modern", "legacy"} {
			hers = append(hers, srv.beginWait(t, alice, name+"-"+era, name+"_wait", era == "legacy"))
		}
		his = append(his, srv.beginWait(t, bob, "bob-"+name, name+"_wait", false))
	}
	srv.put(t, file, "- subject: alice")
	for _, call := range hers {
		select {
		case got := <-call.body:
			if !strings.Contains(got, `"message":"ended by the operator"`) {
				t.Errorf("%s: %s", call.id, got)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s does not end", call.id)
		}
		eventually(t, call.id+" is cancelled at the upstream", func() bool { return fileExists(call.cancelled) })
		r := folder.wait(t, call.id)
		if r["reason"] != "caller_denied" || r["outcome"] != "canceled" || r["sub"] != "alice" ||
			!strings.HasSuffix(fmt.Sprint(r["tool"]), "_wait") {
			t.Errorf("%s: the record is %v", call.id, r)
		}
	}
	for _, call := range his {
		if fileExists(call.cancelled) || len(call.body) > 0 {
			t.Errorf("%s was ended, too", call.id)
		}
	}
	for _, s := range srv.Upstreams() {
		eventually(t, s.Name+" counts them", func() bool {
			all := srv.Upstreams()
			i := slices.IndexFunc(all, func(one upstream.Status) bool { return one.Name == s.Name })
			return all[i].Calls[upstream.OutcomeCanceled] == 2
		})
	}
	srv.put(t, file, "- subject: alice\n- subject: bob")
	for _, call := range his {
		<-call.body
	}
}

// The record of a relayed call names the tool, and why the upstream failed it.
func TestAudit_RecordsFailuresOfUpstreams(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	settings := withUpstreams(t, map[string]string{"upstreams.notes.call_timeout": "1s"})
	srv := startServer(t, settings, folder.use)
	token := srv.token(t, "alice", "mcp:use")
	session := srv.openSession(t, token)
	wait := fmt.Sprintf(`{"begun":%q,"cancelled":%q}`, filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"))
	for _, c := range []struct{ id, tool, arguments, want string }{
		{"good", "notes_read_note", `{"canary":1}`, "ok "},
		{"slow", "notes_wait", wait, "tool_error "},
		{"dead", "notes_die", "{}", "tool_error upstream_lost"},
		{"away", "notes_read_note", "{}", "tool_error upstream_unavailable"},
	} {
		for _, era := range []string{"modern", "legacy"} {
			id := c.id + "-" + era
			body, header := callModern(c.tool, c.arguments)
			if era == "legacy" {
				body, header = callLegacy(c.tool, c.arguments, session)
			}
			want := c.want
			if c.id == "dead" && era == "legacy" {
				want = "tool_error upstream_unavailable" // it is dead already
			}
			r := request{body: body, header: header}.with("X-Request-Id", id).send(t, srv, token)
			if isError := strings.Contains(r.body, `"isError":true`); r.status != http.StatusOK ||
				isError != strings.HasPrefix(want, "tool_error") {
				t.Errorf("%s: %d %s", id, r.status, r.body)
			}
			record := folder.wait(t, id)
			got := fmt.Sprintf("%v %v", record["outcome"], orEmpty(record["reason"]))
			if got != want || record["tool"] != c.tool || record["event"] != "call" || record["decision"] != "allow" {
				t.Errorf("%s: %q, want %q: %v", id, got, want, record)
			}
		}
	}
	log := srv.log.String()
	for _, secret := range []string{"canary", "dial", self(t), settings["upstreams.web.url"]} {
		if strings.Contains(folder.text(t), secret) {
			t.Errorf("the audit log contains %q", secret)
		}
	}
	if !strings.Contains(log, "mcp.tool=notes_die") || !strings.Contains(log, "reason=upstream_lost") {
		t.Error("the access log lacks the failure")
	}
}

// A reload keeps the upstreams: their processes, sessions and calls in flight. Their tools are judged by the new
// scopes. A change of an upstream itself needs a restart.
func TestReload_KeepsUpstreams(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	pidFile := filepath.Join(t.TempDir(), "pid")
	settings := withUpstreams(t, map[string]string{"mcp.call_timeout": "30s"})
	settings["upstreams.notes.env"] += ",FIXTURE_PID_FILE=" + pidFile
	settings["upstreams.notes.tools"] = "read_* wait > notes:read,*"
	settings["upstreams.notes.call_timeout"] = "20s"
	srv := startServer(t, oidcSettings(authority, settings))
	waitUntilReady(t, srv.origin())
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	reader := authority.Token(srv.url, map[string]any{"scope": "mcp:use notes:read"})
	admin := authority.Token(srv.url, map[string]any{"scope": "mcp:use notes:admin"})
	session := srv.openSession(t, admin)
	waiting := srv.beginWait(t, reader, "waiting", "notes_wait", false)
	statuses := func(token string) string {
		body, header := callModern("notes_read_note", "{}")
		modern := send(t, http.MethodPost, srv.url, token, body, header).status
		body, header = callLegacy("notes_read_note", "{}", session)
		return fmt.Sprint(modern, " ", send(t, http.MethodPost, srv.url, admin, body, header).status)
	}
	reload := func(changes map[string]string) {
		t.Helper()
		if _, err := srv.reloaded(t, changes); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name          string
		changes       map[string]string
		reader, admin string // of a call: without a session, and of admin in a session
	}{
		{"at the start", nil, "200 403", "403 403"},
		{"admin implies read", map[string]string{"scopes.implies": "notes:admin > notes:read"}, "200 200", "200 200"},
		{"another required scope", map[string]string{"scopes.required": "mcp:other", "scopes.initial": ""},
			"403 403", "403 403"},
		{"a shorter time limit", map[string]string{"mcp.call_timeout": "20s"}, "200 403", "403 403"},
	} {
		if c.changes != nil {
			reload(c.changes)
		}
		if got := statuses(reader); got != c.reader {
			t.Errorf("%s: reader gets %s, want %s", c.name, got, c.reader)
		}
		if got := statuses(admin); got != c.admin {
			t.Errorf("%s: admin gets %s, want %s", c.name, got, c.admin)
		}
	}

	before, _ := srv.Generation()
	for key, value := range map[string]string{
		"upstreams.notes.tools": "*", "upstreams.notes.call_timeout": "10s", "upstreams.more.url": "http://127.0.0.1:1/mcp",
		"upstreams.notes.processes": "per_user", "upstreams.web.identity": "headers",
	} {
		changes := map[string]string{"mcp.call_timeout": "20s", key: value}
		if key == "upstreams.more.url" {
			changes["upstreams.more.tools"] = "*"
		}
		_, err := srv.reloaded(t, changes)
		problems, _ := errors.AsType[configs.Problems](err)
		if !slices.ContainsFunc(problems, func(p configs.Problem) bool {
			return p.Key == key && p.Code == providers.CodeNeedsRestart
		}) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if now, _ := srv.Generation(); now != before {
		t.Error("a refused reload is in force")
	}

	again, err := os.ReadFile(pidFile)
	if err != nil || string(again) != string(pid) || !isRunning(t, string(pid)) {
		t.Errorf("the process was %s and is %s, %v", pid, again, err)
	}
	for _, s := range srv.Upstreams() {
		if s.State != upstream.StateReady || s.Restarts != 0 {
			t.Errorf("%+v", s)
		}
	}
	if len(waiting.body) > 0 || fileExists(waiting.cancelled) {
		t.Errorf("the call in flight was ended: %s", <-waiting.body)
	}
}

// The shorter of the two time limits counts: that of the upstream, which stays, or that of the server, which a reload
// may change. One of the server that is shorter than that of an upstream is refused.
func TestReload_TimeLimitsOfUpstreams(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	settings := withUpstreams(t, map[string]string{"mcp.call_timeout": "30s", "upstreams.notes.call_timeout": "1s"})
	srv := startServer(t, oidcSettings(authority, settings))
	waitUntilReady(t, srv.origin())
	token := authority.Token(srv.url, map[string]any{"scope": "mcp:use"})
	took := func(tool string) time.Duration {
		t.Helper()
		began := time.Now()
		call := srv.beginWait(t, token, tool, tool, false)
		if got := <-call.body; !strings.Contains(got, "context deadline exceeded") {
			t.Errorf("%s: %s", tool, got)
		}
		eventually(t, "it is cancelled", func() bool { return fileExists(call.cancelled) })
		return time.Since(began)
	}
	if d := took("notes_wait"); d > 10*time.Second {
		t.Errorf("the limit of the upstream: %s", d)
	}
	if _, err := srv.reloaded(t, map[string]string{"mcp.call_timeout": "1s"}); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"notes_wait", "web_wait", "old_wait"} {
		if d := took(tool); d > 10*time.Second {
			t.Errorf("%s with the new limit of the server: %s", tool, d)
		}
	}
	flags := map[string]string{}
	for key, value := range srv.flags {
		flags[key] = value
	}
	flags["mcp.call_timeout"], flags["upstreams.notes.call_timeout"] = "1s", "2s"
	if _, err := configs.Load(configs.Sources{Flags: flags}); err == nil ||
		!strings.Contains(err.Error(), "it is longer than mcp.call_timeout") {
		t.Errorf("a limit beyond that of the server: %v", err)
	}
}
