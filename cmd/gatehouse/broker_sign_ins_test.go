package main

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers/authserver/store/storetest"
)

// The command reads and changes the store of a server that is stopped, and says that it is in use while one runs.
func TestBrokerSignIns_OfAStoppedServer(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	b := startBrokerCommand(t, company, "serve", map[string]string{"provider.store": fileStore(t)})
	client := register(t, b.origin(), b.resource())
	alice, bob := client.signIn(t, "alice", allScopes()...), client.signIn(t, "bob", "mcp:use", "offline_access")
	signIns := func(action string, more ...string) result {
		t.Helper()
		flags := append([]string{"broker", "sign-ins", action}, withAddress(b.address, b.flags[1:])...)
		got := runCommandIn(t, console{environ: b.environ}, append(flags, more...)...)
		company.wantNoSecrets(t, "the output", got.stdout+got.stderr, alice.Access, alice.Refresh, bob.Refresh)
		return got
	}
	var both sync.WaitGroup // each waits for two seconds
	for _, action := range []string{"list", "end"} {
		both.Go(func() {
			got := signIns(action, "--subject=alice")
			if got.code != exitConfig || got.stdout != "" || !strings.Contains(got.stderr, "in use") {
				t.Errorf("%s while the server runs: %+v", action, got)
			}
		})
	}
	both.Wait()
	b.stop()

	subjects := func(got result) (found []string) {
		t.Helper()
		if got.code != exitOK || got.stderr != "" || !strings.HasPrefix(got.stdout, "ID ") {
			t.Fatalf("%+v", got)
		}
		for _, line := range strings.Split(strings.TrimSpace(got.stdout), "\n")[1:] {
			found = append(found, strings.Fields(line)[1])
		}
		return found
	}
	if all := subjects(signIns("list")); len(all) != 2 {
		t.Errorf("all sign-ins: %v", all)
	}
	only := signIns("list", "--subject=bob")
	if !strings.Contains(only.stdout, "  Test client  ") {
		t.Errorf("the list does not name the client:\n%s", only.stdout)
	}
	if diff := cmp.Diff([]string{"bob"}, subjects(only)); diff != "" {
		t.Error(diff)
	}
	if got := signIns("end"); got.code != exitConfig || !strings.Contains(got.stderr, "name whose") {
		t.Errorf("end without a filter: %+v", got)
	}
	if got := signIns("end", "--subject=carol"); got.stdout != "0 sign-ins ended\n" || got.code != exitOK {
		t.Errorf("end of an unknown person: %+v", got)
	}
	id := strings.Fields(strings.Split(only.stdout, "\n")[1])[0]
	if got := signIns("end", "--id="+id); got.stdout != "1 sign-in ended\n" || got.code != exitOK {
		t.Errorf("end of bob: %+v", got)
	}
	if diff := cmp.Diff([]string{"alice"}, subjects(signIns("list"))); diff != "" {
		t.Error(diff)
	}

	b.start(t)
	r, _ := client.refresh(t, bob.Refresh)
	wantRefused(t, "bob's refresh", r, http.StatusBadRequest, "invalid_grant")
	if r, _ = client.refresh(t, alice.Refresh); r.status != http.StatusOK {
		t.Errorf("alice's refresh: %d %s", r.status, r.body)
	}
}

// A store in Redis can be read and changed while servers use it.
func TestBrokerSignIns_InRedis(t *testing.T) {
	t.Parallel()
	redis := storetest.StartRedis(t)
	company := newCompany(t)
	b := startBrokerCommand(t, company, "serve", map[string]string{"provider.store": redis.URL(t)})
	client := register(t, b.origin(), b.resource())
	alice, bob := client.signIn(t, "alice", allScopes()...), client.signIn(t, "bob", "mcp:use", "offline_access")
	signIns := func(args ...string) result {
		return runCommandIn(t, console{environ: b.environ}, append(append([]string{"broker", "sign-ins"}, args...),
			withAddress(b.address, b.flags[1:])...)...)
	}
	if got := signIns("list"); got.code != exitOK || strings.Count(got.stdout, "\n") != 3 {
		t.Errorf("list: %+v", got)
	}
	if got := signIns("end", "--client="+client.id, "--subject=bob"); got.code != exitOK ||
		got.stdout != "1 sign-in ended\n" {
		t.Errorf("end: %+v", got)
	}
	r, _ := client.refresh(t, bob.Refresh)
	wantRefused(t, "bob's refresh", r, http.StatusBadRequest, "invalid_grant")
	if r, _ = client.refresh(t, alice.Refresh); r.status != http.StatusOK {
		t.Errorf("alice's refresh: %d %s", r.status, r.body)
	}
}

// Operators end sign-ins of a running server by tools, with records of who did it, and no other caller can.
func TestBrokerSignIns_ByTools(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	srv, company := startBroker(t, map[string]string{"provider.store": fileStore(t)}, folder.use)
	client := srv.register(t)
	admin := client.signIn(t, "alice", allScopes()...)
	bob := client.signIn(t, "bob", "mcp:use", "greet:read", "offline_access")
	tool := func(token, name, arguments string) response {
		t.Helper()
		body, header := callModern(name, arguments)
		return send(t, http.MethodPost, srv.url, token, body, header)
	}
	for _, name := range []string{"list_sign_ins", "end_sign_ins"} {
		r := tool(bob.Access, name, `{"subject":"bob"}`)
		if r.status != http.StatusForbidden || !strings.Contains(r.header.Get("WWW-Authenticate"), "gatehouse:admin") {
			t.Errorf("%s without the scope: %d %s", name, r.status, r.body)
		}
	}
	list := structuredContent(t, tool(admin.Access, "list_sign_ins", `{"subject":"bob"}`))["sign_ins"].([]any)
	if len(list) != 1 {
		t.Fatalf("bob's sign-ins are %v", list)
	}
	entry := list[0].(map[string]any)
	if entry["subject"] != "bob" || entry["client"] != client.id || entry["resource"] != srv.url {
		t.Errorf("the entry is %v", entry)
	}
	id, _ := entry["sign_in"].(string)
	if !strings.HasPrefix(claimOf(t, bob.Access, "jti"), id+".") {
		t.Errorf("the sign-in %q is not that of the token %q", id, claimOf(t, bob.Access, "jti"))
	}
	ended := structuredContent(t, tool(admin.Access, "end_sign_ins", `{"sign_in":"`+id+`"}`))
	if ended["ended"] != 1.0 {
		t.Errorf("ended: %v", ended)
	}
	r, _ := client.refresh(t, bob.Refresh)
	wantRefused(t, "bob's refresh", r, http.StatusBadRequest, "invalid_grant")
	if r, _ = client.refresh(t, admin.Refresh); r.status != http.StatusOK {
		t.Errorf("alice's refresh: %d %s", r.status, r.body)
	}
	list = structuredContent(t, tool(admin.Access, "list_sign_ins", `{"subject":"bob"}`))["sign_ins"].([]any)
	if len(list) != 0 {
		t.Errorf("bob's sign-ins are %v", list)
	}
	srv.stop()
	ends := folder.records(t, func(r auditRecord) bool { return r["event"] == "signin.end" })
	if len(ends) != 1 || ends[0]["sub"] != "bob" || ends[0]["sign_in"] != id || ends[0]["request_id"] == nil ||
		ends[0]["reason"] != "sign_in_ended_by_operator" || ends[0]["ip"] != "127.0.0.1" {
		t.Errorf("the records of the end are %v", ends)
	}
	company.wantNoSecrets(t, "the log", srv.log.String()+folder.text(t), admin.Access, admin.Refresh, bob.Access,
		bob.Refresh)
}
