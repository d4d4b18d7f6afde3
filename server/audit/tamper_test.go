package audit

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// sample is a log of several segments in memory, of which tests write changed copies.
type sample struct {
	dir, key string
	// segments are the names of the segments in order; files are all files by name.
	segments []string
	files    map[string][]byte
	records  int
}

// newSample writes a log of three segments: one of an earlier process, and two of one that rotated once.
func newSample(t *testing.T) *sample {
	t.Helper()
	settings, key := testSettings(t)
	for process := range 2 {
		l := openLog(t, settings)
		for n := range 2 + 3*process {
			l.Put(call(n))
			waitFor(t, "the write", func() bool { return l.Status().Sequence > uint64(n) })
		}
		closeLog(t, l)
	}
	s := &sample{dir: settings.Dir, key: key, files: files(t, settings.Dir)}
	delete(s.files, lockName)
	for name := range s.files {
		if segmentName.MatchString(name) {
			s.segments = append(s.segments, name)
			s.records += bytes.Count(s.files[name], []byte("\n"))
		}
	}
	slices.Sort(s.segments)
	if len(s.segments) < 3 {
		t.Fatalf("the sample has only %d segments", len(s.segments))
	}
	r := s.verify(t, s.files)
	expectIntact(t, r)
	if r.Records != uint64(s.records) || r.Uncovered() != 0 || r.Checkpoints == 0 {
		t.Fatalf("the sample is verified as %+v", r)
	}
	return s
}

// verify verifies a folder with that content.
func (s *sample) verify(t *testing.T, content map[string][]byte, kept ...CheckpointFile) Report {
	t.Helper()
	folder := fstest.MapFS{}
	for name, text := range content {
		folder[name] = &fstest.MapFile{Data: text}
	}
	r, err := verifyFolder(folder, []string{s.key}, kept...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with returns the files with one of them changed.
func (s *sample) with(name string, text []byte) map[string][]byte {
	changed := maps.Clone(s.files)
	changed[name] = text
	return changed
}

// lines returns the records of a segment.
func (s *sample) lines(segment string) [][]byte {
	lines := bytes.SplitAfter(s.files[segment], []byte("\n"))
	return lines[:len(lines)-1]
}

func (s *sample) expectFound(t *testing.T, what string, content map[string][]byte, kept ...CheckpointFile) {
	t.Helper()
	if s.verify(t, content, kept...).Intact() {
		t.Errorf("not found: %s", what)
	}
}

func TestVerify_FindsEveryChangedByte(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	for _, segment := range s.segments {
		text := s.files[segment]
		for i := range text {
			for _, b := range []byte{text[i] ^ 1, text[i] ^ 0x80, '\n'} {
				if b == text[i] {
					continue
				}
				changed := bytes.Clone(text)
				changed[i] = b
				s.expectFound(t, fmt.Sprintf("%s byte %d: %q as %q", segment, i, text[i], b), s.with(segment, changed))
			}
			removed := slices.Delete(bytes.Clone(text), i, i+1)
			s.expectFound(t, fmt.Sprintf("%s without byte %d", segment, i), s.with(segment, removed))
		}
	}
}

func TestVerify_FindsEveryDeletedDoubledSwappedAndInsertedRecord(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	type place struct {
		segment string
		line    int
	}
	var places []place
	for _, segment := range s.segments {
		for i := range s.lines(segment) {
			places = append(places, place{segment, i})
		}
	}
	at := func(p place) []byte { return s.lines(p.segment)[p.line] }
	edit := func(p place, change func(lines [][]byte) [][]byte) map[string][]byte {
		return s.with(p.segment, bytes.Join(change(s.lines(p.segment)), nil))
	}
	for _, p := range places {
		s.expectFound(t, fmt.Sprintf("%v deleted", p), edit(p, func(lines [][]byte) [][]byte {
			return slices.Delete(lines, p.line, p.line+1)
		}))
		for _, other := range places {
			if p == other {
				continue
			}
			changed := edit(p, func(lines [][]byte) [][]byte { lines[p.line] = at(other); return lines })
			s.expectFound(t, fmt.Sprintf("%v replaced by %v", p, other), changed)
			// Both change places.
			swapped := maps.Clone(changed)
			if other.segment == p.segment {
				swapped = edit(p, func(lines [][]byte) [][]byte {
					lines[p.line], lines[other.line] = lines[other.line], lines[p.line]
					return lines
				})
			} else {
				lines := s.lines(other.segment)
				lines[other.line] = at(p)
				swapped[other.segment] = bytes.Join(lines, nil)
			}
			s.expectFound(t, fmt.Sprintf("%v and %v swapped", p, other), swapped)
		}
		// A copy of every record, and a new one that continues the chain, before this one; and after the last one
		// of a segment that another follows.
		inserted := [][]byte{[]byte("{}\n"), []byte("\n")}
		for _, other := range places {
			inserted = append(inserted, at(other))
		}
		for _, text := range inserted {
			s.expectFound(t, fmt.Sprintf("%q inserted before %v", text, p), edit(p, func(lines [][]byte) [][]byte {
				return slices.Insert(lines, p.line, text)
			}))
		}
		forged, _ := headBefore(t, s, p.segment, p.line).appendLine(nil, appendBody(nil, &Record{Event: EventCall}))
		s.expectFound(t, fmt.Sprintf("a forged record before %v", p), edit(p, func(lines [][]byte) [][]byte {
			return slices.Insert(lines, p.line, forged)
		}))
		if p.line == len(s.lines(p.segment))-1 && p.segment != s.segments[len(s.segments)-1] {
			forged, _ := headAfter(t, at(p)).appendLine(nil, appendBody(nil, &Record{Event: EventCall}))
			s.expectFound(t, fmt.Sprintf("a forged record after %v", p), edit(p, func(lines [][]byte) [][]byte {
				return append(lines, forged)
			}))
		}
	}
}

func headAfter(t *testing.T, text []byte) head {
	t.Helper()
	l, err := parseLine(text)
	if err != nil {
		t.Fatal(err)
	}
	return head{seq: l.Seq, hash: hashOf(text)}
}

// headBefore is the head before a record.
func headBefore(t *testing.T, s *sample, segment string, number int) head {
	t.Helper()
	var last head
	for _, name := range s.segments {
		for i, text := range s.lines(name) {
			if name == segment && i == number {
				return last
			}
			last = headAfter(t, text)
		}
	}
	t.Fatal("there is no such record")
	return head{}
}

// rewritten returns the files after the record n (from 0) was changed and all later hashes were computed
// again, as can do who may write the files and does not have the key.
func (s *sample) rewritten(t *testing.T, n int) map[string][]byte {
	t.Helper()
	changed := maps.Clone(s.files)
	var last head
	count := 0
	for _, name := range s.segments {
		var text []byte
		for _, old := range s.lines(name) {
			body := bytes.Clone(bodyOf(old))
			if count == n {
				body = append(body, `,"forged":true`...)
			}
			count++
			text, last = last.appendLine(text, body)
		}
		changed[name] = text
	}
	return changed
}

func TestVerify_FindsEveryRewrittenChain(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	kept := CheckpointFile{Name: "kept", Content: s.files[checkpointsName]}
	for n := range s.records {
		changed := s.rewritten(t, n)
		s.expectFound(t, fmt.Sprintf("the chain rewritten from record %d", n), changed)
		delete(changed, checkpointsName)
		s.expectFound(t, fmt.Sprintf("the same without checkpoints, from record %d", n), changed, kept)
		// What cannot be seen is said.
		r := s.verify(t, changed)
		if !r.Intact() || r.Uncovered() != uint64(s.records) || r.Checkpoints != 0 {
			t.Errorf("without any checkpoint: %+v", r)
		}
	}
}

func TestVerify_FindsEveryTruncationBeforeACheckpointKeptElsewhere(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	notes, _ := splitNotes(s.files[checkpointsName])
	for _, text := range notes {
		kept := CheckpointFile{Name: "kept", Content: text}
		verifier := verify(t, s.dir, s.key, kept)
		if len(verifier.Kept) != 1 || verifier.Kept[0].Err != nil {
			t.Fatalf("the checkpoint is not valid: %+v", verifier)
		}
		covered := verifier.Kept[0].Seq
		for i, segment := range s.segments {
			whole := s.files[segment]
			for size := range len(whole) + 1 {
				cut := maps.Clone(s.files)
				delete(cut, checkpointsName) // rolled back, too
				cut[segment] = whole[:size]
				for _, later := range s.segments[i+1:] {
					delete(cut, later)
				}
				r := s.verify(t, cut, kept)
				if left := r.Last; (left < covered) == r.Intact() {
					t.Errorf("%s cut at %d: %d records are left of %d covered ones, and it is intact: %v",
						segment, size, left, covered, r.Intact())
				} else if left >= covered && r.Uncovered() != left-covered {
					t.Errorf("%s cut at %d: %d records are covered by none, want %d", segment, size, r.Uncovered(),
						left-covered)
				}
			}
		}
		if _, err := Verify(t.TempDir(), []string{s.key}, kept); !errors.Is(err, ErrNoLog) {
			t.Errorf("an empty folder: %v", err)
		}
	}
}

// Without a checkpoint, every change of a record is found that another record follows, and nothing more is
// claimed.
func TestVerify_WithoutCheckpointsFindsAllButTheEnd(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	delete(s.files, checkpointsName)
	for i, segment := range s.segments {
		lines := s.lines(segment)
		for n := range lines {
			last := i == len(s.segments)-1 && n == len(lines)-1
			changed := s.lines(segment)
			changed[n] = bytes.Replace(changed[n], []byte(`,"prev"`), []byte(`,"x":1,"prev"`), 1)
			r := s.verify(t, s.with(segment, bytes.Join(changed, nil)))
			if r.Intact() != last {
				t.Errorf("%s line %d: intact is %v", segment, n+1, r.Intact())
			}
			if r.Uncovered() != uint64(s.records) {
				t.Errorf("%d of %d records are said to be covered by none", r.Uncovered(), s.records)
			}
		}
	}
}

func TestVerify_FindsMissingAndForeignFiles(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	for i, segment := range s.segments {
		without := maps.Clone(s.files)
		delete(without, segment)
		r := s.verify(t, without)
		switch {
		case i == 0 && (!r.Intact() || r.First != uint64(len(s.lines(segment)))+1):
			t.Errorf("old whole segments may be deleted, and the report says from which record on: %+v", r)
		case i > 0 && r.Intact():
			t.Errorf("not found: %s is missing", segment)
		}
		if i > 0 { // the files are joined
			joined := maps.Clone(without)
			joined[s.segments[i-1]] = slices.Concat(s.files[s.segments[i-1]], s.files[segment])
			s.expectFound(t, segment+" appended to the one before it", joined)
		}
		renamed := maps.Clone(without)
		renamed["segment-00000009-20261129T080001Z.jsonl"] = s.files[segment]
		s.expectFound(t, segment+" renamed", renamed)
		doubled := maps.Clone(s.files)
		doubled[strings.Replace(segment, "T", "T0", 1)[:len(segment)]] = s.files[segment]
		doubled[segment[:len("segment-00000001-")]+"20200101T000000Z.jsonl"] = s.files[segment]
		s.expectFound(t, segment+" twice", doubled)
	}
	other := newSample(t)
	other.key = s.key
	s.expectFound(t, "the log of another server", other.files)
	kept := CheckpointFile{Name: "kept", Content: s.files[checkpointsName]}
	delete(other.files, checkpointsName)
	s.expectFound(t, "the log of another server, without checkpoints", other.files, kept)
}

func TestVerify_FindsForgedCheckpoints(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	text := s.files[checkpointsName]
	for i := range text {
		changed := bytes.Clone(text)
		changed[i] ^= 8 // the lowest bits of the last character of a signature have no meaning
		r := s.verify(t, s.with(checkpointsName, changed))
		if r.Intact() && !r.TornCheckpoint {
			t.Errorf("not found: byte %d of the checkpoints", i)
		}
	}
	// Another key does not count.
	forger, _ := testSettings(t)
	signer, err := newSigner(forger.SigningKey)
	if err != nil {
		t.Fatal(err)
	}
	changed := s.rewritten(t, 1)
	last := s.lines(s.segments[len(s.segments)-1])
	forged, err := headAfter(t, last[len(last)-1]).sign(signer, s.verify(t, s.files).Log, 1, 1, timeOf(t, last[0]))
	if err != nil {
		t.Fatal(err)
	}
	changed[checkpointsName] = append(forged, '\n')
	s.expectFound(t, "a checkpoint of another key", changed)
}
