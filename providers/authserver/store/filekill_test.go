package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
)

// writeUntilKilled creates and replaces records, and prints each change after the store has accepted it.
func writeUntilKilled(path string) {
	f, err := store.OpenFile(context.Background(), path, store.FileOptions{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // the test has ended
	}()
	var output sync.Mutex
	say := func(format string, args ...any) {
		output.Lock()
		defer output.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	say("open")
	for worker := range 8 {
		go func() {
			for i := 0; ; i++ {
				r := store.Record{ID: fmt.Sprintf("%d:%d:%d", os.Getpid(), worker, i), Owner: fmt.Sprintf("owner:%d", i%5),
					Expires: time.Now().Add(time.Hour), Sealed: make([]byte, rand.IntN(1500))}
				if err := f.Create(context.Background(), r); err != nil {
					say("failed %v", err)
					return
				}
				say("created %s", r.ID)
				if r.Version, r.Expires = 1, r.Expires.Add(time.Hour); i%3 == 0 {
					if _, err := f.Replace(context.Background(), r); err != nil {
						say("failed %v", err)
						return
					}
					say("replaced %s", r.ID)
				}
				if i%7 == 0 {
					say("deleting %s", r.ID)
					if err := f.Delete(context.Background(), r.ID); err != nil {
						say("failed %v", err)
						return
					}
					say("deleted %s", r.ID)
				}
			}
		}()
	}
	select {}
}

// TestFile_Killed kills a process that writes, and expects each change that the process has said was made.
func TestFile_Killed(t *testing.T) {
	t.Parallel()
	kills := 2
	if os.Getenv("GATEHOUSE_LONG") != "" {
		kills = 40
	}
	path := newPath(t)
	changes := 0
	versions := make(map[string]uint64)
	deleted := make(map[string]bool)
	for range kills {
		process := startChild(t, path)
		time.AfterFunc(time.Duration(20+rand.IntN(150))*time.Millisecond, func() { _ = process.command.Process.Kill() })
		for process.lines.Scan() {
			changes++
			switch what, id, _ := strings.Cut(process.lines.Text(), " "); what {
			case "created":
				versions[id] = 1
			case "replaced":
				versions[id] = 2
			case "deleting": // the process may end before it can say that it has deleted the record
				delete(versions, id)
			case "deleted":
				deleted[id] = true
			default:
				t.Fatal(process.lines.Text())
			}
		}
		process.kill()

		f := openFile(t, path, store.FileOptions{})
		checkFile(t, f)
		for id, want := range versions {
			if r, err := f.Get(t.Context(), id); err != nil || r.Version < want {
				t.Errorf("record %s has version %d, %v, want %d", id, r.Version, err, want)
			}
		}
		for id := range deleted {
			if _, err := f.Get(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("record %s was deleted: %v", id, err)
			}
		}
		f.Close()
	}
	if changes < kills {
		t.Errorf("only %d changes in %d lives of the process", changes, kills)
	}
	t.Logf("%d changes, %d kills", changes, kills)
}
