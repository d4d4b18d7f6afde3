package store_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
)

// digest returns an id as the authorization server forms it.
func digest(kind string, i int) string {
	sum := sha256.Sum256(fmt.Append(nil, kind, i))
	return kind + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// sizedRecord is as large as a grant, whose content does not compress.
func sizedRecord(i int) store.Record {
	sealed := make([]byte, 700)
	_, _ = rand.Read(sealed)
	return store.Record{ID: digest("grant", i), Owner: digest("person", i/2), Version: 1,
		Expires: time.Now().Add(720 * time.Hour), Sealed: sealed}
}

// TestFile_Size checks how large a file becomes in which each session has been created and refreshed.
func TestFile_Size(t *testing.T) {
	t.Parallel()
	sessions := 2000
	if os.Getenv("GATEHOUSE_LONG") != "" {
		sessions = 100_000
	}
	path := newPath(t)
	f := openFile(t, path, store.FileOptions{})
	f.DB().NoSync = true
	for _, write := range []func(i int) error{
		func(i int) error { return f.Create(t.Context(), sizedRecord(i)) },
		func(i int) error {
			_, err := f.Replace(t.Context(), sizedRecord(i))
			return err
		},
	} {
		const writers = 32
		var done sync.WaitGroup
		for writer := range writers {
			done.Go(func() {
				for i := writer; i < sessions; i += writers {
					if err := write(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		done.Wait()
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sessions: %.1f MB", sessions, float64(info.Size())/1e6)
	if limit := int64(sessions)*2000 + 8<<20; info.Size() > limit { // and the file grows in steps
		t.Errorf("%d sessions need %d bytes, the limit is %d", sessions, info.Size(), limit)
	}
	if sessions == 100_000 && info.Size() >= 200_000_000 {
		t.Errorf("%d sessions need %d bytes", sessions, info.Size())
	}
	if records := checkFile(t, f); records != sessions {
		t.Errorf("%d records, want %d", records, sessions)
	}
}
