package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Inspection is the state of the folder of an audit log, as a process sees it that does not write the log. Only the
// ends of the files are read: [Verify] reads the whole log.
type Inspection struct {
	// Locked is set while a process writes into the folder.
	Locked bool
	// Segments is the number of files with records; 0 if there is no log yet.
	Segments int
	// Key identifies the key with which the last segment was begun, in the form name+hash.
	Key string
	// Begun is the time of the first record of that segment.
	Begun time.Time
	// Last is the number of the last whole record, and LastTime its time. They are zero if there is none.
	Last     uint64
	LastTime time.Time
	// Checkpoint is the record that the last checkpoint covers, and CheckpointTime when it was made. They are zero if
	// there is none.
	Checkpoint     uint64
	CheckpointTime time.Time
}

// Inspect examines the folder of a log, and changes nothing in it. Its error says why [Open] would fail, too, or that
// this user may not read the folder.
func Inspect(dir string) (Inspection, error) {
	var i Inspection
	var err error
	if i.Locked, err = isLocked(dir); err != nil {
		return Inspection{}, err
	}
	segments, err := listSegments(os.DirFS(dir))
	if err != nil {
		return Inspection{}, err
	}
	i.Segments = len(segments)
	for _, s := range slices.Backward(segments) {
		found, err := i.readSegment(filepath.Join(dir, s.name))
		if err != nil {
			return Inspection{}, fmt.Errorf("%s: %w", s.name, err)
		}
		if found { // a crash can leave a segment without a whole record
			break
		}
	}
	if i.Checkpoint, i.CheckpointTime, err = lastCheckpoint(filepath.Join(dir, checkpointsName)); err != nil {
		return Inspection{}, fmt.Errorf("%s: %w", checkpointsName, err)
	}
	return i, nil
}

// maxEnd is how much of the end of a file is read. Records and checkpoints are much shorter.
const maxEnd = 1 << 20

// readEnds returns the first and the last bytes of a file, which may overlap.
func readEnds(path string) (first, last []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	size := min(info.Size(), maxEnd)
	first, last = make([]byte, size), make([]byte, size)
	if _, err := f.ReadAt(first, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if _, err := f.ReadAt(last, info.Size()-size); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	return first, last, nil
}

// ErrUnreadable is the error of [Inspect] for a log that cannot be continued.
var ErrUnreadable = errors.New("its first or its last record cannot be read")

// readSegment reads the first and the last record of a segment. It reports whether there is a whole record.
func (i *Inspection) readSegment(path string) (found bool, err error) {
	first, last, err := readEnds(path)
	if err != nil {
		return false, err
	}
	first, _, found = bytes.Cut(first, []byte("\n"))
	if !found {
		return false, nil
	}
	last = last[:bytes.LastIndexByte(last, '\n')+1] // without an incomplete record
	if end := bytes.LastIndexByte(bytes.TrimSuffix(last, []byte("\n")), '\n'); end >= 0 {
		last = last[end+1:]
	}
	begin, err := parseLine(first)
	if err != nil || begin.Event != EventSegment || begin.Log == "" {
		return false, ErrUnreadable
	}
	end, err := parseLine(last)
	if err != nil {
		return false, ErrUnreadable
	}
	i.Key, i.Begun, i.Last, i.LastTime = begin.Key, begin.Time, end.Seq, end.Time
	return true, nil
}

// lastCheckpoint reads the last whole checkpoint of a file. Its signature is not checked: the time at which the server
// last made one matters, whatever its key was.
func lastCheckpoint(path string) (seq uint64, at time.Time, err error) {
	_, content, err := readEnds(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	for {
		begin := bytes.LastIndex(content, []byte(originPrefix))
		if begin < 0 {
			return 0, time.Time{}, nil
		}
		if notes, _ := splitNotes(content[begin:]); len(notes) > 0 {
			_, err := note.Open(notes[0], note.VerifierList())
			if unverified, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
				c, err := parseCheckpoint(unverified.Note.Text)
				return c.Seq, c.Time, err
			}
			return 0, time.Time{}, errors.New("the last checkpoint is not a signed note")
		}
		content = content[:begin] // it is incomplete
	}
}

// KeyID returns the form name+hash of a public key, as [Inspection].Key has it.
func KeyID(public string) string {
	name, rest, _ := strings.Cut(public, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}
