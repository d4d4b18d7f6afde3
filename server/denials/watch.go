package denials

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/providers"
)

// reloadPause is the time between the two equal reads of [Watcher.Reload], and reloadTries limits how often a
// file that keeps changing is read.
const (
	reloadPause = 100 * time.Millisecond
	reloadTries = 10
	// lockPause is the time between two attempts of [Watcher.Reload] to get the lock of a poll, which may be stuck.
	lockPause = 10 * time.Millisecond
)

// stuckAfter is how long a read may take before it is reported: a network file system can block it without end.
const stuckAfter = 10 * time.Second

// errStuck is the problem while a read does not end. The list in force stays.
var errStuck = fmt.Errorf("reading the file takes more than %s", stuckAfter)

// Watcher holds the list in force, and replaces it when the file changes. A process has one. It is safe for
// concurrent use.
type Watcher struct {
	settings Settings
	open     openFunc
	logger   *slog.Logger
	list     atomic.Pointer[List]
	hits     atomic.Int64

	// reading is held while the file is read and a list is put in force.
	reading sync.Mutex
	// readSince is when the read in progress began, in Unix nanoseconds; 0 if there is none.
	readSince atomic.Int64
	// latest identifies what the latest read found, and judged the latest that was put in force or found bad.
	latest, judged fingerprint
	changed        func(before, now *List)

	mu     sync.Mutex
	status Status
}

// Status is the state of the list.
type Status struct {
	// Entries is the number of entries in force, including those that have ended.
	Entries int
	// Problem is why the file is bad or gone, or cannot be read to its end, so that an older list is in force; usually a
	// [FileError]. Nil means that the list in force is that of the file.
	Problem error
	// Hits is the number of requests that were refused.
	Hits int64
}

// fingerprint identifies the content of the file, or the error of reading it.
type fingerprint [sha256.Size]byte

// Open reads the list. The error is a [FileError].
func Open(s Settings, logger *slog.Logger) (*Watcher, error) {
	w := &Watcher{settings: s, open: openFile, logger: logger}
	list, err := Read(s.File)
	if err != nil {
		return nil, err
	}
	w.latest, w.judged = list.content, list.content
	w.put(list)
	return w, nil
}

// put puts a list in force.
func (w *Watcher) put(list *List) {
	w.list.Store(list)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = Status{Entries: list.Len()}
}

// Run reads the file again and again until ctx ends. A change acts when two reads in a row are equal: a file
// that is written in place is incomplete for a moment. If the file is bad or gone, the last good list stays
// in force. changed is called after each change, with the list that was in force before and the one that is
// now.
func (w *Watcher) Run(ctx context.Context, changed func(before, now *List)) {
	w.reading.Lock()
	w.changed = changed
	w.reading.Unlock()
	ticker := time.NewTicker(w.settings.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.poll()
		}
	}
}

func (w *Watcher) poll() {
	w.reading.Lock()
	defer w.reading.Unlock()
	if w.read() {
		w.judge()
	}
}

// read reports whether the file is as it was at the read before; reading must be held. It keeps nothing of
// the file, which may be long.
func (w *Watcher) read() (isStable bool) {
	defer w.beginRead()()
	before := w.latest
	w.latest = w.fingerprint()
	return w.latest == before
}

// beginRead reports a read that does not end, until end is called. Nothing else would show that changes of the
// file do not act any more.
func (w *Watcher) beginRead() (end func()) {
	w.readSince.Store(time.Now().UnixNano())
	report := time.AfterFunc(stuckAfter, func() {
		w.logger.Error("the file of denials cannot be read; the last good list stays in force",
			"file", w.settings.File, "problem", errStuck.Error(), "fix", "make its file system answer")
	})
	return func() {
		w.readSince.Store(0)
		if !report.Stop() {
			w.logger.Info("the file of denials can be read again", "file", w.settings.File)
		}
	}
}

func (w *Watcher) isStuck() bool {
	since := w.readSince.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= stuckAfter
}

// fingerprint returns the fingerprint of the file.
func (w *Watcher) fingerprint() fingerprint {
	f, err := w.open(w.settings.File)
	if err != nil {
		return errorFingerprint(err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(f, maxFileBytes+1)); err != nil {
		return errorFingerprint(err)
	}
	return fingerprint(hash.Sum(nil))
}

func errorFingerprint(err error) fingerprint { return sha256.Sum256([]byte("error: " + err.Error())) }

// judge puts the file in force if it is a list; reading must be held.
func (w *Watcher) judge() {
	if w.latest == w.judged {
		return
	}
	end := w.beginRead()
	content, err := readFile(w.settings.File, w.open)
	end()
	found := fingerprint(sha256.Sum256(content))
	if err != nil {
		found = errorFingerprint(err)
	}
	if found != w.latest { // it has just changed again
		w.latest = found
		return
	}
	w.judged = found
	if err != nil {
		w.refuse(unreadable(w.settings.File, err))
		return
	}
	list, problems := parse(content)
	if len(problems) > 0 {
		w.refuse(&FileError{File: w.settings.File, Findings: problems})
		return
	}
	before := w.list.Load()
	if list.content == before.content {
		w.setProblem(nil)
		w.logger.Info("the file of denials is good again", "file", w.settings.File, "entries", list.Len())
		return
	}
	w.put(list)
	if w.changed != nil {
		w.changed(before, list)
	}
}

// refuse keeps the list in force.
func (w *Watcher) refuse(problem *FileError) {
	first := problem.Findings[0]
	w.logger.Error("the file of denials is bad; the last good list stays in force", "file", problem.Where(first),
		"problem", first.Reason, "fix", first.Fix, "problems", len(problem.Findings),
		"entries_in_force", w.list.Load().Len())
	w.setProblem(problem)
}

func (w *Watcher) setProblem(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Problem = err
}

// Reload reads the file now, without waiting for the next poll: until two reads, 100 ms apart, are equal. The
// error is why the file is not in force then: usually a [FileError], or that of ctx.
func (w *Watcher) Reload(ctx context.Context) error {
	for !w.reading.TryLock() {
		if w.isStuck() {
			return errStuck
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
	defer w.reading.Unlock()
	pause := time.NewTicker(reloadPause)
	defer pause.Stop()
	w.read()
	for range reloadTries {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		if w.read() {
			w.judge()
			return w.Status().Problem
		}
	}
	return errors.New("the file of denials keeps changing")
}

// Check is [List.Check] of the list in force. It counts the callers that it denies.
func (w *Watcher) Check(id *providers.Identity) (reason providers.Reason, denied bool) {
	if reason, denied = w.list.Load().Check(id); denied {
		w.hits.Add(1)
	}
	return reason, denied
}

// List returns the list in force.
func (w *Watcher) List() *List { return w.list.Load() }

// Status returns the state of the list.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	status := w.status
	status.Hits = w.hits.Load()
	if w.isStuck() {
		status.Problem = errStuck
	}
	return status
}
