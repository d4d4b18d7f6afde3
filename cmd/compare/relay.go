package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// manyCallers is the number of callers that share an upstream.
const manyCallers = 32

// path is a way to call the tool of an upstream: through this server, or directly.
type path struct {
	*process // whose CPU time counts
	connect  connect
}

// connect returns a function that makes one call and reports whether the answer is the tool's, and another that ends
// the connection. Each caller has its own.
type connect func() (call func() (bool, error), end func(), err error)

// paths are the ways to call the same tool, on the server of the SDK.
type paths struct {
	relayedStdio, relayedHTTP path
	// directStdio is a process that the load itself runs, and directHTTP the SDK's bare handler.
	directStdio, directHTTP path
}

// readings are those of one path in one round.
type readings struct{ one, many reading }

// relayRow is one comparison of two paths.
type relayRow struct {
	name   string
	target float64 // upper bound of the ratio; 0 if there is none
	value  func(readings) float64
	a, b   path
}

// rows returns the comparisons. The bounds are about the SDK's handler, which is what others call directly; a process
// that its caller runs itself needs neither HTTP nor a token.
func (p paths) rows() []relayRow {
	cpu := func(r readings) float64 { return r.one.cpuPerCall() }
	cpuOfMany := func(r readings) float64 { return r.many.cpuPerCall() }
	median := func(r readings) float64 { return float64(r.one.median()) }
	timeOfMany := func(r readings) float64 { return r.many.timePerCall() }
	return []relayRow{
		{"stdio: CPU time, 1 caller", 0.6, cpu, p.relayedStdio, p.directHTTP},
		{"stdio: CPU time, 32 callers", 0.6, cpuOfMany, p.relayedStdio, p.directHTTP},
		{"stdio: median latency, 1 caller", 1.3, median, p.relayedStdio, p.directHTTP},
		{"stdio: time per call, 32 callers", 2, timeOfMany, p.relayedStdio, p.directHTTP},
		{"HTTP: CPU time, 1 caller", 0.75, cpu, p.relayedHTTP, p.directHTTP},
		{"HTTP: CPU time, 32 callers", 0.75, cpuOfMany, p.relayedHTTP, p.directHTTP},
		{"HTTP: median latency, 1 caller", 2, median, p.relayedHTTP, p.directHTTP},
		{"HTTP: time per call, 32 callers", 2, timeOfMany, p.relayedHTTP, p.directHTTP},
		{"stdio, compared with its pipes: CPU time, 1 caller", 0, cpu, p.relayedStdio, p.directStdio},
		{"stdio, compared with its pipes: CPU time, 32 callers", 0, cpuOfMany, p.relayedStdio, p.directStdio},
		{"stdio, compared with its pipes: median latency, 1 caller", 0, median, p.relayedStdio, p.directStdio},
		{"stdio, compared with its pipes: time per call, 32 callers", 2, timeOfMany, p.relayedStdio, p.directStdio},
	}
}

// relays compares calls through this server with direct calls of the same tool. All paths are loaded in turn in each
// round; the first round is a warm-up. This program and all servers use all cores: this server and its upstream work at
// the same time, and a directly called server alone.
func (c *comparison) relays(ctx context.Context, out io.Writer) error {
	all, err := c.startPaths(ctx)
	if err != nil {
		return err
	}
	rows := all.rows()
	ratios := make([][]float64, len(rows))
	for round := range c.rounds + 1 {
		read := map[*process]readings{}
		for _, p := range []path{all.relayedStdio, all.directStdio, all.directHTTP, all.relayedHTTP} {
			var r readings
			if r.one, err = c.measure(ctx, p.process, p.load(1)); err != nil {
				return err
			}
			if r.many, err = c.measure(ctx, p.process, p.load(manyCallers)); err != nil {
				return err
			}
			read[p.process] = r
		}
		for i, row := range rows {
			if round > 0 {
				ratios[i] = append(ratios[i], row.value(read[row.a.process])/row.value(read[row.b.process]))
			}
		}
	}
	for i, row := range rows {
		writeRow(out, row.name, ratios[i], row.target)
	}
	return nil
}

// startPaths starts the upstreams, and this server in front of each.
func (c *comparison) startPaths(ctx context.Context) (paths, error) {
	direct, err := c.startBaseline(ctx, echoUpstream, nil)
	if err != nil {
		return paths{}, err
	}
	byPipe, err := c.startPiped(ctx)
	if err != nil {
		return paths{}, err
	}
	command, err := json.Marshal([]string{c.baseline, echoUpstream, "stdio"})
	if err != nil {
		return paths{}, err
	}
	stdio, err := c.startRelay(ctx, "--upstreams.far.command", string(command))
	if err != nil {
		return paths{}, err
	}
	remote, err := c.startRelay(ctx, "--upstreams.far.url", "http://"+direct.address+"/mcp")
	if err != nil {
		return paths{}, err
	}
	return paths{
		relayedStdio: path{stdio, overHTTP(stdio.address, c.token(stdio, nil))},
		relayedHTTP:  path{remote, overHTTP(remote.address, c.token(remote, nil))},
		directStdio:  path{byPipe.process, byPipe.connect},
		directHTTP:   path{direct, overHTTP(direct.address, "")},
	}, nil
}

// startRelay starts the product with the tool of an upstream.
func (c *comparison) startRelay(ctx context.Context, flags ...string) (*process, error) {
	return c.startProduct(ctx, nil, append([]string{"--upstreams.far.tools", "echo", "--upstreams.far.prefix", ""},
		flags...)...)
}

// load returns the load of callers, each of which makes the next call after the answer.
func (p path) load(callers int) func(context.Context) (result, error) {
	return func(ctx context.Context) (result, error) {
		var (
			mu      sync.Mutex
			all     result
			failure error
			loaders sync.WaitGroup
		)
		for range callers {
			loaders.Go(func() {
				one, err := p.loadOne(ctx)
				mu.Lock()
				defer mu.Unlock()
				all.add(one)
				failure = errors.Join(failure, err)
			})
		}
		loaders.Wait()
		return all, failure
	}
}

func (p path) loadOne(ctx context.Context) (result, error) {
	call, end, err := p.connect()
	if err != nil {
		return result{}, err
	}
	defer end()
	var r result
	for ctx.Err() == nil {
		begin := time.Now()
		expected, err := call()
		if err != nil {
			return r, err
		}
		r.latencies = append(r.latencies, time.Since(begin))
		r.responses++
		if !expected {
			r.unexpected++
		}
	}
	return r, nil
}

// The argument of every call, and the member of the result that is the answer of the tool.
const (
	echoArguments = `{"text":"Hello, Ada!"}`
	echoAnswer    = `"text":"Hello, Ada!"`
)

// overHTTP connects to a server on HTTP.
func overHTTP(address, token string) connect {
	request := modernCallOf(address, token, echoUpstream, echoArguments)
	return func() (func() (bool, error), func(), error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		reader := bufio.NewReader(conn)
		return func() (bool, error) {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			resp, body, err := exchange(conn, reader, request)
			if err != nil {
				return false, err
			}
			return resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte(echoAnswer)), nil
		}, func() { _ = conn.Close() }, nil
	}
}

// piped is an upstream on stdio that this program calls directly.
type piped struct {
	*process
	input   io.Writer
	writing sync.Mutex
	last    atomic.Int64 // id of a call
	waiting sync.Map     // from the id of a call to the channel of its caller
}

// startPiped starts the upstream and reads its answers.
func (c *comparison) startPiped(ctx context.Context) (*piped, error) {
	p := &piped{process: c.prepare(ctx, "", nil, c.baseline, echoUpstream, "stdio")}
	output, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.input, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.begin(); err != nil {
		return nil, err
	}
	c.servers = append(c.servers, p.process)
	go p.read(bufio.NewReader(output))
	return p, nil
}

// read gives each answer to its caller, until the upstream ends.
func (p *piped) read(output *bufio.Reader) {
	for {
		line, err := output.ReadBytes('\n')
		if err != nil {
			return
		}
		if answers, ok := p.waiting.Load(idOf(line)); ok {
			answers.(chan []byte) <- line
		}
	}
}

// idOf returns the id of an answer; 0 if it has none.
func idOf(line []byte) int64 {
	_, rest, _ := bytes.Cut(line, []byte(`"id":`))
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	id, _ := strconv.ParseInt(string(rest[:digits]), 10, 64)
	return id
}

// connect connects to the upstream for one caller, whose calls have an id of their own.
func (p *piped) connect() (func() (bool, error), func(), error) {
	id, answers := p.last.Add(1), make(chan []byte, 1)
	p.waiting.Store(id, answers)
	request := append([]byte(modernMessage(id, echoUpstream, echoArguments)), '\n')
	return func() (bool, error) {
		p.writing.Lock()
		_, err := p.input.Write(request)
		p.writing.Unlock()
		if err != nil {
			return false, err
		}
		select {
		case line := <-answers:
			return bytes.Contains(line, []byte(echoAnswer)), nil
		case <-time.After(10 * time.Second):
			return false, errors.New("the upstream does not answer")
		}
	}, func() { p.waiting.Delete(id) }, nil
}
