package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/server/denials"
)

// denyFile is a file of denials that a server watches.
type denyFile struct{ path string }

func newDenyFile(t testing.TB, entries string) denyFile {
	t.Helper()
	f := denyFile{filepath.Join(t.TempDir(), "denied.yaml")}
	f.write(t, entries)
	return f
}

// use makes a server watch the file, more often than by default.
func (f denyFile) use(c *configs.Config) {
	c.Denials.File, c.Denials.Poll = f.path, 20*time.Millisecond
}

// write replaces the file, as gatehouse deny does.
func (f denyFile) write(t testing.TB, entries string) {
	t.Helper()
	if err := os.WriteFile(f.path+".new", []byte(entries), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		t.Fatal(err)
	}
}

// awaitDenials waits until the list with this digest is in force, or a problem with it.
func (srv *testServer) awaitDenials(t *testing.T, done func(denials.Status) bool) {
	t.Helper()
	for begin := time.Now(); !done(srv.Denials.Status()); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("the list is not in force: %+v", srv.Denials.Status())
		}
	}
}

// put writes a list, and waits until it is in force.
func (srv *testServer) put(t *testing.T, f denyFile, entries string) {
	t.Helper()
	f.write(t, entries)
	list, err := denials.Read(f.path)
	if err != nil {
		t.Fatal(err)
	}
	srv.awaitDenials(t, func(denials.Status) bool { return srv.Denials.List().Digest() == list.Digest() })
}

// claimOf returns a claim of a token.
func claimOf(t *testing.T, token, name string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(claims[name])
}

// pending is a request whose response has not ended.
type pending struct {
	id   string
	body chan string
}

// begin sends a request that takes until something ends it.
func (srv *testServer) begin(t *testing.T, token, id string, r request) pending {
	t.Helper()
	method := r.method
	if method == "" {
		method = http.MethodPost
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, srv.url, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range r.with("Authorization", "Bearer "+token, "X-Request-Id", id,
		"Content-Type", "application/json", "Accept", "application/json, text/event-stream").header {
		req.Header.Set(k, v)
	}
	p := pending{id, make(chan string, 1)}
	go func() {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			p.body <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		p.body <- fmt.Sprintf("%d %s%v", resp.StatusCode, text, errors.Join(err))
	}()
	return p
}

// Each kind of denial refuses new requests, and ends calls in flight, standing streams and sessions, in both
// eras, also for a token that the server accepted a moment ago. Other callers notice nothing. Without the
// entry, the same token works again.
func TestDenials_EachKind(t *testing.T) {
	t.Parallel()
	file, folder := newDenyFile(t, "[]\n"), newAuditFolder(t)
	// Without this announcement, clients of 2026-07-28 have nothing to listen for.
	listChanges := func(o *mcp.ServerOptions) { o.Capabilities.Tools.ListChanged = true }
	srv := startServerOf(t, listChanges, map[string]string{"provider.token_lifetime": "1h"}, file.use, folder.use)
	alice, bob := srv.token(t, "alice", "mcp:use", "greet:read"), srv.token(t, "bob", "mcp:use", "greet:read")
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	for name, c := range map[string]struct {
		entry   string
		status  int
		reason  string
		hitsBob bool
	}{
		"subject of an issuer": {fmt.Sprintf("- {issuer: %q, subject: alice}", srv.origin()), 403, "caller_denied", false},
		"subject":              {"- subject: alice", 403, "caller_denied", false},
		"tokens so far":        {"- {subject: alice, issued_before: " + tomorrow + "}", 401, "token_revoked", false},
		"client":               {"- client: local-cli", 403, "caller_denied", true},
		"token":                {fmt.Sprintf("- token: %q", claimOf(t, alice, "jti")), 401, "token_revoked", false},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := "request-" + strings.ReplaceAll(name, " ", "-") + "-"
			body, header := callModern("greet", `{"name":"Ada"}`)
			modernCall := request{header: header, body: body}
			if r := modernCall.send(t, srv, alice); r.status != http.StatusOK {
				t.Fatalf("before: %d %s", r.status, r.body)
			}
			legacyCall := func(tool, arguments, session string) request {
				body, header := callLegacy(tool, arguments, session)
				return request{header: header, body: body}
			}
			waiting, waitingHeader := callModern("wait", `{"steps":1}`)
			idle := srv.openSession(t, alice)
			his := srv.openSession(t, bob)
			open := []pending{
				srv.begin(t, alice, prefix+"call-2026", request{header: waitingHeader, body: waiting}),
				srv.begin(t, alice, prefix+"call-2025", legacyCall("wait", `{"steps":1}`, srv.openSession(t, alice))),
				srv.begin(t, alice, prefix+"sdk-2026", request{header: waitingHeader,
					body: strings.Replace(waiting, `"id":7`, `"id":-7`, 1)}),
				srv.begin(t, alice, prefix+"stream-2026",
					modernRequest("subscriptions/listen", `"notifications":{"toolsListChanged":true}`)),
				srv.begin(t, alice, prefix+"stream-2025", request{method: http.MethodGet,
					header: map[string]string{"Mcp-Session-Id": srv.openSession(t, alice)}}),
			}
			hisCall := srv.begin(t, bob, prefix+"bob", legacyCall("wait", `{"steps":1}`, his))
			time.Sleep(50 * time.Millisecond) // until they are open; what begins later is ended just as well

			srv.put(t, file, c.entry)
			for _, p := range open {
				select {
				case got := <-p.body:
					isCall := !strings.Contains(p.id, "stream")
					if isCall != strings.Contains(got, `"message":"ended by the operator"`) || !strings.HasPrefix(got, "200 ") {
						t.Errorf("%s: %s", p.id, got)
					}
				case <-time.After(5 * time.Second):
					t.Errorf("%s does not end", p.id)
				}
				// A standing stream of a session is a GET, and no operation of the MCP.
				want := map[bool]string{true: "call allow canceled " + c.reason, false: ""}[!strings.HasSuffix(p.id, "stream-2025")]
				if want != "" {
					r := folder.wait(t, p.id)
					if got := fmt.Sprint(r["event"], " ", r["decision"], " ", r["outcome"], " ", r["reason"]); got != want ||
						r["sub"] != "alice" {
						t.Errorf("%s: the record is %v", p.id, r)
					}
				}
			}
			for kind, r := range map[string]request{
				"2026": modernCall, "2025": legacyCall("greet", `{"name":"Ada"}`, idle),
				"list": modernRequest("tools/list", ""), "initialize": {body: initializeBody},
				"get": {method: http.MethodGet, header: map[string]string{"Mcp-Session-Id": idle}},
			} {
				id := prefix + "new-" + kind
				got := r.with("X-Request-Id", id).send(t, srv, alice)
				if hasChallenge := got.header.Get("WWW-Authenticate") != ""; got.status != c.status ||
					hasChallenge != (c.status == http.StatusUnauthorized) {
					t.Errorf("new %s: %d %v %s", kind, got.status, got.header, got.body)
				}
				if r := folder.wait(t, id); r["event"] != "refused" || r["decision"] != "deny" || r["reason"] != c.reason ||
					r["sub"] != "alice" || r["client_id"] != "local-cli" {
					t.Errorf("new %s: the record is %v", kind, r)
				}
			}
			if !c.hitsBob {
				r := legacyCall("greet", `{"name":"Bob"}`, his).withBody(`"id":1`, `"id":2`).send(t, srv, bob)
				if r.status != http.StatusOK {
					t.Errorf("bob: %d %s", r.status, r.body)
				}
				select {
				case got := <-hisCall.body:
					t.Errorf("bob's call ended: %s", got)
				default:
				}
				send(t, http.MethodDelete, srv.url, bob, "", map[string]string{"Mcp-Session-Id": his})
			}
			<-hisCall.body

			srv.put(t, file, "[] # after "+name)
			if r := modernCall.send(t, srv, alice); r.status != http.StatusOK {
				t.Errorf("without the entry: %d %s", r.status, r.body)
			}
			if r := legacyCall("greet", `{"name":"Ada"}`, idle).send(t, srv, alice); r.status != http.StatusNotFound {
				t.Errorf("the session did not end: %d %s", r.status, r.body)
			}
		})
	}
	srv.stop()
	lists := folder.records(t, func(r auditRecord) bool { return r["event"] == "denials" })
	if len(lists) != 11 { // at start, and two for each kind
		t.Errorf("%d records of lists", len(lists))
	}
	for _, r := range lists {
		if digest, _ := r["digest"].(string); len(digest) != 64 || r["sub"] != nil || r["reason"] != nil {
			t.Errorf("the record is %v", r)
		}
	}
	folder.verify(t)
	if n := srv.MCP.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// A denied caller that goes on asking cannot fill the disk of the audit log: beyond a rate, its requests are
// counted. None of them is missing.
func TestDenials_AFloodOfADeniedCallerIsCounted(t *testing.T) {
	t.Parallel()
	file, folder := newDenyFile(t, "- subject: alice\n"), newAuditFolder(t)
	srv := startServer(t, nil, file.use, folder.use)
	alice := srv.token(t, "alice", "mcp:use", "greet:read")
	const requests = 1_500
	for range requests {
		if r := send(t, http.MethodPost, srv.url, alice, "", nil); r.status != http.StatusForbidden {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	srv.stop()
	single, counted := 0, 0
	for _, r := range folder.records(t, func(r auditRecord) bool { return r["reason"] == "caller_denied" }) {
		switch r["event"] {
		case "refused":
			single++
		case "refused.strangers":
			count, _ := r["count"].(float64)
			counted += int(count)
		}
	}
	if single < 500 || single > 1_000 || single+counted != requests {
		t.Errorf("%d records, and %d requests counted", single, counted)
	}
}

// A tool that ignores the end of its context does not keep the answer away; without sessions, too.
func TestDenials_EndCallsWithoutSessions(t *testing.T) {
	t.Parallel()
	file := newDenyFile(t, "[]\n")
	srv := startServer(t, map[string]string{"mcp.era": "stateless"}, file.use)
	alice := srv.token(t, "alice", "mcp:use", "greet:read")
	body, header := callLegacy("wait", `{"steps":1}`, "")
	call := srv.begin(t, alice, "request-stateless", request{header: header, body: body})
	time.Sleep(50 * time.Millisecond)
	srv.put(t, file, "- subject: alice")
	if got := <-call.body; !strings.Contains(got, "ended by the operator") {
		t.Error(got)
	}
	<-srv.cancelled
}

// With the default settings a denial is in force within a second. One that was in force before a restart is
// so after it, and a file that is bad or gone later leaves the last good list in force.
func TestDenials_LastAndAreFast(t *testing.T) {
	t.Parallel()
	file := newDenyFile(t, "[]\n")
	use := func(c *configs.Config) { c.Denials.File = file.path }
	body, header := callModern("greet", `{"name":"Ada"}`)
	call := request{header: header, body: body}
	srv := startServer(t, nil, use)
	alice := srv.token(t, "alice", "mcp:use", "greet:read")
	file.write(t, "- subject: alice")
	begin := time.Now()
	for call.send(t, srv, alice).status != http.StatusForbidden {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the denial is not in force")
		}
	}
	if took := time.Since(begin); took > time.Second && !underRace {
		t.Errorf("it was in force after %v", took)
	}
	srv.stop()

	srv = startServer(t, nil, file.use)
	alice = srv.token(t, "alice", "mcp:use", "greet:read")
	for n, damage := range []func(){
		func() {},
		func() { file.write(t, "- subjct: alice\n") },
		func() { os.Remove(file.path) },
	} {
		damage()
		if n > 0 {
			srv.awaitDenials(t, func(s denials.Status) bool {
				bad, ok := errors.AsType[*denials.FileError](s.Problem)
				return ok && (n == 2) == errors.Is(bad, os.ErrNotExist)
			})
		}
		if r := call.send(t, srv, alice); r.status != http.StatusForbidden {
			t.Errorf("step %d: %d %s", n, r.status, r.body)
		}
	}
	if n := strings.Count(srv.log.String(), "level=ERROR msg=\"the file of denials is bad"); n != 2 {
		t.Errorf("%d lines about it", n)
	}
}

// A server that drains still serves, and a denial still acts.
func TestDenials_ActWhileTheServerDrains(t *testing.T) {
	t.Parallel()
	file := newDenyFile(t, "[]\n")
	srv := startServer(t, nil, file.use)
	alice := srv.token(t, "alice", "mcp:use", "greet:read")
	srv.Drain()
	srv.put(t, file, "- subject: alice")
	body, header := callModern("greet", `{"name":"Ada"}`)
	if r := (request{header: header, body: body}).send(t, srv, alice); r.status != http.StatusForbidden {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// SIGHUP puts the list in force at once, also if the configuration is refused.
func TestReloadNow_ReadsTheDenials(t *testing.T) {
	t.Parallel()
	file := newDenyFile(t, "[]\n")
	srv := startServer(t, nil, func(c *configs.Config) { c.Denials.File, c.Denials.Poll = file.path, time.Minute })
	file.write(t, "- subject: alice")
	r := &reloader{app: srv.App, sources: configs.Sources{Flags: map[string]string{"log.level": "loud"}}}
	r.reloadNow(t.Context())
	if n := srv.Denials.List().Len(); n != 1 || srv.LastReload().OK {
		t.Errorf("%d denials are in force, and the reload is %+v", n, srv.LastReload())
	}
}

// Without a good list the server does not start.
func TestDenials_ABadListIsNoStart(t *testing.T) {
	t.Parallel()
	cfg, err := configs.Load(configs.Sources{Flags: map[string]string{"denials.file": newDenyFile(t, "- {}\n").path}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = app.New(t.Context(), cfg, testCatalog, slog.New(slog.DiscardHandler))
	bad, ok := errors.AsType[*denials.FileError](err)
	if !errors.Is(err, app.ErrDenials) || !ok || bad.Findings[0].Line != 1 {
		t.Errorf("%v", err)
	}
}

// A list of denials costs a call next to no allocation. The limits allow for what varies from run to run.
// Without a list there is none: see TestChain_AllocatesLessThanBareHandler, and TestDenialsDoNotAllocate in
// package server.
func TestDenials_AllocationsOfACall(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates too")
	}
	call := func(session bool, prepare ...func(*configs.Config)) func() {
		settings := map[string]string{"provider.token_lifetime": "1h", "log.level": "warn"}
		srv := startServer(t, settings, prepare...)
		token := srv.token(t, "alice", "mcp:use", "greet:read")
		body, header := callModern("greet", `{"name":"Ada"}`)
		if session {
			body, header = callLegacy("greet", `{"name":"Ada"}`, srv.openSession(t, token))
		}
		return func() {
			r := httptest.NewRequest(http.MethodPost, srv.url, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", "application/json, text/event-stream")
			r.Header.Set("Authorization", "Bearer "+token)
			for k, v := range header {
				r.Header.Set(k, v)
			}
			w := deadlineRecorder{httptest.NewRecorder()}
			srv.HTTP.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
		}
	}
	file := newDenyFile(t, "- subject: bob\n- token: x\n- {subject: alice, issued_before: 2020-01-01T00:00:00Z}\n")
	watch := func(c *configs.Config) { c.Denials.File, c.Denials.Poll = file.path, time.Minute }
	for name, c := range map[string]struct {
		session bool
		most    float64
	}{"2026-07-28": {false, 6}, "in a session": {true, 1}} {
		const calls = 300
		without := testing.AllocsPerRun(calls, call(c.session))
		if more := testing.AllocsPerRun(calls, call(c.session, watch)) - without; more > c.most {
			t.Errorf("%s: a list costs %.0f allocations in addition to %.0f of the call", name, more, without)
		}
	}
}
