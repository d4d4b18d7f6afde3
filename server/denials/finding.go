package denials

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"gatehouse/providers"
)

// FileError is the error for a file that is not a list of denials, or cannot be read.
type FileError struct {
	File string
	// Findings are in the order of the file. They contain nothing that is in it.
	Findings []Finding

	cause error
}

// Finding is one thing that is wrong with a file.
type Finding struct {
	// Line is where it is; 0 if it concerns the whole file.
	Line int
	Code providers.Code
	// Reason says what is wrong, and Fix what to do, each on one line.
	Reason, Fix string
}

// Where returns the place of a problem: the file and, if there is one, the line.
func (e *FileError) Where(p Finding) string {
	if p.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, p.Line)
}

// Error describes each problem on a line of its own.
func (e *FileError) Error() string {
	lines := make([]string, 0, len(e.Findings))
	for _, p := range e.Findings {
		lines = append(lines, fmt.Sprintf("%s: %s; %s", e.Where(p), p.Reason, p.Fix))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the error of the operating system, or nil.
func (e *FileError) Unwrap() error { return e.cause }

// unreadable is the error for a file that cannot be read.
func unreadable(file string, err error) *FileError {
	reason, fix := err.Error(), "make it readable for this user"
	var path *fs.PathError
	if errors.As(err, &path) {
		reason = path.Err.Error() // the message names the file already
	}
	if errors.Is(err, fs.ErrNotExist) {
		reason, fix = "there is no such file", "create it: an empty list is the line []"
	}
	p := Finding{Code: providers.CodeUnreadableFile, Reason: reason, Fix: fix}
	return &FileError{File: file, Findings: []Finding{p}, cause: err}
}
