package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server/audit"
)

// The provider stays unless its own settings change: new keys mean a fetch, and cached tokens would be lost.
func TestReload_KeepsTheProviderIfItsSettingsStay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	for _, c := range []struct {
		name    string
		changes map[string]string
		fetches int // of the keys
	}{
		{"another level", map[string]string{"log.level": "warn"}, 0},
		{"other scopes", map[string]string{"scopes.required": "mcp:other"}, 0},
		{"another description", map[string]string{"scopes.descriptions": "mcp:use=Use it"}, 0},
		{"another provider setting", map[string]string{"provider.leeway": "30s"}, 1},
		{"as at the start", nil, 1},
	} {
		before := f.issuer.Fetches()
		f.mustReload(c.changes)
		if got := f.issuer.Fetches() - before; got != c.fetches {
			t.Errorf("%s: the keys are fetched %d times, want %d", c.name, got, c.fetches)
		}
		if !f.keys().Usable {
			t.Errorf("%s: the keys are not usable", c.name)
		}
		want := "mcp:use"
		if required := c.changes["scopes.required"]; required != "" {
			want = required
		}
		if got := f.Provider().Metadata().ScopesSupported; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: the metadata names %v, want %s", c.name, got, want)
		}
		if status, body := f.call(token(f.issuer, want), "quick"); status != http.StatusOK {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
	if number, digest := f.Generation(); number != 6 || len(digest) != 16 {
		t.Errorf("generation %d, %q", number, digest)
	}
}

// After a change of the issuer the tokens of the old one are refused at once, and a call that it has begun ends.
func TestReload_RefusesTokensOfTheOldIssuerAtOnce(t *testing.T) {
	t.Parallel()
	a, b := newIssuer(t), newIssuer(t)
	f := newFixture(t, a, nil)
	ofA, ofB := token(a, "mcp:use"), token(b, "mcp:use")
	if status, body := f.call(ofA, "quick"); status != http.StatusOK {
		t.Fatalf("before: %d %s", status, body)
	}
	begun := make(chan int, 1)
	go func() {
		status, _ := f.call(ofA, "slow")
		begun <- status
	}()
	<-f.begun
	toB := map[string]string{"provider.issuer": b.URL(), "provider.jwks_url": b.KeysURL()}
	changes := f.mustReload(toB)
	if status, _ := f.call(ofA, "quick"); status != http.StatusUnauthorized {
		t.Errorf("a token of the old issuer: %d", status)
	}
	if status, body := f.call(ofB, "quick"); status != http.StatusOK {
		t.Errorf("a token of the new issuer: %d %s", status, body)
	}
	f.slow <- struct{}{}
	if status := <-begun; status != http.StatusOK {
		t.Errorf("a call that had begun: %d", status)
	}
	for _, change := range changes {
		if !change.Loosens {
			t.Errorf("%s is not named as loosening", change.Key)
		}
	}
	f.mustReload(nil)
	if status, body := f.call(ofA, "quick"); status != http.StatusOK {
		t.Errorf("with the old issuer again: %d %s", status, body)
	}
}

// A request that waits for the keys of the provider that is replaced gets its answer from it.
func TestReload_DoesNotCutOffAFetch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	time.Sleep(1100 * time.Millisecond) // until key_refetch_interval is over
	arrived, release := make(chan struct{}), make(chan struct{})
	f.issuer.AnswerKeys(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = w.Write(f.issuer.KeySet())
	})
	f.issuer.AddKey("ES256")
	status := make(chan int, 1)
	withNewKey := token(f.issuer, "mcp:use")
	go func() {
		s, _ := f.call(withNewKey, "quick")
		status <- s
	}()
	<-arrived
	f.issuer.AnswerKeys(nil)
	f.mustReload(map[string]string{"provider.leeway": "30s"})
	time.Sleep(50 * time.Millisecond)
	close(release)
	if got := <-status; got != http.StatusOK {
		t.Errorf("it is answered with %d", got)
	}
}

func TestReload_RefusedChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	f.openTimeout = 300 * time.Millisecond
	down := newIssuer(t)
	down.AnswerAll(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	liar := newIssuer(t)
	liar.AnswerAll(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"issuer": "https://canary.example", "jwks_uri": "https://canary.example/keys"}`)
	})
	good, provider := token(f.issuer, "mcp:use"), f.Provider()
	local, err := configs.Load(configs.Sources{Flags: map[string]string{
		"provider.kind": "local", "resource": resource, "scopes.required": "mcp:use",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"an issuer that is down": {
			map[string]string{"provider.issuer": down.URL(), "provider.jwks_url": down.KeysURL()},
			"provider (unusable, provider.kind oidc): after 300ms it cannot verify tokens: keys_unavailable",
		},
		"an issuer that calls itself something else": { // its words are not shown
			map[string]string{"provider.issuer": liar.URL(), "provider.jwks_url": ""},
			"provider (unusable, provider.kind oidc): after 300ms it cannot verify tokens: keys_unavailable",
		},
		"a setting that needs a restart": {map[string]string{"server.idle_timeout": "3m"},
			"server.idle_timeout (needs_restart, flag --server.idle_timeout)"},
		"one of them is enough": {map[string]string{"server.idle_timeout": "3m", "scopes.required": "mcp:other"},
			"server.idle_timeout (needs_restart, flag --server.idle_timeout)"},
		"no required scope": {map[string]string{"scopes.required": ""}, "scopes.required (insecure, flag --scopes.required)"},
		"the local issuer":  {map[string]string{"provider.kind": "local"}, "provider.kind (needs_restart, "},
	} {
		cfg := local
		if c.changes["provider.kind"] != "local" {
			cfg = f.load(c.changes)
		}
		_, err := f.Reload(t.Context(), cfg)
		problems, _ := errors.AsType[configs.Problems](err)
		last := f.LastReload()
		// The reason is on the status page, which has no addresses and no texts of the issuer.
		if !strings.Contains(problems.Summary(), c.want) || last.OK || last.Reason != problems.Summary() ||
			strings.Contains(last.Reason, "://") || time.Since(last.Time) > time.Minute {
			t.Errorf("%s: refused with %q, and the status is %+v", name, problems.Summary(), last)
		}
		if shown := last.Reason; strings.Contains(shown, "canary") || strings.Contains(shown, "127.0.0.1") {
			t.Errorf("%s: the status has the words of the provider, or an address: %s", name, shown)
		}
		if number, _ := f.Generation(); number != 1 || f.Provider() != provider {
			t.Errorf("%s: generation %d, the same provider: %v", name, number, f.Provider() == provider)
		}
		if status, body := f.call(good, "quick"); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	f.RefuseReload(errors.New("the file is not there"))
	if last := f.LastReload(); last.OK || last.Reason != "the file is not there" {
		t.Errorf("the status is %+v", last)
	}
	f.mustReload(nil) // nothing has changed
	if last := f.LastReload(); !last.OK || last.Reason != "" {
		t.Errorf("the status is %+v", last)
	}
	if log := f.log.String(); strings.Count(log, "level=ERROR") != 7 || strings.Contains(log, "3m") {
		t.Error("the log has not one line for each, or a value")
	}
}

// A reload that is interrupted by the stop changes nothing and is no refusal.
func TestReload_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newFixture(t, newIssuer(t), nil)
	down := newIssuer(t)
	down.AnswerAll(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.Reload(ctx, f.load(map[string]string{"provider.issuer": down.URL(), "provider.jwks_url": down.KeysURL()}))
	if !errors.Is(err, context.DeadlineExceeded) || !f.LastReload().OK {
		t.Errorf("it ended with %v, and the status is %+v", err, f.LastReload())
	}
	if _, err := f.Reload(ctx, f.load(map[string]string{"log.level": "warn"})); err == nil {
		t.Error("a live setting changes after the end of its context")
	}
}

// Each reload opens a provider, and refused ones do too; none leaves a goroutine.
func TestReload_LeavesNoGoroutines(t *testing.T) {
	f := newFixture(t, newIssuer(t), nil)
	f.retireAfter, f.openTimeout = 10*time.Millisecond, 5*time.Millisecond
	down := map[string]string{"provider.jwks_url": "http://127.0.0.1:1/keys"}
	count := func() int {
		f.client.CloseIdleConnections()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		return runtime.NumGoroutine()
	}
	before := count()
	for n := range 200 {
		leeway := []string{"30s", "40s"}[n%2]
		f.openTimeout = 5 * time.Second
		f.mustReload(map[string]string{"provider.leeway": leeway, "log.level": "info"})
		if n%10 == 0 {
			f.openTimeout = time.Millisecond
			if _, err := f.Reload(t.Context(), f.load(down)); err == nil {
				t.Fatal("a provider without keys is in force")
			}
		}
	}
	if number, _ := f.Generation(); number != 201 {
		t.Errorf("generation %d, want 201", number)
	}
	for range 200 {
		if count() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines before and %d after 200 reloads:\n%s", before, count(), stacks[:runtime.Stack(stacks, true)])
}

// The audit log has each reload with keys and no values, and calls have the digest of their configuration.
func TestReload_IsAudited(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	signing, _, err := audit.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(signing), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, newIssuer(t), map[string]string{
		"audit.dir": dir, "audit.signing_key_file": key, "audit.sync": "0s", "scopes.required": "mcp:use,mcp:more",
	})
	_, first := f.Generation()
	f.call(token(f.issuer, "mcp:use mcp:more"), "quick")
	f.mustReload(map[string]string{"scopes.required": "mcp:use", "log.level": "warn"})
	_, second := f.Generation()
	f.call(token(f.issuer, "mcp:use"), "quick")
	needsRestart := f.load(map[string]string{"log.format": "json", "scopes.required": "mcp:use"})
	if _, err := f.Reload(t.Context(), needsRestart); err == nil {
		t.Fatal("it is not refused")
	}
	f.Close()
	type record struct {
		Event, Decision, Config, Reason string
		Generation                      uint64
		Keys, Loosened                  []string
	}
	var got []record
	segments, _ := filepath.Glob(filepath.Join(dir, "segment-*"))
	for _, segment := range segments {
		text, err := os.ReadFile(segment)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var r record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.Event == "call" || r.Event == "reload" || r.Event == "stop" {
				got = append(got, r)
			}
		}
	}
	want := []record{
		{Event: "call", Decision: "allow", Config: first},
		{Event: "reload", Decision: "allow", Config: second, Generation: 2,
			Keys: []string{"scopes.required", "scopes.initial", "log.level"}, Loosened: []string{"scopes.required"}},
		{Event: "call", Decision: "allow", Config: second},
		{Event: "reload", Decision: "deny", Config: second, Reason: string(providers.CodeNeedsRestart), Generation: 2,
			Keys: []string{"log.format"}},
		{Event: "stop", Config: second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
