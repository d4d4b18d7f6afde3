package providertest_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
	"gatehouse/providers/token"
)

// wrongKeysPathEnv makes TestSuiteWithWrongKeysPath run the suite with an adapter that fails it.
const wrongKeysPathEnv = "PROVIDERTEST_WRONG_KEYS_PATH"

// withKeysAt is the sound adapter, but fetching the keys from path.
func withKeysAt(t testing.TB, issuer *providertest.Issuer, path string) *providertest.Subject {
	s := soundAdapterFor(t, issuer)
	s.Open = func(ctx context.Context, info providers.ServerInfo) (providers.Provider, error) {
		keys := token.NewKeySet(token.KeySource{
			URL:    func(context.Context) (string, error) { return issuer.URL() + path, nil },
			Client: issuer.Client(),
		}, issuer.KeyPolicy, info.Logger)
		go keys.Run(ctx)
		return newAdapter(issuer, info, keys, keys), nil
	}
	return s
}

// TestSuiteWithWrongKeysPath fails. It runs in a process of its own; see [checkWrongKeysPath].
func TestSuiteWithWrongKeysPath(t *testing.T) {
	if os.Getenv(wrongKeysPathEnv) == "" {
		t.Skip("run by TestBrokenAdaptersFail")
	}
	providertest.Run(t, func(t testing.TB) *providertest.Subject {
		return withKeysAt(t, providertest.NewIssuer(t, providertest.WithKeys()), "/jwks.json")
	})
}

// checkWrongKeysPath demands that a wrong key address fails the suite once, not in each rule, and that the
// output shows the address that was used and the one that is served.
func checkWrongKeysPath(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	suite := exec.CommandContext(t.Context(), self, "-test.run=^TestSuiteWithWrongKeysPath$", "-test.v")
	suite.Env = append(os.Environ(), wrongKeysPathEnv+"=1")
	start := time.Now()
	output, err := suite.CombinedOutput()
	text := string(output)
	if took := time.Since(start); err == nil || took > 5*time.Second {
		t.Errorf("the suite ended after %s with %v", took, err)
	}
	var failed []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			failed = append(failed, name)
		}
	}
	if want := []string{"TestSuiteWithWrongKeysPath",
		"TestSuiteWithWrongKeysPath/harness"}; !slices.Equal(failed, want) {
		t.Errorf("failed: %q, want %q", failed, want)
	}
	for _, want := range []string{"/jwks.json: ", "404 Not Found", "/keys: the keys", "WithKeysPath"} {
		if !strings.Contains(text, want) {
			t.Errorf("the output does not contain %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// The same adapter passes where the issuer publishes the keys.
func TestKeysPathCanBeChosen(t *testing.T) {
	t.Parallel()
	issuer := providertest.NewIssuer(t, providertest.WithKeys(), providertest.WithKeysPath("/jwks.json"))
	s := withKeysAt(t, issuer, "/jwks.json")
	for _, rule := range providertest.Rules() {
		if rule.Name == "good-tokens" || rule.Name == "rotation" {
			if err := rule.Check(s); err != nil {
				t.Errorf("%s: %v", rule.Name, err)
			}
		}
	}
	if got := issuer.Metadata()["jwks_uri"]; got != issuer.URL()+"/jwks.json" || issuer.KeysURL() != got ||
		issuer.Fetches() == 0 {
		t.Errorf("jwks_uri %v, %d fetches", got, issuer.Fetches())
	}
}
