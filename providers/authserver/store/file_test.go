package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

func openFile(t testing.TB, path string, o store.FileOptions) *store.File {
	t.Helper()
	f, err := store.OpenFile(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "grants.db") }

func TestFile_Conforms(t *testing.T) {
	t.Parallel()
	for _, sweeps := range []bool{false, true} {
		t.Run(fmt.Sprintf("sweep %t", sweeps), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				c := newClock()
				f := openFile(t, newPath(t), store.FileOptions{Now: c.now})
				f.DB().NoSync = sweeps // one of the two runs is enough for the disk
				t.Cleanup(func() { checkFile(t, f) })
				return storetest.Subject{Stores: []store.Store{f}, Now: c.now, Advance: func(d time.Duration) {
					c.advance(d)
					if !sweeps {
						return
					}
					if _, err := f.Sweep(); err != nil {
						t.Error(err)
					}
				}}
			})
		})
	}
}

func checkFile(t *testing.T, f *store.File) (records int) {
	t.Helper()
	records, err := f.Check()
	if err != nil {
		t.Error(err)
	}
	return records
}

func TestFile_KeepsRecords(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	want := store.Record{ID: "a", Owner: "owner", Version: 1,
		Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond),
		Sealed:  []byte("content")}
	f := openFile(t, path, store.FileOptions{})
	if err := f.Create(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for range 2 { // closing twice does nothing
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Create(t.Context(), want); !store.Unavailable(err) {
		t.Errorf("Create of a closed store: %v", err)
	}
	if _, err := f.Get(t.Context(), "a"); !store.Unavailable(err) {
		t.Errorf("Get of a closed store: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}

	for _, readOnly := range []bool{true, false} {
		f := openFile(t, path, store.FileOptions{ReadOnly: readOnly})
		got, err := f.ByOwner(t.Context(), "owner", "", 9)
		if err != nil || len(got) != 1 || got[0].ID != "a" || !got[0].Expires.Equal(want.Expires) {
			t.Errorf("read only %t: records %v, %v", readOnly, got, err)
		}
		if err := f.Delete(t.Context(), "a"); store.Unavailable(err) != readOnly {
			t.Errorf("read only %t: Delete: %v", readOnly, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFile_InUse(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	t.Run("row 61 second process", func(t *testing.T) {
		other := startChild(t, path)
		for _, readOnly := range []bool{false, true} {
			_, err := store.OpenFile(soon(), path, store.FileOptions{ReadOnly: readOnly})
			if !errors.Is(err, store.ErrInUse) || !strings.HasSuffix(err.Error(), "grants.db: in use by another process") {
				t.Errorf("read only %t: error %v", readOnly, err)
			}
		}
		other.kill()
		openFile(t, path, store.FileOptions{}).Close()
	})
	t.Run("two readers", func(t *testing.T) {
		openFile(t, path, store.FileOptions{ReadOnly: true})
		openFile(t, path, store.FileOptions{ReadOnly: true})
		if _, err := store.OpenFile(soon(), path, store.FileOptions{}); !errors.Is(err, store.ErrInUse) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("waits for the process before", func(t *testing.T) {
		before := openFile(t, path, store.FileOptions{})
		time.AfterFunc(200*time.Millisecond, func() { before.Close() })
		openFile(t, path, store.FileOptions{}).Close()
	})
}

func TestFile_Refused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(t *testing.T, path string)
		o       store.FileOptions
		want    string
	}{
		"no folder": {func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, store.FileOptions{}, "no such file"},
		"folder that every user may write": {func(t *testing.T, path string) {
			if err := os.Chmod(filepath.Dir(path), 0o1777); err != nil {
				t.Fatal(err)
			}
		}, store.FileOptions{}, "every user may write the folder (mode 0777); run chmod o-w"},
		"file that every user may write": {func(t *testing.T, path string) {
			openFile(t, path, store.FileOptions{}).Close()
			if err := os.Chmod(path, 0o602); err != nil {
				t.Fatal(err)
			}
		}, store.FileOptions{}, "every user may write the file (mode 0602); run chmod o-w"},
		"folder in its place": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, store.FileOptions{}, "not a regular file"},
		"pipe": {func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Skip(err)
			}
		}, store.FileOptions{ReadOnly: true}, "not a regular file"},
		"text": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("no database\n", 2000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, store.FileOptions{}, "invalid database"},
		"file of another program": {func(t *testing.T, path string) {
			writeBucket(t, path, "other", "", "")
		}, store.FileOptions{}, "another content"},
		"later format": {func(t *testing.T, path string) {
			writeBucket(t, path, "about", "format", "2")
		}, store.FileOptions{}, `format "2", and this version knows "1" only`},
		"nothing to read": {func(*testing.T, string) {}, store.FileOptions{ReadOnly: true}, "no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			test.prepare(t, path)
			before := regularContent(path)
			_, err := store.OpenFile(t.Context(), path, test.o)
			if err == nil || !strings.HasPrefix(err.Error(), "file store "+path+": ") ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if regularContent(path) != before {
				t.Error("the file has changed")
			}
		})
	}
	t.Run("group may write", func(t *testing.T) { // as in a volume of Kubernetes with fsGroup
		path := newPath(t)
		openFile(t, path, store.FileOptions{}).Close()
		for name, mode := range map[string]fs.FileMode{path: 0o660, filepath.Dir(path): fs.ModeSetgid | 0o775} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
		}
		openFile(t, path, store.FileOptions{})
	})
}

// regularContent returns the content of a regular file. Reading a pipe would wait for its writer.
func regularContent(path string) string {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	content, _ := os.ReadFile(path)
	return string(content)
}

// writeBucket creates a file of bbolt with one bucket.
func writeBucket(t *testing.T, path, bucket, key, value string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		if err != nil || key == "" {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFile_SweepRemovesWhatHasExpired(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := openFile(t, newPath(t), store.FileOptions{Now: c.now})
	f.DB().NoSync = true
	const expiring, lasting = 2100, 50
	for i := range expiring + lasting {
		lifetime := time.Duration(1+i%7) * time.Minute
		if i >= expiring {
			lifetime = time.Hour
		}
		r := store.Record{ID: fmt.Sprintf("%05d", i), Owner: fmt.Sprintf("owner:%d", i%9), Expires: c.now().Add(lifetime)}
		if err := f.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := f.Sweep(); err != nil || removed != 0 {
		t.Fatalf("the first sweep has removed %d, %v", removed, err)
	}
	c.advance(4 * time.Minute) // to the millisecond in which the fourth of seven parts ends
	for _, want := range []int{1000, expiring/7*4 - 1000, 0} {
		if removed, err := f.Sweep(); err != nil || removed != want {
			t.Errorf("a sweep has removed %d, %v, want %d", removed, err, want)
		}
	}
	c.advance(4 * time.Minute)
	if removed, err := f.Sweep(); err != nil || removed != expiring/7*3 {
		t.Errorf("the last sweep has removed %d, %v", removed, err)
	}
	if left := checkFile(t, f); left != lasting {
		t.Errorf("%d records are left, want %d", left, lasting)
	}
}

func TestFile_FailureUndoesTheOperation(t *testing.T) {
	t.Parallel()
	f := openFile(t, newPath(t), store.FileOptions{})
	create := func(i int) error {
		return f.Create(t.Context(), store.Record{ID: fmt.Sprint(i), Owner: "owner", Expires: time.Now().Add(time.Hour),
			Sealed: make([]byte, 60<<10)})
	}
	if err := create(0); err != nil {
		t.Fatal(err)
	}
	f.DB().MaxSize = 1 << 20 // instead of a disk that is full
	created, failed := 1, error(nil)
	for ; created < 100 && failed == nil; created++ {
		failed = create(created)
	}
	created--
	if !store.Unavailable(failed) || !strings.HasPrefix(failed.Error(), "file store ") {
		t.Fatalf("after %d records: error %v", created, failed)
	}
	if _, err := f.Get(t.Context(), "0"); err != nil {
		t.Errorf("Get: %v", err)
	}
	if records := checkFile(t, f); records != created {
		t.Errorf("%d records, want %d", records, created)
	}
	f.DB().MaxSize = 0
	if err := create(created); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestFile_DamageIsAnError(t *testing.T) {
	t.Parallel()
	// damaged returns a file with an impossible type in the header of each page that match selects.
	damaged := func(t *testing.T, match func(page []byte) bool) (path string) {
		path = newPath(t)
		f := openFile(t, path, store.FileOptions{})
		for i := range 200 {
			r := store.Record{ID: fmt.Sprint(i), Owner: "owner", Expires: time.Now().Add(time.Hour),
				Sealed: bytes.Repeat([]byte("R"), 1000)}
			if err := f.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const pageSize = 8 << 10
		for i := 2 * pageSize; i < len(content); i += pageSize { // the first two are about the file
			if page := content[i : i+pageSize]; match(page) {
				page[8] = 0x40
			}
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("at start", func(t *testing.T) {
		path := damaged(t, func([]byte) bool { return true })
		if _, err := store.OpenFile(t.Context(), path, store.FileOptions{}); err == nil ||
			!strings.Contains(err.Error(), "damaged") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("in records", func(t *testing.T) {
		path := damaged(t, func(page []byte) bool { return bytes.Contains(page, []byte("RRRR")) })
		f := openFile(t, path, store.FileOptions{})
		_, getErr := f.Get(t.Context(), "100")
		_, allErr := f.All(t.Context(), "", 1000)
		createErr := f.Create(t.Context(), store.Record{ID: "1", Expires: time.Now().Add(time.Hour)})
		for _, err := range []error{getErr, allErr, createErr} {
			if !store.Unavailable(err) || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("error %v", err)
			}
		}
	})
}

func TestFile_EndedContext(t *testing.T) {
	t.Parallel()
	f := openFile(t, newPath(t), store.FileOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // the writer and the context are ready at the same time
		r := store.Record{ID: "a", Expires: time.Now().Add(time.Hour)}
		err := f.Create(ctx, r)
		if errors.Is(err, context.Canceled) {
			return
		}
	}
	t.Error("no call noticed that its context has ended")
}

func TestFile_DiskHangs(t *testing.T) {
	t.Parallel()
	f := openFile(t, newPath(t), store.FileOptions{})
	tx, err := f.DB().Begin(true) // the writer waits for it as for a disk
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, id := range []string{"a", "b"} { // the second does not reach the writer
		if err := f.Create(ctx, inAnHour(id, "", "")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("record %s: %v", id, err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := f.Create(t.Context(), inAnHour("c", "", "")); err != nil {
		t.Error(err)
	}
}

// TestFile_SweepKeepsRecordsThatLive has expiry times that no record has, which no operation leaves behind.
func TestFile_SweepKeepsRecordsThatLive(t *testing.T) {
	t.Parallel()
	f := openFile(t, newPath(t), store.FileOptions{})
	if err := f.Create(t.Context(), inAnHour("a", "owner", "")); err != nil {
		t.Fatal(err)
	}
	err := f.DB().Update(func(tx *bbolt.Tx) error {
		expiry := tx.Bucket([]byte("expiry"))
		return errors.Join(expiry.Put([]byte("\x00\x00\x00\x00\x00\x00\x00\x01a"), nil),
			expiry.Put([]byte("\x00\x00\x00\x00\x00\x00\x00\x01b"), nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := f.Sweep(); err != nil || removed != 2 {
		t.Errorf("the sweep has removed %d, %v", removed, err)
	}
	if records := checkFile(t, f); records != 1 {
		t.Errorf("%d records, want 1", records)
	}
}
