package broker

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

func TestWarnOfEviction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arguments []string
		warns     bool
	}{
		"row 53 a server that evicts is reported at start": {[]string{"--maxmemory-policy", "allkeys-lru"}, true},
		"row 53 a server that does not evict":              {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			records, err := store.Open(t.Context(), storetest.StartRedis(t, c.arguments...).URL(t), "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = records.Close() })
			var log bytes.Buffer
			warnOfEviction(context.Background(), records, slog.New(slog.NewTextHandler(&log, nil)))
			if got := strings.Contains(log.String(), "allkeys-lru"); got != c.warns {
				t.Errorf("the log is %q", &log)
			}
		})
	}
}

// A folder that does not exist or must not be written is the most likely fault of a store in a file, so its error has
// the fix. Read only, as doctor and the commands open it, there is nothing to create.
func TestOpenStore_SaysHowToMakeTheFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	for access, want := range map[Access]bool{ReadWrite: true, ReadOnly: false} {
		s := Settings{Store: "file://" + filepath.ToSlash(folder) + "/sign-ins.db"}
		_, err := s.openStore(t.Context(), access)
		if err == nil || !strings.HasPrefix(err.Error(), "provider.store: ") ||
			strings.Contains(err.Error(), fixFolder) != want {
			t.Errorf("access %v: %v", access, err)
		}
	}
}
