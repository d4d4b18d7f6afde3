package doctor_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/diagnostics"
)

func TestHealthyBrokerHasNoProblem(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*testing.T, *env)
		store  string // in what store.open finds
	}{
		"a file":                   {useBroker, "in use by another process, and the server runs"},
		"memory":                   {broker(set("provider.store", "memory")), "memory, for a resource on loopback"},
		"Redis":                    {redis(), "it answers"},
		"alone":                    {broker(do(func(e *env) { e.alone = true })), "the server runs"},
		"with identity assertions": {broker(func(t *testing.T, e *env) { useEnterprise(t, e) }), "the server runs"},
		"behind TLS": {func(t *testing.T, e *env) {
			e.useTLS()
			useBroker(t, e)
		}, "the server runs"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			c.before(t, e)
			results := e.open().examine()
			// The port of a test is not 443.
			got := slices.DeleteFunc(problems(results), func(p string) bool { return p == "config.port warning" })
			if len(got) > 0 {
				t.Errorf("%v:\n%s", got, text(results))
			}
			for _, r := range results {
				if r.Expected == "" || r.Verdict == diagnostics.VerdictOK && r.Found == "" ||
					r.Verdict == diagnostics.VerdictSkipped && r.Reason == "" {
					t.Errorf("%+v lacks a text", r)
				}
				if isMCP := r.Name == "server.metadata" || r.Name == "server.challenge"; isMCP && e.alone {
					t.Errorf("%+v", r)
				}
			}
			if r := find(results, "store.open"); !strings.Contains(r.Found, c.store) {
				t.Errorf("%+v", r)
			}
			e.showsNoCanary(results)
		})
	}
}

// What sign-ins show about refresh tokens counts more than what the provider announces.
func TestBroker_RefreshTokensOfSignIns(t *testing.T) {
	for name, c := range map[string]struct {
		without bool
		verdict diagnostics.Verdict
		found   string
	}{
		"issued":     {false, diagnostics.VerdictOK, "issued for each of the 2 sign-ins"},
		"not issued": {true, diagnostics.VerdictWarning, "none for 2 of the 2 sign-ins that were read: they end after 8h"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			redis()(t, e)
			if c.without {
				e.settings["provider.upstream_scopes"] = "openid"
			}
			e.open()
			e.signIn()
			e.signIn()
			results := e.examine()
			if r := find(results, "sign_in.refresh_token"); r.Verdict != c.verdict || !strings.Contains(r.Found, c.found) {
				t.Errorf("%+v", r)
			}
			if r := find(results, "store.open"); r.Found != "it answers; sign-ins: 2" {
				t.Errorf("%+v", r)
			}
			e.showsNoCanary(results)
		})
	}
}

// A secret that was removed too early leaves sign-ins behind that do not open.
func TestBroker_UnreadableSignIns(t *testing.T) {
	e := newEnv(t)
	redis()(t, e)
	first, second := seal.NewSecret(), seal.NewSecret()
	keys, err := seal.Parse([]byte(first))
	if err != nil {
		t.Fatal(err)
	}
	markStore(t, e, keys)
	e.useSecrets(second, first)
	e.open()
	e.signIn()
	if got := problems(e.examine()); len(got) > 0 {
		t.Fatalf("with both secrets: %v", got)
	}
	e.useSecrets(first)
	e.config.Settings = e.load()
	r := find(e.examine(), "store.owner")
	if r.Verdict != diagnostics.VerdictWarning || !strings.Contains(r.Found, "1 of 1 sign-ins do not open") ||
		!strings.Contains(r.Fix, "last line") {
		t.Errorf("%+v", r)
	}
}

// Before the first start, all that does not need the server is examined, and nothing is created.
func TestBroker_BeforeTheStart(t *testing.T) {
	e := newEnv(t)
	broker(stopped)(t, e)
	results := e.open().examine()
	if got := problems(results); len(got) != 1 || got[0] != "server.tcp warning" {
		t.Errorf("%v:\n%s", got, text(results))
	}
	for name, found := range map[string]string{
		"store.open": "the server makes it", "sign_in.client": "client_secret_basic", "sign_in.redirect": "is registered",
	} {
		if r := find(results, name); r.Verdict != diagnostics.VerdictOK || !strings.Contains(r.Found, found) {
			t.Errorf("%+v", r)
		}
	}
	if files, err := filepath.Glob(filepath.Join(filepath.Dir(e.storeFile()), "*")); err != nil || len(files) > 0 {
		t.Errorf("doctor made %v, %v", files, err)
	}
}

func TestBroker_StoppedServerWithAStore(t *testing.T) {
	e := newEnv(t)
	broker(stopped)(t, e)
	secret := seal.NewSecret()
	keys, err := seal.Parse([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	e.useSecrets(secret)
	markStore(t, e, keys)
	results := e.open().examine()
	for name, found := range map[string]string{"store.open": "not in use", "store.owner": "its marker opens"} {
		if r := find(results, name); r.Verdict != diagnostics.VerdictOK || !strings.Contains(r.Found, found) {
			t.Errorf("%+v", r)
		}
	}
}

// What the provider answers is never shown, and neither is what this server sent.
func TestBroker_OutputHasNoDataFromTheOtherSide(t *testing.T) {
	e := newEnv(t)
	useBroker(t, e)
	e.open()
	statuses := []int{302, 401, 500}
	if os.Getenv("GATEHOUSE_LONG") != "" {
		statuses = []int{200, 302, 400, 401, 403, 429, 500}
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/authorize", "/token", "/keys"} {
		for _, status := range statuses {
			e.change(func() {
				e.provider.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					w.Header().Set("Location", "https://other.example/error?canary-upstream#canary-upstream")
					return respond(path, status, "application/json", `{"error":"canary-upstream","error_description":"`+
						r.Header.Get("Authorization")+`canary","issuer":"`+e.provider.URL+`"}`)(w, r)
				}
			})
			e.showsNoCanary(e.examine())
		}
	}
}
