package audit

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// withLong is a folder in which one file is a long line.
type withLong struct {
	fstest.MapFS
	name string
}

// longFile is a file of longBytes bytes, without a line end.
type longFile struct {
	fs.File
	rest io.Reader
}

const longBytes = 64 << 20

func (f longFile) Read(p []byte) (int, error) { return f.rest.Read(p) }

// sameByte is an endless text.
type sameByte byte

func (b sameByte) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func (w withLong) Open(name string) (fs.File, error) {
	f, err := w.MapFS.Open(name)
	if err != nil || name != w.name {
		return f, err
	}
	return longFile{f, io.LimitReader(sameByte('a'), longBytes)}, nil
}

// An auditor verifies folders of others: a line that is longer than the memory must not end the verification.
func TestVerify_TakesLittleMemory(t *testing.T) {
	s := newSample(t)
	folder := fstest.MapFS{}
	for name, text := range s.files {
		folder[name] = &fstest.MapFile{Data: text}
	}
	for _, name := range []string{s.segments[0], checkpointsName} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := verifyFolder(withLong{folder, name}, []string{s.key})
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; err != nil || n > longBytes/4 {
			t.Errorf("%s: %v, %d MB were allocated", name, err, n>>20)
		}
		if len(r.Torn) == 0 && !r.TornCheckpoint {
			t.Errorf("%s: the incomplete line is not named: %+v", name, r)
		}
	}
}

// A line in the middle that is too long for a record is a finding, and the records after it are verified.
func TestVerify_NamesALineThatIsTooLong(t *testing.T) {
	s := newSample(t)
	lines := s.lines(s.segments[1])
	long := append(bytes.Repeat([]byte("a"), maxLine), '\n')
	content := bytes.Join([][]byte{lines[0], long, bytes.Join(lines[1:], nil)}, nil)
	r := s.verify(t, s.with(s.segments[1], content))
	if r.Intact() || r.Records != uint64(s.records)+1 || r.Findings[0].Line != 2 {
		t.Errorf("%+v", r)
	}
}

// Copies of a checkpoint say nothing new.
func TestVerify_CopiesOfCheckpointsCountOnce(t *testing.T) {
	s := newSample(t)
	want := s.verify(t, s.files)
	got := s.verify(t, s.with(checkpointsName, bytes.Repeat(s.files[checkpointsName], 100)))
	if expectIntact(t, got); got.Checkpoints != want.Checkpoints {
		t.Errorf("%d checkpoints, want %d", got.Checkpoints, want.Checkpoints)
	}
}

// A pipe in place of the checkpoints must not block an auditor, or the start of the server.
func TestCheckpoints_ThatAreNoFile(t *testing.T) {
	t.Parallel()
	settings, key := testSettings(t)
	closeLog(t, openLog(t, settings))
	path := filepath.Join(settings.Dir, checkpointsName)
	for what, replace := range map[string]func() error{
		"a pipe":           func() error { return syscall.Mkfifo(path, 0o600) },
		"a link to zeroes": func() error { return os.Symlink("/dev/zero", path) },
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		refused := make(chan error, 2)
		go func() {
			_, err := Verify(settings.Dir, []string{key})
			refused <- err
			_, err = Open(settings, "test", "", slog.New(slog.DiscardHandler))
			refused <- err
		}()
		for range 2 {
			select {
			case err := <-refused:
				if !errors.Is(err, errNotRegular) || !strings.Contains(err.Error(), checkpointsName) {
					t.Errorf("%s: %v", what, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: blocked", what)
			}
		}
	}
}
