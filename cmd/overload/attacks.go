package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// attack is one way to use up a server, with accounts or without one.
type attack struct {
	name     string
	settings []string
	// answer is one that the attack must get: without it, it did not reach what it attacks.
	answer string
	run    func(ctx context.Context, t *target)
}

// accounts is how many accounts the attacker has, where more of them do more harm.
const accounts = 8

// endlessCursor is base64url of a gob that encoding/gob takes years to skip (see mcptools, noCursor).
const endlessCursor = "IX8DAQEBVAH_gAABAgEHTGFzdFVJRAEMAAEBWAH_hAAAACP_gwQBARFtYXBbbWFpbi5LXW1haW4uSwH_hAAB_4IB_4IAABL_gQMBAv-CAAEBAQFBAQQAAAAM_4AC-EAAAAAAAAAA"

// mebibyte is n copies of part that fill what a body may have.
func mebibyte(part string) string { return strings.Repeat(part, (1<<20-2000)/len(part)) }

func attacks() []attack {
	return []attack{
		{"cursors", nil, "400", func(ctx context.Context, t *target) {
			token := t.token("mallory")
			inParallel(8, 8, func(i int) {
				method := []string{"tools/list", "prompts/list", "resources/list", "resources/templates/list"}[i%4]
				t.send(ctx, modern(method, `"cursor":"`+endlessCursor+`"`, token))
			})
		}},
		{"objects in arguments", nil, "413", func(ctx context.Context, t *target) {
			flood(ctx, t, 200, 32, call("greet", `{"x":[`+mebibyte(`{"":0},`)+`0]}`, ""))
		}},
		{"names of members", nil, "413", func(ctx context.Context, t *target) {
			flood(ctx, t, 600, 96, message{method: "tools/list", body: `{` + members(100_000) + `"jsonrpc":"2.0","id":1,"method":"tools/list"}`})
		}},
		{"announced bodies", nil, "sent", func(ctx context.Context, t *target) {
			for i := range 4 {
				token := t.token(fmt.Sprintf("person-%d", i))
				go t.hold(ctx, 16, 10*time.Second, func() string {
					return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n", t.address, token)
				})
			}
			time.Sleep(8 * time.Second)
		}},
		{"public requests without their bodies", []string{"--server.max_connections=400", "--server.max_connections_per_address=100"}, "sent", func(ctx context.Context, t *target) {
			t.hold(ctx, 1000, 8*time.Second, func() string {
				return "GET /health HTTP/1.1\r\nHost: " + t.address + "\r\nContent-Length: 10\r\n\r\n"
			})
		}},
		{"lists in arguments", nil, "413", func(ctx context.Context, t *target) {
			flood(ctx, t, 200, 32, call("greet", `{"x":[`+mebibyte(`[],`)+`0]}`, ""))
		}},
		{"strings in arguments", nil, "200", func(ctx context.Context, t *target) {
			flood(ctx, t, 400, 64, call("greet", `{"x":"`+mebibyte(`é`)+`"}`, ""))
		}},
		{"10,000 values", nil, "200", func(ctx context.Context, t *target) {
			flood(ctx, t, 1000, 100, call("greet", `{"x":[`+strings.Repeat(`{"":0},`, 4_900)+`0]}`, ""))
		}},
		{"deep arguments", nil, "200", func(ctx context.Context, t *target) {
			deep := func(levels int) message {
				return call("greet", `{"x":`+strings.Repeat("[", levels)+`"`+mebibyte("x")+`"`+strings.Repeat("]", levels)+`}`, "")
			}
			flood(ctx, t, 48, 24, deep(60))
			flood(ctx, t, 48, 24, deep(800))
		}},
		{"refusals that quote", nil, "400", func(ctx context.Context, t *target) {
			flood(ctx, t, 240, 60, modern("tools/list", `"cursor":7,"x":"`+mebibyte(`\u0001`)+`"`, ""))
			flood(ctx, t, 240, 60, modern("prompts/get", `"name":"x","arguments":{"a":7},"x":"`+mebibyte(`\u0001`)+`"`, ""))
		}},
		{"answers to no question", nil, "413", func(ctx context.Context, t *target) {
			m := modern("tools/call", `"name":"greet","arguments":{"name":"x"},"inputResponses":{"a":{"action":"accept","content":{`+strings.TrimSuffix(members(90_000), ",")+`}}}`, "")
			m.name = "greet"
			flood(ctx, t, 240, 60, m)
		}},
		{"what a session keeps", nil, "202", func(ctx context.Context, t *target) {
			inParallel(15, 15, func(person int) {
				token := t.token(fmt.Sprintf("person-%d", person))
				for range 20 { // of these, a session would keep fifty times their size
					t.send(ctx, legacy("initialize", `"protocolVersion":"2025-11-25","clientInfo":{"name":"x","version":"1"},"capabilities":{"experimental":{"x":[`+strings.Repeat(`{"":0},`, 2_200)+`0]}}`, token, ""))
				}
				for range 20 {
					header := t.send(ctx, legacy("initialize", `"protocolVersion":"2025-11-25","clientInfo":{"name":"x","version":"1"},"capabilities":{"experimental":{"x":[`+strings.Repeat(`{"":0},`, 90)+`0],"y":"`+strings.Repeat("y", 14_000)+`"}}`, token, ""))
					session := header.Get("Mcp-Session-Id")
					t.send(ctx, legacy("notifications/initialized", `"_meta":{"x":[`+strings.Repeat(`{"":0},`, 90)+`0]},"y":"`+strings.Repeat("y", 14_000)+`"`, token, session))
				}
			})
		}},
		{"calls in flight", nil, "200", func(ctx context.Context, t *target) {
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			m := modern("tools/call", `"name":"countdown","arguments":{"from":10},"x":"`+strings.Repeat("x", 60_000)+`"`, "")
			m.name = "countdown"
			m.body = strings.Replace(m.body, `"_meta":{`, `"_meta":{"x":[`+strings.Repeat(`{"":0},`, 95)+`0],"y":"`+strings.Repeat("y", 14_000)+`",`, 1)
			flood(ctx, t, accounts*100, accounts*100, m)
		}},
		{"bodies without an end", nil, "sent", func(ctx context.Context, t *target) {
			m := call("greet", `{"name":"`+mebibyte("x")+`"}`, t.issuer.token(t.url, "mallory", "profile"))
			t.hold(ctx, 220, 10*time.Second, func() string {
				return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
					t.address, m.token, len(m.body), m.body[:len(m.body)-1])
			})
		}},
		{"answers that are not read", nil, "sent", func(ctx context.Context, t *target) {
			m := call("greet", `{"name":"`+mebibyte("x")+`"}`, t.token("mallory"))
			t.hold(ctx, 60, 10*time.Second, func() string {
				return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: greet\r\nContent-Length: %d\r\n\r\n%s",
					t.address, m.token, len(m.body), m.body)
			})
		}},
		{"idle connections", nil, "sent", func(ctx context.Context, t *target) {
			t.hold(ctx, 4000, 10*time.Second, func() string {
				return "POST /mcp HTTP/1.1\r\nHost: " + t.address + "\r\nX-Endless: " + strings.Repeat("h", 40_000)
			})
		}},
		{"large introspections", []string{"--provider.introspection=opaque", "--provider.client_id=rs", "--provider.introspection_auth=none", "--provider.introspection_cache=1s"}, "200", func(ctx context.Context, t *target) {
			t.issuer.answerSize.Store(30_000)
			m := call("greet", `{"name":"Ada"}`, "")
			inParallel(5_000, 16, func(i int) {
				one := m
				one.token = fmt.Sprintf("opaque-%s_%d", strings.ReplaceAll(t.address, ":", "/"), i) // a token has no colon
				t.send(ctx, one)
			})
		}},
	}
}

func (t *target) token(subject string) string {
	return t.issuer.token(t.url, subject, "mcp:use greet:read greet:write")
}

// members are n members of an object, each with a name of its own.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%x":0,`, i)
	}
	return b.String()
}

// flood sends a message n times, so many at once, from all accounts in turn.
func flood(ctx context.Context, t *target, n, atOnce int, m message) {
	var tokens []string
	for i := range accounts {
		tokens = append(tokens, t.token(fmt.Sprintf("person-%d", i)))
	}
	inParallel(n, atOnce, func(i int) {
		one := m
		one.token = tokens[i%accounts]
		t.send(ctx, one)
	})
}

func inParallel(n, atOnce int, do func(i int)) {
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i := range n {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			do(i)
		})
	}
	all.Wait()
}

// hold opens n connections, sends the same on each, and reads nothing until d is over.
func (t *target) hold(ctx context.Context, n int, d time.Duration, text func() string) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	sent := text()
	inParallel(n, n, func(int) {
		conn, err := net.Dial("tcp", t.address)
		if err != nil {
			t.answers.add("no connection")
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(d))
		_, err = conn.Write([]byte(sent))
		if err != nil {
			t.answers.add("cut off")
			return
		}
		t.answers.add("sent")
		<-ctx.Done()
	})
}
