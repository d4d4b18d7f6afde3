package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"gatehouse/providers/authserver/seal"
	brokers "gatehouse/providers/broker"
)

// A denial acts at each step of a sign-in, without a restart: authorize, callback, exchange, refresh, call. Without the
// entry, the person can sign in again.
func TestBroker_Denials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		entry   func(client brokerClient, soon time.Time) string
		page    bool // refused before the sign-in
		helps   bool // another sign-in helps
		hitsBob bool
		reason  string
	}{
		"subject": {entry: func(brokerClient, time.Time) string { return "- subject: alice" }, reason: "caller_denied"},
		"subject of the issuer": {entry: func(c brokerClient, _ time.Time) string {
			return fmt.Sprintf("- {issuer: %q, subject: alice}", c.origin)
		}, reason: "caller_denied"},
		"client": {entry: func(c brokerClient, _ time.Time) string {
			return fmt.Sprintf("- client: %q", c.id)
		}, page: true, hitsBob: true, reason: "caller_denied"},
		"sign-ins so far": {entry: func(_ brokerClient, soon time.Time) string {
			return "- {subject: alice, issued_before: " + soon.UTC().Format(time.RFC3339) + "}"
		}, helps: true, reason: "token_revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, folder := newDenyFile(t, "[]\n"), newAuditFolder(t)
			srv, company := startBroker(t, nil, file.use, folder.use)
			client := srv.register(t)
			tokens := client.signIn(t, "alice", allScopes()...)
			bob := client.signIn(t, "bob", "mcp:use", "offline_access")
			alice := &user{name: "alice", decision: "approve"}
			unused, err := client.authorize(t, alice, "mcp:use")
			if err != nil {
				t.Fatal(err)
			}
			// The entry comes into force between the consent and the response of the company.
			soon := time.Now().Add(700 * time.Millisecond).Truncate(time.Second).Add(time.Second) // the steps come before it
			entry := c.entry(client, soon)
			company.set(func() { company.afterConsent = func() { srv.put(t, file, entry) } })
			q, err := client.authorize(t, alice, "mcp:use")
			if c.page {
				if err == nil || !strings.Contains(err.Error(), "/callback has status 403") {
					t.Errorf("callback: %v, %v", q, err)
				}
			} else if err != nil || q.Get("error") != "access_denied" || len(alice.failures) != 1 {
				t.Errorf("callback: %v, %v", q, err)
			}
			company.set(func() { company.afterConsent = nil })
			before := len(company.authorizations())
			if _, err = client.authorize(t, alice, "mcp:use"); c.page && (err == nil || !strings.Contains(err.Error(),
				"/authorize has status 403") || len(company.authorizations()) != before) {
				t.Errorf("authorize: %v", err)
			}
			r, _ := client.exchange(t, unused.Get("code"))
			wantRefused(t, "exchange", r, http.StatusBadRequest, "invalid_grant")
			r, _ = client.refresh(t, tokens.Refresh)
			wantRefused(t, "refresh", r, http.StatusBadRequest, "invalid_grant")
			want := http.StatusForbidden
			if c.helps {
				want = http.StatusUnauthorized
			}
			if r := whoami(t, srv.url, tokens.Access); r.status != want {
				t.Errorf("call: %d %s", r.status, r.body)
			}
			if r, _ := client.refresh(t, bob.Refresh); (r.status == http.StatusOK) == c.hitsBob {
				t.Errorf("bob's refresh: %d %s", r.status, r.body)
			}
			if !c.helps {
				srv.put(t, file, "[] # again\n")
			} else {
				time.Sleep(time.Until(soon))
			}
			again := client.signIn(t, "alice", allScopes()...)
			if r := whoami(t, srv.url, again.Access); r.status != http.StatusOK {
				t.Errorf("call after another sign-in: %d %s", r.status, r.body)
			}
			srv.stop()
			got := map[string]bool{}
			for _, r := range folder.records(t, func(r auditRecord) bool {
				return r["reason"] == c.reason && r["sub"] == "alice"
			}) {
				got[fmt.Sprint(r["event"])] = true
			}
			for _, event := range []string{"signin.exchange", "signin.refresh", "signin.end", "refused"} {
				if !got[event] {
					t.Errorf("there is no record of %s: %v", event, got)
				}
			}
			if !got["signin.complete"] && !c.page {
				t.Error("there is no record of the callback")
			}
		})
	}
}

// Each event of the authorization server is one record, with the request and the address that have caused it, and
// nothing in the log can be used to sign in.
func TestBroker_AuditRecords(t *testing.T) {
	t.Parallel()
	folder := newAuditFolder(t)
	srv, company := startBroker(t, map[string]string{"provider.store": fileStore(t)}, folder.use,
		withBroker(func(s *brokers.Settings) { s.RecheckInterval = 200 * time.Millisecond }))
	client := srv.register(t)
	secrets := []string{testVerifier, "state-of-the-client"}
	events := func(requestID string) (got []string) {
		for _, r := range folder.records(t, func(r auditRecord) bool { return r["request_id"] == requestID }) {
			got = append(got, strings.TrimSpace(fmt.Sprint(r["event"], " ", orEmpty(r["decision"]), " ", orEmpty(r["reason"]))))
			if r["iss"] != srv.origin() || r["client_id"] == nil || r["ip"] != "127.0.0.1" || r["config"] == nil ||
				r["sub"] != "alice" || r["sign_in"] == nil || r["resource"] != srv.url || r["scopes"] == nil {
				t.Errorf("members are missing or wrong: %v", r)
			}
		}
		return got
	}
	post := func(id string, form url.Values, want ...string) tokenPair {
		t.Helper()
		_, pair := client.post(t, map[string]string{"X-Request-Id": id}, form)
		secrets = append(secrets, pair.Access, pair.Refresh)
		for begin := time.Now(); ; time.Sleep(2 * time.Millisecond) {
			diff := cmp.Diff(want, events(id))
			if diff == "" {
				return pair
			}
			if time.Since(begin) > 3*time.Second {
				t.Errorf("%s: %s", id, diff)
				return pair
			}
		}
	}
	refresh := func(token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	}
	authorize := func(u *user, scopes ...string) string {
		t.Helper()
		q, err := client.authorize(t, u, scopes...)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, q.Get("code"))
		return q.Get("code")
	}
	code := authorize(&user{name: "alice", decision: "approve"}, allScopes()...)
	exchange := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI},
		"code_verifier": {testVerifier}}
	tokens := post("request-exchange", exchange, "signin.exchange allow")
	second := post("request-refresh", refresh(tokens.Refresh), "signin.refresh allow")
	post("request-repeat", refresh(tokens.Refresh), "signin.repeat allow")
	time.Sleep(250 * time.Millisecond)
	third := post("request-recheck", refresh(second.Refresh), "signin.recheck", "signin.refresh allow")
	company.forget(t)
	time.Sleep(250 * time.Millisecond)
	if pair := post("request-gone", refresh(third.Refresh), "signin.recheck  account_gone", "signin.end  account_gone",
		"signin.refresh deny account_gone"); pair.Error != "invalid_grant" {
		t.Errorf("the company has forgotten alice: %+v", pair)
	}
	// A code that comes twice ends the sign-in.
	code = authorize(&user{name: "alice", decision: "approve"}, allScopes()...)
	exchange.Set("code", code)
	post("request-once", exchange, "signin.exchange allow")
	post("request-twice", exchange, "signin.end  sign_in_replayed", "signin.exchange deny sign_in_replayed")
	// The client ends its sign-in.
	revoked := client.signIn(t, "alice", allScopes()...)
	secrets = append(secrets, revoked.Access, revoked.Refresh)
	form := url.Values{"client_id": {client.id}, "token": {revoked.Refresh}}
	if r := send(t, http.MethodPost, srv.origin()+"/revoke", "", form.Encode(), map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "X-Request-Id": "request-revoke"}); r.status != http.StatusOK {
		t.Errorf("/revoke: %d %s", r.status, r.body)
	}
	authorize(&user{name: "alice", decision: "deny"}, "mcp:use")
	authorize(&user{name: "bob", decision: "approve"}, "gatehouse:admin")
	authorize(&user{name: "alice", decision: "approve", atProvider: "deny"}, "mcp:use")
	srv.stop()

	if diff := cmp.Diff([]string{"signin.end  sign_in_revoked"}, events("request-revoke")); diff != "" {
		t.Errorf("/revoke: %s", diff)
	}
	var pages []string
	for _, r := range folder.records(t, func(r auditRecord) bool {
		return r["event"] == "signin.approve" || r["event"] == "signin.complete"
	}) {
		pages = append(pages, fmt.Sprint(r["event"], " ", r["decision"], " ", orEmpty(r["reason"]), " ", orEmpty(r["sub"])))
		if id, _ := r["request_id"].(string); len(id) != 32 || r["ip"] != "127.0.0.1" || r["resource"] != srv.url ||
			r["client_id"] == nil {
			t.Errorf("members are missing or wrong: %v", r)
		}
	}
	if diff := cmp.Diff([]string{
		"signin.approve allow  ", "signin.complete allow  alice", // exchanged, refreshed
		"signin.approve allow  ", "signin.complete allow  alice", // exchanged twice
		"signin.approve allow  ", "signin.complete allow  alice", // revoked
		"signin.approve deny denied_by_person ",
		"signin.approve allow  ", "signin.complete deny scopes_not_allowed bob",
		"signin.approve allow  ", "signin.complete deny provider_denied ",
	}, pages); diff != "" {
		t.Error(diff)
	}
	for _, r := range folder.records(t, func(r auditRecord) bool { return r["event"] == "client.register" }) {
		t.Errorf("a registration has a record: %v", r)
	}
	company.wantNoSecrets(t, "the audit log", folder.text(t), secrets...)
	company.wantNoSecrets(t, "the log", srv.log.String(), secrets...)
	folder.verify(t)
}

// The series of the authorization server: events, store, provider and key.
func TestBroker_Metrics(t *testing.T) {
	t.Parallel()
	srv, company := startBroker(t, nil, usePrometheus, withBroker(recheckAtOnce))
	values := func() map[string]float64 {
		t.Helper()
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, srv.metrics)))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for name, family := range families {
			if !strings.HasPrefix(name, "gatehouse_signins_") {
				continue
			}
			for _, one := range family.GetMetric() {
				key := strings.TrimPrefix(name, "gatehouse_signins_")
				for _, label := range one.GetLabel() {
					if strings.HasPrefix(label.GetName(), "gatehouse_") {
						key += " " + label.GetValue()
					}
				}
				got[key] = one.GetCounter().GetValue() + one.GetGauge().GetValue()
			}
		}
		return got
	}
	if got := values(); got["events_total signin.complete ok"] != 0 || got["store_ok"] != 1 || got["provider_ok"] != 1 ||
		got["key_age_seconds"] <= 0 {
		t.Errorf("at the start: %v", got)
	} else if _, has := got["provider_confirmed_age_seconds"]; has {
		t.Errorf("no person has signed in: %v", got)
	}
	client := srv.register(t)
	tokens := client.signIn(t, "alice", allScopes()...)
	_, tokens = client.refresh(t, tokens.Refresh)
	if _, err := client.authorize(t, &user{name: "alice", decision: "deny"}, "mcp:use"); err != nil {
		t.Fatal(err)
	}
	company.setDown(true)
	client.refresh(t, tokens.Refresh)
	client.refresh(t, "invented")
	got := values()
	for key, want := range map[string]float64{
		"events_total client.register ok": 1, "events_total signin.approve ok": 1,
		"events_total signin.approve denied_by_person": 1, "events_total signin.complete ok": 1,
		"events_total signin.exchange ok": 1, "events_total signin.refresh ok": 2, "events_total signin.recheck ok": 1,
		"events_total signin.recheck provider_unavailable": 1, "events_total signin.refresh sign_in_unknown": 1,
		"events_total signin.end ok": 0, "store_ok": 1, "provider_ok": 0,
	} {
		if value, has := got[key]; !has || value != want {
			t.Errorf("%s is %v (%v), want %v", key, value, has, want)
		}
	}
	if got["provider_confirmed_age_seconds"] <= 0 {
		t.Errorf("the age of the last confirmation is %v", got["provider_confirmed_age_seconds"])
	}
}

// What applies at once goes through with the authorization server that runs; what it depends on needs a restart.
func TestBroker_Reload(t *testing.T) {
	t.Parallel()
	srv, _ := startBroker(t, map[string]string{"provider.store": fileStore(t)})
	client := srv.register(t)
	tokens := client.signIn(t, "alice", allScopes()...)
	provider := srv.Provider()
	if _, err := srv.reloaded(t, map[string]string{"mcp.max_calls": "7", "tools.show_all": "true"}); err != nil {
		t.Fatal(err)
	}
	if srv.Provider() != provider {
		t.Error("there is a second provider")
	}
	for key, value := range map[string]string{
		"provider.refresh_grace": "30s", "provider.issuer": "https://login.example.com", "provider.store": fileStore(t),
		"provider.scope_rules": "sub=alice > mcp:use", "provider.secrets_file": writeFile(t, "other", seal.NewSecret()),
		"scopes.required": "mcp:use,greet:read", "provider.resources": "http://localhost:1/mcp",
	} {
		_, err := srv.reloaded(t, map[string]string{key: value})
		if err == nil || !strings.Contains(err.Error(), "a change of it needs a restart") {
			t.Errorf("%s: %v", key, err)
		}
		if last := srv.LastReload(); last.OK || !strings.Contains(last.Reason, "needs_restart") {
			t.Errorf("%s: the last reload is %+v", key, last)
		}
	}
	if number, _ := srv.Generation(); number != 2 || srv.Provider() != provider {
		t.Errorf("generation %d", number)
	}
	if r, _ := client.refresh(t, tokens.Refresh); r.status != http.StatusOK {
		t.Errorf("a refresh: %d %s", r.status, r.body)
	}
}
