package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// attack is one way to exhaust a server, with or without an account.
type attack struct {
	name     string
	settings []string
	// response is a status that the attack must get, or "sent": otherwise it did not reach its target.
	response string
	run      func(ctx context.Context, t *target)
}

// accounts is the number of accounts of the attacker, for limits that are per account.
const accounts = 8

// endlessCursor is base64url of a gob that encoding/gob takes years to skip. The SDK decodes cursors as gobs.
const endlessCursor = "IX8DAQEBVAH_gAABAgEHTGFzdFVJRAEMAAEBWAH_hAAAACP_gwQBARFtYXBbbWFpbi5LXW1haW4uSwH_hAA" +
	"B_4IB_4IAABL_gQMBAv-CAAEBAQFBAQQAAAAM_4AC-EAAAAAAAAAA"

// mebibyte returns copies of part that fill a body of the maximum size.
func mebibyte(part string) string { return strings.Repeat(part, (1<<20-2000)/len(part)) }

// attacks returns all attacks.
func attacks() []attack {
	return slices.Concat(messageAttacks(), stateAttacks(), connectionAttacks())
}

// messageAttacks send messages that are expensive to decode, or to answer.
func messageAttacks() []attack {
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
			body := `{` + members(100_000) + `"jsonrpc":"2.0","id":1,"method":"tools/list"}`
			flood(ctx, t, 600, 96, message{method: "tools/list", body: body})
		}},
		{"lists in arguments", nil, "413", func(ctx context.Context, t *target) {
			flood(ctx, t, 200, 32, call("greet", `{"x":[`+mebibyte(`[],`)+`0]}`, ""))
		}},
		{"strings in arguments", nil, "200", func(ctx context.Context, t *target) {
			flood(ctx, t, 400, 64, call("greet", `{"x":"`+mebibyte(`é`)+`"}`, ""))
		}},
		{"10,000 values", nil, "200", func(ctx context.Context, t *target) {
			flood(ctx, t, 1000, 100, call("greet", `{"x":`+objects(4_900)+`}`, ""))
		}},
		{"deep arguments", nil, "200", func(ctx context.Context, t *target) {
			deep := func(levels int) message {
				open, end := strings.Repeat("[", levels), strings.Repeat("]", levels)
				return call("greet", `{"x":`+open+`"`+mebibyte("x")+`"`+end+`}`, "")
			}
			flood(ctx, t, 48, 24, deep(60))
			flood(ctx, t, 48, 24, deep(800))
		}},
		{"errors that quote the request", nil, "400", func(ctx context.Context, t *target) {
			quoted := `"x":"` + mebibyte(`\u0001`) + `"`
			flood(ctx, t, 240, 60, modern("tools/list", `"cursor":7,`+quoted, ""))
			flood(ctx, t, 240, 60, modern("prompts/get", `"name":"x","arguments":{"a":7},`+quoted, ""))
		}},
		{"unsolicited input responses", nil, "413", func(ctx context.Context, t *target) {
			content := strings.TrimSuffix(members(90_000), ",")
			m := modern("tools/call", `"name":"greet","arguments":{"name":"x"},`+
				`"inputResponses":{"a":{"action":"accept","content":{`+content+`}}}`, "")
			m.name = "greet"
			flood(ctx, t, 240, 60, m)
		}},
	}
}

// stateAttacks make the server keep data: of sessions, of calls in flight, of introspection responses.
func stateAttacks() []attack {
	initialize := func(capabilities string) string {
		return `"protocolVersion":"2025-11-25","clientInfo":{"name":"x","version":"1"},` +
			`"capabilities":{"experimental":{` + capabilities + `}}`
	}
	introspection := []string{
		"--provider.introspection=opaque", "--provider.client_id=rs", "--provider.introspection_auth=none",
		"--provider.introspection_cache=1s",
	}
	return []attack{
		{"sessions with large parameters", nil, "202", func(ctx context.Context, t *target) {
			inParallel(15, 15, func(person int) {
				token := t.token(fmt.Sprintf("person-%d", person))
				for range 20 { // decoded, these take fifty times their size
					t.send(ctx, legacy("initialize", initialize(`"x":`+objects(2_200)), token, ""))
				}
				large := `"x":` + objects(90) + `,"y":"` + strings.Repeat("y", 14_000) + `"`
				for range 20 {
					header := t.send(ctx, legacy("initialize", initialize(large), token, ""))
					session := header.Get("Mcp-Session-Id")
					t.send(ctx, legacy("notifications/initialized", `"_meta":{`+large+`}`, token, session))
				}
			})
		}},
		{"calls in flight", nil, "200", func(ctx context.Context, t *target) {
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			m := modern("tools/call",
				`"name":"countdown","arguments":{"seconds":10},"x":"`+strings.Repeat("x", 60_000)+`"`, "")
			m.name = "countdown"
			inMeta := `"x":` + objects(95) + `,"y":"` + strings.Repeat("y", 14_000) + `",`
			m.body = strings.Replace(m.body, `"_meta":{`, `"_meta":{`+inMeta, 1)
			flood(ctx, t, accounts*100, accounts*100, m)
		}},
		{"large introspections", introspection, "200", func(ctx context.Context, t *target) {
			t.issuer.paddingSize.Store(30_000)
			address := strings.ReplaceAll(t.address, ":", "/") // a token cannot contain a colon
			inParallel(5_000, 16, func(i int) {
				t.send(ctx, call("greet", `{"name":"Ada"}`, fmt.Sprintf("opaque-%s_%d", address, i)))
			})
		}},
	}
}

// connectionAttacks keep connections open: with incomplete requests, or without reading responses.
func connectionAttacks() []attack {
	limits := []string{"--server.max_connections=400", "--server.max_connections_per_address=100"}
	return []attack{
		{"announced bodies", nil, "sent", func(ctx context.Context, t *target) {
			for i := range 4 {
				head := t.head(t.token(fmt.Sprintf("person-%d", i)), 1<<20)
				go t.hold(ctx, 16, 10*time.Second, head)
			}
			time.Sleep(8 * time.Second)
		}},
		{"public requests without their bodies", limits, "sent", func(ctx context.Context, t *target) {
			t.hold(ctx, 1000, 8*time.Second, "GET /health HTTP/1.1\r\nHost: "+t.address+"\r\nContent-Length: 10\r\n\r\n")
		}},
		{"incomplete bodies", nil, "sent", func(ctx context.Context, t *target) {
			m := call("greet", `{"name":"`+mebibyte("x")+`"}`, t.issuer.token(t.url, "mallory", "profile"))
			t.hold(ctx, 220, 10*time.Second, t.head(m.token, len(m.body))+m.body[:len(m.body)-1])
		}},
		{"responses that are not read", nil, "sent", func(ctx context.Context, t *target) {
			m := call("greet", `{"name":"`+mebibyte("x")+`"}`, t.token("mallory"))
			t.hold(ctx, 60, 10*time.Second, t.head(m.token, len(m.body),
				"Accept: application/json, text/event-stream", "Mcp-Protocol-Version: 2026-07-28",
				"Mcp-Method: tools/call", "Mcp-Name: greet")+m.body)
		}},
		{"idle connections", nil, "sent", func(ctx context.Context, t *target) {
			t.hold(ctx, 4000, 10*time.Second,
				"POST /mcp HTTP/1.1\r\nHost: "+t.address+"\r\nX-Endless: "+strings.Repeat("h", 40_000))
		}},
	}
}

// head returns the head of a POST to the MCP endpoint with a body of that length.
func (t *target) head(token string, length int, headers ...string) string {
	head := fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n", t.address, token, length)
	for _, header := range headers {
		head += header + "\r\n"
	}
	return head + "\r\n"
}

// objects returns a list of n objects and a number.
func objects(n int) string { return `[` + strings.Repeat(`{"":0},`, n) + `0]` }

// token returns a token with the scopes of the demo tools.
func (t *target) token(subject string) string {
	return t.issuer.token(t.url, subject, "mcp:use greet:read greet:write")
}

// members returns n members of an object, with different names.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%x":0,`, i)
	}
	return b.String()
}

// flood sends a message n times, atOnce of them concurrently, from all accounts in turn.
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

// inParallel calls do n times, atOnce of them concurrently.
func inParallel(n, atOnce int, do func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	all.Wait()
}

// hold opens n connections, sends text on each, and reads nothing for the duration d.
func (t *target) hold(ctx context.Context, n int, d time.Duration, text string) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	inParallel(n, n, func(int) {
		conn, err := net.Dial("tcp", t.address)
		if err != nil {
			t.responses.add("no connection")
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(d))
		_, err = conn.Write([]byte(text))
		if err != nil {
			t.responses.add("closed")
			return
		}
		t.responses.add("sent")
		<-ctx.Done()
	})
}
