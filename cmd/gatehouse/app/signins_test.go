package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/providers/signins"
	"gatehouse/server"
	"gatehouse/server/audit"
)

// audited makes an app write an audit log, and returns its records so far.
func audited(t *testing.T) (use func(*configs.Config), records func() []map[string]any) {
	t.Helper()
	signing, _, err := audit.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "audit")
	use = func(cfg *configs.Config) { cfg.Audit.Dir, cfg.Audit.SigningKey = dir, providers.Secret(signing) }
	return use, func() (all []map[string]any) {
		names, _ := filepath.Glob(filepath.Join(dir, "segment-*"))
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				var r map[string]any
				if !strings.HasSuffix(line, "\n") {
					continue // it is being written
				}
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				all = append(all, r)
			}
		}
		return all
	}
}

// send reports events during a request, which is answered with the status.
func (f *fixture) send(requestID string, status int, events ...providers.SignInEvent) {
	f.t.Helper()
	body, _ := json.Marshal(eventRequest{Status: status, Events: events})
	got := f.do(http.MethodPost, "/event", string(body), map[string]string{"X-Request-Id": requestID})
	if !strings.HasPrefix(got, fmt.Sprint(status, " ")) {
		f.t.Fatalf("answered %s", got)
	}
}

func ofAlice(kind string, reason providers.Reason) providers.SignInEvent {
	return providers.SignInEvent{Kind: kind, Reason: reason, Subject: "alice", ClientID: "client", Resource: resource,
		Scopes: []string{"mcp:use"}, SignIn: "digest"}
}

// Each event is one record, with the request that has caused it. A registration has none.
func TestSignIns_AreAudited(t *testing.T) {
	t.Parallel()
	use, records := audited(t)
	f := newFixture(t, newIssuer(t), nil, new(authority).use, use)
	approved := providers.SignInEvent{Kind: "signin.approve", ClientID: "client", Resource: resource}
	denied, repeated := approved, ofAlice("signin.repeat", "")
	denied.Reason, repeated.OtherAddress = "denied_by_person", "192.0.2.8"
	for name, c := range map[string]struct {
		status int
		events []providers.SignInEvent
		want   []string
	}{
		"approved":  {303, []providers.SignInEvent{approved}, []string{"signin.approve allow"}},
		"denied":    {303, []providers.SignInEvent{denied}, []string{"signin.approve deny denied_by_person"}},
		"signed in": {303, []providers.SignInEvent{ofAlice("signin.complete", "")}, []string{"signin.complete allow"}},
		"refused": {403, []providers.SignInEvent{ofAlice("signin.complete", "caller_denied")},
			[]string{"signin.complete deny caller_denied"}},
		"exchanged":  {200, []providers.SignInEvent{ofAlice("signin.exchange", "")}, []string{"signin.exchange allow"}},
		"repeated":   {200, []providers.SignInEvent{repeated}, []string{"signin.repeat allow"}},
		"asserted":   {200, []providers.SignInEvent{ofAlice("signin.assert", "")}, []string{"signin.assert allow"}},
		"registered": {201, []providers.SignInEvent{{Kind: "client.register", ClientID: "client"}}, nil},
		"rechecked and refreshed": {200,
			[]providers.SignInEvent{ofAlice("signin.recheck", ""), ofAlice("signin.refresh", "")},
			[]string{"signin.recheck", "signin.refresh allow"}},
		"ended by the recheck": {400, []providers.SignInEvent{ofAlice("signin.recheck", "account_gone"),
			ofAlice("signin.end", "account_gone"), ofAlice("signin.refresh", "account_gone")},
			[]string{"signin.recheck account_gone", "signin.end account_gone", "signin.refresh deny account_gone"}},
	} {
		id := "request-" + strings.ReplaceAll(name, " ", "-")
		f.send(id, c.status, c.events...)
		find := func() (found []map[string]any) {
			for _, r := range records() {
				if r["request_id"] == id {
					found = append(found, r)
				}
			}
			return found
		}
		for range 200 {
			if len(find()) >= len(c.want) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		var got []string
		for _, r := range find() {
			text := fmt.Sprint(r["event"])
			for _, member := range []string{"decision", "reason"} {
				if r[member] != nil {
					text += fmt.Sprint(" ", r[member])
				}
			}
			got = append(got, text)
			e := c.events[len(got)-1]
			if r["iss"] != "http://localhost:3002" || r["ip"] != "127.0.0.1" || r["config"] == nil || r["us"] != nil ||
				r["client_id"] != "client" || r["resource"] != resource || (r["sub"] == "alice") != (e.Subject != "") ||
				(r["sign_in"] == "digest") != (e.SignIn != "") || (r["first_ip"] == "192.0.2.8") != (e.OtherAddress != "") {
				t.Errorf("%s: members are missing or wrong: %v", name, r)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// A refusal has its reason in the access log, too, and no second count as the request of a stranger.
	if !strings.Contains(f.log.String(), "reason=account_gone") {
		t.Error("the access log does not have the reason")
	}
	f.Close()
	for _, r := range records() {
		if event := fmt.Sprint(r["event"]); event == "refused.strangers" || event == "client.register" {
			t.Errorf("recorded: %v", r)
		}
	}
}

// What a stranger can cause at will does not fill the audit log: beyond the first records of an event, it is counted.
// The records of a person who signs in meanwhile are complete, but for refusals.
func TestSignIns_StrangersCannotFillTheAuditLog(t *testing.T) {
	t.Parallel()
	const flood, most = 2000, 700 // more would not fit into the memory of the log
	use, records := audited(t)
	f := newFixture(t, newIssuer(t), nil, new(authority).use, use)
	record := func(e providers.SignInEvent) { f.signIns.Record(t.Context(), e) }
	for range flood {
		record(providers.SignInEvent{Kind: "signin.approve", ClientID: "client"})
		record(providers.SignInEvent{Kind: "signin.refresh", Reason: "sign_in_unknown", ClientID: "client"})
		record(ofAlice("signin.exchange", "token_request_mismatch"))
		record(ofAlice("signin.refresh", ""))
	}
	f.Close()
	type counts struct{ records, total float64 }
	got := map[string]counts{}
	for _, r := range records() {
		if event := fmt.Sprint(r["event"]); strings.HasPrefix(event, "signin.") {
			key := event + " " + fmt.Sprint(r["decision"])
			c := got[key]
			if n, isCount := r["count"].(float64); isCount {
				c.total += n
				if r["sub"] != nil || r["client_id"] != nil {
					t.Errorf("a count names a caller: %v", r)
				}
			} else {
				c.records++
				c.total++
			}
			got[key] = c
		} else if event == "gap" {
			t.Fatalf("the log has lost records: %v", r)
		}
	}
	for _, key := range []string{"signin.approve allow", "signin.refresh deny", "signin.exchange deny"} {
		if c := got[key]; c.total != flood || c.records < 100 || c.records > most {
			t.Errorf("%s: %v records of %v, want %d", key, c.records, c.total, flood)
		}
	}
	if c := got["signin.refresh allow"]; c.records != flood {
		t.Errorf("%v records of refreshes, want %d", c.records, flood)
	}
	if n := f.Status().SignIns.Events["signin.refresh"]; n["ok"] != flood || n["sign_in_unknown"] != flood {
		t.Errorf("the counts are %v", n)
	}
}

// The denials that an authorization server asks for are those in force, whatever was reloaded since it was opened.
func TestSignIns_DeniedIsAlwaysTheListInForce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "denied.yaml")
	write := func(text string) {
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("- {client: evil}\n")
	f := newFixture(t, newIssuer(t), map[string]string{"denials.file": file, "denials.poll": "100ms"}, new(authority).use)
	ask := func(query string) string { return strings.TrimSpace(f.do(http.MethodGet, "/denied?"+query, "", nil)) }
	if got := ask("subject=alice&client=evil"); got != "403 caller_denied" {
		t.Errorf("a denied client: %s", got)
	}
	if got := ask("subject=alice"); got != "200" {
		t.Errorf("alice: %s", got)
	}
	f.mustReload(map[string]string{"scopes.required": "mcp:use,mcp:more"})
	write("- {subject: alice}\n- {subject: bob, issued_before: 2026-01-01T00:00:00Z}\n")
	for range 400 {
		if ask("subject=alice") != "200" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	for query, want := range map[string]string{
		"subject=alice": "403 caller_denied", "subject=alice&client=evil": "403 caller_denied",
		"subject=carol&client=evil": "200", "subject=bob": "200", "subject=bob&at=2025-06-01T00:00:00Z": "403 token_revoked",
	} {
		if got := ask(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	without := newFixture(t, newIssuer(t), nil, new(authority).use)
	if got := without.do(http.MethodGet, "/denied?subject=alice", "", nil); got != "200 " {
		t.Errorf("without a list: %s", got)
	}
}

func TestStatus_SignIns(t *testing.T) {
	t.Parallel()
	if s := newFixture(t, newIssuer(t), nil).Status(); s.SignIns != nil {
		t.Errorf("a provider without an authorization server has the state %+v", s.SignIns)
	}
	company := &authority{}
	f := newFixture(t, newIssuer(t), nil, company.use)
	if got := f.Status().SignIns; got == nil || got.Confirmed != nil || got.KeyAgeSeconds != nil || len(got.Events) != 0 {
		t.Errorf("at the start, the state is %+v", got)
	}
	confirmed := time.Now().Add(-time.Minute)
	company.set(func(a *authority) {
		a.state = signins.Status{Store: "file", StoreProblem: "store_unavailable", ProviderProblem: "provider_unavailable",
			Confirmed: confirmed, KeyCreated: time.Now().Add(-time.Hour)}
	})
	f.send("request-1", 200, ofAlice("signin.refresh", ""), ofAlice("signin.end", "sign_in_replayed"))
	f.send("request-2", 201, providers.SignInEvent{Kind: "client.register"})
	s := f.Status().SignIns
	if s.Store != "file" || s.StoreProblem != "store_unavailable" || s.ProviderProblem != "provider_unavailable" ||
		!s.Confirmed.Equal(confirmed) || *s.KeyAgeSeconds < 3600 || *s.KeyAgeSeconds > 3700 {
		t.Errorf("the state is %+v", s)
	}
	want := map[string]map[string]int64{
		"signin.refresh": {"ok": 1}, "signin.end": {"sign_in_replayed": 1}, "client.register": {"ok": 1},
	}
	if diff := cmp.Diff(want, s.Events); diff != "" {
		t.Error(diff)
	}
}

// A server whose store is down when it starts is not ready, but runs. Later, calls need no store.
func TestSignIns_ReadinessIsThatOfTheProvider(t *testing.T) {
	t.Parallel()
	company := &authority{}
	f := newFixture(t, newIssuer(t), nil, company.use)
	company.set(func(a *authority) { a.noKeys = "store_unavailable" })
	got := f.do(http.MethodGet, "/readyz", "", nil)
	if !strings.HasPrefix(got, "503 ") || !strings.Contains(got, `"reason":"store_unavailable"`) {
		t.Errorf("without keys of the store: %s", got)
	}
	if s := f.Status(); s.Ready || s.NotReady != "store_unavailable" {
		t.Errorf("the status is %+v", s)
	}
	company.set(func(a *authority) { a.noKeys, a.state.StoreProblem = "", "store_unavailable" })
	if got := f.do(http.MethodGet, "/readyz", "", nil); !strings.HasPrefix(got, "200 ") {
		t.Errorf("with keys, and a store that fails: %s", got)
	}
	if status, body := f.call(token(f.issuer, "mcp:use"), "quick"); status != http.StatusOK {
		t.Errorf("a call: %d %s", status, body)
	}
}

// A refused token request has its reason in the log, and an outage is no limit.
func TestSignIns_AccessLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil, new(authority).use)
	f.send("request-refused", 400, providers.SignInEvent{Kind: "signin.refresh", Reason: "sign_in_unknown"})
	f.send("request-outage", 503, ofAlice("signin.refresh", "store_unavailable"))
	f.send("request-recheck", 200, ofAlice("signin.recheck", "provider_unavailable"), ofAlice("signin.refresh", ""))
	lines := map[string]string{}
	for line := range strings.Lines(f.log.String()) {
		for _, id := range []string{"refused", "outage", "recheck"} {
			if strings.Contains(line, "request_id=request-"+id) {
				lines[id] = line
			}
		}
	}
	for id, want := range map[string][]string{
		"refused": {"outcome=invalid", "reason=sign_in_unknown"}, "recheck": {"outcome=ok"},
		"outage": {"outcome=unavailable", "reason=store_unavailable"},
	} {
		for _, text := range want {
			if !strings.Contains(lines[id], text) {
				t.Errorf("%s: no %s in %q", id, text, lines[id])
			}
		}
	}
	if strings.Contains(lines["recheck"], "reason=") {
		t.Errorf("a request that succeeded has a reason: %s", lines["recheck"])
	}
	if n := f.Status().Requests["sign_in_unknown"]; n != 1 {
		t.Errorf("%d requests are counted with the reason", n)
	}
}

// structured returns the structured result of a call, and whether it is an error.
func structured(t *testing.T, body string) (out map[string]any, isError bool) {
	t.Helper()
	if i := strings.Index(body, "{"); i > 0 { // an event stream
		body = body[i:]
	}
	var message struct {
		Result struct {
			StructuredContent map[string]any
			IsError           bool
		}
	}
	if err := json.NewDecoder(strings.NewReader(body)).Decode(&message); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return message.Result.StructuredContent, message.Result.IsError
}

func manySignIns(n int) (list []signins.SignIn) {
	for i := range n {
		list = append(list, signins.SignIn{ID: fmt.Sprintf("id-%03d", i), Subject: fmt.Sprintf("person-%d", i%3),
			ClientID: fmt.Sprintf("client-%d", i%2), ClientName: "canary of the client", Resource: resource,
			Scopes: []string{"mcp:use"}, SignedIn: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)})
	}
	return list
}

func TestSignInTools_List(t *testing.T) {
	t.Parallel()
	company := &authority{list: manySignIns(120)}
	f := newFixture(t, newIssuer(t), nil, company.use)
	admin := token(f.issuer, "mcp:use gatehouse:admin")
	list := func(arguments string) (ids []string, next string) {
		t.Helper()
		status, body := f.callWith(admin, "list_sign_ins", arguments)
		out, isError := structured(t, body)
		if status != http.StatusOK || isError {
			t.Fatalf("%s: %d %s", arguments, status, body)
		}
		if strings.Contains(body, "canary") {
			t.Errorf("the list has the name of a client: %s", body)
		}
		for _, entry := range out["sign_ins"].([]any) {
			ids = append(ids, entry.(map[string]any)["sign_in"].(string))
		}
		next, _ = out["next"].(string)
		return ids, next
	}
	var all []string
	for after, page := "", 0; ; page++ {
		ids, next := list(fmt.Sprintf(`{"after":%q}`, after))
		if all = append(all, ids...); next == "" {
			break
		}
		if after = next; len(ids) != 50 || page > 3 {
			t.Fatalf("page %d has %d entries", page, len(ids))
		}
	}
	if len(all) != 120 || !slices.IsSorted(all) || len(slices.Compact(all)) != 120 {
		t.Errorf("the pages have %d entries", len(all))
	}
	for arguments, want := range map[string]int{
		`{"subject":"person-1"}`: 40, `{"subject":"person-1","client":"client-1"}`: 20, `{"sign_in":"id-007"}`: 1,
		`{"subject":"unknown"}`: 0, `{"limit":200}`: 120, `{"limit":3}`: 3,
	} {
		if ids, _ := list(arguments); len(ids) != want {
			t.Errorf("%s: %d entries, want %d", arguments, len(ids), want)
		}
	}
	for _, arguments := range []string{
		`{"limit":201}`, `{"limit":0}`, `{"limit":-1}`, `{"subject":"` + strings.Repeat("x", 3000) + `"}`, `{"unknown":1}`,
	} {
		if _, body := f.callWith(admin, "list_sign_ins", arguments); !strings.Contains(body, `"isError":true`) {
			t.Errorf("%.40s is accepted: %s", arguments, body)
		}
	}
	if most := slices.Max(company.limits); most > 200 {
		t.Errorf("a page of %d was read", most)
	}
	company.set(func(a *authority) { a.broken = errors.New("sentinel at 192.0.2.9") })
	_, body := f.callWith(admin, "list_sign_ins", "{}")
	if _, isError := structured(t, body); !isError || strings.Contains(body, "sentinel") ||
		!strings.Contains(f.log.String(), "sentinel") {
		t.Errorf("a store that fails: %s", body)
	}
}

// The tools need their scope, are in the list of those who have it, and have records, as have the sign-ins that end.
func TestSignInTools_End(t *testing.T) {
	t.Parallel()
	use, records := audited(t)
	company := &authority{list: manySignIns(6)}
	f := newFixture(t, newIssuer(t), nil, company.use, use)
	for _, tool := range []string{"list_sign_ins", "end_sign_ins"} {
		status, body := f.callWith(token(f.issuer, "mcp:use"), tool, `{"subject":"person-1"}`)
		if status != http.StatusForbidden {
			t.Errorf("without the scope, %s answers %d %s", tool, status, body)
		}
	}
	admin := token(f.issuer, "mcp:use gatehouse:admin")
	end := func(arguments string) (map[string]any, bool) {
		_, body := f.callWith(admin, "end_sign_ins", arguments)
		return structured(t, body)
	}
	if _, isError := end(`{}`); !isError || len(company.list) != 6 {
		t.Error("without a filter, sign-ins have ended")
	}
	if out, isError := end(`{"subject":"person-1","client":"client-0"}`); isError || out["ended"] != 1.0 {
		t.Errorf("one person and client: %v", out)
	}
	if out, isError := end(`{"subject":"person-2"}`); isError || out["ended"] != 2.0 || len(company.list) != 3 {
		t.Errorf("one person: %v", out)
	}
	company.set(func(a *authority) { a.broken = errors.New("sentinel") })
	if _, isError := end(`{"sign_in":"id-000"}`); !isError {
		t.Error("a store that fails is no error")
	}
	f.Close()
	got := map[string]int{}
	for _, r := range records() {
		switch event := fmt.Sprint(r["event"]); event {
		case "call", "refused":
			got[fmt.Sprint(event, " ", r["tool"], " ", r["outcome"])]++
		case "signin.end":
			got[event]++
			if r["reason"] != "ended_by_operator" || r["decision"] != nil || r["request_id"] == nil || r["ip"] != "127.0.0.1" {
				t.Errorf("the end of a sign-in: %v", r)
			}
		}
	}
	want := map[string]int{
		"refused list_sign_ins denied": 1, "refused end_sign_ins denied": 1, "call end_sign_ins ok": 2,
		"call end_sign_ins tool_error": 2, "signin.end": 4,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(f.log.String(), "sign-ins ended by an operator") {
		t.Error("the log does not have it")
	}
}

// Only a provider that keeps sign-ins brings the tools, and a command that has no provider shows them.
func TestSignInTools_AreInTheCatalogOfSuchAProvider(t *testing.T) {
	t.Parallel()
	names := func(f *fixture, cfg *configs.Config) (got []string) {
		for _, tool := range OwnCatalog(cfg, f.catalog()).Tools {
			got = append(got, tool.Name)
		}
		return got
	}
	f := newFixture(t, newIssuer(t), nil)
	if got := names(f, f.Config()); !slices.Equal(got, []string{"quick", "slow"}) || len(f.Catalog.Tools) != 2 {
		t.Errorf("without an authorization server, the tools are %v", got)
	}
	f = newFixture(t, newIssuer(t), nil, new(authority).use)
	want := []string{"quick", "slow", "list_sign_ins", "end_sign_ins"}
	if got := names(f, f.Config()); !slices.Equal(got, want) || len(f.Catalog.Tools) != 4 {
		t.Errorf("with one, the tools are %v", got)
	}
	empty := OwnCatalog(f.Config(), mcptools.Catalog{})
	if notes := Notes(f.Config(), empty); len(notes) == 0 || !strings.HasPrefix(notes[0], "the server offers no tools") {
		t.Errorf("with the tools for operators alone, the notes are %q", notes)
	}
	if known := f.current.Load().info.KnownScopes; !slices.Contains(known, "gatehouse:admin") {
		t.Errorf("the provider knows the scopes %v", known)
	}
	_, body := f.callWith(token(f.issuer, "mcp:use gatehouse:admin"), "list_sign_ins", "{}")
	if _, isError := structured(t, body); isError {
		t.Errorf("it answers %s", body)
	}
}

// The names of events are those of the audit log, but for the one that is only counted.
func TestSignIns_EventsAreThoseOfTheAuditLog(t *testing.T) {
	t.Parallel()
	events := []string{"client.register"}
	for _, e := range audit.SignInEvents() {
		events = append(events, string(e))
	}
	if diff := cmp.Diff(events, server.SignInEvents()); diff != "" {
		t.Error(diff)
	}
}
