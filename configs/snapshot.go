package configs

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"syscall"
	"time"
)

// maxFileBytes bounds a file that is read while the server runs.
const maxFileBytes = 1 << 20

// Snapshot is what the files of a configuration contained when it was loaded. [Sources].ReadFile is one of its
// methods.
type Snapshot struct {
	// contents has the state of each file by name: the hash of its content, or why it cannot be read.
	contents map[string]string
}

// NewSnapshot returns an empty snapshot.
func NewSnapshot() *Snapshot { return &Snapshot{contents: map[string]string{}} }

// ReadAtStart reads a file of any kind, for example a pipe, and notes its content.
func (s *Snapshot) ReadAtStart(name string) ([]byte, error) { return s.note(name, os.ReadFile) }

// ReadFile reads a file and notes its content. It refuses what could block or never end.
func (s *Snapshot) ReadFile(name string) ([]byte, error) { return s.note(name, readRegularFile) }

func (s *Snapshot) note(name string, read readFileFunc) ([]byte, error) {
	content, err := read(name)
	if err != nil {
		// Without the operation that failed: the two ways to read a file begin with different ones.
		s.contents[name] = "error " + reasonOf(err)
		return nil, err
	}
	sum := sha256.Sum256(content)
	s.contents[name] = "sha256 " + string(sum[:])
	return content, nil
}

// Equal reports whether both have the same files with the same content.
func (s *Snapshot) Equal(other *Snapshot) bool { return maps.Equal(s.contents, other.contents) }

// IsCurrent reads the files again and reports whether none has changed.
func (s *Snapshot) IsCurrent() bool {
	again := NewSnapshot()
	for name := range s.contents {
		_, _ = again.ReadFile(name) // the error is part of the state
	}
	return s.Equal(again)
}

// readTimeout limits reading a file that has nothing to read at the moment, as some files of the kernel have.
const readTimeout = time.Second

// readRegularFile reads a file that has a content of its own. Without O_NONBLOCK, opening a pipe would wait for its
// writer, and no reload would take place any more.
func readRegularFile(name string) ([]byte, error) {
	info, err := os.Stat(name) // before it is opened, because opening a device can have effects
	if err != nil {
		return nil, err
	}
	refuse := func(reason string) error { return &fs.PathError{Op: "read", Path: name, Err: errors.New(reason)} }
	const notRegular = "it is not a regular file"
	if !info.Mode().IsRegular() {
		return nil, refuse(notRegular)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Another file may have taken the name in between.
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, refuse(notRegular))
	}
	_ = f.SetReadDeadline(time.Now().Add(readTimeout)) // files on disks have none, and need none
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = refuse("it has more than 1 MiB")
	}
	return content, err
}
