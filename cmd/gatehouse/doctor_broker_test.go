package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
)

// brokerSetup is a server of kind broker with its provider.
type brokerSetup struct {
	c        console
	settings []string
	address  string
}

// startBrokerForDoctor runs the command with kind broker. The provider is an issuer of this program that knows the
// client of the server.
func startBrokerForDoctor(t *testing.T, command string) brokerSetup {
	t.Helper()
	var issuer http.Handler
	known := make(chan struct{}) // closed when the provider knows the redirect URI
	company := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-known:
			issuer.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(company.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	b := brokerSetup{
		c: brokerConsole(t, "canary-secret"),
		settings: []string{"--provider.kind=broker", "--provider.issuer=" + company.URL, "--provider.client_id=gatehouse",
			"--provider.store=file://" + filepath.Join(t.TempDir(), "sign-ins.db"), "--tools.demo", "--scopes.required=mcp:use",
			"--scopes.initial=mcp:use", "--server.allowed_origins=http://localhost:*", "--server.drain_time=0s"},
	}
	args := slices.Concat([]string{command, "--resource=http://ADDRESS/mcp"}, b.settings)
	_, b.address = startConsole(t, b.c, args...)
	b.settings = append(b.settings, "--resource=http://"+b.address+"/mcp")
	as, err := authserver.New(authserver.Config{
		Issuer: company.URL, Resources: []string{company.URL + "/mcp"}, Scopes: []string{"mcp:use"},
		Clients: []authserver.Client{{ID: "gatehouse", Secret: "canary-secret",
			RedirectURIs: []string{"http://" + b.address + "/callback"}}},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	issuer = as.Handler()
	close(known)
	waitUntilReady(t, "http://"+b.address)
	return b
}

// brokerConsole is a console with that client secret, and new secrets of the store.
func brokerConsole(t *testing.T, clientSecret string) console {
	t.Helper()
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte(seal.NewSecret()), 0o600); err != nil {
		t.Fatal(err)
	}
	return console{environ: []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + clientSecret,
		"GATEHOUSE_PROVIDER__SECRETS_FILE=" + secrets}}
}

func TestDoctor_Broker(t *testing.T) {
	t.Parallel()
	t.Run("with an MCP endpoint", func(t *testing.T) {
		b := startBrokerForDoctor(t, "serve")
		code, e := doctorJSON(t, b.c, b.settings...)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		wantOK(t, e, "server.metadata", "server.refusal", "server.route", "provider.consent", "store.open", "sign_in.support",
			"sign_in.redirect", "sign_in.client", "sign_in.keys", "sign_in.clock", "sign_in.refresh_token")
		wrong := brokerConsole(t, "canary-wrong")
		code, e = doctorJSON(t, wrong, b.settings...)
		if bad := e.bad(); code != exitFailure || len(bad) != 1 || !strings.HasPrefix(bad[0], "sign_in.client: ") {
			t.Errorf("with a wrong secret: exit code %d, %v", code, bad)
		}
		out := runCommandIn(t, wrong, append([]string{"doctor", "--report"}, b.settings...)...).stdout
		if strings.Contains(out, "canary") {
			t.Errorf("the report has a secret:\n%s", out)
		}
	})
	t.Run("alone", func(t *testing.T) {
		b := startBrokerForDoctor(t, "broker")
		code, e := doctorJSON(t, b.c, append(b.settings, "--broker")...)
		if bad := e.bad(); code != exitOK || len(bad) > 0 {
			t.Errorf("exit code %d, %v", code, bad)
		}
		wantOK(t, e, "server.ready", "server.host", "server.route", "provider.consent", "sign_in.client")
		if e.verdict("server.refusal") != "" || e.verdict("server.metadata") != "" {
			t.Error("an MCP endpoint was examined")
		}
		got := runCommandIn(t, b.c, append([]string{"doctor"}, b.settings...)...)
		if got.code != exitFailure || !strings.Contains(got.stdout, "run this command with --broker") {
			t.Errorf("without --broker: %d\n%s", got.code, got.stdout)
		}
	})
	t.Run("before the start", func(t *testing.T) {
		code, e := doctorJSON(t, brokerConsole(t, "canary-secret"), "--broker",
			"--resource=http://"+freeAddress(t)+"/mcp", "--provider.kind=broker",
			"--provider.issuer=http://"+freeAddress(t), "--provider.client_id=gatehouse", "--scopes.initial=mcp:use",
			"--provider.store=file://"+filepath.Join(t.TempDir(), "sign-ins.db"))
		if code != exitFailure || e.verdict("provider.tcp") != "failed" || e.verdict("sign_in.client") != "skipped" ||
			e.verdict("server.route") != "skipped" || e.verdict("store.open") != "ok" {
			t.Errorf("exit code %d, %v", code, e.Checks)
		}
	})
	for name, args := range map[string][]string{
		"another kind":  {"--broker"},
		"with a token":  {"--broker", "--token-file=" + writeFile(t, "token", "canary-token")},
		"with argument": {"--broker", "broker"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := runCommand(t, append([]string{"doctor"}, args...)...); got.code != exitConfig || got.stdout != "" ||
				!strings.HasPrefix(got.stderr, "gatehouse doctor") {
				t.Errorf("%+v", got)
			}
		})
	}
}
