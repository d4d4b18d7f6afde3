package main

import (
	"os"
	osSignal "os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/providers/providertest"
)

func TestHangups(t *testing.T) {
	t.Parallel()
	stops := 0
	h := &hangups{signals: make(chan os.Signal), stop: func() { stops++ }}
	ended := make(chan struct{})
	go func() { defer close(ended); h.run() }()
	taken := h.take()
	for range 3 { // more than fit into the channel
		h.signals <- syscall.SIGHUP
	}
	<-taken
	close(h.signals)
	<-ended
	if stops != 0 {
		t.Error("it stops a command that has taken it")
	}

	h = &hangups{signals: make(chan os.Signal, 1), stop: func() { stops++ }}
	h.signals <- syscall.SIGHUP
	h.run()
	if stops != 1 {
		t.Error("it does not stop a command that has not taken it")
	}
	if (*hangups)(nil).take() != nil {
		t.Error("nil receives signals")
	}
}

func TestConsole_ReloadsOnHangup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind        string
		interactive bool
		want        bool
	}{
		"a service":      {"oidc", false, true},
		"on a terminal":  {"oidc", true, false},
		"a local issuer": {"local", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			flags := map[string]string{"provider.kind": c.kind}
			if c.kind == "oidc" {
				flags["provider.issuer"] = "https://login.example.com"
			}
			cfg, err := configs.Load(configs.Sources{Flags: flags})
			if err != nil {
				t.Fatal(err)
			}
			if got := (console{interactive: c.interactive}).reloadsOnHangup(cfg); got != c.want {
				t.Errorf("SIGHUP is a reload: %v, want %v", got, c.want)
			}
		})
	}
}

// The program as a service: SIGHUP reloads, a bad file changes nothing, and SIGTERM stops.
func TestSignals_HangupReloads(t *testing.T) {
	t.Parallel()
	if osSignal.Ignored(syscall.SIGHUP) {
		t.Skip("these tests run under nohup, and the server inherits that SIGHUP is ignored")
	}
	authority := providertest.NewIssuer(t)
	profile := filepath.Join(t.TempDir(), "gatehouse.yaml")
	write := func(text string) {
		if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base := "provider:\n  kind: oidc\n  issuer: " + authority.URL() + "\n  jwks_url: " + authority.KeysURL() + "\n"
	write(base + "scopes:\n  required: [mcp:use]\n")
	p, address := startProcess(t, "", nil, "--config="+profile)
	if !p.healthy(address) {
		t.Fatal("the server is not healthy")
	}
	logs := func(want string) {
		t.Helper()
		for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			if strings.Contains(p.stderr.String(), want) {
				return
			}
		}
		t.Fatalf("the log has no %q", want)
	}
	hangUp := func() {
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	logs("the configuration has not changed")
	write(base)
	hangUp()
	logs("scopes.required (insecure, default)")
	write(base + "scopes:\n  required: [mcp:use, mcp:more]\n")
	hangUp()
	logs(`changed="[scopes.required scopes.initial]" loosened=[]`)
	write(base + "scopes:\n  required: [mcp:use]\nreload:\n  poll: 100ms\n")
	hangUp()
	logs(`changed="[scopes.required scopes.initial reload.poll]" loosened=[scopes.required]`)
	write(base + "scopes:\n  required: [mcp:use]\nlog:\n  level: debug\nreload:\n  poll: 100ms\n") // seen by polling
	logs("changed=[log.level]")
	if code, _ := p.end(t, syscall.SIGTERM); code != exitOK || !strings.Contains(p.stderr.String(), "msg=stopped") {
		t.Errorf("exit code %d", code)
	}
}
