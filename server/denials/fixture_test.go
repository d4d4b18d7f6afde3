package denials

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/providers"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(writerEnv); file != "" {
		writeEntries(file)
	}
	goleak.VerifyTestMain(m)
}

// noon is the time of the tests.
var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// alice returns a caller whose token was issued at noon.
func alice() *providers.Identity {
	return &providers.Identity{
		Issuer: "https://a.example", Subject: "alice", Client: "web", TokenID: "t-1", IssuedAt: noon,
	}
}

// writeFile writes a file in a new folder, and returns its path.
func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "denied.yaml")
	replaceFile(t, path, content)
	return path
}

// replaceFile replaces a file as gatehouse deny and editors do.
func replaceFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// listOf returns the list in a file with this content.
func listOf(t testing.TB, content string) *List {
	t.Helper()
	list, problems := parse([]byte(content))
	if len(problems) > 0 {
		t.Fatalf("%q is bad: %+v", content, problems)
	}
	return list
}
