package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers/providertest"
)

// watched is a server whose configuration is in files: p.yaml, which is a link as in a mounted ConfigMap, secret and
// .env, all in one folder.
type watched struct {
	*reloader
	t       *testing.T
	dir     string
	log     *syncBuffer
	changed *reading // as in run
	polled  int
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

func (w *watched) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// replace writes a file as editors and secret managers do it.
func (w *watched) replace(name, text string) {
	w.t.Helper()
	w.write("new", text)
	w.rename("new", name)
}

func (w *watched) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(w.path(from), w.path(to)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) remove(name string) {
	w.t.Helper()
	if err := os.Remove(w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) link(target, name string) {
	w.t.Helper()
	if err := os.Symlink(target, w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

// sync replaces p.yaml as the kubelet does it.
func (w *watched) sync(version, profile string) {
	w.t.Helper()
	if err := os.Mkdir(w.path(version), 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(version, "p.yaml"), profile)
	w.link(version, "..next")
	w.rename("..next", "..data")
}

func (w *watched) poll() {
	w.changed = w.reloader.poll(w.t.Context(), w.changed)
	w.polled++
}

func newWatched(t *testing.T, authority *providertest.Issuer) (w *watched, profile string) {
	t.Helper()
	w = &watched{t: t, dir: t.TempDir(), log: &syncBuffer{}}
	profile = "provider:\n  kind: oidc\n  issuer: " + authority.URL() + "\n  jwks_url: " + authority.KeysURL() + "\n" +
		"  introspection: opaque\n  introspection_url: " + authority.URL() + "/introspect\n  client_id: me\n" +
		"  client_secret_file: " + w.path("secret") + "\nscopes:\n  required: [mcp:use]\n"
	w.write("secret", "hunter2")
	w.write(".env", "GATEHOUSE_TOOLS__SHOW_ALL=true\n")
	w.sync("v1", profile)
	w.link("..data/p.yaml", "p.yaml")
	files := configs.NewSnapshot()
	sources := configs.Sources{Profile: w.path("p.yaml"), Dir: w.dir, ReadFile: files.ReadAtStart}
	cfg, err := configs.Load(sources)
	if err != nil {
		t.Fatal(err)
	}
	catalog := func(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog { return mcptools.Catalog{} }
	a, err := app.New(t.Context(), cfg, catalog, slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	w.reloader = &reloader{
		app: a, sources: sources, judged: files, applied: func(_, _ *configs.Config) {}, stuckAfter: time.Minute,
	}
	return w, profile
}

func TestPoll_ActsWhenTwoReadsAreEqual(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	const refused = "the new configuration is refused"
	for name, c := range map[string]struct {
		do         func(w *watched, profile string) // with the polls that must change nothing
		polls      int                              // after do
		generation uint64
		refusals   int
		reason     string // of the last refusal
		changed    string // in the log
	}{
		"nothing": {do: func(*watched, string) {}, polls: 3, generation: 1},
		"written again, as it was": {
			do: func(w *watched, profile string) { w.replace("p.yaml", profile) }, polls: 3, generation: 1,
		},
		"a ConfigMap that is synced": {
			do: func(w *watched, profile string) {
				w.sync("v2", profile+"log:\n  level: warn\n")
				w.poll()
			}, polls: 1, generation: 2, changed: "changed=[log.level]",
		},
		"replaced by a rename": {
			do: func(w *watched, profile string) {
				w.replace("p.yaml", profile+"log:\n  level: warn\n")
				w.poll()
			}, polls: 1, generation: 2, changed: "changed=[log.level]",
		},
		"written in place, half of it at first": {
			do: func(w *watched, profile string) {
				w.write("p.yaml", "")
				w.poll()
				w.write("p.yaml", profile[:len(profile)-len("use]\n")])
				w.poll()
				w.write("p.yaml", profile+"log:\n  level: warn\n")
				w.poll()
			}, polls: 1, generation: 2, changed: "changed=[log.level]",
		},
		"removed and created": {
			do: func(w *watched, profile string) {
				w.remove("p.yaml")
				w.poll()
				w.write("p.yaml", profile+"log:\n  level: warn\n")
				w.poll()
			}, polls: 1, generation: 2, changed: "changed=[log.level]",
		},
		"changed and changed back": {
			do: func(w *watched, profile string) {
				w.replace("p.yaml", profile+"log:\n  level: warn\n")
				w.poll()
				w.replace("p.yaml", profile)
				w.poll()
				w.replace("p.yaml", profile+"log:\n  level: warn\n")
				w.poll()
			}, generation: 1,
		},
		"another secret": {
			do: func(w *watched, _ string) {
				w.replace("secret", "hunter3")
				w.poll()
			}, polls: 1, generation: 2, changed: "changed=[provider.client_secret] loosened=[]",
		},
		"another .env": {
			do: func(w *watched, _ string) {
				w.replace(".env", "GATEHOUSE_TOOLS__SHOW_ALL=true\nGATEHOUSE_LOG__LEVEL=warn\n")
				w.poll()
			}, polls: 1, generation: 2, changed: "changed=[log.level]",
		},
		"missing": {
			do: func(w *watched, _ string) { w.remove("p.yaml") }, polls: 5, generation: 1,
			refusals: 1, reason: "config (unreadable_file, flag --config)",
		},
		"empty": {
			do: func(w *watched, _ string) { w.write("p.yaml", "") }, polls: 5, generation: 1,
			refusals: 1, reason: "provider.kind (missing, default)",
		},
		"not YAML": {
			do: func(w *watched, profile string) { w.write("p.yaml", profile+"  [") }, polls: 5, generation: 1,
			refusals: 1, reason: "config (invalid_syntax, profile ",
		},
		"without the kind": {
			do: func(w *watched, profile string) {
				w.write("p.yaml", strings.Replace(profile, "  kind: oidc\n", "", 1))
			}, polls: 5, generation: 1, refusals: 1, reason: "provider.kind (missing, default)",
		},
		"without required scopes": {
			do: func(w *watched, profile string) {
				w.write("p.yaml", profile[:strings.Index(profile, "scopes:")])
			}, polls: 5, generation: 1, refusals: 1, reason: "scopes.required (insecure, default)",
		},
		"a bad value": {
			do: func(w *watched, profile string) { w.write("p.yaml", profile+"log:\n  level: lud\n") }, polls: 5,
			generation: 1, refusals: 1, reason: "log.level (unknown_value, profile ",
		},
		"a setting that needs a restart": {
			do: func(w *watched, profile string) { w.write("p.yaml", profile+"server:\n  listen: :1\n") }, polls: 5,
			generation: 1, refusals: 1, reason: "server.listen (needs_restart, profile ",
		},
		"an empty secret": {
			do: func(w *watched, _ string) { w.write("secret", "\n") }, polls: 5,
			generation: 1, refusals: 1, reason: "provider.client_secret_file (unreadable_file, profile ",
		},
		"no .env": {
			do: func(w *watched, _ string) { w.remove(".env") }, polls: 5,
			generation: 1, refusals: 1, reason: ".env (missing, working directory)",
		},
		"refused, and then restored": {
			do: func(w *watched, profile string) {
				w.write("p.yaml", "")
				w.poll()
				w.poll()
				w.write("p.yaml", profile)
			}, polls: 3, generation: 1, refusals: 1,
		},
		"refused for a secret that comes later": {
			do: func(w *watched, profile string) {
				w.write("p.yaml", strings.Replace(profile, w.path("secret"), w.path("other"), 1))
				w.poll()
				w.poll()
				w.write("other", "hunter3")
			}, polls: 2, generation: 2, refusals: 1, changed: "changed=[provider.client_secret]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, profile := newWatched(t, authority)
			c.do(w, profile)
			if number, _ := w.app.Generation(); number != 1 {
				t.Errorf("generation %d after %d polls", number, w.polled)
			}
			for range c.polls {
				w.poll()
			}
			log := w.log.String()
			if number, _ := w.app.Generation(); number != c.generation || strings.Count(log, refused) != c.refusals {
				t.Errorf("generation %d, want %d, with %d refusals, want %d", number, c.generation,
					strings.Count(log, refused), c.refusals)
			}
			last := w.app.LastReload()
			if last.OK != (c.reason == "") || !strings.HasPrefix(last.Reason, c.reason) {
				t.Errorf("the status is %+v, want %q", last, c.reason)
			}
			if !strings.Contains(log, c.changed) || strings.Contains(log, "hunter") {
				t.Errorf("the log has not %q, or has a secret:\n%s", c.changed, log)
			}
		})
	}
}

// After SIGHUP a file that is being written is read until it is complete; one that never is, is refused.
func TestReloadNow_WaitsForEqualReads(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	for name, c := range map[string]struct {
		writes     int
		generation uint64
		reason     string
	}{
		"at once":     {0, 2, ""},
		"three times": {3, 2, ""},
		"for ever":    {1000, 1, "config (unusable, files): the files keep changing"},
	} {
		t.Run(name, func(t *testing.T) {
			w, profile := newWatched(t, authority)
			final := profile + "log:\n  level: warn\n"
			w.write("p.yaml", final)
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					begin := time.Now()
					w.reloadNow(t.Context())
					if took := time.Since(begin); took > 3*time.Second {
						t.Errorf("it took %s", took)
					}
				}()
				for n := range c.writes {
					time.Sleep(rereadInterval * 7 / 10)
					select {
					case <-ended:
						return
					default:
					}
					w.replace("p.yaml", final+strings.Repeat("#", n+1))
				}
				w.replace("p.yaml", final)
				<-ended
			})
			number, _ := w.app.Generation()
			if last := w.app.LastReload(); number != c.generation || last.Reason != c.reason {
				t.Errorf("generation %d, %+v", number, last)
			}
		})
	}
}

// With reload.poll: 0s, the default, a changed file waits for SIGHUP.
func TestReloader_WithoutPollingWaitsForSIGHUP(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	w, profile := newWatched(t, authority)
	hangups := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.run(ctx, hangups) }()
	w.replace("p.yaml", profile+"log:\n  level: warn\n")
	time.Sleep(100 * time.Millisecond)
	if number, _ := w.app.Generation(); number != 1 {
		t.Errorf("generation %d without SIGHUP", number)
	}
	hangups <- struct{}{}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if number, _ := w.app.Generation(); number == 2 {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("SIGHUP does not reload")
		}
	}
	cancel()
	<-ended
}

// A file system that does not answer keeps the configuration in force. That must show, because no change acts.
func TestReload_ReadThatDoesNotEndIsARefusal(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t, providertest.WithKeys(jose.ES256))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	w, _ := newWatched(t, authority)
	w.stuckAfter = 10 * time.Millisecond
	end := w.beginRead()
	for begin := time.Now(); w.app.LastReload().OK; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("it is not reported")
		}
	}
	if got := w.app.LastReload().Reason; got != "config (unusable, files): reading them takes more than 10ms" {
		t.Errorf("it is reported as %q", got)
	}
	end()
}
