package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// comparison is the servers that run, and their issuer.
type comparison struct {
	settings
	issuer  *issuer
	servers []*process
}

func (c *comparison) close() {
	for _, p := range c.servers {
		p.stop()
	}
	c.issuer.Close()
}

// The servers that the product is compared with; see the command baseline.
const (
	cannedResponse = "canned"
	bareHandler    = "bare"
	withSessions   = "sessions"
	echoUpstream   = "echo"
)

// startBaseline starts a server of the command baseline.
func (c *comparison) startBaseline(ctx context.Context, role string, environ []string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return c.start(ctx, address, environ, c.baseline, role, address)
}

// startChain starts this program as the product's chain in front of a canned response.
func (c *comparison) startChain(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return c.start(ctx, address, nil, self, "--chain", address, "--issuer", c.issuer.URL)
}

// startProduct starts the server as it is shipped, with the demo tools and the access log.
func (c *comparison) startProduct(ctx context.Context, environ []string, flags ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return c.start(ctx, address, environ, c.settings.product, append(c.productFlags(address), flags...)...)
}

// productFlags is the command line of the product for an address.
func (c *comparison) productFlags(address string) []string {
	return []string{
		"serve", "--resource", "http://" + address + "/mcp", "--server.listen", address,
		"--provider.kind", "oidc", "--provider.issuer", c.issuer.URL, "--scopes.required", "mcp:use",
		"--tools.demo", "--server.drain_time", "0s",
	}
}

// start starts a server and waits until it accepts connections.
func (c *comparison) start(
	ctx context.Context, address string, environ []string, program string, args ...string,
) (*process, error) {
	p := c.prepare(ctx, address, environ, program, args...)
	if err := p.begin(); err != nil {
		return nil, err
	}
	c.servers = append(c.servers, p)
	return p, p.await(ctx)
}

// token returns a valid token for a server.
func (c *comparison) token(p *process, changes map[string]any) string {
	return c.issuer.token("http://"+p.address+"/mcp", changes)
}

// distinctTokens returns n different tokens, for all connections in turn.
func (c *comparison) distinctTokens(p *process, n int, changes map[string]any) []string {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = c.token(p, changes)
	}
	return tokens
}

// distinctSignatures returns requests that differ in the signature of their token, which is refused for its
// claims before the signature is checked. They are made one by one: that many tokens in memory would displace
// the data of the server from the CPU caches that it shares with the load.
func (c *comparison) distinctSignatures(p *process, changes map[string]any) requests {
	token := c.token(p, changes)
	request := modernCall(p.address, token)
	signature := bytes.Index(request, []byte(token)) + strings.LastIndexByte(token, '.') + 1
	copies, n := make([][]byte, c.connections), make([]uint64, c.connections)
	for i := range copies {
		copies[i], n[i] = bytes.Clone(request), uint64(i)<<32
	}
	return func(connection int) []byte {
		n[connection]++
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], n[connection])
		hex.Encode(copies[connection][signature:], number[:])
		return copies[connection]
	}
}

// compare makes all comparisons and writes the table.
func compare(ctx context.Context, s settings, out io.Writer) error {
	i, err := newIssuer()
	if err != nil {
		return err
	}
	c := &comparison{settings: s, issuer: i}
	defer c.close()
	if s.relayed {
		writeHeading(out, s)
		return c.relays(ctx, out)
	}
	rows, err := c.rows(ctx)
	if err != nil {
		return err
	}
	type measurement struct {
		name    string
		measure func(context.Context, io.Writer) error
	}
	var measurements []measurement
	for _, r := range rows {
		measurements = append(measurements, measurement{r.name, func(ctx context.Context, out io.Writer) error {
			ratios, err := c.ratios(ctx, r)
			if err == nil {
				writeRow(out, r.name, ratios, r.target)
			}
			return err
		}})
	}
	measurements = append(measurements,
		measurement{"memory", c.memory}, measurement{"median", c.floods}, measurement{"cold start", c.coldStarts})
	measurements = slices.DeleteFunc(measurements, func(m measurement) bool {
		return !strings.Contains(m.name, s.only)
	})
	if len(measurements) == 0 {
		return fmt.Errorf("no row has %q in its name", s.only)
	}
	writeHeading(out, s)
	for _, m := range measurements {
		if err := m.measure(ctx, out); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
