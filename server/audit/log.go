package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"gatehouse/providers"
)

// Limits of the records that wait while the log cannot be written. Further records are dropped and counted.
const (
	maxPending      = 10_000
	maxPendingBytes = 16 << 20
)

// Time limits of waiting for the disk: of a call if audit.required is set, and of Close.
const (
	requiredTimeout = 5 * time.Second
	closeTimeout    = 2 * time.Second
)

// Log is an audit log that is being written. It is safe for concurrent use.
type Log struct {
	settings  Settings
	arguments *ArgumentRecorder

	mu     sync.Mutex
	config string
	// waiting are the records that the writer has not taken, and held is how many it has taken and not written.
	waiting batch
	held    int
	// dropped is the number of records for which there was no room after those that wait.
	dropped int64
	// counts are of what has no record of its own: requests without a valid token, and what else strangers can cause at
	// will.
	counts map[counted]int64
	closed bool
	status Status

	wake   chan struct{} // has room for one: the writer looks at everything that waits
	ending chan struct{} // closed by Close
	ended  chan struct{} // closed when the writer has ended
	once   sync.Once
}

// lockName is the file that a process locks while it writes a log. The kernel releases the lock when the
// process ends, however it does.
const lockName = "lock"

// errLocked is the error for a folder into which another process writes.
var errLocked = errors.New("another process writes into this folder; " +
	"give each its own, for example with {hostname}")

// batch is a number of records, without what the chain adds to them.
type batch struct {
	bodies  []byte
	ends    []int          // where the body of each ends
	waiters []chan<- error // of the records that must be on disk
}

// Status is the state of a [Log].
type Status struct {
	// Sequence is the number of the last record in the file, and Synced that of the last one that is on disk.
	Sequence, Synced uint64
	// Checkpoint is the last record that a checkpoint covers, and CheckpointTime when it was made.
	Checkpoint     uint64
	CheckpointTime time.Time
	// Lost is the number of records that were dropped since the start.
	Lost int64
	// Err is why the log cannot be written; nil if it can.
	Err error
}

// Open continues the log in the folder of s, or begins one there, with a new segment. s must be valid.
// version is that of the program, and config the digest of its configuration. The error is for the operator.
// Close must be called.
func Open(s Settings, version, config string, logger *slog.Logger) (*Log, error) {
	return open(s, version, config, logger, createFile)
}

func open(s Settings, version, config string, logger *slog.Logger, create createFunc) (*Log, error) {
	dir, err := s.Folder()
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(s.SigningKey)
	if err != nil {
		return nil, fmt.Errorf("audit.signing_key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	arguments := newArgumentRecorder(s)
	s.SigningKey, s.ArgumentsKey = "", "" // package fmt would print those of an unexported field
	l := &Log{
		settings: s, arguments: arguments, config: config, counts: map[counted]int64{},
		wake: make(chan struct{}, 1), ending: make(chan struct{}), ended: make(chan struct{}),
	}
	w := &writer{log: l, dir: dir, lock: lock, signer: signer, version: version, logger: logger, create: create}
	if err := w.begin(); err != nil {
		unlockFolder(lock)
		return nil, err
	}
	l.Put(Record{Event: EventStart, Config: config, Duration: -1})
	go w.run()
	return l, nil
}

// Put adds a record. It does not wait for the disk. After Close it does nothing.
func (l *Log) Put(r Record) { l.put(&r, nil) }

// put reports whether the record was accepted.
func (l *Log) put(r *Record, waiter chan<- error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if len(l.waiting.ends)+l.held >= maxPending || len(l.waiting.bodies) >= maxPendingBytes {
		l.dropped++
		l.status.Lost++
		return false
	}
	if r.Time.IsZero() {
		r.Time = time.Now() // under the mutex, so that times are in the order of the records
	}
	l.waiting.bodies = appendBody(l.waiting.bodies, r)
	l.waiting.ends = append(l.waiting.ends, len(l.waiting.bodies))
	if waiter != nil {
		l.waiting.waiters = append(l.waiting.waiters, waiter)
	}
	l.signal()
	return true
}

// signal wakes the writer.
func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look at what waits in any case
	}
}

// PutRequired adds a record and waits until it is on disk. The error wraps [providers.ErrUnavailable] and has
// [ReasonUnavailable].
func (l *Log) PutRequired(ctx context.Context, r Record) error {
	if err := l.Status().Err; err != nil {
		return unavailable(err)
	}
	done := make(chan error, 1)
	if !l.put(&r, done) {
		return unavailable(errors.New("no room for more records"))
	}
	timer := time.NewTimer(requiredTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return unavailable(err)
		}
		return nil
	case <-timer.C:
		return unavailable(errors.New("the disk did not take the record in time"))
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

func unavailable(err error) error {
	return providers.Unavailablef(ReasonUnavailable, "the audit log cannot be written: %v", err)
}

// counted is what the records of a count have in common. All values are from closed lists.
type counted struct {
	event    Event
	decision Decision
	reason   string
}

// Count counts an event that gets no record of its own. There is one record for each event, decision, reason and
// minute: what strangers can cause at will must not fill the disk.
func (l *Log) Count(event Event, decision Decision, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.counts[counted{event, decision, reason}]++
	}
}

// CountRefused counts a request that was refused without a valid token.
func (l *Log) CountRefused(reason string) { l.Count(EventRefusedUnauthenticated, Deny, reason) }

// putCounts adds the records of what was counted.
func (l *Log) putCounts() {
	l.mu.Lock()
	counts, config := l.counts, l.config
	l.counts = map[counted]int64{}
	l.mu.Unlock()
	for of, n := range counts {
		l.Put(Record{Event: of.event, Decision: of.decision, Reason: of.reason, Count: n, Config: config, Duration: -1})
	}
}

// Arguments returns what makes the arguments of records; nil if they have none.
func (l *Log) Arguments() *ArgumentRecorder { return l.arguments }

// SetConfig sets the digest of the configuration in records that belong to no operation.
func (l *Log) SetConfig(digest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.config = digest
}

// Config returns what SetConfig or Open has set.
func (l *Log) Config() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config
}

// Required reports whether a call must not run before its record is on disk.
func (l *Log) Required() bool { return l.settings.Required }

// RecordsAll reports whether lists and other operations are recorded too.
func (l *Log) RecordsAll() bool { return l.settings.Events == EventsAll }

// Status returns the state of the log.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Close writes the records that wait, a last one and a checkpoint, and closes the files. It waits two seconds
// at most. Later calls return when the first one has.
func (l *Log) Close() error {
	l.once.Do(func() {
		l.putCounts()
		l.Put(Record{Event: EventStop, Config: l.Config(), Duration: -1})
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.ending)
		select {
		case <-l.ended:
		case <-time.After(closeTimeout):
		}
	})
	select {
	case <-l.ended:
		return l.Status().Err
	default:
		return errors.New("the disk did not take the last records in time")
	}
}

// take moves what waits into b, whose memory is used again, and returns how many records were dropped after
// it.
func (l *Log) take(b *batch) (dropped int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*b, l.waiting = l.waiting, batch{bodies: b.bodies[:0], ends: b.ends[:0]}
	l.held = len(b.ends)
	dropped, l.dropped = l.dropped, 0
	return dropped
}

// update changes the status.
func (l *Log) update(change func(*Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.status)
}
