package doctor_test

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
	"gatehouse/providers"
	"gatehouse/server/audit"
)

// useAudit gives the server an audit log in a new folder on a local disk with room.
func useAudit(t *testing.T, e *env) {
	t.Helper()
	e.settings["audit.dir"] = filepath.Join(t.TempDir(), "audit")
	e.settings["audit.signing_key_file"] = newSigningKey(t)
	setDisk(e, doctor.Disk{Free: 1 << 40})
}

func setDisk(e *env, d doctor.Disk) {
	e.config.DiskOf = func(string) (doctor.Disk, error) { return d, nil }
}

// newSigningKey returns the file of a new key.
func newSigningKey(t *testing.T) string {
	t.Helper()
	signing, _, err := audit.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	return writeMode(t, filepath.Join(t.TempDir(), "signing.key"), signing, 0o600)
}

// writeMode writes a file with that mode, whatever the umask is.
func writeMode(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// auditFile returns a file in the audit folder.
func (e *env) auditFile(pattern string) string {
	e.t.Helper()
	found, err := filepath.Glob(filepath.Join(e.settings["audit.dir"], pattern))
	if err != nil || len(found) == 0 {
		e.t.Fatalf("there is no %s: %v", pattern, err)
	}
	return found[len(found)-1]
}

// writeLog writes a log, as the server did before its start now.
func (e *env) writeLog() {
	e.t.Helper()
	key, err := os.ReadFile(e.settings["audit.signing_key_file"])
	if err != nil {
		e.t.Fatal(err)
	}
	s := audit.DefaultSettings()
	s.Dir, s.SigningKey = e.settings["audit.dir"], providers.Secret(key)
	log, err := audit.Open(s, "test", "test", slog.New(slog.DiscardHandler))
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// putRecord adds a record to the log of the server, and waits until it is in the file.
func (e *env) putRecord(at time.Time) {
	e.t.Helper()
	before := e.app.Audit.Status().Sequence
	e.app.Audit.Put(audit.Record{Event: audit.EventCall, Time: at})
	for deadline := time.Now().Add(5 * time.Second); e.app.Audit.Status().Sequence == before; {
		if time.Now().After(deadline) {
			e.t.Fatal("the record was not written")
		}
		time.Sleep(time.Millisecond)
	}
}

// useOperator gives the server a listener for operators.
func useOperator(t *testing.T, e *env) {
	e.operator = newFaultProxy(t, nil)
	e.settings["operator.listen"] = e.operator.Listener.Addr().String()
}

func (e *env) openOperator(logger *slog.Logger) {
	e.t.Helper()
	operator, err := telemetry.NewOperator(telemetry.OperatorConfig{
		Status: e.app.Status, Reasons: configs.Reasons(), Logger: logger,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.operator.mu.Lock()
	defer e.operator.mu.Unlock()
	e.operator.next = operator
}

// useCollector sends the traces to a collector, which doctor reaches through the result.
func useCollector(t *testing.T, e *env) *faultProxy {
	collector := newFaultProxy(t, nil)
	collector.next = collectorOf(t)
	useCollectorAt(collector.URL)(t, e)
	return collector
}

// collectorOf accepts exports without content.
func collectorOf(t *testing.T) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > 0 || r.Method != http.MethodPost ||
			r.URL.Path != "/v1/traces" && r.URL.Path != "/v1/metrics" ||
			r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("an export of %q: %s %s, %v", body, r.Method, r.URL, err)
		}
	})
}

// useCollectorAt sends the traces to the collector at an address.
func useCollectorAt(address string, environ ...string) func(*testing.T, *env) {
	return func(_ *testing.T, e *env) {
		e.settings["telemetry.traces"] = "otlp"
		e.environ = append(e.environ, "OTEL_EXPORTER_OTLP_ENDPOINT="+address, "OTEL_EXPORTER_OTLP_TIMEOUT=1000")
		e.environ = append(e.environ, environ...)
	}
}

// collectorAnswers answers every request to the collector with a status.
func collectorAnswers(status int, header http.Header, environ ...string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		collector := useCollector(t, e)
		e.environ = append(e.environ, environ...)
		collector.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
			for name := range header {
				w.Header().Set(name, header.Get(name))
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "canary-collector")
			return true
		}
	}
}

// useEverything turns on all that has checks.
func useEverything(t *testing.T, e *env) {
	useAudit(t, e)
	useOperator(t, e)
	useCollector(t, e)
	e.settings["telemetry.metrics"] = "otlp"
	useIntrospection("canary-secret")(t, e)
}
