package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/providers"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// testSettings are valid settings of a log in a new folder, with a new key. Segments are short.
func testSettings(t testing.TB) (s Settings, publicKey string) {
	t.Helper()
	signing, publicKey, err := NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	s = DefaultSettings()
	s.Dir, s.SigningKey, s.SegmentBytes = filepath.Join(t.TempDir(), "log"), providers.Secret(signing), 2<<10
	return s, publicKey
}

func openLog(t testing.TB, s Settings) *Log {
	t.Helper()
	l, err := Open(s, "test", "c0ffee", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// call is a record of a call that differs from all others.
func call(n int) Record {
	return Record{
		Event: EventCall, Decision: Allow, Outcome: "ok", Issuer: "https://issuer.example", Subject: "alice",
		Client: "client", Address: "192.0.2.7", RequestID: fmt.Sprintf("request-%d", n), Method: "tools/call",
		Tool: "greet", Scopes: []string{"mcp:use"}, Protocol: "2026-07-28", Duration: time.Millisecond,
	}
}

// verify is [Verify] without an error.
func verify(t testing.TB, dir, key string, kept ...CheckpointFile) Report {
	t.Helper()
	r, err := Verify(dir, []string{key}, kept...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func expectIntact(t testing.TB, r Report) {
	t.Helper()
	for _, p := range r.Findings {
		t.Errorf("unexpected problem: %v", p)
	}
}

// files reads a folder.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	content := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		content[e.Name()] = text
	}
	return content
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%s did not happen in time", what)
		}
	}
}

func hashOf(text []byte) [sha256.Size]byte { return sha256.Sum256(text) }

func timeOf(t testing.TB, text []byte) time.Time {
	t.Helper()
	l, err := parseLine(text)
	if err != nil {
		t.Fatal(err)
	}
	return l.Time
}

// hmacOf is the HMAC of text under the key of the tests.
func hmacOf(text string) string {
	mac := hmac.New(sha256.New, []byte(strings.Repeat("k", 32)))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
