package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Everything but responses is read at a limited rate, and the end of the process or call ends the wait.
func TestThrottle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines, bytes int
		want         time.Duration
	}{
		"a burst":              {lineBurst, 0, 0},
		"a flood":              {lineBurst + 3*lineRate, 100, 3 * time.Second},
		"a flood of long ones": {(lineBurst + lineRate) / 5, 4 * bytesOfLine, time.Second},
		"one of any length":    {2, 1 << 40, lineBurst / lineRate * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				throttle, began := newThrottle(), time.Now()
				for range c.lines {
					throttle.wait(c.bytes, nil)
				}
				if got := time.Since(began).Round(time.Millisecond); got != c.want {
					t.Errorf("it took %v, not %v", got, c.want)
				}
				done := make(chan struct{})
				close(done)
				began = time.Now()
				throttle.wait(1<<40, done)
				if got := time.Since(began); got != 0 {
					t.Errorf("after the end, it took %v", got)
				}
			})
		})
	}
}

// noiseIn returns how many lines of noise are read in a time, and how many may be.
func noiseIn(set *Set, d time.Duration) (got, most int64) {
	began := time.Now()
	time.Sleep(d)
	got = set.Status()[0].Noise
	return got, lineBurst + int64(time.Since(began).Seconds()*lineRate) + lineRate // what was before
}

// An upstream that writes without a pause does not keep a processor busy.
func TestThrottle_OfUpstreams(t *testing.T) {
	t.Parallel()
	flood := rawHTTP(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("data: x\n\n", 1000))
		}
	})
	for name, s := range map[string]Settings{"stdio": fixture(t, "chatter"), "HTTP": remote(flood)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := open(t, Options{}, s)
			ctx, cancel := context.WithCancel(t.Context())
			var calls sync.WaitGroup
			if u := set.upstreams[0]; s.URL != "" {
				for range 4 {
					calls.Go(func() { _, _ = u.call(ctx, callOf(u, "good", `{}`)) })
				}
			}
			if got, most := noiseIn(set, 400*time.Millisecond); got == 0 || got > most {
				t.Errorf("%d lines were read, more than %d", got, most)
			}
			cancel()
			calls.Wait()
		})
	}
}

// A line of a log that has the id of a request is not its response.
func TestStdio_LogInJSON(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	if got := do(t, set, "logs", `{}`); got != text("logged") {
		t.Error(got)
	}
	if s := set.Status()[0]; s.Noise != 2 || s.Stray != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// An upstream that never ends its streams keeps a few connections only, however many calls it answers.
func TestHTTP_StreamsWithoutEnd(t *testing.T) {
	t.Parallel()
	var running, most atomic.Int64
	s := remote(rawHTTP(t, func(w http.ResponseWriter, r *http.Request, id string) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", id)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	set := open(t, Options{}, s)
	for range 4 * maxFinishing {
		if got := do(t, set, "good", `{}`); got != `{}` {
			t.Fatal(got)
		}
	}
	if got := most.Load(); got > 2*maxFinishing {
		t.Errorf("%d streams were open", got)
	}
}

// Of a stream, only a long message counts as long, not many short ones.
func TestHTTP_LongStream(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	var steps atomic.Int64
	s := remote(rawHTTP(t, func(w http.ResponseWriter, r *http.Request, id string) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 4 * longMessage >> 10 {
			fmt.Fprintf(w, `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,`+
				`"progress":1,"message":"%s"}}`+"\n\n", id, strings.Repeat("x", 1<<10))
		}
		_ = http.NewResponseController(w).Flush()
		<-finish
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"x\":\"%s\"}}\n\n", id, strings.Repeat("x", 1<<20))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	set := open(t, Options{}, s)
	u := set.upstreams[0]
	c := callOf(u, "good", `{}`)
	c.report = func(progress) { steps.Add(1) }
	done := make(chan string)
	go func() { done <- doCall(t, set, c) }()
	eventually(t, "the progress arrives", func() bool { return steps.Load() == 4*longMessage>>10 })
	long := u.source.(*supervisor).current.link.(*httpLink).endpoint.long
	if len(long) != 0 {
		t.Error("short messages count as a long one")
	}
	close(finish)
	if got := <-done; len(got) < 1<<20 {
		t.Error(got)
	}
	if len(long) != 0 {
		t.Error("a message counts after its end")
	}
}

// Little of a response is received that nothing reads yet, by HTTP/2 too.
func TestTransport_ReceivesLittleAhead(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 10 {
			n, err := w.Write(make([]byte, 16<<10))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := newTransport(address, newDialer(true))
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("%+v %v", resp, err)
	}
	defer resp.Body.Close()
	time.Sleep(200 * time.Millisecond) // enough to receive all
	if got := written.Load(); got > 8*receiveBuffer {
		t.Errorf("%d bytes were received", got)
	}
}

// A list of many short elements, and a long definition, are not decoded: they would become many times as large.
func TestDefinitions_AreNotDecodedIfLong(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("1,", 100*maxTools)
	if tools, ok := readTools(json.RawMessage(`[` + many + `1]`)); !ok || len(tools) != maxTools+1 {
		t.Errorf("%d tools", len(tools))
	}
	d := readDefinition(json.RawMessage(`{"name":"bad","inputSchema":{"type":"object","x":[` + many + `1]}}`))
	if d.SHA256 != "" || d.problem == nil || d.problem.Error() != "its inputSchema is too long" {
		t.Errorf("the digest is %q, the problem %v", d.SHA256, d.problem)
	}
}

// Objects with very many members are refused: comparing their names would take up many times their size.
func TestResult_ManyMembers(t *testing.T) {
	t.Parallel()
	s := remote(rawHTTP(t, func(w http.ResponseWriter, r *http.Request, id string) {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{`, id)
		for i := range 100_000 {
			fmt.Fprintf(w, `"%x":1,`, i)
		}
		fmt.Fprint(w, `"content":[]}}`)
	}))
	if got := do(t, open(t, Options{}, s), "good", `{}`); got != malformedText {
		t.Errorf("%.200s", got)
	}
}

// What net/http quotes of an upstream does not fill the log, and does not reach the caller.
func TestHTTP_NoResponseOfHTTP(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 \x1b[31m"+strings.Repeat("secret", 5000)+"\r\n\r\n")
			_ = conn.Close()
		}
	}()
	var log logBuffer
	_, err = tryOpen(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		remote("http://"+listener.Addr().String()))
	if err == nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("the error is %v", err)
	}
	if text := log.String(); len(text) > 4000 || strings.Contains(text, "\x1b") {
		t.Errorf("the log is %s", text)
	}
}

// A process that makes room for that of another caller while it starts has not failed.
func TestPool_MakesRoomDuringItsStart(t *testing.T) {
	t.Parallel()
	s := perUser(t, "silent") // which takes its time
	s.MaxProcesses = 1
	b := quick
	b.first, b.max = time.Minute, time.Minute
	set := open(t, Options{probeTimeout: 200 * time.Millisecond, backoff: b}, s)
	u := set.upstreams[0]
	c := callOf(u, "pid", `{}`)
	c.caller = user("alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := u.call(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if got := callAs(t, set, "bob", "pid", `{}`); !strings.HasPrefix(got, "{") {
		t.Errorf("bob got %s", got)
	}
	if got := callAs(t, set, "alice", "pid", `{}`); !strings.HasPrefix(got, "{") {
		t.Errorf("alice got %s", got)
	}
}
