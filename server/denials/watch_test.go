package denials

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a watcher of a file, with what it reports.
type watched struct {
	*Watcher
	file string

	mu      sync.Mutex
	log     bytes.Buffer
	changes []string // the number of entries before and after, and whether some were added
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// errorLines returns the number of lines at level ERROR.
func (w *watched) errorLines() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), "level=ERROR")
}

func (w *watched) changeCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.changes)
}

// watch watches a file with this content until the end of the test. It must be called in a bubble.
func watch(t *testing.T, content string) *watched {
	t.Helper()
	w := &watched{file: writeFile(t, content)}
	s := DefaultSettings()
	s.File = w.file
	var err error
	if w.Watcher, err = Open(s, slog.New(slog.NewTextHandler(w, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, func(_, now *List) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, now.Digest())
		})
	}()
	synctest.Wait() // if Run began during a Reload, it would wait for a mutex, and time would stand still
	t.Cleanup(func() {
		cancel()
		<-done
	})
	// Run must not wait for a lock that Reload holds: the clock of a bubble does not advance then.
	synctest.Wait()
	return w
}

func (w *watched) deniesAlice() bool {
	_, denied := w.Check(alice())
	return denied
}

const aliceDenied = "- subject: alice\n"

// With the default settings, a change is in force within a second of the file's.
func TestWatcher_AChangeIsInForceWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "[]")
		for _, change := range []struct {
			content string
			want    bool
		}{{aliceDenied, true}, {"- subject: bob\n", false}, {aliceDenied, true}} {
			time.Sleep(10 * time.Second)
			replaceFile(t, w.file, change.content)
			time.Sleep(time.Second)
			if w.deniesAlice() != change.want {
				t.Errorf("%q is not in force", change.content)
			}
		}
		if w.changeCount() != 3 || w.Status().Entries != 1 || w.Status().Problem != nil || w.errorLines() > 0 {
			t.Errorf("%d changes, %+v\n%s", w.changeCount(), w.Status(), w.log.String())
		}
	})
}

// A file that is written in place is not read before it is complete.
func TestWatcher_IgnoresAFileThatIsBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, aliceDenied)
		write := func(content string) {
			if err := os.WriteFile(w.file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(DefaultSettings().Poll / 2)
		for part := range 20 { // each poll finds more of it
			write(strings.Repeat("- subject: bob\n", part) + "- subject: alic")
			time.Sleep(DefaultSettings().Poll)
			if !w.deniesAlice() {
				t.Fatal("an incomplete file is in force")
			}
		}
		write("- subject: alice\n- subject: bob\n")
		time.Sleep(time.Second)
		if !w.deniesAlice() || w.Status().Entries != 2 || w.changeCount() != 1 || w.errorLines() > 0 {
			t.Errorf("%+v, %d changes\n%s", w.Status(), w.changeCount(), w.log.String())
		}
	})
}

// A file that becomes bad, empty, unreadable or goes away leaves the last good list in force. Each problem is
// logged once, however long it lasts.
func TestWatcher_KeepsTheLastGoodList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, aliceDenied)
		for n, damage := range []func() error{
			func() error { return os.WriteFile(w.file, []byte("- subjct: bob\n"), 0o600) },
			func() error { return os.Truncate(w.file, 0) },
			func() error { return os.Remove(w.file) },
			func() error { return os.Mkdir(w.file, 0o700) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			status := w.Status()
			if !w.deniesAlice() || status.Entries != 1 || status.Problem == nil || w.errorLines() != n+1 {
				t.Errorf("problem %d: %+v\n%s", n, status, w.log.String())
			}
		}
		if err := os.Remove(w.file); err != nil {
			t.Fatal(err)
		}
		replaceFile(t, w.file, aliceDenied)
		time.Sleep(time.Second)
		if status := w.Status(); status.Problem != nil || !w.deniesAlice() || w.changeCount() != 0 {
			t.Errorf("the same list again: %+v, %d changes", status, w.changeCount())
		}
		replaceFile(t, w.file, "[]")
		time.Sleep(time.Second)
		if w.deniesAlice() || w.changeCount() != 1 {
			t.Error("a good list after a bad one has no effect")
		}
	})
}

// A file that is replaced by a symbolic link in its folder, as a ConfigMap does, is read.
func TestWatcher_FollowsSymbolicLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "[]")
		if err := os.WriteFile(w.file+".2", []byte(aliceDenied), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(w.file+".2", w.file+".link"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(w.file+".link", w.file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if !w.deniesAlice() {
			t.Error("the file behind the link is not in force")
		}
	})
}

func TestWatcher_Reload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "[]")
		replaceFile(t, w.file, aliceDenied)
		begin := time.Now()
		if err := w.Reload(t.Context()); err != nil || !w.deniesAlice() || time.Since(begin) != reloadPause {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		replaceFile(t, w.file, "- {}")
		if bad := new(FileError); !errors.As(w.Reload(t.Context()), &bad) || bad.Findings[0].Line != 1 {
			t.Errorf("%+v", bad)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Reload(ended); !errors.Is(err, context.Canceled) || !w.deniesAlice() {
			t.Error(err)
		}
	})
}

// A file system that does not answer keeps the old list in force. That must show, because a denial does not act.
func TestWatcher_ReportsAReadThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := DefaultSettings(), &watched{}
		s.File = writeFile(t, "[]")
		w, err := Open(s, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan struct{})
		w.open = func(file string) (*os.File, error) {
			<-answer
			return openFile(file)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx, nil) }()
		time.Sleep(s.Poll + stuckAfter - time.Second)
		if status := w.Status(); status.Problem != nil {
			t.Errorf("a slow read: %+v", status)
		}
		time.Sleep(time.Hour)
		if status := w.Status(); status.Problem == nil || log.errorLines() != 1 {
			t.Errorf("%+v\n%s", status, log.log.String())
		}
		if err := w.Reload(t.Context()); !errors.Is(err, errStuck) {
			t.Errorf("Reload: %v", err)
		}
		replaceFile(t, s.File, aliceDenied)
		close(answer)
		time.Sleep(time.Second)
		if _, denied := w.Check(alice()); !denied || w.Status().Problem != nil {
			t.Errorf("after that: %+v", w.Status())
		}
		cancel()
		<-done
	})
}

// At start there is no last good list.
func TestOpen_RefusesABadFile(t *testing.T) {
	for name, file := range map[string]string{
		"missing": writeFile(t, "") + ".none", "empty": writeFile(t, ""), "bad": writeFile(t, "- {}"),
	} {
		s := DefaultSettings()
		s.File = file
		_, err := Open(s, slog.New(slog.DiscardHandler))
		if problem := new(FileError); !errors.As(err, &problem) || len(problem.Findings) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWatcher_CountsDeniedRequests(t *testing.T) {
	s := DefaultSettings()
	s.File = writeFile(t, aliceDenied)
	w, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	bob := alice()
	bob.Subject = "bob"
	w.Check(bob)
	w.Check(alice())
	if n := w.Status().Hits; n != 1 {
		t.Errorf("%d requests", n)
	}
}
