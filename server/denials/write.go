package denials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// header is at the top of every file that [Update] writes.
const header = `# Denied callers (denials.file of Gatehouse), written by gatehouse deny. It writes the whole file
# again, without other comments and without entries that have ended.
`

// lockTimeout limits waiting for another process that changes the same file.
const lockTimeout = 5 * time.Second

// Update changes the entries of a file. If the file does not exist, it is created if mayCreate is set. change
// gets the entries and returns those to write; an error of change leaves the file as it is. Entries that have
// ended are not written. Concurrent updates, of other processes too, wait for each other.
//
// A reader sees the old file or the new one, which replaces it with mode 0600. If the process may do so, the
// new file belongs to the owner of the old one or, if there is none, of the folder: the server must be able
// to read it. The error is a [FileError] if the file is bad.
func Update(ctx context.Context, file string, mayCreate bool, change func([]Entry) ([]Entry, error)) error {
	// Replacing a symbolic link would leave the file that it points to unchanged.
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	unlock, err := lock(ctx, file)
	if err != nil {
		return err
	}
	defer unlock()
	var entries []Entry
	list, err := Read(file)
	switch {
	case err == nil:
		entries = list.Entries()
	case !mayCreate || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if entries, err = change(entries); err != nil {
		return err
	}
	now := time.Now()
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.HasEnded(now) })
	content := format(entries)
	// What the server would refuse, or read differently, must not replace a good list.
	written, problems := parse(content)
	switch {
	case len(problems) > 0:
		return &FileError{File: file, Findings: problems}
	case !slices.EqualFunc(written.entries, entries, Entry.equals):
		return errors.New("a value is not valid UTF-8")
	}
	return replace(file, content)
}

// lock waits until no other process changes the file. The lock is a file of its own, because the file itself
// is replaced.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		f, err := lockFile(file+".lock", ownerOf(file))
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process is changing %s", file)
		case <-retry.C:
		}
	}
}

// errLocked is the error of lockFile if another process has the lock.
var errLocked = errors.New("another process has the lock")

// replace writes a file that takes the place of the old one when it is complete and on disk.
func replace(file string, content []byte) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once the file is renamed
	err = errors.Join(ownerOf(file).take(f), writeAndSync(f, content), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

func writeAndSync(f *os.File, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// format returns a file with these entries.
func format(entries []Entry) []byte {
	var b strings.Builder
	b.WriteString(header)
	if len(entries) == 0 {
		b.WriteString("[]\n")
	}
	for _, e := range entries {
		separator := "- "
		for _, m := range e.members() {
			fmt.Fprintf(&b, "%s%s: %s\n", separator, m.name, m.value)
			separator = "  "
		}
	}
	return []byte(b.String())
}

// member is a member of an entry with its value in YAML.
type member struct{ name, value string }

// members returns the members of e that are set.
func (e Entry) members() []member {
	var all []member
	text := func(name, value string) {
		if value != "" {
			all = append(all, member{name, strconv.Quote(value)}) // YAML has all escapes of Go for text in UTF-8
		}
	}
	date := func(name string, t time.Time) {
		if !t.IsZero() {
			all = append(all, member{name, t.UTC().Format(time.RFC3339Nano)})
		}
	}
	text(memberIssuer, e.Issuer)
	text(memberSubject, e.Subject)
	date(memberIssuedBefore, e.IssuedBefore)
	text(memberClient, e.Client)
	text(memberToken, e.Token)
	text(memberReason, e.Reason)
	date(memberUntil, e.Until)
	return all
}

// String describes e on one line. Characters that a terminal could interpret are escaped.
func (e Entry) String() string {
	var words []string
	for _, m := range e.members() {
		words = append(words, m.name+" "+m.value)
	}
	return strings.Join(words, ", ")
}
