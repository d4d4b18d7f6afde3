package app

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/server/audit"
	"gatehouse/server/denials"
)

// wait waits until the status is as want says.
func (f *fixture) wait(what string, want func(Status) bool) Status {
	f.t.Helper()
	for range 1000 {
		if s := f.Status(); want(s) {
			return s
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Fatalf("%s: the status is %+v", what, f.Status())
	return Status{}
}

func TestStatus_CountsAndLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), map[string]string{
		"mcp.max_calls": "7", "mcp.max_streams": "8", "mcp.max_sessions": "9", "mcp.max_bytes": "50000000",
	})
	good := token(f.issuer, "mcp:use")
	for range 3 {
		f.call(good, "quick")
	}
	f.call(token(f.issuer, "other"), "quick")
	done := make(chan struct{})
	go func() { defer close(done); f.call(good, "slow") }()
	<-f.begun
	s := f.Status()
	if s.Calls != (Usage{1, 7}) || s.Streams != (Usage{0, 8}) || s.Sessions != (Usage{0, 9}) ||
		s.Bytes.Active == 0 || s.Bytes.Limit != 50_000_000 {
		t.Errorf("in use are %+v %+v %+v %+v", s.Calls, s.Streams, s.Sessions, s.Bytes)
	}
	f.slow <- struct{}{}
	<-done
	s = f.wait("after the call", func(s Status) bool { return s.Requests["ok"] == 4 })
	if s.Requests["insufficient_scope"] != 1 || s.Calls.Active != 0 {
		t.Errorf("the requests are %v, %d calls are in flight", s.Requests, s.Calls.Active)
	}
	if k := s.Tokens; k == nil || k.Cached != 2 || k.Checked != 2 || k.FromCache != 3 || k.Limit < 1000 {
		t.Errorf("the tokens are %+v", k)
	}
	if s.Audit != nil || s.Denials != nil || s.Config.Reload != nil || s.Resource != resource || s.ProviderKind != "oidc" {
		t.Errorf("the status is %+v", s)
	}
}

func TestStatus_Reload(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	first := f.Status().Config
	f.mustReload(map[string]string{"scopes.required": "mcp:use,mcp:more"})
	second := f.Status().Config
	if first.Generation != 1 || second.Generation != 2 || first.Digest == second.Digest || first.Reload != nil ||
		second.Reload == nil || !second.Reload.OK || time.Since(second.Reload.Time) > time.Minute {
		t.Errorf("the configurations are %+v, then %+v", first, second)
	}
	refused := f.load(map[string]string{"log.format": "json"})
	if _, err := f.Reload(t.Context(), refused); err == nil {
		t.Fatal("it is not refused")
	}
	last := f.Status().Config
	if last.Generation != 2 || last.Digest != second.Digest || last.Reload.OK ||
		!strings.Contains(last.Reload.Reason, "log.format") {
		t.Errorf("after a refused reload: %+v, %+v", last, last.Reload)
	}
}

// An issuer that is down is a problem of the keys, and then of readiness. The status has no text of the issuer.
func TestStatus_IssuerIsDown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), map[string]string{"provider.key_max_age": "2s", "provider.key_max_stale": "3s"})
	up := f.Status()
	if one := up.Issuers[0]; len(up.Issuers) != 1 || one.Issuer != f.issuer.URL() || !one.Usable ||
		one.KeysAgeSeconds == nil || one.Problem != "" || !up.Ready {
		t.Errorf("the issuers are %+v", up.Issuers)
	}
	f.issuer.AnswerKeys(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "sentinel", http.StatusInternalServerError)
	})
	stale := f.wait("keys that are not renewed", func(s Status) bool { return s.Issuers[0].Problem != "" })
	if !stale.Ready || !stale.Issuers[0].Usable || stale.Issuers[0].Problem != providers.ReasonKeysUnavailable {
		t.Errorf("the status is %+v", stale)
	}
	if os.Getenv("GATEHOUSE_LONG") == "" {
		return // the keys are too old after three seconds
	}
	down := f.wait("keys that are too old", func(s Status) bool { return !s.Ready })
	if down.NotReady != "keys_unavailable" || down.Issuers[0].Usable {
		t.Errorf("the status is %+v", down)
	}
}

func TestStatus_Draining(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	f.Drain()
	if s := f.Status(); s.Ready || s.NotReady != Stopping {
		t.Errorf("the status is %+v", s)
	}
	f.Close()
	_ = f.Status() // it may be asked until the process ends
}

func TestStatus_Audit(t *testing.T) {
	t.Parallel()
	signing, _, err := audit.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(signing), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, newIssuer(t), map[string]string{
		"audit.dir": filepath.Join(t.TempDir(), "audit"), "audit.signing_key_file": key, "audit.required": "true",
		"audit.checkpoint": "1s",
	})
	f.call(token(f.issuer, "mcp:use"), "quick")
	a := f.wait("a checkpoint", func(s Status) bool { return s.Audit != nil && s.Audit.Checkpoint > 0 }).Audit
	if !a.OK || !a.Required || a.Sequence < 2 || a.Unsynced > a.Sequence || a.Lost != 0 || a.CheckpointTime == nil {
		t.Errorf("the audit log is %+v", a)
	}
}

func TestStatus_Denials(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	file := filepath.Join(t.TempDir(), "denied.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- {subject: mallory}\n- {client: evil}\n")
	list, err := denials.Open(denials.Settings{File: file, Poll: time.Second}, f.logger)
	if err != nil {
		t.Fatal(err)
	}
	f.Denials = list
	list.Check(&providers.Identity{Issuer: f.issuer.URL(), Subject: "mallory"})
	if d := f.Status().Denials; d == nil || *d != (DenialStatus{Entries: 2, OK: true, Hits: 1}) {
		t.Errorf("the denials are %+v", d)
	}
	write("- {}\n")
	_ = list.Reload(t.Context())
	if d := f.Status().Denials; d == nil || *d != (DenialStatus{Entries: 2, Hits: 1}) {
		t.Errorf("with a bad file, the denials are %+v", d)
	}
}
