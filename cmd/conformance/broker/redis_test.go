package broker

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// redisServer is a Redis that writes every change to its files at once.
type redisServer struct {
	*process
	t        *testing.T
	address  string
	password string
	dir      string
}

func startRedis(t *testing.T, seen *secrets) *redisServer {
	t.Helper()
	s := &redisServer{t: t, address: freeAddress(t), password: rand.Text(), dir: t.TempDir()}
	seen.add("password of the store", s.password)
	s.start()
	return s
}

// start starts it, again too, with what its files have.
func (s *redisServer) start() {
	t := s.t
	t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.process = run(t, s.dir, nil, *redis, "--port", port, "--bind", "127.0.0.1", "--requirepass", s.password,
		"--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no",
		"--maxmemory-policy", "noeviction")
	s.waitFor(t, "Redis listens", func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// filesBelow returns the content of all files in a folder: of Redis, every command that has changed anything.
func filesBelow(t *testing.T, dir string) (content []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		content = append(content, raw...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}
