package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Intervals of the writer: between two attempts while the log cannot be written, and between two records of
// the same count.
const (
	retryInterval = 500 * time.Millisecond
	countInterval = time.Minute
)

// maxWrite bounds what is encoded before a write, in bytes.
const maxWrite = 1 << 20

// file is a file that is appended to.
type file interface {
	io.WriteCloser
	Truncate(size int64) error
	Sync() error
}

// createFunc creates a file, which must not exist.
type createFunc func(path string) (file, error)

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
}

// writer is the only goroutine that writes the files of a [Log]. One write(2) takes all records that wait, so
// that the process may be killed at any time without losing one of them.
type writer struct {
	log     *Log
	dir     string
	lock    *os.File
	signer  note.Signer
	version string
	logger  *slog.Logger
	create  createFunc

	position
	segmentFile file
	// size is the length of the whole records in the segment.
	size int64
	// unusable is set if the segment cannot be cut back after a short write: a new one is needed.
	unusable bool
	// isDirty is set if the segment has records that may not be on disk.
	isDirty bool

	// out are the encoded records that are not written yet; outHeads are where each ends, and the head after it.
	out      []byte
	outHeads []outHead
	// taken are records that are not encoded yet, from next on, and droppedAfter is how many were dropped after
	// them. gap is set if they were dropped or if the log could not be written.
	taken        batch
	next         int
	droppedAfter int64

	failedSince time.Time // zero if the log can be written
	// checkpointed is the last record that a checkpoint covers.
	checkpointed     uint64
	checkpoints      *os.File
	checkpointFailed bool
}

type outHead struct {
	end int
	head
}

// begin opens the files of the log: a new segment, and the checkpoints.
func (w *writer) begin() error {
	var err error
	if w.position, err = findPosition(w.dir); err != nil {
		return err
	}
	if w.checkpoints, err = openCheckpoints(filepath.Join(w.dir, checkpointsName)); err != nil {
		return err
	}
	if err := w.newSegment(); err != nil {
		w.checkpoints.Close()
		return err
	}
	return nil
}

// errNotRegular is the error for a pipe or a device in place of a file.
var errNotRegular = errors.New("it is not a regular file")

// openCheckpoints opens the file of checkpoints and removes an incomplete one at its end.
func openCheckpoints(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600) // for both, a pipe does not block
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errNotRegular)
	}
	if err == nil {
		var whole, torn int64
		if whole, torn, err = readNotes(f, func([]byte) {}); err == nil && torn > 0 {
			err = f.Truncate(whole)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// newSegment begins a segment with a record that continues the chain.
func (w *writer) newSegment() error {
	now := time.Now()
	number := w.segment + 1
	path := filepath.Join(w.dir, nameSegment(number, now))
	f, err := w.create(path)
	if err != nil {
		return err
	}
	body := append([]byte(nil), `"time":"`...)
	body = appendTime(body, now)
	body = append(body, '"')
	body = appendMember(body, "event", string(EventSegment))
	body = appendMember(body, "log", w.position.log)
	body = append(body, `,"segment":`...)
	body = strconv.AppendUint(body, number, 10)
	body = appendMember(body, "version", w.version)
	body = appendMember(body, "key", keyID(w.signer))
	text, next := w.head.appendLine(nil, body)
	if _, err := f.Write(text); err != nil {
		f.Close()
		_ = os.Remove(path) // without a whole record it is no segment
		return err
	}
	if err := syncFolder(w.dir); err != nil {
		f.Close()
		_ = os.Remove(path)
		return err
	}
	if w.segmentFile != nil {
		_ = w.segmentFile.Close() // synced before
	}
	w.segmentFile, w.segment, w.size = f, number, int64(len(text))
	w.head, w.unusable, w.isDirty = next, false, true
	w.log.update(func(s *Status) { s.Sequence = next.seq })
	return nil
}

// syncFolder makes the name of a new file durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// run writes until Close.
func (w *writer) run() {
	defer close(w.log.ended)
	defer unlockFolder(w.lock)
	defer w.checkpoints.Close()
	checkpoint := time.NewTicker(w.log.settings.Checkpoint)
	defer checkpoint.Stop()
	counts := time.NewTicker(countInterval)
	defer counts.Stop()
	later := time.NewTimer(w.log.settings.Sync) // for a sync, or for another attempt
	defer later.Stop()
	syncing, retrying := true, false // what later is for
	for {
		select {
		case <-w.log.wake:
			if !w.failedSince.IsZero() {
				w.refuseWaiters()
				continue // until the next attempt
			}
			w.attempt(w.log.settings.Sync == 0)
		case <-later.C:
			syncing, retrying = false, false
			w.attempt(true)
		case <-checkpoint.C:
			if w.failedSince.IsZero() {
				w.checkpoint()
			}
		case <-counts.C:
			w.log.putCounts()
		case <-w.log.ending:
			w.attempt(true)
			w.checkpoint()
			_ = w.segmentFile.Close()
			return
		}
		switch failing := !w.failedSince.IsZero(); {
		case failing && !retrying:
			later.Reset(retryInterval)
			syncing, retrying = false, true
		case !failing && w.isDirty && !syncing:
			later.Reset(w.log.settings.Sync)
			syncing, retrying = true, false
		}
	}
}

// attempt writes everything that waits, and syncs it if sync is set or a caller waits for it.
func (w *writer) attempt(sync bool) {
	err := w.write()
	if err == nil && w.isDirty && (sync || len(w.taken.waiters) > 0) {
		err = w.sync()
	}
	if err == nil && !w.failedSince.IsZero() {
		err = w.recovered()
	}
	for _, waiter := range w.taken.waiters {
		waiter <- err // has room
	}
	w.taken.waiters = nil
	if err != nil && w.failedSince.IsZero() {
		w.failedSince = time.Now()
		w.logger.Error("the audit log cannot be written", "error", err, "required", w.log.Required())
		w.log.update(func(s *Status) { s.Err = err })
	}
	if err != nil {
		w.refuseWaiters()
	}
}

// refuseWaiters tells callers that came while the log could not be written. Their records stay.
func (w *writer) refuseWaiters() {
	w.log.mu.Lock()
	waiters := w.log.waiting.waiters
	w.log.waiting.waiters = nil
	w.log.mu.Unlock()
	for _, waiter := range waiters {
		waiter <- errors.New("it could not be written just before")
	}
}

// recovered notes in the log that it could not be written for a while.
func (w *writer) recovered() error {
	since := w.failedSince
	w.encode(w.gap(0))
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	w.failedSince = time.Time{}
	w.log.update(func(s *Status) { s.Err = nil })
	w.logger.Warn("the audit log can be written again", "after", time.Since(since).Round(time.Millisecond))
	return nil
}

// gap is the body of a record about dropped records.
func (w *writer) gap(dropped int64) []byte {
	r := Record{Time: time.Now(), Event: EventGap, Reason: string(ReasonUnavailable), Count: dropped, Duration: -1}
	if !w.failedSince.IsZero() {
		r.Duration = time.Since(w.failedSince)
	}
	return appendBody(nil, &r)
}

// write writes everything that waits.
func (w *writer) write() error {
	for {
		if err := w.flush(); err != nil {
			return err
		}
		if w.unusable || w.size >= int64(w.log.settings.SegmentBytes) {
			if err := w.rotate(); err != nil {
				return err
			}
		}
		if w.next == len(w.taken.ends) {
			waiters := w.taken.waiters
			w.next, w.droppedAfter = 0, w.log.take(&w.taken)
			w.taken.waiters = append(waiters, w.taken.waiters...)
			if len(w.taken.ends) == 0 && w.droppedAfter == 0 {
				return nil
			}
		}
		for w.next < len(w.taken.ends) && len(w.out) < maxWrite &&
			w.size+int64(len(w.out)) < int64(w.log.settings.SegmentBytes) {
			start := 0
			if w.next > 0 {
				start = w.taken.ends[w.next-1]
			}
			w.encode(w.taken.bodies[start:w.taken.ends[w.next]])
			w.next++
		}
		if w.next == len(w.taken.ends) && w.droppedAfter > 0 {
			w.encode(w.gap(w.droppedAfter))
			w.droppedAfter = 0
		}
	}
}

// encode adds a record to out.
func (w *writer) encode(body []byte) {
	last := w.head
	if n := len(w.outHeads); n > 0 {
		last = w.outHeads[n-1].head
	}
	w.out, last = last.appendLine(w.out, body)
	w.outHeads = append(w.outHeads, outHead{len(w.out), last})
}

// flush writes out. After a short write, the part of a record at the end of the file is cut off, so that the
// next record begins a line; whole records stay.
func (w *writer) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	if w.unusable {
		return w.rotateUnusable()
	}
	n, err := w.segmentFile.Write(w.out)
	whole := 0
	for _, h := range w.outHeads {
		if h.end > n {
			break
		}
		whole++
		w.head = h.head
	}
	if whole > 0 {
		written := w.outHeads[whole-1].end
		w.size += int64(written)
		w.out = w.out[:copy(w.out, w.out[written:])]
		w.outHeads = w.outHeads[:copy(w.outHeads, w.outHeads[whole:])]
		for i := range w.outHeads {
			w.outHeads[i].end -= written
		}
		w.isDirty = true
		w.log.update(func(s *Status) { s.Sequence = w.head.seq })
	}
	if err != nil {
		w.unusable = w.segmentFile.Truncate(w.size) != nil
		return err
	}
	return nil
}

// rotateUnusable begins a new segment before the records in out, which therefore continue another record.
func (w *writer) rotateUnusable() error {
	_ = w.segmentFile.Sync() // its whole records are still good
	if err := w.newSegment(); err != nil {
		return err
	}
	var bodies [][]byte
	start := 0
	for _, h := range w.outHeads {
		bodies = append(bodies, bytes.Clone(bodyOf(w.out[start:h.end])))
		start = h.end
	}
	w.out, w.outHeads = w.out[:0], w.outHeads[:0]
	for _, body := range bodies {
		w.encode(body)
	}
	return w.flush()
}

// bodyOf returns the body of an encoded record.
func bodyOf(text []byte) []byte {
	start := bytes.Index(text, []byte(`"time":`))
	end := bytes.LastIndex(text, []byte(`,"prev":"`))
	return text[start:end]
}

// rotate begins a new segment. The old one is covered by a checkpoint, so that its keeper can check it alone.
func (w *writer) rotate() error {
	if w.isDirty {
		if err := w.sync(); err != nil {
			return err
		}
	}
	w.checkpoint()
	return w.newSegment()
}

// sync makes the written records durable.
func (w *writer) sync() error {
	if err := w.segmentFile.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	w.isDirty = false
	w.log.update(func(s *Status) { s.Synced = w.head.seq })
	return nil
}

// checkpoint signs the head if there are new records. They are on disk before: else a crash of the machine
// could leave a checkpoint of records that do not exist.
func (w *writer) checkpoint() {
	if w.head.seq == w.checkpointed {
		return
	}
	err := func() error {
		if w.isDirty {
			if err := w.sync(); err != nil {
				return err
			}
		}
		now := time.Now()
		text, err := w.head.sign(w.signer, w.position.log, w.segment, w.size, now)
		if err != nil {
			return err
		}
		info, err := w.checkpoints.Stat()
		if err != nil {
			return err
		}
		if _, err := w.checkpoints.Write(append(text, '\n')); err != nil {
			_ = w.checkpoints.Truncate(info.Size())
			return err
		}
		if err := w.checkpoints.Sync(); err != nil {
			return err
		}
		w.checkpointed = w.head.seq
		w.log.update(func(s *Status) { s.Checkpoint, s.CheckpointTime = w.head.seq, now })
		w.logger.Info("audit checkpoint", "seq", w.head.seq, "segment", w.segment, "note", string(text))
		return nil
	}()
	if err != nil && !w.checkpointFailed { // each further attempt fails alike
		w.logger.Error("the audit log has no new checkpoint", "error", err)
	}
	w.checkpointFailed = err != nil
}
