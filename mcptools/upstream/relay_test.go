package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/mcptools"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/providers"
)

// gate serves the tools of upstreams by HTTP, as the server does. The caller is the user name of the request.
func gate(t testing.TB, sets ...*Set) string {
	t.Helper()
	var catalog mcptools.Catalog
	for _, set := range sets {
		catalog.Tools = append(catalog.Tools, set.Tools()...)
	}
	h := mcphttp.NewHandler(mcphttp.Config{
		Policy: mcphttp.Policy{Settings: mcphttp.DefaultSettings()},
		Info:   mcp.Implementation{Name: "gate", Version: "1"}, Logger: slog.New(slog.DiscardHandler),
	}, catalog)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := r.BasicAuth()
		expiry := time.Now().Add(time.Hour)
		id := &providers.Identity{Issuer: "https://issuer", Subject: name, Client: "desk",
			Scopes: []string{"a", "b"}, Expiry: expiry, ExpiryWithLeeway: expiry}
		r = r.WithContext(providers.WithIdentity(r.Context(), id))
		_, handler, done := h.Route(r)
		defer done()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.CloseStreams()
		server.CloseClientConnections()
		server.Close()
		h.CloseSessions()
	})
	return server.URL
}

// asUser adds a user name to every request.
type asUser struct {
	name string
	http.RoundTripper
}

func (a asUser) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(a.name, "")
	return a.RoundTripper.RoundTrip(r)
}

// clientOf returns an SDK client of a user, that speaks a version.
func clientOf(t testing.TB, url, name, version string, o *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, o).Connect(context.Background(),
		&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: asUser{name, transport}},
			DisableStandaloneSSE: true},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// post sends a raw call and returns the raw response, without the frame of an event. session is empty for a modern
// call.
func post(t testing.TB, url, session, tool, params string) string {
	t.Helper()
	if session == "" {
		params += `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
			`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"x":1},"sampling":{}},` +
			`"gatehouse/identity":{"sub":"mallory"},"com.example/x":1,"progressToken":"t"}`
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":"abc","method":"tools/call","params":{"name":%q%s}}`, tool, params)
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("alice", "")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if session == "" {
		r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		r.Header.Set("Mcp-Method", "tools/call")
		r.Header.Set("Mcp-Name", tool)
	} else {
		r.Header.Set("Mcp-Session-Id", session)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, event, isEvent := strings.Cut(string(got), "data: "); isEvent {
		return strings.TrimSpace(event)
	}
	return strings.TrimSpace(string(got))
}

// sessionOfAlice opens a session of MCP 2025-11-25.
func sessionOfAlice(t testing.TB, url string) string {
	t.Helper()
	return sessionFor(t, url, "alice")
}

func sessionFor(t testing.TB, url, user string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":0,"method":"initialize",`+
		`"params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},`+
		`"clientInfo":{"name":"t","version":"1"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, "")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("Mcp-Session-Id")
}

// TestFidelity compares the bytes that reach the client with those that the upstream wrote: every member, spelling of
// numbers, escape and order is kept. Added is resultType, and removed the name of the upstream.
func TestFidelity(t *testing.T) {
	t.Parallel()
	without := strings.Replace(rawResult, `,"io.modelcontextprotocol/serverInfo":{"name":"raw","version":"1"}`, "", 1)
	for _, upstreamEra := range []string{"plain", "modern"} {
		url := gate(t, open(t, Options{}, fixture(t, upstreamEra)))
		for clientEra, session := range map[string]string{"modern": "", "legacy": sessionOfAlice(t, url)} {
			want := without
			switch {
			case upstreamEra == "modern":
				want += `,"resultType":"complete"`
			case clientEra == "modern":
				want = `{"resultType":"complete",` + want[1:]
			}
			want = `{"jsonrpc":"2.0","id":"abc","result":` + want + `}}`
			if got := post(t, url, session, "echo", ""); got != want {
				t.Errorf("upstream %s, client %s:\n%s, not\n%s", upstreamEra, clientEra, got, want)
			}
		}
	}
}

// The params of the upstream's request are built from nothing but the arguments of the caller.
func TestRequest_HasNothingOfTheCallersMeta(t *testing.T) {
	t.Parallel()
	const arguments = `,"arguments": {"b" : 1.10,` + "\n" + `"a":[9223372036854775807, "\u00e9<&>"]}`
	const params = `{"name":"params","arguments":{"b":1.10,"a":[9223372036854775807,"\u00e9<&>"]}`
	const modern = `"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientInfo":{"name":"gatehouse","version":"9"},` +
		`"io.modelcontextprotocol/clientCapabilities":`
	for _, c := range []struct {
		upstream, processes, client, want string
	}{
		{"plain", ProcessesShared, "modern", params + `,"_meta":{"progressToken":N}}`},
		{"plain", ProcessesShared, "legacy", params + `}`},
		{"modern", ProcessesShared, "modern", params + `,"_meta":{"progressToken":N,` + modern +
			`{"elicitation":{"form":{}}}}}`},
		{"modern", ProcessesShared, "legacy", params + `,"_meta":{` + modern + `{}}}`},
		{"plain", ProcessesPerUser, "modern", params + `,"_meta":{"progressToken":N}}`},
		{"modern", ProcessesPerUser, "legacy", params + `,"_meta":{` + modern + `{}}}`},
	} {
		s := fixture(t, c.upstream)
		s.Processes = c.processes
		url := gate(t, open(t, Options{Version: "9"}, s))
		session := ""
		if c.client == "legacy" {
			session = sessionOfAlice(t, url)
		}
		var response struct {
			Result json.RawMessage `json:"result"`
		}
		if err := json.Unmarshal([]byte(post(t, url, session, "params", arguments)), &response); err != nil {
			t.Fatal(err)
		}
		got := textOf(t, string(response.Result))
		if before, after, has := strings.Cut(got, `"progressToken":`); has {
			digits := strings.IndexAny(after, ",}")
			got = before + `"progressToken":N` + after[digits:]
		}
		if got != c.want {
			t.Errorf("upstream %s, client %s:\n%s, not\n%s", c.upstream, c.client, got, c.want)
		}
	}
}

// Questions are relayed where both sides speak MCP 2026-07-28 and the caller can answer, as they are; nowhere else.
func TestQuestions(t *testing.T) {
	t.Parallel()
	modern := open(t, Options{}, fixture(t, "modern"))
	url := gate(t, modern)
	const question = `"result":{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create",` +
		`"params":{"mode":"form","message":"Which?","requestedSchema":{"type":"object","properties":{}},"n":1.10}}},` +
		`"requestState":"\u0073tate"}`
	if got := post(t, url, "", "ask", ""); !strings.Contains(got, question) {
		t.Errorf("the question is %s", got)
	}
	answers := `,"inputResponses":{"q":{"action":"accept","content":{"n":1.10}}},"requestState":"\u0073tate"`
	want := `"got":{"q":{"action":"accept","content":{"n":1.10}}},"state":"\u0073tate"}`
	if got := post(t, url, "", "ask", answers); !strings.Contains(got, want) {
		t.Errorf("the answer came back as %s", got)
	}
	for _, method := range []string{"sampling/createMessage", "roots/list", "elicitation/other"} {
		got := post(t, url, "", "ask", `,"arguments":{"text":"`+method+`"}`)
		if !strings.Contains(got, textUnusable) {
			t.Errorf("%s: %s", method, got)
		}
	}
	if got := post(t, url, sessionOfAlice(t, url), "ask", ""); !strings.Contains(got, textUnusable) {
		t.Errorf("a legacy client gets %s", got)
	}
	legacy := gate(t, open(t, Options{}, fixture(t, "plain")))
	if got := post(t, legacy, "", "ask", ""); !strings.Contains(got, textUnusable) {
		t.Errorf("of a legacy upstream, a client gets %s", got)
	}
	c := callOf(modern.upstreams[0], "ask", `{}`)
	c.isModern = true // and declares no elicitation
	if got := doCall(t, modern, c); got != malformedText {
		t.Errorf("a client without elicitation gets %s", got)
	}
}

// The SDK's client answers a question through the gate.
func TestQuestions_OfTheSDK(t *testing.T) {
	t.Parallel()
	url := gate(t, open(t, Options{}, fixture(t, "modern")))
	s := clientOf(t, url, "alice", "2026-07-28", &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"a": "b"}}, nil
		},
	})
	result, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "ask"})
	if err != nil || len(result.Content) != 1 || result.Content[0].(*mcp.TextContent).Text != "asked" {
		t.Errorf("%+v %v", result, err)
	}
}

// Each client keeps its era, and each upstream its own; progress and cancellation cross.
func TestEras(t *testing.T) {
	t.Parallel()
	for _, upstreamEra := range []string{"plain", "modern"} {
		url := gate(t, open(t, Options{}, fixture(t, upstreamEra)))
		for _, version := range []string{"2026-07-28", "2025-11-25"} {
			name := "upstream " + upstreamEra + ", client " + version
			steps := make(chan string, 100)
			s := clientOf(t, url, "alice", version, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
					steps <- fmt.Sprint(r.Params.ProgressToken, " ", r.Params.Progress, " ", r.Params.Message)
				},
			})
			list, err := s.ListTools(context.Background(), nil)
			if err != nil || len(list.Tools) != len(rawTools) {
				t.Fatalf("%s: %v", name, err)
			}
			file := t.TempDir() + "/mark"
			ctx, cancel := context.WithCancel(context.Background())
			params := &mcp.CallToolParams{Name: "slow", Arguments: map[string]any{"file": file}}
			params.SetProgressToken("mine")
			done := make(chan error)
			go func() { _, err := s.CallTool(ctx, params); done <- err }()
			for _, want := range []string{"mine 1 step 1", "mine 2 step 2"} {
				if got := <-steps; got != want {
					t.Errorf("%s: progress %s", name, got)
				}
			}
			cancel()
			<-done
			eventually(t, name+": the upstream was told", func() bool { return exists(file) })
			params = &mcp.CallToolParams{Name: "fault", Arguments: map[string]any{"n": 7}}
			if _, err := s.CallTool(context.Background(), params); err == nil ||
				!strings.Contains(err.Error(), "at 10.0.0.1") {
				t.Errorf("%s: an error of the upstream arrives as %v", name, err)
			}
		}
	}
}

// The text of a failure names neither addresses nor files of this machine.
func TestFailures_OnTheWire(t *testing.T) {
	t.Parallel()
	set := open(t, Options{}, fixture(t, "plain"))
	url := gate(t, set)
	session := sessionOfAlice(t, url)
	for _, c := range []struct{ tool, session, want string }{
		{"malformed", "", `"result":{"resultType":"complete","content":[{"type":"text","text":"` + textUnusable +
			`"}],"isError":true}`},
		{"malformed", session, `"result":{"content":[{"type":"text","text":"` + textUnusable + `"}],"isError":true}`},
		{"die", "", `"text":"the server behind this tool stopped while it ran; it may have taken effect"`},
		{"pid", session, `"text":"the server behind this tool cannot be reached; nothing was sent, try again later"`},
	} {
		if c.tool == "pid" {
			set.Close(t.Context())
		}
		got := post(t, url, c.session, c.tool, "")
		if !strings.Contains(got, c.want) || strings.Contains(got, "127.") || strings.Contains(got, "dial") ||
			strings.Contains(got, "/") && !strings.Contains(got, `"jsonrpc"`) {
			t.Errorf("%s: %s", c.tool, got)
		}
	}
}
