package main

import (
	"log/slog"
	"net"
	"net/http"
	"os"
	osSignal "os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/providers/providertest"
	"gatehouse/server"
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
		"a broker":       {"broker", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			flags := map[string]string{"provider.kind": c.kind}
			switch c.kind {
			case "oidc":
				flags["provider.issuer"] = "https://login.example.com"
			case "broker":
				flags = (&company{url: "https://login.example.com"}).settings(t, map[string]string{"scopes.required": "mcp:use"})
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
	hangUp := func() {
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	p.logs(t, "the configuration has not changed")
	write(base)
	hangUp()
	p.logs(t, "scopes.required (insecure, default)")
	write(base + "scopes:\n  required: [mcp:use, mcp:more]\n")
	hangUp()
	p.logs(t, `changed="[scopes.required scopes.initial]" loosened=[]`)
	write(base + "scopes:\n  required: [mcp:use]\nreload:\n  poll: 100ms\n")
	hangUp()
	p.logs(t, `changed="[scopes.required scopes.initial reload.poll]" loosened=[scopes.required]`)
	write(base + "scopes:\n  required: [mcp:use]\nlog:\n  level: debug\nreload:\n  poll: 100ms\n") // seen by polling
	p.logs(t, "changed=[log.level]")
	if code, _ := p.end(t, syscall.SIGTERM); code != exitOK || !strings.Contains(p.stderr.String(), "msg=stopped") {
		t.Errorf("exit code %d", code)
	}
}

// What the process keeps of its settings is that of the configuration in force: the level of the log, and how long the
// stop and the last export may take.
func TestSignals_ProcessFollowsAReload(t *testing.T) {
	t.Parallel()
	if osSignal.Ignored(syscall.SIGHUP) {
		t.Skip("these tests run under nohup, and the server inherits that SIGHUP is ignored")
	}
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // a collector that accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hanging.Close() })
	authority := providertest.NewIssuer(t)
	profile := filepath.Join(t.TempDir(), "gatehouse.yaml")
	write := func(shutdownTimeout, level string) {
		text := "provider:\n  kind: oidc\n  issuer: " + authority.URL() + "\n  jwks_url: " + authority.KeysURL() + "\n" +
			"scopes:\n  required: [mcp:use]\ntelemetry:\n  traces: otlp\nserver:\n  shutdown_timeout: " + shutdownTimeout +
			"\nlog:\n  level: " + level + "\n"
		if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("20s", "info")
	// The times of the stop come from the profile, because those of flags stay.
	before := "resource=$1; shift 3; set -- \"$resource\" \"$@\"; " +
		"export OTEL_EXPORTER_OTLP_ENDPOINT='http://" + hanging.Addr().String() + "' OTEL_EXPORTER_OTLP_TIMEOUT=20000; "
	p, address := startProcess(t, before, nil, "--config="+profile)
	if !p.healthy(address) {
		t.Fatal("the server is not healthy")
	}
	write("200ms", "debug")
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logs(t, `changed="[server.shutdown_timeout log.level]"`)
	for begin := time.Now(); !strings.Contains(p.stderr.String(), "level=DEBUG"); { // the line comes before the level
		send(t, http.MethodPost, "http://"+address+"/mcp", "canary", "{}", nil) // spans that are not exported
		if time.Since(begin) > 10*time.Second {
			t.Fatal("log.level is not that of the new configuration")
		}
	}
	code, took := p.end(t, syscall.SIGTERM)
	if most := 200*time.Millisecond + stopMargin; code != exitOK || took > most {
		t.Errorf("exit code %d after %s, at most %s", code, took, most)
	}
}

func TestConsole_FollowsAReload(t *testing.T) {
	t.Parallel()
	now := &configs.Config{Server: server.Settings{DrainTime: time.Second, ShutdownTimeout: time.Minute}}
	now.Log.Level = "error"
	c, level := console{stop: &stopLimit{}}, &slog.LevelVar{}
	c.follow(now, level, slog.New(slog.DiscardHandler))
	if limit := c.stop.limit(); level.Level() != slog.LevelError || limit != time.Minute+time.Second+stopMargin {
		t.Errorf("level %s, and a stop may take %s", level, limit)
	}
}
