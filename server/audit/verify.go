package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// maxFindings bounds how many findings [Verify] describes.
const maxFindings = 100

// Report is what [Verify] found.
type Report struct {
	// Log is the ID of the log.
	Log string
	// Segments and Records count the files and their records. Records have the numbers from First to Last.
	Segments    int
	Records     uint64
	First, Last uint64
	// FirstTime and LastTime are the times of these records.
	FirstTime, LastTime time.Time
	// Checkpoints counts the valid checkpoints in the folder, and Unchecked those whose record is in a deleted
	// segment.
	Checkpoints, Unchecked int
	// Covered is the last record that a valid checkpoint covers, of the folder or kept elsewhere; 0 if there is
	// none.
	Covered uint64
	// Keys are the IDs of the keys.
	Keys []string
	// Torn are incomplete records, which a crash leaves at the end of a segment.
	Torn []Torn
	// TornCheckpoint is set if the last checkpoint in the folder is incomplete.
	TornCheckpoint bool
	// Gaps counts records about times at which the log could not be written, and Lost the records that are
	// missing because of them.
	Gaps, Lost uint64
	// Kept are the checkpoints that were kept elsewhere, in the order of the records that they cover.
	Kept []Kept
	// Findings are the first problems. The log is intact if there are none.
	Findings []Finding
	// Omitted counts further problems.
	Omitted int
}

// Torn is an incomplete record.
type Torn struct {
	Segment uint64
	// After is the record before it.
	After uint64
	Bytes int64
}

// Kept is a checkpoint that was kept elsewhere.
type Kept struct {
	// Source is the name under which it was given.
	Source string
	Seq    uint64
	// Unchecked is set if its record is in a deleted segment.
	Unchecked bool
	// Err is nil if it is valid.
	Err error
}

// Finding is a place where the log is not as it was written.
type Finding struct {
	// File is the name of the file, and Line and Byte say where in it; Line is 0 for the file as a whole.
	File string
	Line int
	Byte int64
	What string
}

// String implements fmt.Stringer.
func (p Finding) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.What)
	}
	return fmt.Sprintf("%s line %d byte %d: %s", p.File, p.Line, p.Byte, p.What)
}

// Intact reports whether nothing is wrong.
func (r Report) Intact() bool { return len(r.Findings) == 0 }

// Uncovered is the number of records at the end that no checkpoint covers: they can be cut off unseen.
func (r Report) Uncovered() uint64 {
	if r.Covered >= r.Last {
		return 0
	}
	return min(r.Last-r.Covered, r.Records)
}

// CheckpointFile is a file with checkpoints that was kept elsewhere: a copy of the file "checkpoints", or a
// log of the server.
type CheckpointFile struct {
	Name    string
	Content []byte
}

// ErrNoLog is the error of [Verify] for a folder without a log.
var ErrNoLog = errors.New("there is no audit log in this folder")

// ErrNoCheckpoint is the error of [Verify] for a file without checkpoints.
var ErrNoCheckpoint = errors.New("there is no checkpoint in this file")

// Verify reads the whole log in dir and checks the chain of its records and its checkpoints. keys are public
// keys, of which each checkpoint needs one. It may run while the log is being written. The error says why it
// could not be verified at all.
func Verify(dir string, keys []string, kept ...CheckpointFile) (Report, error) {
	return verifyFolder(os.DirFS(dir), keys, kept...)
}

func verifyFolder(folder fs.FS, keys []string, kept ...CheckpointFile) (Report, error) {
	v := verification{folder: folder, wanted: map[uint64][]*expectation{}}
	var verifiers []note.Verifier
	for _, text := range keys {
		verifier, err := note.NewVerifier(text)
		if err != nil {
			return Report{}, errors.New("a key is not a public key of `gatehouse audit key`")
		}
		verifiers = append(verifiers, verifier)
		v.report.Keys = append(v.report.Keys, keyID(verifier))
	}
	v.keys = note.VerifierList(verifiers...)
	// The checkpoints first: records that are written meanwhile need not be covered.
	if err := v.readCheckpoints(); err != nil {
		return Report{}, err
	}
	for _, f := range kept {
		if err := v.readKept(f); err != nil {
			return Report{}, err
		}
	}
	segments, err := listSegments(folder)
	if err != nil {
		return Report{}, err
	}
	if len(segments) == 0 {
		return Report{}, ErrNoLog
	}
	for i, s := range segments {
		if i > 0 && segments[i-1].number == s.number {
			v.add(Finding{File: s.name, What: "two files have the same number"})
		}
		if err := v.readSegment(s); err != nil {
			return Report{}, err
		}
	}
	v.finish()
	return v.report, nil
}

// verification is the state of one [Verify].
type verification struct {
	folder fs.FS
	keys   note.Verifiers
	report Report
	// wanted are the checkpoints by the record that they cover.
	wanted map[uint64][]*expectation

	// last is the head after the last record; hasLast is false before the first.
	last    head
	hasLast bool
	// stopped is set if the last record says that the program stopped.
	stopped bool
}

// expectation is a checkpoint, and whether the log fulfills it.
type expectation struct {
	Checkpoint
	// kept is nil for a checkpoint of the folder.
	kept   *Kept
	number int // in its file, from 1
	found  bool
	err    error
}

func (v *verification) add(p Finding) {
	if len(v.report.Findings) == maxFindings {
		v.report.Omitted++
		return
	}
	v.report.Findings = append(v.report.Findings, p)
}

func (v *verification) readCheckpoints() error {
	info, err := fs.Stat(v.folder, checkpointsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		err = fmt.Errorf("%s: %w", checkpointsName, errNotRegular)
	}
	if err != nil {
		return err
	}
	f, err := v.folder.Open(checkpointsName)
	if err != nil {
		return err
	}
	defer f.Close()
	number := 0
	_, torn, err := readNotes(f, func(text []byte) {
		number++
		c, err := openCheckpoint(text, v.keys)
		if err != nil {
			v.add(Finding{File: checkpointsName, What: fmt.Sprintf("checkpoint %d: %v", number, err)})
			return
		}
		// A copy says nothing new, and there may be any number.
		isCopy := func(other *expectation) bool { return other.Checkpoint == c }
		if !slices.ContainsFunc(v.wanted[c.Seq], isCopy) {
			v.wanted[c.Seq] = append(v.wanted[c.Seq], &expectation{Checkpoint: c, number: number})
		}
	})
	v.report.TornCheckpoint = torn > 0
	return err
}

func (v *verification) readKept(f CheckpointFile) error {
	content := f.Content
	if !bytes.HasSuffix(content, []byte("\n\n")) { // a single note ends with its signature
		content = append(slices.Clip(bytes.TrimRight(content, "\n")), "\n\n"...)
	}
	notes, _ := splitNotes(content)
	if len(notes) == 0 {
		return fmt.Errorf("%s: %w", f.Name, ErrNoCheckpoint)
	}
	for i, text := range notes {
		c, err := openCheckpoint(text, v.keys)
		if err != nil {
			v.add(Finding{File: f.Name, What: fmt.Sprintf("checkpoint %d: %v", i+1, err)})
			continue
		}
		kept := &Kept{Source: f.Name, Seq: c.Seq}
		v.wanted[c.Seq] = append(v.wanted[c.Seq], &expectation{Checkpoint: c, kept: kept, number: i + 1})
	}
	return nil
}

// readSegment checks the records of one segment.
func (v *verification) readSegment(s segment) error {
	v.report.Segments++
	v.stopped = false
	torn, err := readLines(v.folder, s.name, func(text []byte, number int, offset int64) {
		v.readRecord(s, text, number, offset)
	})
	if err != nil {
		return err
	}
	if torn > 0 && v.stopped {
		v.add(Finding{File: s.name, What: fmt.Sprintf("%d bytes follow the record of the stop", torn)})
	} else if torn > 0 {
		v.report.Torn = append(v.report.Torn, Torn{Segment: s.number, After: v.last.seq, Bytes: torn})
	}
	return nil
}

func (v *verification) readRecord(s segment, text []byte, number int, offset int64) {
	problem := func(format string, args ...any) {
		v.add(Finding{File: s.name, Line: number, Byte: offset, What: fmt.Sprintf(format, args...)})
	}
	r := &v.report
	r.Records++
	sum := sha256.Sum256(text)
	l, err := parseLine(text)
	if err != nil {
		problem("%v", err)
		v.last.seq++ // as far as one can tell
		v.last.hash, v.hasLast = sum, true
		return
	}
	if isFirst := number == 1; isFirst != (l.Event == EventSegment) {
		problem("the record that begins a segment is the first one of its file, and only that")
	} else if isFirst {
		if l.Segment != s.number {
			problem("it begins segment %d, and the file has number %d", l.Segment, s.number)
		}
		if r.Log == "" {
			r.Log = l.Log
		}
		if l.Log != r.Log {
			problem("it belongs to log %q, and the records before it to log %q", l.Log, r.Log)
		}
	}
	prev, err := base64.RawURLEncoding.Strict().DecodeString(l.Prev)
	switch {
	case err != nil || len(prev) != sha256.Size:
		problem("its hash of the record before it is malformed")
	case v.hasLast && l.Seq != v.last.seq+1:
		problem("it is record %d, and the one before it is %d: records are missing, doubled or in another order",
			l.Seq, v.last.seq)
	case v.hasLast && !bytes.Equal(prev, v.last.hash[:]):
		problem("the record before it (%d) is not the one that was written", v.last.seq)
	case !v.hasLast && l.Seq == 1 && !bytes.Equal(prev, make([]byte, sha256.Size)):
		problem("the first record continues another one")
	}
	if !v.hasLast {
		r.First, r.FirstTime = l.Seq, l.Time
	}
	v.last, v.hasLast = head{seq: l.Seq, hash: sum}, true
	v.stopped = l.Event == EventStop
	if l.Event == EventGap {
		r.Gaps++
		r.Lost += l.Count
	}
	r.Last, r.LastTime = l.Seq, l.Time
	for _, e := range v.wanted[l.Seq] {
		switch {
		case e.found && e.err == nil: // a second record with this number, which is a problem already
		case e.Hash != v.last.text():
			e.found, e.err = true, fmt.Errorf("record %d is not the one that it covers", e.Seq)
		default:
			e.found, e.err = true, nil
		}
	}
}

// finish compares the checkpoints with what was read.
func (v *verification) finish() {
	r := &v.report
	var all []*expectation
	for _, seq := range slices.Sorted(maps.Keys(v.wanted)) {
		all = append(all, v.wanted[seq]...)
	}
	for _, e := range all {
		unchecked := false
		switch {
		case e.Log != r.Log:
			e.err = fmt.Errorf("it belongs to log %q, and the folder contains log %q", e.Log, r.Log)
		case e.found:
		case e.Seq < r.First:
			unchecked = true
		case e.Seq > r.Last:
			e.err = fmt.Errorf("it covers record %d, and the log ends at %d: records were cut off", e.Seq, r.Last)
		default:
			e.err = fmt.Errorf("it covers record %d, which is missing", e.Seq)
		}
		file := checkpointsName
		if e.kept != nil {
			file = e.kept.Source
			e.kept.Err, e.kept.Unchecked = e.err, unchecked
			r.Kept = append(r.Kept, *e.kept)
		}
		switch {
		case e.err != nil:
			what := fmt.Sprintf("checkpoint %d of %s: %v", e.number, e.Time.UTC().Format(time.RFC3339), e.err)
			v.add(Finding{File: file, What: what})
			continue
		case unchecked && e.kept == nil:
			r.Unchecked++
		case e.kept == nil:
			r.Checkpoints++
		}
		if !unchecked {
			r.Covered = max(r.Covered, e.Seq)
		}
	}
}
