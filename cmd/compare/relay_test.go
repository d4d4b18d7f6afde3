package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A failure of an upstream has the status 200, so a comparison checks the answers as well.
func TestRelayLoadChecksEveryAnswer(t *testing.T) {
	const content = `{"result":{"content":[{"type":"text","text":"%s"}]}}`
	for name, c := range map[string]struct {
		status   int
		text     string
		expected bool
	}{
		"the tool's answer": {200, "Hello, Ada!", true},
		"a failure":         {200, "the server behind this tool cannot be reached", false},
		"a refusal":         {403, "Hello, Ada!", false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = fmt.Fprintf(w, content, c.text)
		}))
		p := path{connect: overHTTP(strings.TrimPrefix(server.URL, "http://"), "")}
		ctx, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r, err := p.load(4)(ctx)
		end()
		server.Close()
		if err != nil || r.responses == 0 || (r.unexpected == 0) != c.expected || len(r.latencies) != r.responses {
			t.Errorf("%s: %d answers, %d of them unexpected, %v", name, r.responses, r.unexpected, err)
		}
	}
}

// The callers of one process get their own answers, in whatever order it writes them.
func TestPipedAnswersReachTheirCallers(t *testing.T) {
	requests, input := io.Pipe()
	output, answers := io.Pipe()
	p := &piped{input: input}
	go p.read(bufio.NewReader(output))
	defer answers.Close()
	go func() {
		lines := bufio.NewScanner(requests)
		for lines.Scan() {
			first := idOf(lines.Bytes())
			lines.Scan()
			second := idOf(lines.Bytes())
			fmt.Fprintf(answers, `{"jsonrpc":"2.0","id":%d,"result":{%s}}`+"\n", second, echoAnswer)
			fmt.Fprintf(answers, `{"jsonrpc":"2.0","id":%d,"error":{}}`+"\n", first)
		}
	}()
	expected := make(chan bool)
	for range 2 {
		call, end, err := p.connect()
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		go func() {
			ok, err := call()
			if err != nil {
				t.Error(err)
			}
			expected <- ok
		}()
	}
	if first, second := <-expected, <-expected; first == second {
		t.Errorf("%v and %v: one of the two calls was answered by the tool", first, second)
	}
	_ = input.Close()
}

func TestIDOf(t *testing.T) {
	for line, want := range map[string]int64{
		`{"jsonrpc":"2.0","id":17,"result":{}}`: 17,
		`{"id":3}`:                              3,
		`{"jsonrpc":"2.0","method":"x"}`:        0,
		`{"id":`:                                0,
		``:                                      0,
	} {
		if got := idOf([]byte(line)); got != want {
			t.Errorf("%s: %d, not %d", line, got, want)
		}
	}
}

// The ratios compare this server with what is called directly, not the other way round.
func TestRelayRows(t *testing.T) {
	reading := func(cpu, elapsed, latency time.Duration) reading {
		return reading{result: result{responses: 1, latencies: []time.Duration{latency}}, cpu: cpu, elapsed: elapsed}
	}
	read := func(factor time.Duration) readings {
		return readings{one: reading(2*factor, 0, 3*factor), many: reading(5*factor, 7*factor, 0)}
	}
	p := paths{relayedStdio: path{process: &process{}}, relayedHTTP: path{process: &process{}},
		directStdio: path{process: &process{}}, directHTTP: path{process: &process{}}}
	values := map[*process]readings{
		p.relayedStdio.process: read(2), p.relayedHTTP.process: read(3), p.directStdio.process: read(4),
		p.directHTTP.process: read(10),
	}
	for _, row := range p.rows() {
		want := 0.2
		switch {
		case strings.HasPrefix(row.name, "stdio, compared with its pipes"):
			want = 0.5
		case strings.HasPrefix(row.name, "HTTP"):
			want = 0.3
		}
		if got := row.value(values[row.a.process]) / row.value(values[row.b.process]); got != want {
			t.Errorf("%s: %v, not %v", row.name, got, want)
		}
	}
}
