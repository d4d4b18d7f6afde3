package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/providers/diagnostics"
	"gatehouse/server/audit"
)

func TestHealthyServerWithAuditLogAndTelemetryHasNoProblem(t *testing.T) {
	e := newEnv(t)
	useEverything(t, e)
	e.environ = append(e.environ, "OTEL_EXPORTER_OTLP_HEADERS=canary-name=canary-value")
	results := e.open().examine()
	if got := problems(results); len(got) > 0 {
		t.Errorf("%v:\n%s", got, text(results))
	}
	signing, err := os.ReadFile(e.settings["audit.signing_key_file"])
	if err != nil {
		t.Fatal(err)
	}
	public, err := audit.PublicKey(string(signing))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"config.secret_file": "mode 0600",
		"audit.folder":       "the server that runs here writes there; segments: 1, last record: ",
		"audit.access":       "mode 0700",
		"audit.disk":         "1048576 MiB free",
		"audit.checkpoint":   "there is none yet; records that none covers: ",
		"audit.key":          "the public key is " + public,
		"operator.status":    "ready, no problem, and the configuration is this one",
		"telemetry.traces":   "status 200",
		"telemetry.metrics":  "status 200",
	} {
		if r := find(results, name); r.Verdict != diagnostics.VerdictOK || !strings.HasPrefix(r.Found, want) {
			t.Errorf("%+v, want %q", r, want)
		}
	}
	e.showsNoCanary(results)
	if secret := strings.Split(strings.TrimSpace(string(signing)), "+")[4]; strings.Contains(e.outputs(results), secret) {
		t.Error("the output has the signing key")
	}
}

// Without a server on this computer, its folder is checked, and its listener is not.
func TestAuditFolderBeforeTheFirstStart(t *testing.T) {
	e := newEnv(t)
	useAudit(t, e)
	useOperator(t, e)
	e.operator.Close()
	e.noServer = true
	e.proxy.Close()
	for _, prepare := range []struct {
		found  string
		change func()
	}{
		{"the server makes it, in ", func() {}},
		{"no process writes there, and there is no log yet", func() {
			if err := os.Mkdir(e.settings["audit.dir"], 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"no process writes there; segments: 1, last record: 3, of ", e.writeLog},
	} {
		prepare.change()
		results := e.open().examine()
		r := find(results, "audit.folder")
		if r.Verdict != diagnostics.VerdictOK || !strings.HasPrefix(r.Found, prepare.found) {
			t.Errorf("%+v, want %q", r, prepare.found)
		}
		if r := find(results, "operator.status"); r.Verdict != diagnostics.VerdictSkipped {
			t.Errorf("%+v", r)
		}
		if got := problems(results); len(got) != 1 || got[0] != "server.tcp warning" {
			t.Errorf("%v:\n%s", got, text(results))
		}
		e.noProvider = true // it is open
	}
	e.writeLog() // doctor leaves no lock
}

// What counts is the time since the last checkpoint, not the age of the file.
func TestCheckpointOfAnOldSegment(t *testing.T) {
	e := newEnv(t)
	useAudit(t, e)
	e.writeLog()
	e.open()
	path := e.auditFile("segment-*")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(content), `"time":"`)
	year := after[:4]
	writeMode(t, path, strings.Replace(string(content), `"time":"`+year, `"time":"2001`, 1), 0o600)
	if r := find(e.examine(), "audit.checkpoint"); r.Verdict != diagnostics.VerdictOK ||
		!strings.HasSuffix(r.Found, "; records that none covers: 2") {
		t.Errorf("%+v", r)
	}
}

// A mode that lets others read is no problem where they cannot reach the file.
func TestSecretFileThatOthersCannotReach(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, e *env)
		found   string
	}{
		"a folder of mode 0700": {
			func(t *testing.T, e *env) {
				path := filepath.Join(t.TempDir(), "closed", "key")
				if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(e.settings["audit.signing_key_file"], path); err != nil {
					t.Fatal(err)
				}
				e.settings["audit.signing_key_file"] = path
				shareKey(t, e, 0o444)
				chmod(t, filepath.Dir(path), 0o700)
			}, "mode 0444, in a folder that other users cannot enter",
		},
		"a container": {
			func(t *testing.T, e *env) { shareKey(t, e, 0o444); e.config.Container = true },
			"mode 0444, in a container: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			useAudit(t, e)
			c.prepare(t, e)
			results := e.open().examine()
			r := find(results, "config.secret_file")
			if r.Verdict != diagnostics.VerdictOK || !strings.HasPrefix(r.Found, c.found) {
				t.Errorf("%+v", r)
			}
			if got := problems(results); len(got) > 0 {
				t.Errorf("%v:\n%s", got, text(results))
			}
		})
	}
}
