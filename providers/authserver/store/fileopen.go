package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// ErrInUse means that another process has the file of a [File] open.
var ErrInUse = errors.New("in use by another process")

// lockTimeout is how long the process before may need to end.
const lockTimeout = 2 * time.Second

const (
	// pageSize makes the file a tenth smaller than pages of 4 KiB, and the same on all processors.
	pageSize = 8 << 10
	// allocSize is by how much the file grows.
	allocSize = 4 << 20
)

// fileFormat is the first format. A program that does not know the format of a file must not write to it.
const fileFormat = "1"

// The buckets of the file.
const (
	aboutBucket   = "about"
	recordsBucket = "records"
	ownersBucket  = "owners"
	expiryBucket  = "expiry"
	formatKey     = "format"
)

// FileOptions are the options of [OpenFile].
type FileOptions struct {
	// ReadOnly opens an existing file for reading, while no process has it open for writing.
	ReadOnly bool
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// OpenFile opens the file, which it creates with mode 0600 if there is none. It waits for 2 seconds, or until ctx ends
// earlier, for another process to close it; then the error wraps ErrInUse. A file or a folder that every user of the
// computer may write is refused. A group may write: Kubernetes gives the files of a volume to the group of the pod.
func OpenFile(ctx context.Context, path string, o FileOptions) (*File, error) {
	f, err := openFile(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("file store %s: %w", path, err)
	}
	return f, nil
}

func openFile(ctx context.Context, path string, o FileOptions) (f *File, err error) {
	defer recoverDamage(&err)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	timeout := lockTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := checkWritable("folder", folder); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: timeout, PageSize: pageSize, ReadOnly: o.ReadOnly, OpenFile: openRegular,
		FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	db.AllocSize = allocSize
	f = &File{db: db, path: path, now: o.Now, operations: make(chan operation), closing: make(chan struct{})}
	if err := f.prepare(o.ReadOnly); err != nil {
		db.Close()
		return nil, err
	}
	f.writer.Go(f.write)
	return f, nil
}

// prepare creates the buckets in a new file, and refuses one of another program.
func (f *File) prepare(readOnly bool) (err error) {
	defer recoverDamage(&err)
	var format string
	isNew := true
	err = f.db.View(func(tx *bbolt.Tx) error {
		if about := tx.Bucket([]byte(aboutBucket)); about != nil {
			format = string(about.Get([]byte(formatKey)))
		}
		return tx.ForEach(func([]byte, *bbolt.Bucket) error {
			isNew = false
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case format == fileFormat:
		return nil
	case format != "":
		return fmt.Errorf("the file has format %q, and this version knows %q only", format, fileFormat)
	case !isNew || readOnly:
		return errors.New("the file has another content than a store")
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{recordsBucket, ownersBucket, expiryBucket} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		about, err := tx.CreateBucket([]byte(aboutBucket))
		if err != nil {
			return err
		}
		return about.Put([]byte(formatKey), []byte(fileFormat))
	})
}

// openRegular opens a regular file that not every user may write.
func openRegular(path string, flag int, mode fs.FileMode) (*os.File, error) {
	notRegular := errors.New("not a regular file")
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, notRegular // opening a pipe would wait for its writer
	}
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular
	}
	if err == nil {
		err = checkWritable("file", info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkWritable(what string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o002 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("every user may write the %s (mode %04o); run chmod o-w", what, info.Mode().Perm())
	}
	return nil
}
