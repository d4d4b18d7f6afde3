package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/providers"
	"gatehouse/server"
)

// RS-14: a broad scope includes narrower ones, also indirectly, and only as configured.
func TestRS14BroadScopeImpliesNarrowOnes(t *testing.T) {
	f := start(t, options{implies: server.ScopeHierarchy{
		"admin": {"write"}, "write": {"read", "mcp:use"}, "read": {"write"}, // cycles are allowed
	}})
	for name, c := range map[string]struct {
		scope, needs string
		status       int
	}{
		"the broad one alone":             {"admin", "", 200},
		"what it implies":                 {"admin", "write", 200},
		"what that implies":               {"admin", "read", 200},
		"not the other way round":         {"mcp:use", "write", 403},
		"not what only begins alike":      {"admins", "read", 403},
		"nothing beyond the hierarchy":    {"admin", "delete", 403},
		"a token without any scope":       {"", "", 403},
		"scopes joined by a comma":        {"admin,mcp:use", "", 403},
		"the scope in another case":       {"Admin", "read", 403},
		"a scope that is a prefix of one": {"mcp", "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.do(t, http.MethodPost, "/mcp",
				map[string]string{"Authorization": "Bearer " + f.token(c.scope), "X-Needs": c.needs}, nil)
			if r.status != c.status {
				t.Errorf("answered %d, want %d", r.status, c.status)
			}
		})
	}
}

// Only bad tokens get a 429: behind a proxy all callers may share its address.
func TestThrottleRejectsBadTokensOnly(t *testing.T) {
	f := start(t, options{settings: func(s *server.Settings) { s.FailedAuthPerMinute = 5 }})
	statuses := map[int]int{}
	begin := time.Now()
	for i := range 12 {
		r := f.do(t, http.MethodPost, "/mcp", bearer("bad"+strconv.Itoa(i)), nil)
		statuses[r.status]++
		if r.status == http.StatusTooManyRequests &&
			(r.header.Get("Retry-After") == "" || r.header.Get("WWW-Authenticate") != "") {
			t.Errorf("429 with Retry-After %q and challenge %q", r.header.Get("Retry-After"),
				r.header.Get("WWW-Authenticate"))
		}
	}
	if statuses[401] != 5 || statuses[429] != 7 {
		t.Errorf("12 bad tokens got %v, want five 401 and seven 429", statuses)
	}
	if took := time.Since(begin); took < 700*time.Millisecond {
		t.Errorf("seven 429 took %s, want at least 700 ms", took)
	}
	if r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status != 200 {
		t.Errorf("a good token of the same address answered %d", r.status)
	}
	if r := f.do(t, http.MethodPost, "/mcp", nil, nil); r.status != 401 {
		t.Errorf("a request without a token answered %d: a sign-in must be able to begin", r.status)
	}
}

// What fails to authenticate at a route of the provider, and a bad token, count under one limit.
func TestThrottleCountsFailuresAtRoutesOfTheProvider(t *testing.T) {
	var address string
	f := start(t, options{
		settings: func(s *server.Settings) { s.FailedAuthPerMinute = 5 },
		routes: []providers.Route{{Path: "/token", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			address = providers.AddressFrom(r.Context())
			w.Header().Set("X-Wait", providers.RecordFailure(r.Context()).String())
		})}},
	})
	for i := range 7 {
		wait := f.do(t, http.MethodPost, "/token", nil, nil).header.Get("X-Wait")
		if (wait == "0s") != (i < 5) {
			t.Errorf("failure %d: the wait is %s", i, wait)
		}
	}
	if address != "127.0.0.1" {
		t.Errorf("the address is %q", address)
	}
	if r := f.do(t, http.MethodPost, "/mcp", bearer("bad"), nil); r.status != http.StatusTooManyRequests {
		t.Errorf("a bad token of the same address answered %d", r.status)
	}
	if wait := providers.RecordFailure(t.Context()); wait != 0 {
		t.Errorf("outside the chain the wait is %s", wait)
	}
}

func TestForwardedForIsReadFromTrustedProxiesOnly(t *testing.T) {
	for name, c := range map[string]struct {
		proxies []string
		header  map[string]string
		want    string
	}{
		"no proxy is trusted": {nil, map[string]string{"X-Forwarded-For": "192.0.2.7",
			"X-Real-Ip": "192.0.2.8"}, "ip=127.0.0.1"},
		"another proxy is trusted": {[]string{"10.0.0.0/8"},
			map[string]string{"X-Forwarded-For": "192.0.2.7"}, "ip=127.0.0.1"},
		"this proxy is trusted": {[]string{"127.0.0.0/8"},
			map[string]string{"X-Forwarded-For": "192.0.2.7"}, "ip=192.0.2.7"},
		"what its client made up": {[]string{"127.0.0.0/8"},
			map[string]string{"X-Forwarded-For": "203.0.113.1, 192.0.2.7"}, "ip=192.0.2.7"},
		"nothing said by the proxy": {[]string{"127.0.0.0/8"}, nil, "ip=127.0.0.1"},
		"the other header is no use": {[]string{"127.0.0.0/8"}, map[string]string{"X-Real-Ip": "192.0.2.8"},
			"ip=127.0.0.1"},
		"with a port": {[]string{"127.0.0.0/8"}, map[string]string{"X-Forwarded-For": "192.0.2.7:51234"},
			"ip=192.0.2.7"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, options{settings: func(s *server.Settings) { s.TrustedProxies = c.proxies }})
			f.do(t, http.MethodPost, "/mcp", c.header, nil)
			if !strings.Contains(f.log.String(), c.want) {
				t.Errorf("the log does not say %s:\n%s", c.want, f.log)
			}
		})
	}
}

// Rows 27 and 28 of the threat model: oversized requests are rejected, slow ones time out.
func TestOversizedHeadersAreRejected(t *testing.T) {
	f := start(t, options{})
	for name, c := range map[string]struct {
		header map[string]string
		want   []int
	}{
		"a token of 20 KiB":   {bearer(strings.Repeat("x", 20<<10)), []int{401}},
		"a token of 64 KiB":   {bearer(strings.Repeat("x", 64<<10)), []int{431, 401}},
		"a header of 2 MiB":   {map[string]string{"X-Long": strings.Repeat("x", 2<<20)}, []int{431}},
		"a name full of text": {map[string]string{"X-" + strings.Repeat("y", 60<<10): "1"}, []int{431}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.resource.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range c.header {
				req.Header.Set(k, v)
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Do(req)
			if err != nil {
				return // the connection was closed while sending: rejected, too
			}
			defer resp.Body.Close()
			for _, want := range c.want {
				if resp.StatusCode == want {
					return
				}
			}
			t.Errorf("answered %d, want one of %v", resp.StatusCode, c.want)
		})
	}
}

func TestSlowRequestsTimeOut(t *testing.T) {
	f := start(t, options{settings: func(s *server.Settings) {
		s.ReadHeaderTimeout, s.ReadBodyTimeout = 300*time.Millisecond, 300*time.Millisecond
	}})
	for name, beginning := range map[string]string{
		"a header that never ends": "POST /mcp HTTP/1.1\r\nHost: " + f.address + "\r\nX-Slow: ",
		"a body that never comes": "POST /mcp HTTP/1.1\r\nHost: " + f.address +
			"\r\nX-Read: yes\r\nAuthorization: Bearer " + f.token("mcp:use") + "\r\nContent-Length: 100\r\n\r\n{",
		// net/http drains a body before it sends the response.
		"an unread body": "GET /health HTTP/1.1\r\nHost: " + f.address +
			"\r\nContent-Length: 100\r\n\r\n{",
		"an unread body with a good token": "POST /mcp HTTP/1.1\r\nHost: " + f.address +
			"\r\nAuthorization: Bearer " + f.token("mcp:use") + "\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", f.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			begin := time.Now()
			fmt.Fprint(conn, beginning)
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("still open after %v: %v", time.Since(begin), err)
			}
		})
	}
}

// Row 28: the response to a request without a token does not wait for the announced body.
func TestUnauthenticatedRequestIsAnsweredBeforeItsBody(t *testing.T) {
	f := start(t, options{})
	for name, announced := range map[string]string{
		"a body that never comes":       "Content-Length: 50000000\r\n",
		"a body that waits for its 100": "Content-Length: 500000\r\nExpect: 100-continue\r\n",
		"chunks that never come":        "Transfer-Encoding: chunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", f.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%s\r\n",
				f.address, announced)
			_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("answered %d, want 401", resp.StatusCode)
			}
		})
	}
}

// A client that sends a body which is not read receives the response before the connection is closed.
func TestResponseArrivesWhileTheBodyIsSent(t *testing.T) {
	f := start(t, options{})
	authorization := "Authorization: Bearer " + f.token("mcp:use") + "\r\n"
	for name, c := range map[string]struct {
		header string
		status int
	}{
		"without a token":                              {"", 401},
		"without a token, as HTTP/1.0 proxies ask":     {"Connection: close\r\n", 401},
		"with a token":                                 {authorization, 200},
		"with a token, as HTTP/1.0 proxies ask":        {"Connection: close\r\n" + authorization, 200},
		"without a token, chunks for HTTP/1.0 proxies": {"Connection: close\r\nTransfer-Encoding: chunked\r\n", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", f.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			length := "Content-Length: 1000000\r\n"
			if strings.Contains(c.header, "chunked") {
				length = ""
			}
			piece := "10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n"
			fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\n%s%s\r\n%s", f.address, length, c.header, piece)
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			received := bufio.NewReader(conn)
			if _, err := received.Peek(1); err != nil { // waits for the response
				t.Fatal(err)
			}
			for range 3 {
				if _, err := io.WriteString(conn, piece); err != nil {
					t.Fatalf("the client stops sending, and may miss the response: %v", err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			resp, err := http.ReadResponse(received, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != c.status {
				t.Errorf("answered %d, want %d", resp.StatusCode, c.status)
			}
		})
	}
}

// A small body that arrives is read, so that a closing connection needs no delay.
func TestConnectionOfASmallBodyClosesAtOnce(t *testing.T) {
	f := start(t, options{})
	for name, credentials := range map[string]string{
		"without a token": "", "with a token": "Authorization: Bearer " + f.token("mcp:use") + "\r\n",
	} {
		request := fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%sContent-Length: 5\r\n\r\nhello",
			f.address, credentials)
		// The delay would be half a second every time. A busy machine takes that long once in a while.
		shortest := time.Hour
		for range 3 {
			shortest = min(shortest, timeUntilClosed(t, f.address, request))
		}
		if shortest > 400*time.Millisecond {
			t.Errorf("%s: closed %v after the response", name, shortest)
		}
	}
}

// timeUntilClosed sends a request and returns how long after the response the server closes the connection, at most a
// second.
func timeUntilClosed(t *testing.T, address, request string) time.Duration {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	for time.Since(started) < time.Second {
		if _, err = conn.Write([]byte("x")); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(started)
}

// Every sign-in starts with a 401. It keeps the connection, unless the body does not arrive.
func TestSmallUnauthenticatedBodyIsDrained(t *testing.T) {
	f := start(t, options{})
	for name, c := range map[string]struct {
		sent  int
		stays bool
	}{
		"a body that comes":       {20_000, true},
		"a body that never comes": {0, false},
		"half a body":             {10_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", f.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Length: 20000\r\n\r\n%s", f.address,
				strings.Repeat("x", c.sent))
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			answers := bufio.NewReader(conn)
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusUnauthorized || resp.Close == c.stays {
				t.Errorf("answered %d, and the connection is to close: %v", resp.StatusCode, resp.Close)
			}
			// A late body is never parsed as another request.
			fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\n\r\n", f.address)
			resp, err = http.ReadResponse(answers, nil)
			if (err == nil) != c.stays {
				t.Errorf("the next request on the connection: %v", err)
			}
			if err == nil {
				resp.Body.Close()
			}
		})
	}
}

// A body that never arrives does not hold a connection.
func TestUnauthenticatedBodyDoesNotHoldAConnection(t *testing.T) {
	f := start(t, options{settings: func(s *server.Settings) { s.ReadBodyTimeout = 20 * time.Second }})
	for name, request := range map[string]string{
		"chunks that never come":  "POST /mcp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
		"more than is waited for": "POST /mcp HTTP/1.1\r\nContent-Length: 100000\r\n",
		"more than that, and waits for 100": "POST /mcp HTTP/1.1\r\n" +
			"Content-Length: 200000\r\nExpect: 100-continue\r\n",
		"a path that does not exist":         "POST /nope HTTP/1.1\r\nContent-Length: 200\r\n",
		"a method that the path does not do": "PUT /health HTTP/1.1\r\nContent-Length: 200\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", f.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%sHost: %s\r\n\r\n", request, f.address)
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			answer, err := io.ReadAll(conn)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) || !bytes.HasPrefix(answer, []byte("HTTP/1.1 4")) {
				t.Errorf("still open: %v, %.80s", err, answer)
			}
		})
	}
}

// The read deadline for the body must not cancel the call.
func TestReadDeadlineDoesNotEndTheCall(t *testing.T) {
	f := start(t, options{settings: func(s *server.Settings) { s.ReadBodyTimeout = 200 * time.Millisecond }})
	r := f.do(t, http.MethodPost, "/mcp", map[string]string{"Authorization": "Bearer " + f.token("mcp:use"),
		"X-Read": "yes", "X-Wait": "600ms"}, bytes.NewReader([]byte("{}")))
	if r.status != 200 || r.body != "served" {
		t.Errorf("answered %d %q", r.status, r.body)
	}
}

// While the server drains it serves, reports that it is not ready, and asks clients to close their connections;
// then it stops, and calls in flight finish.
func TestServeDrainsAndFinishesCalls(t *testing.T) {
	draining, drain := context.WithCancel(context.Background())
	defer drain()
	stop := make(chan struct{})
	const drainTime = 400 * time.Millisecond
	var drainedAt time.Time
	closedAfter := make(chan time.Duration, 1)
	f := start(t, options{
		drain: draining, stop: stop, settings: func(s *server.Settings) { s.DrainTime = drainTime },
		lifecycle: server.Lifecycle{
			Draining: func() { drainedAt = time.Now(); drain() },
			Closing:  func() { closedAfter <- time.Since(drainedAt) },
		},
	})
	slow := make(chan response, 1)
	go func() {
		slow <- f.do(t, http.MethodPost, "/mcp",
			map[string]string{"Authorization": "Bearer " + f.token("mcp:use"), "X-Wait": "1s"}, nil)
	}()
	time.Sleep(100 * time.Millisecond) // the slow call is in flight
	close(stop)
	for range 100 {
		if f.do(t, http.MethodGet, "/readyz", nil, nil).status == 503 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil)
	if r.status != 200 || !r.close {
		t.Errorf("while draining a call answered %d, Connection: close %v", r.status, r.close)
	}
	if r := <-slow; r.status != 200 {
		t.Errorf("the call in flight answered %d", r.status)
	}
	if after := <-closedAfter; after < drainTime {
		t.Errorf("streams were closed %v after the drain began, which takes %v", after, drainTime)
	}
}

// A client that hangs up in the middle of a body does not affect other calls.
func TestTruncatedRequestDoesNotAffectOthers(t *testing.T) {
	f := start(t, options{})
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	head := "POST /mcp HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{"
	fmt.Fprintf(conn, head, f.address, f.token("mcp:use"))
	_, _ = bufio.NewReader(io.LimitReader(conn, 0)).Peek(0)
	conn.Close()
	if r := f.do(t, http.MethodPost, "/mcp", bearer(f.token("mcp:use")), nil); r.status != 200 {
		t.Errorf("answered %d", r.status)
	}
}

// The owner of one IPv6 address usually has a whole /64, which counts as one sender.
func TestThrottleCountsAnIPv6NetworkOnce(t *testing.T) {
	f := start(t, options{settings: func(s *server.Settings) {
		s.FailedAuthPerMinute, s.TrustedProxies = 1, []string{"127.0.0.0/8"}
	}})
	for i, c := range []struct {
		address string
		status  int
	}{{"2001:db8:0:1::1", 401}, {"2001:db8:0:1:ffff::2", 429}, {"2001:db8:0:2::1", 401}} {
		header := bearer("bad" + strconv.Itoa(i))
		header["X-Forwarded-For"] = c.address
		if r := f.do(t, http.MethodPost, "/mcp", header, nil); r.status != c.status {
			t.Errorf("%s is answered %d, want %d", c.address, r.status, c.status)
		}
	}
}

// A client that never reads must not hold a connection, at the mount neither.
func TestResponsesHaveAWriteDeadline(t *testing.T) {
	g := newChainFixture(t)
	g.openProvider(t)
	chain := g.chain(slog.LevelError)
	for name, r := range map[string]*http.Request{
		"no token": request(g.resource, ""), "a bad token": request(g.resource, "x"),
		"metadata": httptest.NewRequest(http.MethodGet, g.resource.MetadataURL(), nil),
	} {
		w := &writeDeadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		chain.ServeHTTP(w, r)
		if left := time.Until(w.deadline); left <= 0 || left > time.Minute {
			t.Errorf("%s has %v to read its answer", name, left)
		}
	}
}

// writeDeadlineRecorder records the write deadline of a response.
type writeDeadlineRecorder struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (h *writeDeadlineRecorder) SetReadDeadline(time.Time) error     { return nil }
func (h *writeDeadlineRecorder) SetWriteDeadline(by time.Time) error { h.deadline = by; return nil }
