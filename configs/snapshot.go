package configs

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
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

func readRegularFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("it is not a regular file")}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("it has more than 1 MiB")}
	}
	return content, err
}
