package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server/audit"
)

// auditFolder is a folder for an audit log, with the keys.
type auditFolder struct{ dir, signingKey, publicKey string }

func newAuditFolder(t testing.TB) auditFolder {
	t.Helper()
	signing, public, err := audit.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	return auditFolder{filepath.Join(t.TempDir(), "log"), signing, public}
}

// use makes a server write its audit log into the folder.
func (f auditFolder) use(c *configs.Config) {
	c.Audit.Dir, c.Audit.SigningKey = f.dir, providers.Secret(f.signingKey)
}

// text returns all segments.
func (f auditFolder) text(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, "segment-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var all []byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return string(all)
}

type auditRecord map[string]any

// records returns the records for which keep is true.
func (f auditFolder) records(t *testing.T, keep func(auditRecord) bool) (all []auditRecord) {
	t.Helper()
	for line := range strings.Lines(f.text(t)) {
		if !strings.HasSuffix(line, "\n") {
			continue // torn
		}
		var r auditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if keep(r) {
			all = append(all, r)
		}
	}
	return all
}

// verify expects an intact log.
func (f auditFolder) verify(t *testing.T) audit.Report {
	t.Helper()
	r, err := audit.Verify(f.dir, []string{f.publicKey})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Intact() {
		t.Errorf("the log is not intact: %v", r.Findings)
	}
	return r
}

// wait waits for the record of a request.
func (f auditFolder) wait(t *testing.T, requestID string) auditRecord {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(2 * time.Millisecond) {
		found := f.records(t, func(r auditRecord) bool { return r["request_id"] == requestID })
		if len(found) > 1 {
			t.Fatalf("%d records for one request: %v", len(found), found)
		}
		if len(found) == 1 {
			return found[0]
		}
	}
	t.Fatalf("no record of %s in\n%s", requestID, f.text(t))
	return nil
}

// One operation is one record, whether it was allowed or refused, in both eras of the protocol. No record
// contains a token, or the value of an argument.
func TestAudit_RecordsEachOperation(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	srv := startServer(t, map[string]string{"server.max_body_bytes": "65536"}, folder.use, func(c *configs.Config) {
		c.Audit.Events, c.Audit.Arguments = audit.EventsAll, audit.ArgumentsNames
	})
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	session := srv.openSession(t, token)
	legacyCall := func(name, arguments string) request {
		body, header := callLegacy(name, arguments, session)
		return request{body: body, header: header}
	}
	modernCall := func(name, arguments string) request {
		body, header := callModern(name, arguments)
		return request{body: body, header: header}
	}
	inSession := request{}.with("Mcp-Session-Id", session)
	for name, c := range map[string]struct {
		request
		status int
		want   string
	}{
		"a call":           {modernCall("greet", `{"name":"canary"}`), 200, "call allow ok  tools/call greet [name]"},
		"one in a session": {legacyCall("greet", `{"name":"canary"}`), 200, "call allow ok  tools/call greet [name]"},
		"invalid arguments": {
			modernCall("greet", `{"name":""}`), 200, "call allow tool_error  tools/call greet [name]",
		},
		"an unknown tool": {
			modernCall("unknown", `{}`), 400, "call allow invalid params_invalid tools/call unknown []",
		},
		"a missing scope": {
			modernCall("stats", `{}`), 403, "refused deny denied insufficient_scope tools/call stats []",
		},
		"one in a session, too": {
			legacyCall("stats", `{}`), 403, "refused deny denied insufficient_scope tools/call stats []",
		},
		"a list":      {modernRequest("tools/list", ""), 200, "list allow ok  tools/list"},
		"discovery":   {modernRequest("server/discover", ""), 200, "other allow ok  server/discover"},
		"initialize":  {request{body: initializeBody}, 200, "session.begin allow ok  initialize"},
		"no JSON":     {request{body: `{"canary`}, 400, "refused deny invalid message_malformed POST"},
		"a long body": {request{body: strings.Repeat(" ", 70000)}, 413, "refused deny invalid body_too_large POST"},
		"the end of an unknown session": {
			request{method: "DELETE"}.with("Mcp-Session-Id", "canary"), 404,
			"session.end allow invalid session_unknown DELETE",
		},
		"a notification": {
			request{body: initializedBody, header: inSession.header}, 202, "other allow ok  notifications/initialized",
		},
	} {
		id := "request-" + strings.NewReplacer(" ", "-", ",", "").Replace(name)
		if r := c.with("X-Request-Id", id).send(t, srv, token); r.status != c.status {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		r := folder.wait(t, id)
		got := fmt.Sprintf("%v %v %v %v %v", r["event"], r["decision"], r["outcome"], orEmpty(r["reason"]), r["method"])
		for _, member := range []string{"tool", "args"} {
			if r[member] != nil {
				got += fmt.Sprintf(" %v", r[member])
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if r["sub"] != "alice" || r["client_id"] == nil || r["iss"] != srv.origin() || r["ip"] != "127.0.0.1" ||
			r["config"] == nil || r["us"] == nil || fmt.Sprint(r["scopes"]) != "[mcp:use greet:read]" {
			t.Errorf("%s: members are missing or wrong: %v", name, r)
		}
		if inSession := c.header["Mcp-Session-Id"] == session; inSession && r["session"] != audit.HashSession(session) {
			t.Errorf("%s: session %v", name, r["session"])
		}
	}
	// Requests without a valid token are counted.
	for range 3 {
		modernCall("greet", `{"name":"canary"}`).send(t, srv, "")
	}
	modernCall("greet", `{"name":"canary"}`).send(t, srv, "canary")
	send(t, "GET", srv.origin()+"/health", "", "", nil)
	if r := inSession.by("DELETE").with("X-Request-Id", "request-end").send(t, srv, token); r.status != 204 {
		t.Errorf("DELETE: %d", r.status)
	}
	if r := folder.wait(t, "request-end"); r["event"] != "session.end" || r["outcome"] != "ok" {
		t.Errorf("the end of the session: %v", r)
	}
	srv.stop()
	counts := map[any]any{}
	for _, r := range folder.records(t, func(r auditRecord) bool { return r["event"] == "refused.strangers" }) {
		counts[r["reason"]] = r["count"]
		if r["ip"] != nil || r["sub"] != nil {
			t.Errorf("a count names a client: %v", r)
		}
	}
	if len(counts) != 2 || counts["no_credentials"] != 3.0 {
		t.Errorf("counts: %v", counts)
	}
	report := folder.verify(t)
	if report.Uncovered() != 0 || report.Gaps != 0 {
		t.Errorf("%+v", report)
	}
	for _, secret := range []string{token, token[len(token)-40:], "canary", session, folder.signingKey} {
		if strings.Contains(folder.text(t), secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// by returns a copy of r with another method.
func (r request) by(method string) request { r.method = method; return r }

// Lists and other operations are left out by default, and arguments too.
func TestAudit_RecordsCallsByDefault(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	srv := startServer(t, nil, folder.use)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	modernRequest("tools/list", "").send(t, srv, token)
	modernRequest("server/discover", "").send(t, srv, token)
	body, header := callModern("greet", `{"name":"canary"}`)
	send(t, http.MethodPost, srv.url, token, body, header)
	srv.stop()
	var events []string
	for _, r := range folder.records(t, func(auditRecord) bool { return true }) {
		events = append(events, fmt.Sprint(r["event"]))
		if r["args"] != nil {
			t.Errorf("arguments are recorded: %v", r)
		}
	}
	if got := strings.Join(events, " "); got != "segment start call stop" {
		t.Errorf("events: %s", got)
	}
}

// In a session a call continues when its client hangs up. Its record has the end of the call, not of the
// request.
func TestAudit_CallWithoutItsClientHasOneRecord(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	srv := startServer(t, nil, folder.use)
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	session := srv.openSession(t, token)
	body, header := callLegacy("wait", `{"steps":1}`, session)
	ctx, hangUp := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("X-Request-Id", "request-wait")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
	// The line of the request itself: at level debug, another one has the steps of the verification.
	for begin := time.Now(); !strings.Contains(srv.log.String(), "outcome=canceled request_id=request-wait"); {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("the request does not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if strings.Contains(folder.text(t), "request-wait") {
		t.Error("the call is recorded before its end")
	}
	ended := map[string]string{"Mcp-Session-Id": session}
	send(t, http.MethodDelete, srv.url, token, "", ended)
	if r := folder.wait(t, "request-wait"); r["event"] != "call" || r["tool"] != "wait" || r["outcome"] != "canceled" ||
		r["us"].(float64) < 100_000 {
		t.Errorf("the record is %v", r)
	}
}

// With audit.required, no call runs whose record cannot be written; the server is not ready until it can.
func TestAudit_RequiredRecordIsOnDiskBeforeTheCallRuns(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	if err := os.Mkdir(folder.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(folder.dir); err != nil {
		t.Skipf("no file system of limited size: %v", err)
	}
	defer unmount(t, folder.dir)
	srv := startServer(t, nil, folder.use, func(c *configs.Config) {
		c.Audit.Required, c.Audit.Sync = true, time.Hour
	})
	defer srv.stop()
	token := srv.token(t, "alice", "mcp:use", "greet:read")
	greet := func(id string) response {
		body, header := callModern("greet", `{"name":"Ada"}`)
		header["X-Request-Id"] = id
		return send(t, http.MethodPost, srv.url, token, body, header)
	}
	if r := greet("request-good"); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	started := folder.records(t, func(r auditRecord) bool {
		return r["request_id"] == "request-good" && r["outcome"] == "started" && r["event"] == "call"
	})
	if len(started) != 1 {
		t.Errorf("no record of the start: %v", started)
	}
	fillUp(t, folder.dir)
	for n := 0; ; n++ { // the file may have some room in its last page
		r := greet(fmt.Sprintf("request-full-%d", n))
		if r.status == http.StatusServiceUnavailable {
			if !strings.Contains(r.body, "audit log is unavailable") || r.header.Get("WWW-Authenticate") != "" {
				t.Errorf("%d %v %s", r.status, r.header, r.body)
			}
			break
		}
		if n == 100 {
			t.Fatal("a full disk refuses no call")
		}
	}
	if r := send(t, http.MethodGet, srv.origin()+"/readyz", "", "", nil); r.status != http.StatusServiceUnavailable ||
		!strings.Contains(r.body, "audit_unavailable") {
		t.Errorf("/readyz: %d %s", r.status, r.body)
	}
	if r := modernRequest("tools/list", "").send(t, srv, token); r.status != http.StatusOK {
		t.Errorf("a list is refused, too: %d %s", r.status, r.body)
	}
	if err := os.Remove(filepath.Join(folder.dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if r := send(t, http.MethodGet, srv.origin()+"/readyz", "", "", nil); r.status == http.StatusOK {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the server is not ready again")
		}
	}
	if r := greet("request-again"); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	srv.stop()
	if report := folder.verify(t); report.Gaps == 0 || report.Uncovered() != 0 {
		t.Errorf("%+v", report)
	}
	for _, want := range []string{"reason=audit_unavailable", "outcome=unavailable"} {
		if !strings.Contains(srv.log.String(), want) {
			t.Errorf("the access log lacks %s", want)
		}
	}
}

// fillUp leaves no room on the file system of dir.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
}

// However the process ends, each call that was answered has its record, and the log is intact.
func TestAudit_KilledProcessLosesNoAnsweredCall(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("GATEHOUSE_LONG") != "" {
		rounds = 30
	}
	folder := newAuditFolder(t)
	var answered atomic.Int64
	for round := range rounds + 1 {
		var signal os.Signal = syscall.SIGKILL
		if round == rounds {
			signal = syscall.SIGTERM
		}
		before := fmt.Sprintf("export GATEHOUSE_AUDIT__DIR='%s' GATEHOUSE_AUDIT__SIGNING_KEY='%s' "+
			"GATEHOUSE_AUDIT__REQUIRED=true; ", folder.dir, folder.signingKey)
		p, address := startProcess(t, before, nil, "--log.level=error", "--tools.demo")
		if !p.healthy(address) {
			t.Fatal("the server is not healthy")
		}
		srv := &testServer{url: "http://" + address + "/mcp"}
		token := srv.token(t, "alice", "mcp:use")
		stop := make(chan struct{})
		ended := make(chan struct{}, 4)
		for range 4 {
			go func() {
				defer func() { ended <- struct{}{} }()
				client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
				defer client.CloseIdleConnections()
				for {
					select {
					case <-stop:
						return
					default:
					}
					body, header := callModern("whoami", `{}`)
					req, _ := http.NewRequest(http.MethodPost, srv.url, bytes.NewReader([]byte(body)))
					for k, v := range header {
						req.Header.Set(k, v)
					}
					req.Header.Set("Authorization", "Bearer "+token)
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("Accept", "application/json, text/event-stream")
					resp, err := client.Do(req)
					if err != nil {
						return
					}
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						return
					}
					answered.Add(1)
				}
			}()
		}
		for first, begin := answered.Load(), time.Now(); answered.Load() == first && time.Since(begin) < 10*time.Second; {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(100+50*round) * time.Millisecond)
		code, _ := p.end(t, signal)
		close(stop)
		for range 4 {
			<-ended
		}
		if signal == syscall.SIGTERM && code != exitOK {
			t.Errorf("exit code %d", code)
		}
		started := folder.records(t, func(r auditRecord) bool { return r["outcome"] == "started" })
		if n := answered.Load(); n == 0 || int64(len(started)) < n {
			t.Errorf("round %d: %d calls were answered, and %d have a record", round, n, len(started))
		}
		report := folder.verify(t)
		if signal == syscall.SIGTERM && report.Uncovered() != 0 {
			t.Errorf("after SIGTERM, %d records are covered by no checkpoint", report.Uncovered())
		}
	}
	t.Logf("%d calls were answered", answered.Load())
}
