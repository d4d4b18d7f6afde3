package audit

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
)

// contents returns the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

// writeLog writes a log of n calls.
func writeLog(t *testing.T, s Settings, n int) {
	t.Helper()
	l := openLog(t, s)
	for i := range n {
		l.Put(call(i))
	}
	closeLog(t, l)
}

func appendTo(t *testing.T, dir, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Without reading the whole log, the end of it is known as Verify knows it, and nothing is changed.
func TestInspect_AgreesWithVerify(t *testing.T) {
	incomplete := strings.Repeat("x", 100)
	for name, c := range map[string]struct {
		calls        int
		segmentBytes int
		after        func(t *testing.T, dir string)
	}{
		"one segment":      {calls: 1, segmentBytes: 64 << 20},
		"several segments": {calls: 50, segmentBytes: 2 << 10},
		"a segment that is longer than what is read of it": {calls: 4000, segmentBytes: 64 << 20},
		"an incomplete record at the end": {calls: 5, segmentBytes: 64 << 20, after: func(t *testing.T, dir string) {
			appendTo(t, dir, lastSegment(t, dir), incomplete)
		}},
		"a last segment without a whole record": {calls: 5, segmentBytes: 64 << 20, after: func(t *testing.T, dir string) {
			appendTo(t, dir, nameSegment(9, time.Now()), incomplete)
		}},
		"an incomplete checkpoint at the end": {calls: 5, segmentBytes: 64 << 20, after: func(t *testing.T, dir string) {
			appendTo(t, dir, checkpointsName, originPrefix+"0123456789abcdef\n12\n")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, public := testSettings(t)
			s.SegmentBytes = c.segmentBytes
			writeLog(t, s, c.calls)
			if c.after != nil {
				c.after(t, s.Dir)
			}
			before := contents(t, s.Dir)
			got, err := Inspect(s.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, contents(t, s.Dir)); diff != "" {
				t.Errorf("it changed the folder: %s", diff)
			}
			r := verify(t, s.Dir, public)
			want := Inspection{Segments: r.Segments, Key: KeyID(public), Last: r.Last, LastTime: r.LastTime,
				Checkpoint: r.Covered, CheckpointTime: got.CheckpointTime, Begun: got.Begun}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if age := time.Since(got.CheckpointTime); age < 0 || age > time.Minute {
				t.Errorf("the last checkpoint is of %s", got.CheckpointTime)
			}
			if got.Begun.Before(r.FirstTime) || got.Begun.Sub(r.LastTime) > time.Second { // records can wait for it
				t.Errorf("the last segment begins at %s", got.Begun)
			}
		})
	}
}

func lastSegment(t *testing.T, dir string) string {
	t.Helper()
	segments, err := listSegments(os.DirFS(dir))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	return segments[len(segments)-1].name
}

func TestInspect_SeesTheWriter(t *testing.T) {
	s, _ := testSettings(t)
	l := openLog(t, s)
	for range 2 { // that one asked does not hide it from the next
		if i, err := Inspect(s.Dir); err != nil || !i.Locked || i.Segments != 1 {
			t.Errorf("while it is written: %+v, %v", i, err)
		}
	}
	closeLog(t, l)
	if i, err := Inspect(s.Dir); err != nil || i.Locked {
		t.Errorf("after it was closed: %+v, %v", i, err)
	}
	closeLog(t, openLog(t, s)) // asking leaves no lock
}

func TestInspect_SeesAnotherKey(t *testing.T) {
	s, old := testSettings(t)
	writeLog(t, s, 1)
	signing, public, err := NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	s.SigningKey = providers.Secret(signing)
	if i, err := Inspect(s.Dir); err != nil || i.Key != KeyID(old) || i.Key == KeyID(public) {
		t.Errorf("before the change: %+v, %v", i, err)
	}
	writeLog(t, s, 1)
	if i, err := Inspect(s.Dir); err != nil || i.Key != KeyID(public) {
		t.Errorf("after it: %+v, %v", i, err)
	}
}

// What Inspect cannot read, Open refuses.
func TestInspect_RefusesWhatOpenRefuses(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path, text string){
		"the first record": func(t *testing.T, path, text string) {
			writeText(t, path, strings.Replace(text, `"event":"segment"`, `"event":"call"`, 1))
		},
		"the last record": func(t *testing.T, path, text string) { writeText(t, path, text+"canary\n") },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := testSettings(t)
			writeLog(t, s, 3)
			path := filepath.Join(s.Dir, lastSegment(t, s.Dir))
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damage(t, path, string(text))
			_, err = Inspect(s.Dir)
			if !errors.Is(err, ErrUnreadable) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v", err)
			}
			if l, err := Open(s, "test", "c0ffee", slog.New(slog.DiscardHandler)); err == nil {
				closeLog(t, l)
				t.Error("the log is continued")
			}
		})
	}
	t.Run("no folder", func(t *testing.T) {
		if _, err := Inspect(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
	t.Run("an empty folder", func(t *testing.T) {
		if i, err := Inspect(t.TempDir()); err != nil || i != (Inspection{}) {
			t.Errorf("%+v, %v", i, err)
		}
	})
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
