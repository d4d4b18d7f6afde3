package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver/seal"
)

// brokerCommand is a server that is started by a command, again and again at the same address.
type brokerCommand struct {
	*service
	environ, flags []string
	address        string
}

// brokerFlags are those of serve for [company.settings], and ADDRESS is the address.
func brokerFlags(t testing.TB, c *company, more map[string]string) (environ, flags []string) {
	t.Helper()
	environ, flags = asCommand(c.settings(t, more))
	return environ, append(flags, "--resource=http://ADDRESS/mcp", "--tools.demo", "--scopes.required=mcp:use",
		"--scopes.initial=mcp:use,greet:read", "--server.drain_time=0s")
}

func startBrokerCommand(t testing.TB, c *company, command string, more map[string]string) *brokerCommand {
	t.Helper()
	b := &brokerCommand{}
	b.environ, b.flags = brokerFlags(t, c, more)
	b.flags = append([]string{command}, b.flags...)
	b.service, b.address = startServiceIn(t, b.environ, b.flags...)
	return b
}

func (b *brokerCommand) origin() string   { return "http://" + b.address }
func (b *brokerCommand) resource() string { return b.origin() + "/mcp" }

// start starts the command again.
func (b *brokerCommand) start(t testing.TB) {
	t.Helper()
	if b.service = startAt(t, console{environ: b.environ}, b.address, b.flags...); b.service == nil {
		t.Fatal("the address is in use")
	}
}

func fileStore(t testing.TB) string {
	t.Helper()
	return "file://" + filepath.Join(t.TempDir(), "sign-ins.db")
}

// With the store and the secrets of before, a restart goes unnoticed: tokens, refresh tokens and registrations
// work on.
func TestBroker_SurvivesARestart(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	b := startBrokerCommand(t, company, "serve", map[string]string{"provider.store": fileStore(t)})
	client := register(t, b.origin(), b.resource())
	first := client.signIn(t, "alice", allScopes()...)
	if code := b.stop(); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	b.start(t)
	if r := whoami(t, b.resource(), first.Access); r.status != http.StatusOK {
		t.Errorf("a token of before: %d %s", r.status, r.body)
	}
	r, second := client.refresh(t, first.Refresh)
	if r.status != http.StatusOK {
		t.Fatalf("a refresh token of before: %d %s", r.status, r.body)
	}
	if r := whoami(t, b.resource(), second.Access); r.status != http.StatusOK {
		t.Errorf("a token of now: %d %s", r.status, r.body)
	}
	if page := client.signIn(t, "bob", "mcp:use"); page.Access == "" {
		t.Error("a registration of before does not work")
	}
	out := b.stdout.String() + b.stderr.String()
	company.wantNoSecrets(t, "the output", out, first.Access, first.Refresh, second.Access, second.Refresh)
}

// A secret that is put first leaves all as it is; one that is removed ends registrations and sign-ins.
func TestBroker_ReplacesItsSecret(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	b := startBrokerCommand(t, company, "serve", map[string]string{"provider.store": fileStore(t)})
	client := register(t, b.origin(), b.resource())
	tokens := client.signIn(t, "alice", allScopes()...)
	b.stop()

	secrets := ""
	for _, variable := range b.environ {
		if path, ok := strings.CutPrefix(variable, "GATEHOUSE_PROVIDER__SECRETS_FILE="); ok {
			secrets = path
		}
	}
	if got := runCommand(t, "secret", "--prepend", secrets); got.code != exitOK {
		t.Fatalf("%+v", got)
	}
	b.start(t)
	r, second := client.refresh(t, tokens.Refresh)
	if r.status != http.StatusOK {
		t.Fatalf("with a new first secret: %d %s", r.status, r.body)
	}
	client.signIn(t, "bob", "mcp:use")
	b.stop()

	if err := os.WriteFile(secrets, []byte(seal.NewSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runCommandIn(t, console{environ: b.environ}, withAddress(b.address, b.flags)...)
	if got.code != exitProvider || !strings.Contains(got.stderr, "provider.store: ") {
		t.Errorf("with another secret alone: %+v", got)
	}
	company.wantNoSecrets(t, "the output", got.stdout+got.stderr, second.Access, second.Refresh)
}

// withAddress returns flags as startAt fills them.
func withAddress(address string, flags []string) (filled []string) {
	for _, flag := range flags {
		filled = append(filled, strings.ReplaceAll(flag, "ADDRESS", address))
	}
	return filled
}

// A server that is stopped while the company answers waits for it, and stores the refresh token of the company that
// replaces the one of before: no person has to sign in again.
func TestBroker_StopsAfterTheAnswerOfTheCompany(t *testing.T) {
	t.Parallel()
	company := newCompany(t)
	srv := startServer(t, company.settings(t, map[string]string{"provider.store": fileStore(t)}), company.use(t),
		withBroker(recheckAtOnce))
	client := srv.register(t)
	tokens := client.signIn(t, "alice", allScopes()...)
	asked, goOn := company.hold()
	refreshed := make(chan response, 1)
	go func() {
		r := client.send(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}}, nil)
		refreshed <- r
	}()
	<-asked
	stopped := make(chan struct{})
	go func() { srv.stop(); close(stopped) }()
	time.Sleep(100 * time.Millisecond) // until the stop waits for the request
	goOn()
	if r := <-refreshed; r.status != http.StatusOK {
		t.Errorf("the refresh: %d %s", r.status, r.body)
	}
	<-stopped
}
