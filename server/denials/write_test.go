package denials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// add returns a change that adds entries.
func add(entries ...Entry) func([]Entry) ([]Entry, error) {
	return func(all []Entry) ([]Entry, error) { return append(all, entries...), nil }
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUpdate_WritesTheWholeFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "denied.yaml")
	entry := Entry{Issuer: "https://a.example", Subject: "alice \"x\"\n", IssuedBefore: noon, Reason: "é",
		Until: time.Date(2999, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))}
	if err := Update(t.Context(), file, true, add(entry, Entry{Client: "web"})); err != nil {
		t.Fatal(err)
	}
	want := header + `- issuer: "https://a.example"
  subject: "alice \"x\"\n"
  issued_before: 2026-11-29T12:00:00Z
  reason: "é"
  until: 2998-12-31T23:00:00Z
- client: "web"
`
	if got := readText(t, file); got != want {
		t.Errorf("%s", got)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	err = Update(t.Context(), file, false, func([]Entry) ([]Entry, error) { return nil, nil })
	if got := readText(t, file); err != nil || got != header+"[]\n" {
		t.Errorf("%v %s", err, got)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	if err != nil || len(names) != 2 || len(hidden) > 0 { // the file and its lock
		t.Errorf("files are left: %v %v", names, hidden)
	}
}

func TestUpdate_DropsEntriesThatHaveEnded(t *testing.T) {
	file := writeFile(t, "- {subject: alice, until: 2020-01-01T00:00:00Z}\n"+
		"- {subject: bob, until: 2999-01-01T00:00:00Z}\n")
	if err := Update(t.Context(), file, false, add(Entry{Client: "web"})); err != nil {
		t.Fatal(err)
	}
	if got := readText(t, file); strings.Contains(got, "alice") || !strings.Contains(got, "bob") {
		t.Error(got)
	}
}

// What cannot be changed in order stays as it is.
func TestUpdate_Refuses(t *testing.T) {
	failure := errors.New("no")
	full := strings.Repeat("- subject: x\n", maxEntries)
	for name, c := range map[string]struct {
		content string
		change  func([]Entry) ([]Entry, error)
		want    string
	}{
		"a bad file":                  {"- subject: alice\n- {}\n", add(Entry{Client: "web"}), ":2: the entry"},
		"an empty file":               {"", add(Entry{Client: "web"}), "it is empty"},
		"an entry without criterion":  {"[]\n", add(Entry{Issuer: "https://a.example"}), "the entry denies nothing"},
		"a whole token":               {"[]\n", add(Entry{Token: "eyJ.a.b"}), "a whole token"},
		"one entry too many":          {full, add(Entry{Client: "web"}), "more than 10000 entries"},
		"bytes that are no text":      {"[]\n", add(Entry{Client: "a\xff"}), "not valid UTF-8"},
		"a change that is impossible": {"[]\n", func([]Entry) ([]Entry, error) { return nil, failure }, "no"},
	} {
		file := writeFile(t, c.content)
		err := Update(t.Context(), file, true, c.change)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got := readText(t, file); got != c.content {
			t.Errorf("%s: the file is %.200q", name, got)
		}
	}
	missing := filepath.Join(t.TempDir(), "denied.yaml")
	if err := Update(t.Context(), missing, false, add()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := Update(t.Context(), missing+"/x/y", true, add()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
}

// A symbolic link stays one.
func TestUpdate_FollowsASymbolicLink(t *testing.T) {
	file := writeFile(t, "[]")
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := Update(t.Context(), link, false, add(Entry{Client: "web"})); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(readText(t, file), "web") {
		t.Error("the file behind the link is as before")
	}
}

// The server can read what root wrote.
func TestUpdate_KeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	uid := func(path string) uint32 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	file := writeFile(t, "[]")
	fresh := filepath.Join(t.TempDir(), "denied.yaml")
	for _, path := range []string{file, filepath.Dir(fresh)} {
		if err := os.Chown(path, 65532, 65532); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{file, fresh} {
		if err := Update(t.Context(), path, true, add(Entry{Client: "web"})); err != nil {
			t.Fatal(err)
		}
		if uid(path) != 65532 || uid(path+".lock") != 65532 {
			t.Errorf("%s belongs to %d, its lock to %d", path, uid(path), uid(path+".lock"))
		}
	}
}

func TestUpdate_WaitsForAnotherProcess(t *testing.T) {
	file := writeFile(t, "[]")
	held, err := lockFile(file+".lock", ownerOf(file))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = Update(ctx, file, false, add(Entry{Client: "web"}))
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("it did not wait: %v", err)
	}
	held.Close()
	if err := Update(t.Context(), file, false, add(Entry{Client: "web"})); err != nil {
		t.Error(err)
	}
}

// writerEnv makes the test binary add entries to the file that it names.
const writerEnv = "GATEHOUSE_DENIALS_TEST_FILE"

const entriesPerWriter = 20

func writeEntries(file string) {
	for n := range entriesPerWriter {
		e := Entry{Subject: fmt.Sprintf("%s-%d", os.Getenv(writerEnv+"_NAME"), n)}
		if err := Update(context.Background(), file, true, add(e)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// Processes that write at once lose no entry, and a reader never sees a part of the file.
func TestUpdate_OfSeveralProcessesLosesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "denied.yaml")
	var writers []*exec.Cmd
	for _, name := range []string{"one", "two", "three"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+file, writerEnv+"_NAME="+name)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, cmd)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for _, cmd := range writers {
			err = errors.Join(err, cmd.Wait())
		}
		done <- err
	}()
	for ended := false; !ended; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
			if _, err := Read(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("a reader sees %v", err)
			}
		}
	}
	list, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[string]bool{}
	for _, e := range list.Entries() {
		subjects[e.Subject] = true
	}
	if want := len(writers) * entriesPerWriter; len(subjects) != want || list.Len() != want {
		t.Errorf("%d entries, want %d: %v", list.Len(), want, slices.Sorted(maps.Keys(subjects)))
	}
}
