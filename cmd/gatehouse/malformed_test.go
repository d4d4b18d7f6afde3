package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// raw sends bytes that no client library would, and returns the status of the response, or 0 if the connection was
// closed without one.
func (srv *testServer) raw(t *testing.T, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.origin(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte(request)); err != nil {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if location := resp.Header.Get("Location"); location != "" {
		t.Errorf("redirected to %s", location)
	}
	return resp.StatusCode
}

// Rows 20, 21, 22 and 27 of the threat model.
func TestMalformedRequestsAreNotServed(t *testing.T) {
	t.Parallel()
	srv := startServer(t, nil)
	host := strings.TrimPrefix(srv.origin(), "http://")
	token := "Authorization: Bearer " + srv.token(t, "alice", "mcp:use") + "\r\n"
	line := func(request, host string, more ...string) string {
		return request + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Join(more, "") + "\r\n"
	}
	const twoLengths = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
	for name, c := range map[string]struct {
		request string
		want    []int
	}{
		"HEAD without a token":              {line("HEAD /mcp", host), []int{401}},
		"PUT without a token":               {line("PUT /mcp", host), []int{401}},
		"PATCH without a token":             {line("PATCH /mcp", host), []int{401}},
		"TRACE without a token":             {line("TRACE /mcp", host), []int{401, 400}},
		"an unknown method without a token": {line("BREW /mcp", host), []int{401}},
		"HEAD with a token":                 {line("HEAD /mcp", host, token), []int{405}},
		"PUT with a token":                  {line("PUT /mcp", host, token), []int{405}},
		"PATCH with a token":                {line("PATCH /mcp", host, token), []int{405}},
		"TRACE with a token":                {line("TRACE /mcp", host, token), []int{405}},
		"an unknown method with a token":    {line("BREW /mcp", host, token), []int{405}},
		"OPTIONS that is no preflight":      {line("OPTIONS /mcp", host), []int{204, 401}},
		"an absolute URI of another host":   {line("POST http://evil.example/mcp", host, token), []int{403}},
		"our absolute URI, Host of another": {
			line("POST "+srv.url, "evil.example", token), []int{400, 401, 403, 404, 405, 415},
		},
		"a foreign Host":           {line("POST /mcp", "evil.example", token), []int{403}},
		"two Host headers":         {line("POST /mcp", host, "Host: evil.example\r\n", token), []int{400}},
		"no Host header":           {"POST /mcp HTTP/1.1\r\nConnection: close\r\n" + token + "\r\n", []int{400}},
		"an encoded letter":        {line("POST /%6dcp", host, token), []int{404, 415}},
		"an encoded dot segment":   {line("POST /x/%2e%2e/mcp", host, token), []int{404}},
		"a dot segment":            {line("POST /x/../mcp", host, token), []int{404}},
		"a double slash":           {line("GET //evil.example/mcp", host, token), []int{404}},
		"a backslash":              {line(`GET /\evil.example`, host, token), []int{404, 400}},
		"a folded header":          {line("POST /mcp", host, "X-A: b\r\n c\r\n", token), []int{400, 415}},
		"a space before the colon": {line("POST /mcp", host, "Authorization : Bearer x\r\n"), []int{400}},
		"two body lengths":         {line("POST /mcp", host, token, twoLengths) + "0\r\n\r\n", []int{400, 415}},
		"5000 header fields": {
			line("POST /mcp", host, strings.Repeat("X-Field: value\r\n", 5000), token), []int{431, 0},
		},
		"HTTP/0.9": {"GET /mcp\r\n\r\n", []int{400}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := srv.raw(t, c.request); !slices.Contains(c.want, got) {
				t.Errorf("status %d, want one of %v", got, c.want)
			}
		})
	}
}

// Row 35 of the threat model.
func TestResponsesAreNotMixedBetweenCallers(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"log.level": "error"})
	var callers sync.WaitGroup
	for _, name := range []string{"alice", "bob"} {
		token := srv.token(t, name, "mcp:use", "greet:read")
		session := srv.openSession(t, token)
		for worker := range 8 {
			callers.Go(func() {
				for i := range 25 {
					guest := fmt.Sprintf("%s-%d-%d", name, worker, i)
					tool, arguments, want := "whoami", "{}", fmt.Sprintf(`"subject":%q`, name)
					if i%2 == 0 {
						tool, arguments, want = "greet", fmt.Sprintf(`{"name":%q}`, guest), "Hello, "+guest+"!"
					}
					body, header := callModern(tool, arguments)
					if worker%2 == 0 {
						body, header = callLegacy(tool, arguments, session)
						// Concurrent calls in one session need distinct ids.
						body = strings.Replace(body, `"id":1`, fmt.Sprintf(`"id":"%s"`, guest), 1)
					}
					r := send(t, http.MethodPost, srv.url, token, body, header)
					if r.status != http.StatusOK || !strings.Contains(r.body, want) {
						t.Errorf("%s got %d %s, want %s", guest, r.status, r.body, want)
						return
					}
				}
			})
		}
	}
	callers.Wait()
}
