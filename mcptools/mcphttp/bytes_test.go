package mcphttp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"pgregory.net/rapid"

	"gatehouse/mcptools"
)

func TestQuota_BytesAreNeverExceededAndNeverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const unit = 8 << 10
		perUser, inAll := unit*rapid.IntRange(10, 40).
			Draw(t, "per user"),
			unit*rapid.IntRange(10, 90).
				Draw(t, "in all")
		q := newQuota(perUser, inAll)
		open := map[*reservation]bool{}
		held := func(user string) (own, all int) {
			for r := range open {
				if r.user == user {
					own += r.n
				}
				all += r.n
			}
			return own, all
		}
		t.Repeat(map[string]func(*rapid.T){
			"grow": func(t *rapid.T) {
				user := rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "user")
				r := q.reserve(user)
				for one := range open {
					if one.user == user && rapid.Bool().Draw(t, "the one that is open") {
						r = one
						break
					}
				}
				n := unit * rapid.IntRange(1, 30).Draw(t, "n")
				own, all := held(user)
				othersOfUser, others := own-r.n, all-r.n
				switch err := r.grow(n); err {
				case nil:
					open[r] = true
					if own+n > perUser && (othersOfUser > 0 || r.n == n) {
						t.Fatalf("%s holds %d of %d", user, own+n, perUser)
					}
					if all+n > inAll && others > 0 && (own+n > byteStep || all+n > inAll+inAll/4) {
						t.Fatalf("%d of %d are held in all", all+n, inAll)
					}
				case errUserLimit:
					if own+n <= perUser {
						t.Fatalf("%s holds %d of %d and gets no %d more", user, own, perUser, n)
					}
				case errTotalLimit:
					if all+n <= inAll {
						t.Fatalf("%d of %d are held in all, and %s gets no %d more", all, inAll, user, n)
					}
				}
			},
			"release": func(t *rapid.T) {
				for r := range open {
					r.retain()
					r.release()
					r.release()
					delete(open, r)
					return
				}
			},
			"": func(t *rapid.T) {
				if _, all := held(""); q.total != all {
					t.Fatalf("%d bytes are counted, %d are held", q.total, all)
				}
			},
		})
		for r := range open {
			r.release()
		}
		if q.total != 0 || len(q.users) != 0 {
			t.Fatalf("%d bytes of %v are counted when all is over", q.total, q.users)
		}
	})
}

// unfinishedPost sends the header of a POST and all of its body but the last byte, and returns the connection.
func unfinishedPost(t *testing.T, url, headers, body string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(
		conn,
		"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"+
			"Accept: application/json, text/event-stream\r\n%s\r\n%s",
		headers,
		body[:len(body)-1],
	)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func awaitBytes(t *testing.T, h *Handler, want func(int) bool) {
	t.Helper()
	for range 500 {
		h.bytes.mu.Lock()
		total := h.bytes.total
		h.bytes.mu.Unlock()
		if want(total) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the number of reserved bytes never became the expected one")
}

// awaitOrphan waits until a call continues whose client has hung up.
func awaitOrphan(t *testing.T, h *Handler) {
	t.Helper()
	for range 500 {
		h.sessions.mu.Lock()
		orphans := 0
		for _, s := range h.sessions.open {
			orphans += s.use.orphans
		}
		h.sessions.mu.Unlock()
		if orphans > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no call continues")
}

func isZero(n int) bool { return n == 0 }

func TestReadBody_BytesOfBodiesBeingReadAreLimited(t *testing.T) {
	body := modernCall("greet", `{"name":"`+strings.Repeat("x", 100_000)+`"}`)
	announced := fmt.Sprintf("Content-Length: %d\r\n", len(body.body))
	for name, c := range map[string]struct {
		headers string
		limits  func(*Settings)
		status  int
	}{
		"one caller's": {announced, func(s *Settings) { s.MaxBytesPerUser = 250_000 }, http.StatusTooManyRequests},
		"all callers'": {
			announced, func(s *Settings) { s.MaxBytes, s.MaxBytesPerUser = 250_000, 250_000*2 },
			http.StatusServiceUnavailable,
		},
		"one caller's, in steps": {
			"Transfer-Encoding: chunked\r\n",
			func(s *Settings) { s.MaxBytesPerUser = 300_000 }, http.StatusTooManyRequests,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerOf(fullCatalog(), func(cfg *Config) { c.limits(&cfg.Settings) })
			url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
			sent := body.body
			if !strings.Contains(c.headers, "Length") {
				sent = fmt.Sprintf("%x\r\n%s\r\n", len(sent), sent)
			}
			first := unfinishedPost(t, url, c.headers, sent)
			second := unfinishedPost(t, url, c.headers, sent)
			awaitBytes(t, h, func(n int) bool { return n >= 200_000 })
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			resp, err := client.Do(body.to(url))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.status || resp.Header.Get("Retry-After") != "1" ||
				resp.Header.Get(reasonHeader) != string(ReasonTooManyBytes) {
				t.Errorf(
					"answered %d, Retry-After %q, reason %q; want %d, 1, too_many_bytes", resp.StatusCode,
					resp.Header.Get("Retry-After"), resp.Header.Get(reasonHeader), c.status,
				)
			}
			_ = first.Close()
			_ = second.Close()
			awaitBytes(t, h, isZero)
			if status, answer := sendTo(t, url, body); status != http.StatusOK {
				t.Errorf("afterwards a call is answered %d %.200s", status, answer)
			}
			awaitBytes(t, h, isZero)
		})
	}
}

func TestReadBody_TooLargeContentLengthIsRejectedUnread(t *testing.T) {
	t.Parallel()
	h := handlerOf(fullCatalog(), func(cfg *Config) { cfg.MaxBodyBytes = 1000 })
	// More than net/http would read before it sends a response.
	conn := unfinishedPost(t, serve(t, h, time.Now().Add(time.Hour)), "Content-Length: 1000000\r\n", "{ ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %v, %v; want 413", resp, err)
	}
	awaitBytes(t, h, isZero)
}

func TestCallsInFlight_BytesAndValuesAreLimited(t *testing.T) {
	begun, ended := make(chan struct{}, 10), make(chan error, 10)
	heavy := `{"x":[` + repeated(`{"":0}`, 4_900) + `]}` // 34 kB, and 1.7 MB when it is decoded
	raw := mcptools.Define(
		mcptools.Definition{Name: "wait", Description: "x"},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ map[string]any) (*mcp.CallToolResult, any, error) {
			begun <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, nil, ctx.Err()
		},
	)
	for _, protocol := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(protocol, func(t *testing.T) {
			h := handlerOf(
				mcptools.Catalog{Tools: []mcptools.Tool{raw}},
				func(cfg *Config) { cfg.Settings.MaxBytesPerUser = 3 << 20 },
			)
			url := serve(t, h, time.Now().Add(time.Hour))
			call := modernCall("wait", heavy)
			if protocol == "2025-11-25" {
				call = legacy(
					"tools/call", `"name":"wait","arguments":`+heavy,
				).with(sessionHeader, connect(t, url, protocol).ID())
			}
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			go func() {
				if resp, err := http.DefaultTransport.RoundTrip(call.to(url).WithContext(ctx)); err == nil {
					resp.Body.Close()
				}
			}()
			<-begun
			if status, answer := sendTo(t, url, call.replaced(`"id":7`, `"id":8`)); status != http.StatusTooManyRequests ||
				!strings.Contains(answer, "too many bytes") {
				t.Errorf("a second heavy call is answered %d %.200s, want 429", status, answer)
			}
			hangUp()
			if protocol == "2025-11-25" { // the call continues, and its bytes stay counted
				awaitOrphan(t, h)
				if status, _ := sendTo(t, url, call.replaced(`"id":7`, `"id":9`)); status != http.StatusTooManyRequests {
					t.Errorf("a second heavy call after the client of the first hung up is answered %d, want 429", status)
				}
				awaitBytes(t, h, func(n int) bool { return n < 2<<20 }) // those of the first call alone
				h.CloseSessions()
			}
			<-ended
			awaitBytes(t, h, isZero)
		})
	}
}

// A message above the caller's limit of bytes is served if the caller has nothing else in flight.
func TestQuota_AMessageAboveTheLimitIsServedAlone(t *testing.T) {
	h := handlerOf(
		fullCatalog(),
		func(cfg *Config) { cfg.Settings.MaxBytes, cfg.Settings.MaxBytesPerUser = 1<<20, 256<<10 },
	)
	url := serve(t, h, time.Now().Add(time.Hour), "greet:read")
	if status, answer := sendTo(
		t, url, modernCall("greet", `{"name":"Ada","x":[`+repeated("1", 9_000)+`]}`),
	); status != http.StatusOK {
		t.Errorf("answered %d %.200s, want 200", status, answer)
	}
	awaitBytes(t, h, isZero)
}

// A few callers that use up the total limit must not block ordinary messages of others.
func TestQuota_OrdinaryMessagesPassWhenOthersHoldTheLimit(t *testing.T) {
	q := newQuota(256<<10, 1<<20)
	for _, user := range []string{"a", "b", "c", "d"} {
		if err := q.reserve(user).grow(256 << 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.reserve("e").grow(300); err != nil {
		t.Errorf("an ordinary message: %v", err)
	}
	if err := q.reserve("f").grow(100_000); err != errTotalLimit {
		t.Errorf("a large message: %v, want %v", err, errTotalLimit)
	}
	for i := range 10 {
		_ = q.reserve(fmt.Sprint("caller-", i)).grow(byteStep)
	}
	if q.total > 1<<20+1<<18 {
		t.Errorf("%d bytes are held, at most a quarter more than the limit may be", q.total)
	}
}
