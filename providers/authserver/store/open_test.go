package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // what the error has; "" if there is none
		"memory":                                "",
		"file:///var/lib/gatehouse/grants.db":   "",
		"file:///var/lib/with%20space/a.db":     "",
		"redis://redis":                         "",
		"redis://redis:6380/3?prefix=mcp:":      "",
		"rediss://gatehouse@cache.example:6380": "",
		"redis://[::1]:6379/":                   "",
		"redis://10.0.0.7/0?prefix=a.b_c-d":     "",

		"":                                   "begins with file:///",
		"memory:":                            "begins with file:///",
		"memory://":                          "begins with file:///",
		"memory:grants":                      "begins with file:///",
		"grants.db":                          "begins with file:///",
		"postgres://host/db":                 "begins with file:///",
		"://":                                "not a URL",
		"file:grants.db":                     "absolute path",
		"file://grants.db":                   "absolute path",
		"file://host/grants.db":              "absolute path",
		"file:///":                           "that of a folder",
		"file:///var/lib/":                   "that of a folder",
		"file:///a%00b":                      "zero byte",
		"file:///a?mode=rw":                  "no query",
		"file:///a#b":                        "fragment",
		"redis://":                           "needs a host",
		"redis:///0":                         "needs a host",
		"redis:6379":                         "needs a host",
		"redis://host:0":                     "port",
		"redis://host:65536":                 "port",
		"redis://host:port":                  "not a URL",
		"redis://host/db":                    "number of the database",
		"redis://host/-1":                    "number of the database",
		"redis://host/0/1":                   "number of the database",
		"redis://host/0?prefix=":             "prefix has",
		"redis://host/0?prefix=a*":           "prefix has",
		"redis://host/0?prefix=a%20b":        "prefix has",
		"redis://host/0?prefix=a&prefix=b":   "one prefix",
		"redis://host/0?skip_verify=1":       "one prefix",
		"redis://host/0?a;b":                 "query",
		"redis://host/0#x":                   "fragment",
		"redis://@host":                      "user has no name",
		"redis://:S3CRET@host":               "has a password",
		"redis://user:S3CRET@host":           "has a password",
		"redis://user:@host":                 "has a password",
		"rediss://user:S3CRET@host?x=S3CRET": "has a password",
		"file://user:S3CRET@host/a":          "has a password",
		"redis://user:S3CRET@host:port":      "not a URL",
		"redis://user:S3C%zzRET@host":        "not a URL",
		"redis://host/0?prefix=S3CRET%2A":    "prefix has",
		"redis://host/S3CRET":                "number of the database",
		"redis://" + strings.Repeat("h", 9):  "",
		"redis://h?prefix=" + strings.Repeat("p", 65): "prefix has",
	}
	for url, want := range tests {
		err := store.Check(url)
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.Contains(got, want) ||
			strings.Contains(got, "S3CRET") {
			t.Errorf("Check(%q): %v, want %q", url, err, want)
		}
		if want != "" {
			for _, open := range opens() {
				if s, openErr := open(t, url); s != nil || fmt.Sprint(openErr) != fmt.Sprint(err) {
					t.Errorf("Open(%q): %v, want %v", url, openErr, err)
				}
			}
		}
	}
}

func opens() []func(*testing.T, string) (store.Store, error) {
	return []func(*testing.T, string) (store.Store, error){
		func(t *testing.T, url string) (store.Store, error) { return store.Open(t.Context(), url, "") },
		func(t *testing.T, url string) (store.Store, error) { return store.OpenReadOnly(t.Context(), url, "") },
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	folder := t.TempDir() + "/with space"
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	file := "file://" + strings.ReplaceAll(folder, " ", "%20") + "/grants.db"
	if _, err := store.OpenReadOnly(t.Context(), file, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that does not exist, to read: %v", err)
	}
	if s, err := store.OpenReadOnly(t.Context(), "memory", ""); s != nil || err == nil {
		t.Errorf("memory of another process: %v", err)
	}
	use := func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Create(t.Context(), inAnHour("a", "owner", "")); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if url == "memory" {
			return
		}
		s, err = store.OpenReadOnly(t.Context(), url, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if all, err := s.All(t.Context(), "", 9); err != nil || len(all) != 1 {
			t.Errorf("records %v, %v", all, err)
		}
	}
	t.Run("memory", func(t *testing.T) { use(t, "memory") })
	t.Run("file", func(t *testing.T) { use(t, file) })
	t.Run("redis", func(t *testing.T) { use(t, storetest.StartRedis(t).URL(t)) })
	if _, err := os.Stat(folder + "/grants.db"); err != nil {
		t.Error(err)
	}
}

func TestOpen_RedisDoesNotConnect(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s, err := store.Open(t.Context(), "redis://"+listener.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := listener.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if conn, err := listener.Accept(); err == nil {
		conn.Close()
		t.Error("the store has connected before its first call")
	}
}

// TestFirstIDs has repetitions, which SCAN may return.
func TestFirstIDs(t *testing.T) {
	t.Parallel()
	ids := []string{"d", "b", "b", "e", "a", "c", "b", "a", "e", "d", "b", "c"}
	for limit, want := range []string{"", "b", "bc", "bcd", "bcde", "bcde"} {
		if got := strings.Join(store.FirstIDs("a", limit, ids...), ""); got != want {
			t.Errorf("the first %d ids are %q, want %q", limit, got, want)
		}
	}
}
