package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// File is a [Store] in one file, which one process at a time has open. It is for one replica.
//
// One goroutine writes. It puts all operations that wait into one transaction, because the disk needs as long for many
// as for one; each operation returns after the disk has its transaction.
type File struct {
	db         *bbolt.DB
	path       string
	now        func() time.Time
	operations chan operation
	closing    chan struct{}
	close      sync.Once
	writer     sync.WaitGroup
}

// operation is a change that waits for the writer.
type operation struct {
	// apply makes the change. An error of this package means that it has changed nothing; any other undoes the
	// transaction.
	apply func(buckets) error
	done  chan error
}

// maxTransaction is how many operations share a transaction.
const maxTransaction = 256

var errClosed = errors.New("the store is closed")

// Create implements [Store].
func (f *File) Create(ctx context.Context, r Record) error {
	r, err := r.check()
	if err != nil {
		return err
	}
	return f.change(ctx, func(b buckets) error {
		stored, err := b.get(r.ID)
		if err == nil && f.now().Before(stored.Expires) {
			return ErrExists
		}
		if err == nil {
			err = b.remove(stored)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		r.Version = 1
		return b.add(r)
	})
}

// Get implements [Store].
func (f *File) Get(_ context.Context, id string) (r Record, err error) {
	if err := checkID(id); err != nil {
		return Record{}, err
	}
	err = f.read(func(b buckets) (err error) {
		if r, err = b.get(id); err == nil && !f.now().Before(r.Expires) {
			return ErrNotFound
		}
		r = r.copy() // the bytes of a transaction end with it
		return err
	})
	if err != nil {
		return Record{}, err
	}
	return r, nil
}

// Replace implements [Store].
func (f *File) Replace(ctx context.Context, r Record) (version uint64, err error) {
	if r, err = r.check(); err != nil {
		return 0, err
	}
	err = f.change(ctx, func(b buckets) error {
		stored, err := b.get(r.ID)
		switch {
		case err != nil:
			return err
		case !f.now().Before(stored.Expires):
			return ErrNotFound
		case stored.Version != r.Version:
			return ErrChanged
		}
		next := r
		next.Owner, next.Version = stored.Owner, stored.Version+1
		if !next.Expires.Equal(stored.Expires) {
			if err := b.expiry.Delete(expiryKey(stored)); err != nil {
				return err
			}
		}
		return b.add(next)
	})
	if err != nil {
		return 0, err
	}
	return r.Version + 1, nil
}

// Delete implements [Store].
func (f *File) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	return f.change(ctx, func(b buckets) error {
		stored, err := b.get(id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return b.remove(stored)
	})
}

// ByOwner implements [Store].
func (f *File) ByOwner(_ context.Context, owner, after string, limit int) (found []Record, err error) {
	if err := checkPage(owner, after); err != nil || owner == "" {
		return nil, err
	}
	err = f.read(func(b buckets) error {
		prefix, cursor := ownerKey(owner, ""), b.owners.Cursor()
		key, _ := cursor.Seek(ownerKey(owner, after))
		for ; bytes.HasPrefix(key, prefix) && len(found) < limit; key, _ = cursor.Next() {
			id := string(key[len(prefix):])
			r, err := b.get(id)
			if err != nil {
				return err
			}
			if id > after && f.now().Before(r.Expires) {
				found = append(found, r.copy())
			}
		}
		return nil
	})
	return found, err
}

// All implements [Store].
func (f *File) All(_ context.Context, after string, limit int) (found []Record, err error) {
	if err := checkPage("", after); err != nil {
		return nil, err
	}
	err = f.read(func(b buckets) error {
		cursor := b.records.Cursor()
		key, value := cursor.Seek([]byte(after))
		for ; key != nil && len(found) < limit; key, value = cursor.Next() {
			r, err := decodeRecord(string(key), value)
			if err != nil {
				return err
			}
			if r.ID > after && f.now().Before(r.Expires) {
				found = append(found, r.copy())
			}
		}
		return nil
	})
	return found, err
}

// Close implements [Store].
func (f *File) Close() error {
	f.close.Do(func() { close(f.closing) })
	f.writer.Wait()
	return f.db.Close()
}

// change lets the writer apply a change.
func (f *File) change(ctx context.Context, apply func(buckets) error) error {
	op := operation{apply, make(chan error, 1)}
	select {
	case f.operations <- op:
	case <-f.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done(): // the writer may be waiting for the disk
		return ctx.Err()
	}
}

// write applies operations and sweeps until the store is closed.
func (f *File) write() {
	sweep := time.NewTimer(sweepInterval)
	defer sweep.Stop()
	for {
		select {
		case op := <-f.operations:
			f.commit(f.waiting(op))
		case <-sweep.C:
			// An error needs no report of its own: the same disk refuses the next operation.
			if removed, err := f.sweep(); err == nil && removed == maxSweep {
				sweep.Reset(sweepPause)
			} else {
				sweep.Reset(sweepInterval)
			}
		case <-f.closing:
			return
		}
	}
}

// waiting returns the operation and those that wait behind it.
func (f *File) waiting(first operation) []operation {
	operations := []operation{first}
	for len(operations) < maxTransaction {
		select {
		case op := <-f.operations:
			operations = append(operations, op)
		default:
			return operations
		}
	}
	return operations
}

// commit applies the operations in one transaction.
func (f *File) commit(operations []operation) {
	results := make([]error, len(operations))
	err := f.update(func(b buckets) error {
		for i, op := range operations {
			if results[i] = op.apply(b); Unavailable(results[i]) {
				return results[i]
			}
		}
		return nil
	})
	for i, op := range operations {
		if err != nil {
			results[i] = err
		}
		op.done <- results[i]
	}
}

func (f *File) read(view func(buckets) error) (err error) {
	defer f.describe(&err)
	defer recoverDamage(&err)
	return f.db.View(func(tx *bbolt.Tx) error { return view(bucketsOf(tx)) })
}

func (f *File) update(change func(buckets) error) (err error) {
	defer f.describe(&err)
	defer recoverDamage(&err)
	return f.db.Update(func(tx *bbolt.Tx) error { return change(bucketsOf(tx)) })
}

// describe adds the path to a failure.
func (f *File) describe(err *error) {
	if Unavailable(*err) {
		*err = fmt.Errorf("file store %s: %w", f.path, *err)
	}
}

// recoverDamage makes an error of the panic with which bbolt reports a damaged page, so that it ends the operation and
// not the process.
func recoverDamage(err *error) {
	if damage := recover(); damage != nil {
		*err = fmt.Errorf("the file is damaged: %v", damage)
	}
}

// buckets are the parts of the file.
type buckets struct {
	records *bbolt.Bucket // id: version, expiry, owner and content
	owners  *bbolt.Bucket // owner, zero byte, id
	expiry  *bbolt.Bucket // expiry, id
}

func bucketsOf(tx *bbolt.Tx) buckets {
	bucket := func(name string) *bbolt.Bucket { return tx.Bucket([]byte(name)) }
	return buckets{bucket(recordsBucket), bucket(ownersBucket), bucket(expiryBucket)}
}

// get returns a record whose bytes are valid until the next change.
func (b buckets) get(id string) (Record, error) {
	value := b.records.Get([]byte(id))
	if value == nil {
		return Record{}, ErrNotFound
	}
	return decodeRecord(id, value)
}

func (b buckets) add(r Record) error {
	if err := b.records.Put([]byte(r.ID), encodeRecord(r)); err != nil {
		return err
	}
	if err := b.expiry.Put(expiryKey(r), nil); err != nil {
		return err
	}
	if r.Owner == "" {
		return nil
	}
	return b.owners.Put(ownerKey(r.Owner, r.ID), nil)
}

func (b buckets) remove(r Record) error {
	expiry, owner := expiryKey(r), ownerKey(r.Owner, r.ID)
	if err := b.records.Delete([]byte(r.ID)); err != nil {
		return err
	}
	if err := b.expiry.Delete(expiry); err != nil {
		return err
	}
	return b.owners.Delete(owner)
}

func ownerKey(owner, id string) []byte {
	return append(append([]byte(owner), 0), id...)
}

func expiryKey(r Record) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(r.Expires.UnixMilli())), r.ID...)
}

// A record is stored as version and expiry, each 8 bytes, the length of the owner in one byte, owner and content.
const headerLength = 17

func encodeRecord(r Record) []byte {
	value := make([]byte, 0, headerLength+len(r.Owner)+len(r.Sealed))
	value = binary.BigEndian.AppendUint64(value, r.Version)
	value = binary.BigEndian.AppendUint64(value, uint64(r.Expires.UnixMilli()))
	value = append(value, byte(len(r.Owner)))
	value = append(value, r.Owner...)
	return append(value, r.Sealed...)
}

// decodeRecord returns a record whose content is a part of value.
func decodeRecord(id string, value []byte) (Record, error) {
	if len(value) < headerLength || len(value) < headerLength+int(value[headerLength-1]) {
		return Record{}, errors.New("a record is too short")
	}
	owner := headerLength + int(value[headerLength-1])
	return Record{
		ID: id, Owner: string(value[headerLength:owner]), Version: binary.BigEndian.Uint64(value),
		Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(value[8:]))).UTC(), Sealed: value[owner:],
	}, nil
}
