package main

import (
	"net/http"
	"strings"
	"testing"
)

// A signing key that leaked is withdrawn: its tokens are refused, and no sign-in ends.
func TestBrokerRotateKeys(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	b := startBrokerCommand(t, company, "serve", map[string]string{"provider.store": fileStore(t)})
	client := register(t, b.origin(), b.resource())
	tokens := client.signIn(t, "alice", allScopes()...)
	rotate := func(more ...string) result {
		t.Helper()
		flags := append([]string{"broker", "rotate-keys"}, withAddress(b.address, b.flags[1:])...)
		return runCommandIn(t, console{environ: b.environ}, append(flags, more...)...)
	}
	b.stop()

	t.Run("row 49 the tokens of a withdrawn key are refused", func(t *testing.T) {
		if got := rotate("--withdraw"); got.code != exitOK || got.stdout != "the signing key is replaced\n" {
			t.Fatalf("%+v", got)
		}
		b.start(t)
		if r := whoami(t, b.resource(), tokens.Access); r.status != http.StatusUnauthorized {
			t.Errorf("a token of the withdrawn key: %d %s", r.status, r.body)
		}
		// Other replicas, and caches of the key set, may not have the new key yet.
		r, _ := client.refresh(t, tokens.Refresh)
		wantRefused(t, "a refresh at once", r, http.StatusServiceUnavailable, "temporarily_unavailable")
		b.stop()
	})
	t.Run("a key that was published a moment ago does not sign yet", func(t *testing.T) {
		if got := rotate(); got.code != exitFailure || !strings.Contains(got.stderr, "published a moment ago") {
			t.Errorf("%+v", got)
		}
	})
}
