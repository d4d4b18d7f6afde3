package doctor_test

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/providers/diagnostics"
)

// fault is one thing that is wrong in an environment.
type fault struct {
	// before changes the environment before it opens, after when it is open. Either may be nil.
	before, after func(*testing.T, *env)
	// bad are all checks that must find a problem: first the one for this fault, then the consequences.
	bad []string
	// found and fix are parts of the texts of the first.
	found, fix string
}

// do is a change that needs no *testing.T.
func do(change func(e *env)) func(*testing.T, *env) {
	return func(_ *testing.T, e *env) { change(e) }
}

func faults() map[string]fault {
	all := map[string]fault{}
	for _, some := range []map[string]fault{
		configFaults(), reachFaults(), providerFaults(), connectionFaults(), responseFaults(), tokenFaults(),
		auditFaults(), operatorFaults(), collectorFaults(), commandFaults(), urlFaults(), signInFaults(), storeFaults(),
		redisFaults(), proxyFaults(),
	} {
		maps.Copy(all, some)
	}
	return all
}

const (
	// metadataMark and resourceMark are members that only metadata of an authorization server, and of a
	// resource, has.
	metadataMark = "jwks_uri"
	resourceMark = "bearer_methods_supported"
)

// Every check finds its fault, and no check without relation to the fault reports one.
func TestEveryFaultIsFoundByItsCheckAndNoOther(t *testing.T) {
	seen := map[string]bool{}
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			if f.before != nil {
				e.change(func() { f.before(t, e) })
			}
			e.open()
			if f.after != nil {
				e.change(func() { f.after(t, e) })
			}
			results := e.examine()
			want := slices.Sorted(slices.Values(f.bad))
			if got := problems(results); !slices.Equal(got, want) {
				t.Fatalf("found %v, want %v:\n%s", got, want, text(results))
			}
			check, verdict, _ := strings.Cut(f.bad[0], " ")
			r := find(results, check)
			if !strings.Contains(r.Found, f.found) || !strings.Contains(r.Fix, f.fix) || r.Fix == "" ||
				r.Expected == "" {
				t.Errorf("expected %q, found %q, fix %q", r.Expected, r.Found, r.Fix)
			}
			if doctor.Failed(results) != strings.Contains(strings.Join(f.bad, " "), "failed") {
				t.Error("Failed disagrees")
			}
			e.showsNoCanary(results)
			seen[withoutName(check)+" "+verdict] = true
		})
	}
	t.Run("every check has a fault", func(t *testing.T) {
		if len(seen) < 10 {
			t.Skip("only some of the faults were selected by -run")
		}
		e := newEnv(t)
		useEverything(t, e)
		useNotes()(t, e)
		pinNotes("read_note", "write_note")(t, e)
		useWeb("")(t, e)
		e.settings["upstreams.web.identity"] = "jwt"
		results := e.open().examine()
		stores := []func(*testing.T, *env){broker()}
		if _, err := exec.LookPath("redis-server"); err == nil { // otherwise its faults were skipped
			stores = append(stores, useRedis("redis://127.0.0.1:1/0"))
		}
		for _, store := range stores {
			e := newEnv(t)
			store(t, e)
			useEnterprise(t, e)
			results = append(results, e.open().examine()...)
		}
		for _, r := range results {
			name := withoutName(r.Name)
			if name != "config.settings" && !seen[name+" failed"] && !seen[name+" warning"] {
				t.Errorf("no fault shows that %s can find one", r.Name)
			}
		}
	})
}

func TestDefaultScopesMayImplyEveryScope(t *testing.T) {
	e := newEnv(t)
	e.settings["provider.default_scopes"] = "all"
	e.settings["scopes.implies"] = "all > mcp:use notes:read notes:admin,notes:read > notes:write"
	if r := find(e.open().examine(), "config.default_scopes"); r.Verdict != diagnostics.VerdictOK {
		t.Errorf("%+v", r)
	}
}

// Checks that need a failed one are skipped, and give it as the reason.
func TestChecksThatNeedAFailedOneAreSkipped(t *testing.T) {
	e := newEnv(t).open()
	e.change(func() { e.provider.rewrite = setMember("jwks_uri", "issuer", "https://other.example") })
	for _, r := range e.examine() {
		switch r.Name {
		case "provider.endpoints", "provider.pkce", "provider.registration", "provider.scopes", "provider.keys":
			if r.Verdict != diagnostics.VerdictSkipped || r.Reason != "provider.issuer failed" {
				t.Errorf("%+v", r)
			}
		case "server.health", "server.challenge_content":
			if r.Verdict != diagnostics.VerdictOK {
				t.Errorf("%+v", r)
			}
		}
	}
}
