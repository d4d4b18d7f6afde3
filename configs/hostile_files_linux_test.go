package configs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gatehouse/providers"
)

// A pipe that takes the place of a file at the worst moment must not end all reloads, and neither must a file of the
// kernel that counts as regular.
func TestSnapshot_NeverBlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	inPlaceOf := func(from, to string) {
		if err := os.Rename(path(from), path(to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path("p.yaml"), []byte("log.level: info\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	makePipe(t, path("pipe"))
	if err := os.Symlink("/proc/kmsg", path("kernel")); err != nil { // only root may open it
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := NewSnapshot()
		_, _ = s.ReadFile(path("kernel"))
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			if content, err := s.ReadFile(path("p.yaml")); err == nil && string(content) != "log.level: info\n" {
				t.Errorf("%q was read", content)
			}
		}
	}()
	for timeout := time.After(10 * time.Second); ; {
		select {
		case <-done:
			return
		case <-timeout:
			t.Fatal("the reader is blocked")
		default:
			inPlaceOf("p.yaml", "x")
			inPlaceOf("pipe", "p.yaml")
			inPlaceOf("x", "pipe")
		}
	}
}

func makePipe(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The files of the collector are read like all others: a pipe in their place is a problem, and not the end of reloads.
func TestLoad_CertificatesOfTheCollectorArePipes(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	makePipe(t, pipe)
	for name, environ := range map[string][]string{
		"an authority":  {"OTEL_EXPORTER_OTLP_CERTIFICATE=" + pipe},
		"a certificate": {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + pipe, "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + pipe},
	} {
		loaded := make(chan error, 1)
		go func() {
			_, err := Load(Sources{
				Environ: append(environ, "OTEL_EXPORTER_OTLP_ENDPOINT=https://c.example"), ReadFile: NewSnapshot().ReadFile,
				Flags: map[string]string{"telemetry.traces": "otlp"},
			})
			loaded <- err
		}()
		select {
		case err := <-loaded:
			problems, _ := err.(Problems) //nolint:errorlint // that is the type
			if len(problems) != 1 || problems[0].Code != providers.CodeUnreadableFile {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: Load does not return", name)
		}
	}
}
