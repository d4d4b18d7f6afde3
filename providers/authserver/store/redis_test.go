package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/providers/authserver/store"
	"gatehouse/providers/authserver/store/storetest"
)

func openRedis(t testing.TB, url, password string) *store.Redis {
	t.Helper()
	s, err := store.OpenRedis(url, password, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// admin sends a command that the store does not have, and returns the answer.
func admin(t testing.TB, addr string, command string, args ...any) any {
	t.Helper()
	conn, err := redis.Dial("tcp", addr, redis.DialConnectTimeout(5*time.Second), redis.DialReadTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := conn.Do(command, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", command, args, err)
	}
	return answer
}

func inAnHour(id, owner, content string) store.Record {
	return store.Record{ID: id, Owner: owner, Version: 1, Expires: time.Now().Add(time.Hour), Sealed: []byte(content)}
}

func TestRedis_Conforms(t *testing.T) {
	t.Parallel()
	// The user has no more rights than README.md says.
	rights := strings.Fields("on nopass ~*:record:* ~*:owner:* -@all +eval +evalsha +get +getrange +mget +exists +set " +
		"+del +pexpireat +zadd +zrem +zrange +zremrangebyscore +scan +time +hello +select +ping")
	server := storetest.StartRedis(t, append([]string{"--user", "gatehouse"}, rights...)...)
	// The keys of others are no records.
	admin(t, server.Addr, "SET", "record:other", "value")
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		url := strings.Replace(server.URL(t), "redis://", "redis://gatehouse@", 1)
		replicas := []store.Store{openRedis(t, url, ""), openRedis(t, url, "")}
		return storetest.Subject{Stores: replicas, Now: time.Now}
	})
}

func TestRedis_DownAndUp(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	server.Kill()
	start := time.Now()
	opened, err := store.Open(t.Context(), server.URL(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	down := func(t *testing.T) {
		t.Helper()
		errs := []error{store.Ping(t.Context(), opened), opened.Create(t.Context(), inAnHour("b", "owner", "")),
			opened.Delete(t.Context(), "a")}
		_, err := opened.Get(t.Context(), "a")
		errs = append(errs, err)
		_, err = opened.Replace(t.Context(), inAnHour("a", "owner", "changed"))
		errs = append(errs, err)
		_, err = opened.ByOwner(t.Context(), "owner", "", 9)
		errs = append(errs, err)
		_, err = opened.All(t.Context(), "", 9)
		errs = append(errs, err)
		for i, err := range errs {
			if !store.Unavailable(err) || !strings.HasPrefix(err.Error(), "redis store "+server.Addr+": ") {
				t.Errorf("call %d of a store that is down: %v", i, err)
			}
		}
	}
	t.Run("row 54 store down at start", func(t *testing.T) {
		down(t)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("calls of a store that refuses connections took %v", took)
		}
	})
	t.Run("row 54 store down later", func(t *testing.T) {
		server.Start(t)
		retry(t, func() error { return opened.Create(t.Context(), inAnHour("a", "owner", "kept")) })
		server.Kill()
		down(t)
		server.Start(t)
		retry(t, func() error {
			_, err := opened.Replace(t.Context(), inAnHour("a", "owner", "kept and changed"))
			return err
		})
		if got, err := opened.Get(t.Context(), "a"); err != nil || string(got.Sealed) != "kept and changed" {
			t.Errorf("record %q, %v", got.Sealed, err)
		}
	})
}

// retry calls try until it succeeds. The connection comes back by itself, at once or after the next failed call.
func retry(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for range 50 {
		if err = try(); !store.Unavailable(err) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRedis_LostConnection(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	proxy := storetest.StartProxy(t, server.Addr)
	url := func(t *testing.T) string { return strings.Replace(server.URL(t), server.Addr, proxy.Addr, 1) }

	t.Run("reply is lost", func(t *testing.T) {
		s, direct := openRedis(t, url(t), ""), openRedis(t, server.URL(t), "")
		if err := s.Create(t.Context(), inAnHour("a", "", "1")); err != nil {
			t.Fatal(err)
		}
		// The server knows the script afterwards, so the next call is one command.
		if _, err := s.Replace(t.Context(), inAnHour("none", "", "")); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		proxy.Fail(storetest.LoseReply)
		_, err := s.Replace(t.Context(), inAnHour("a", "", "2"))
		if !store.Unavailable(err) {
			t.Fatalf("Replace without a reply: %v", err) // ErrChanged if the change was sent again
		}
		got, err := direct.Get(t.Context(), "a")
		if err != nil || got.Version != 2 {
			t.Fatalf("version %d, %v: the change was repeated or lost", got.Version, err)
		}
		retry(t, func() error {
			if _, err := s.Replace(t.Context(), inAnHour("a", "", "3")); !errors.Is(err, store.ErrChanged) {
				return err
			}
			return nil
		})
		if got, err := direct.Get(t.Context(), "a"); err != nil || string(got.Sealed) != "2" {
			t.Errorf("content %q, %v", got.Sealed, err)
		}
	})
	t.Run("connection ends while idle", func(t *testing.T) {
		s := openRedis(t, url(t), "")
		if err := s.Create(t.Context(), inAnHour("a", "", "1")); err != nil {
			t.Fatal(err)
		}
		proxy.Disconnect()
		if _, err := s.Get(t.Context(), "a"); err != nil {
			t.Errorf("a call that reads: %v", err)
		}
	})
	t.Run("connection ends while idle, before a change", func(t *testing.T) {
		s := openRedis(t, url(t), "")
		if err := s.Create(t.Context(), inAnHour("a", "", "1")); err != nil {
			t.Fatal(err)
		}
		proxy.Disconnect()
		time.Sleep(1100 * time.Millisecond) // a connection in use until now is not tested
		if _, err := s.Replace(t.Context(), inAnHour("a", "", "2")); err != nil {
			t.Error(err)
		}
	})
	t.Run("connections end while idle, and one call finds out", func(t *testing.T) {
		s := openRedis(t, url(t), "")
		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				if err := s.Create(t.Context(), inAnHour(fmt.Sprint(i), "", "1")); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		proxy.Disconnect()
		if _, err := s.Get(t.Context(), "0"); err != nil {
			t.Error(err)
		}
		for i := range 10 { // each of them needs a connection
			callers.Go(func() {
				if _, err := s.Replace(t.Context(), inAnHour(fmt.Sprint(i), "", "2")); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
	})
	t.Run("silence", func(t *testing.T) {
		s := openRedis(t, url(t), "")
		if err := s.Create(t.Context(), inAnHour("a", "", "1")); err != nil {
			t.Fatal(err)
		}
		proxy.Fail(storetest.Silent)
		start := time.Now()
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if _, err := s.Replace(t.Context(), inAnHour("a", "", "2")); !store.Unavailable(err) {
					t.Errorf("error %v", err)
				}
			})
		}
		callers.Wait()
		if took := time.Since(start); took > 6*time.Second { // a call, and one that connects first
			t.Errorf("calls without an answer took %v", took)
		}
		proxy.Fail(storetest.Pass)
		proxy.Disconnect()
		retry(t, func() error { return s.Create(t.Context(), inAnHour("b", "", "1")) })
	})
	t.Run("connections are closed", func(t *testing.T) {
		s := openRedis(t, url(t), "")
		proxy.Fail(storetest.Refuse)
		if err := s.Create(t.Context(), inAnHour("a", "", "1")); !store.Unavailable(err) {
			t.Errorf("error %v", err)
		}
		proxy.Fail(storetest.Pass)
		retry(t, func() error { return s.Create(t.Context(), inAnHour("a", "", "1")) })
	})
	t.Run("connections end during a race", func(t *testing.T) {
		raceWithBrokenConnections(t, proxy, openRedis(t, url(t), ""), openRedis(t, server.URL(t), ""))
	})
}

// raceWithBrokenConnections counts with Replace while connections break. A step without an answer may or may not have
// been made, and none may be made twice.
func raceWithBrokenConnections(t *testing.T, proxy *storetest.Proxy, s, direct *store.Redis) {
	if err := direct.Create(t.Context(), inAnHour("counter", "", "")); err != nil {
		t.Fatal(err)
	}
	const racers, steps = 10, 20
	var mu sync.Mutex
	made, unknown := 0, 0
	var done sync.WaitGroup
	for range racers {
		done.Go(func() {
			for range steps {
				r, err := s.Get(t.Context(), "counter")
				if err != nil {
					continue
				}
				r.Sealed = append(r.Sealed, 'x')
				_, err = s.Replace(t.Context(), r)
				mu.Lock()
				switch {
				case err == nil:
					made++
				case store.Unavailable(err):
					unknown++
				}
				mu.Unlock()
			}
		})
	}
	stop := make(chan struct{})
	var breaker sync.WaitGroup
	breaker.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				proxy.Disconnect()
			}
		}
	})
	done.Wait()
	close(stop)
	breaker.Wait()
	got, err := direct.Get(t.Context(), "counter")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Sealed); n < made || n > made+unknown || got.Version != uint64(n+1) {
		t.Errorf("%d steps and version %d; %d were accepted and %d had no answer", n, got.Version, made, unknown)
	}
	t.Logf("%d steps accepted, %d without an answer", made, unknown)
}

func TestRedis_EndedContext(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	s := openRedis(t, server.URL(t), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Create(ctx, inAnHour("a", "", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	if _, err := s.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Create with an ended context: %v", err)
	}
	silent := storetest.StartProxy(t, server.Addr)
	silent.Fail(storetest.Silent)
	s = openRedis(t, strings.Replace(server.URL(t), server.Addr, silent.Addr, 1), "")
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.Get(ctx, "a"); !store.Unavailable(err) {
		t.Errorf("Get: %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("a call with 50 ms took %v", took)
	}
}

func TestRedis_Password(t *testing.T) {
	t.Parallel()
	passwords := map[string]string{"": "correct-horse-battery", "gatehouse@": "another-password"}
	server := storetest.StartRedis(t, "--requirepass", passwords[""],
		"--user", "gatehouse", "on", ">"+passwords["gatehouse@"], "~*", "+@all")
	for user, password := range passwords {
		url := strings.Replace(server.URL(t), "redis://", "redis://"+user, 1)
		if err := store.Ping(t.Context(), openRedis(t, url, password)); err != nil {
			t.Errorf("user %q: %v", user, err)
		}
		for _, wrong := range []string{"", "wrong-password"} {
			err := store.Ping(t.Context(), openRedis(t, url, wrong))
			if !store.Unavailable(err) || strings.Contains(err.Error(), "wrong-password") ||
				!strings.Contains(err.Error(), "NOAUTH") && !strings.Contains(err.Error(), "WRONGPASS") {
				t.Errorf("user %q with password %q: %v", user, wrong, err)
			}
		}
	}
}

// TestRedis_PasswordIsNotRepeated uses a server that repeats commands which it does not know, as some proxies do.
func TestRedis_PasswordIsNotRepeated(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			fmt.Fprint(conn, "-ERR syntax error near default hunter2-hunter2\r\n")
			conn.Close()
		}
	})
	err = store.Ping(t.Context(), openRedis(t, "redis://"+listener.Addr().String(), "hunter2-hunter2"))
	listener.Close()
	done.Wait()
	if !store.Unavailable(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func TestRedis_EvictionPolicy(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args   []string
		policy string
		known  bool
	}{
		"row 53 eviction":    {[]string{"--maxmemory-policy", "allkeys-lru"}, "allkeys-lru", true},
		"row 53 no eviction": {nil, "noeviction", true},
		"row 53 CONFIG is refused": {[]string{"--user", "default", "on", "nopass", "~*", "+@all", "-config"},
			"noeviction", true},
		"row 53 CONFIG, INFO are refused": {[]string{"--user", "default", "on", "nopass", "~*", "+@all", "-config",
			"-info"}, "", false},
		"row 53 CONFIG has another name": {[]string{"--rename-command", "CONFIG", ""}, "noeviction", true},
		"row 53 CONFIG and INFO are gone": {[]string{"--rename-command", "CONFIG", "", "--rename-command", "INFO",
			""}, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := openRedis(t, storetest.StartRedis(t, test.args...).URL(t), "")
			if policy, known := s.EvictionPolicy(t.Context()); policy != test.policy || known != test.known {
				t.Errorf("policy %q, %t, want %q, %t", policy, known, test.policy, test.known)
			}
		})
	}
	t.Run("row 53 server is down", func(t *testing.T) {
		server := storetest.StartRedis(t)
		server.Kill()
		if policy, known := openRedis(t, server.URL(t), "").EvictionPolicy(t.Context()); known {
			t.Errorf("policy %q", policy)
		}
	})
}

func TestRedis_Time(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	s := openRedis(t, server.URL(t), "")
	before := time.Now().Add(-time.Millisecond)
	got, err := s.Time(t.Context())
	if err != nil || got.Before(before) || got.After(time.Now()) {
		t.Errorf("time %v, %v", got, err)
	}
	server.Kill()
	if _, err := s.Time(t.Context()); !store.Unavailable(err) {
		t.Errorf("error %v", err)
	}
}

func TestRedis_MemoryIsFull(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t, "--maxmemory-policy", "noeviction")
	s := openRedis(t, server.URL(t), "")
	if err := s.Create(t.Context(), inAnHour("a", "owner", "1")); err != nil {
		t.Fatal(err)
	}
	admin(t, server.Addr, "CONFIG", "SET", "maxmemory", "1")
	if err := s.Create(t.Context(), inAnHour("b", "owner", "2")); !store.Unavailable(err) ||
		!strings.Contains(err.Error(), "OOM") {
		t.Errorf("Create: %v", err)
	}
	if _, err := s.Replace(t.Context(), inAnHour("a", "owner", "2")); !store.Unavailable(err) {
		t.Errorf("Replace: %v", err)
	}
	got, err := s.Get(t.Context(), "a")
	if err != nil || string(got.Sealed) != "1" || got.Version != 1 {
		t.Errorf("Get: %v, %v", got, err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if keys := admin(t, server.Addr, "DBSIZE"); keys != int64(0) {
		t.Errorf("%v keys are left", keys)
	}
}

func TestRedis_ListsOfOwnersEnd(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	s := openRedis(t, server.URL(t), "")
	size := func() int64 { return admin(t, server.Addr, "DBSIZE").(int64) }
	listed := func() int64 {
		prefix := strings.SplitN(server.URL(t), "prefix=", 2)[1]
		return admin(t, server.Addr, "ZCARD", prefix+"owner:owner").(int64)
	}
	for i, lifetime := range []time.Duration{200 * time.Millisecond, 300 * time.Millisecond} {
		r := inAnHour(fmt.Sprint(i), "owner", "")
		r.Expires = time.Now().Add(lifetime)
		if err := s.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if size, listed := size(), listed(); size != 3 || listed != 2 {
		t.Errorf("%d keys and %d records in the list", size, listed)
	}
	time.Sleep(300 * time.Millisecond)
	left := size()
	for range 100 { // the server removes them in its own time
		if left == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
		left = size()
	}
	if left != 0 {
		t.Errorf("%d keys are left", left)
	}
	for i, lifetime := range []time.Duration{time.Hour, 200 * time.Millisecond} {
		r := inAnHour(fmt.Sprint(i), "owner", "")
		r.Expires = time.Now().Add(lifetime)
		if err := s.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(250 * time.Millisecond)
	if err := s.Create(t.Context(), inAnHour("2", "owner", "")); err != nil {
		t.Fatal(err)
	}
	if listed := listed(); listed != 2 {
		t.Errorf("%d records in the list, want those that live", listed)
	}

	// A server that evicts may lose a list. The next change of a record puts it back.
	admin(t, server.Addr, "DEL", strings.SplitN(server.URL(t), "prefix=", 2)[1]+"owner:owner")
	if _, err := s.Replace(t.Context(), inAnHour("2", "", "")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ByOwner(t.Context(), "owner", "", 9); err != nil || len(got) != 1 || got[0].ID != "2" {
		t.Errorf("records %v, %v", got, err)
	}
}

func TestRedis_ScriptsAreForgotten(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	s := openRedis(t, server.URL(t), "")
	for i := range 3 {
		if err := s.Create(t.Context(), inAnHour(fmt.Sprint(i), "", "")); err != nil {
			t.Fatal(err)
		}
		admin(t, server.Addr, "SCRIPT", "FLUSH")
	}
}

func TestRedis_OtherFormat(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	s := openRedis(t, "redis://"+server.Addr, "")
	for _, value := range []string{"", "2 1 1 a\nx", "1 x 1 a\nx", "1 1 1\nx", "no line"} {
		admin(t, server.Addr, "SET", "gatehouse:record:a", value)
		_, err := s.Get(t.Context(), "a")
		if !store.Unavailable(err) || !strings.Contains(err.Error(), "another format") {
			t.Errorf("Get of %q: %v", value, err)
		}
		if _, err := s.Replace(t.Context(), inAnHour("a", "", "")); err == nil {
			t.Errorf("Replace of %q has succeeded", value)
		}
	}
}

func TestRedis_Failover(t *testing.T) {
	t.Parallel()
	before, after := storetest.StartRedis(t), storetest.StartRedis(t)
	proxy := storetest.StartProxy(t, before.Addr)
	s := openRedis(t, strings.Replace(before.URL(t), before.Addr, proxy.Addr, 1), "")
	if err := s.Create(t.Context(), inAnHour("a", "", "1")); err != nil {
		t.Fatal(err)
	}
	// The name of the primary server leads to another one, and the connection to the first stays open.
	proxy.Redirect(after.Addr)
	host, port, _ := net.SplitHostPort(after.Addr)
	admin(t, before.Addr, "REPLICAOF", host, port)
	retry(t, func() error { return s.Create(t.Context(), inAnHour("b", "", "2")) })
	if _, err := openRedis(t, after.URL(t), "").Get(t.Context(), "b"); err != nil {
		t.Errorf("the record is not in the new primary server: %v", err)
	}
}

func TestRedis_TooManyClients(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t, "--maxclients", "1")
	s := openRedis(t, server.URL(t), "")
	var only net.Conn
	for range 100 { // until the server has noticed the end of the connection of StartRedis
		conn, err := net.Dial("tcp", server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "PING\r\n")
		answer := make([]byte, 5)
		if _, err = conn.Read(answer); err == nil && string(answer) == "+PONG" {
			only = conn
			break
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	if err := store.Ping(t.Context(), s); !store.Unavailable(err) || !strings.Contains(err.Error(),
		"max number of clients") {
		t.Errorf("error %v", err)
	}
	only.Close()
	retry(t, func() error { return store.Ping(t.Context(), s) })
}

func TestRedis_Connections(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	s := openRedis(t, server.URL(t), "")
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			if err := s.Create(t.Context(), inAnHour(fmt.Sprint(i), "", "")); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	list := string(admin(t, server.Addr, "CLIENT", "LIST").([]byte))
	if n := strings.Count(list, " name=gatehouse "); n == 0 || n > 16 {
		t.Errorf("%d connections, want 16 at most:\n%s", n, list)
	}
	s.Close()
	if err := s.Create(t.Context(), inAnHour("closed", "", "")); !store.Unavailable(err) {
		t.Errorf("Create after Close: %v", err)
	}
}

// TestRedis_Cluster uses a node of a cluster, which answers with errors.
func TestRedis_Cluster(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t, "--cluster-enabled", "yes")
	s := openRedis(t, strings.Split(server.URL(t), "/0?")[0], "")
	_, readErr := s.Get(t.Context(), "a")
	for _, err := range []error{readErr, s.Create(t.Context(), inAnHour("a", "", ""))} {
		if !store.Unavailable(err) || !strings.Contains(err.Error(), "CLUSTERDOWN") {
			t.Errorf("error %v", err)
		}
	}
}

// TestRedis_OtherServer uses servers that do not speak the protocol.
func TestRedis_OtherServer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"HTTP": "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "SSH": "SSH-2.0-OpenSSH_9.2\r\n",
		"nothing": "", "node of a cluster": "-MOVED 1 127.0.0.1:1\r\n", "half": "$100\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var done sync.WaitGroup
			done.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					fmt.Fprint(conn, answer)
					_, _ = conn.Read(make([]byte, 4096))
					conn.Close()
				}
			})
			err = store.Ping(t.Context(), openRedis(t, "redis://"+listener.Addr().String(), ""))
			listener.Close()
			done.Wait()
			if !store.Unavailable(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestRedis_Databases(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	urls := []string{"/0", "/1", "/0?prefix=other:", "/0?prefix=gatehouse:o"}
	for _, url := range urls {
		s := openRedis(t, "redis://"+server.Addr+url, "")
		if err := s.Create(t.Context(), inAnHour("a", "owner", url)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range urls {
		all, err := openRedis(t, "redis://"+server.Addr+url, "").All(t.Context(), "", 9)
		if err != nil || len(all) != 1 || string(all[0].Sealed) != url {
			t.Errorf("%s: records %v, %v", url, all, err)
		}
	}
}
