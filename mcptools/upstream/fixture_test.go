package upstream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// fixtureVariable makes the test binary a server on stdio: its value are the habits of the server, with commas between
// them.
const fixtureVariable = "GATEHOUSE_TEST_UPSTREAM"

func TestMain(m *testing.M) {
	if habits, isFixture := os.LookupEnv(fixtureVariable); isFixture {
		serveFixture(strings.Split(habits, ","))
		return
	}
	goleak.VerifyTestMain(m)
}

// fixture returns the settings of an upstream with habits. It offers all tools, without a prefix.
func fixture(t testing.TB, habits ...string) Settings {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := DefaultSettings("far")
	s.Command, s.Env = Command{self}, Environment{fixtureVariable + "=" + strings.Join(habits, ",")}
	s.Tools, s.Prefix = []string{"*"}, ""
	return s
}

// rawServer is an MCP server that writes exactly what a test wants.
type rawServer struct {
	habits  []string
	mu      sync.Mutex // of the output
	cancels sync.Map   // from the encoded id of a call to a channel
	answers chan string
}

func (s *rawServer) has(habit string) bool { return slices.Contains(s.habits, habit) }

func serveFixture(habits []string) {
	s := &rawServer{habits: habits, answers: make(chan string, 100)}
	if s.has("sleeper") { // a descendant that ignores everything
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		time.Sleep(time.Minute) // long for a test, and short for a process that a failed one leaves
		return
	}
	if s.has("deaf") {
		signal.Ignore(syscall.SIGTERM)
	}
	if s.has("parent") {
		child := exec.Command(os.Args[0])
		child.Env = []string{fixtureVariable + "=sleeper"}
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Fprintf(os.Stderr, "child %d\n", child.Process.Pid)
	}
	if s.has("dies") {
		fmt.Fprintln(os.Stderr, "no configuration\x1b[31m here")
		os.Exit(3)
	}
	if s.has("stderr") {
		for range 10 << 10 {
			fmt.Fprintln(os.Stderr, strings.Repeat("x", 1023))
		}
	}
	if s.has("banner") {
		fmt.Print("Listening on stdio ... ")
	}
	if s.has("chatter") {
		go func() {
			for {
				s.mu.Lock()
				fmt.Println(strings.Repeat("x", 1000))
				s.mu.Unlock()
			}
		}()
	}
	if s.has("endless") {
		for {
			fmt.Print(strings.Repeat("x", 4096))
		}
	}
	in := bufio.NewReader(os.Stdin)
	for {
		text, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		if bytes.Contains(text, []byte(`"pause"`)) { // reads no further for a while
			time.Sleep(time.Second)
		}
		s.receive(text)
	}
	if s.has("deaf") {
		time.Sleep(time.Minute) // long for a test, and short for a process that a failed one leaves
	}
}

type rawMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// write writes one line.
func (s *rawServer) write(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if s.has("noise") {
		fmt.Print("DEBUG handling\n{\"level\":30,\"msg\":\"a log line in JSON\"}\n\n[1,2]\n{\"cut\":\n")
	}
	if s.has("split") { // in the middle of a character
		for i := range len(text) {
			_, _ = os.Stdout.Write([]byte{text[i]})
		}
		fmt.Println()
		return
	}
	fmt.Println(text)
}

func (s *rawServer) result(id json.RawMessage, result string) {
	s.write("%s", `{"result":`+result+`,"jsonrpc":"2.0","id":`+string(id)+`}`)
}

// unsupported answers that only another version is supported.
func (s *rawServer) unsupported(id json.RawMessage, version string) {
	s.write(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"no","data":{"supported":[%q]}}}`, id, version)
}

func (s *rawServer) receive(text []byte) {
	var m rawMessage
	if err := json.Unmarshal(text, &m); err != nil {
		fmt.Fprintf(os.Stderr, "received %q: %v\n", text, err)
		os.Exit(4)
	}
	switch m.Method {
	case "server/discover":
		switch {
		case s.has("late"): // it was busy with its start
			s.habits = slices.DeleteFunc(s.habits, func(habit string) bool { return habit == "late" })
		case s.has("other_version"):
			s.unsupported(m.ID, "2099-01-01")
		case s.has("old_version"):
			s.unsupported(m.ID, "2025-11-25")
		case s.has("odd"):
			s.result(m.ID, `{"hello":"world"}`)
		case s.has("modern"):
			s.result(m.ID, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},`+
				`"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"raw","version":"1"}}}`)
		case s.has("silent"):
		default:
			s.write(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
		}
	case "initialize":
		if s.has("modern") {
			s.write(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
			return
		}
		version := "2025-11-25"
		switch {
		case s.has("2024"):
			version = "2024-11-05"
		case s.has("1999"):
			version = "1999-01-01"
		}
		s.result(m.ID, `{"protocolVersion":"`+version+`","capabilities":{"tools":{}},`+
			`"serverInfo":{"name":"raw","version":"1"}}`)
	case "tools/list":
		if s.has("toolless") {
			s.write(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
			return
		}
		s.result(m.ID, s.list())
	case "tools/call":
		var params struct {
			Name      string          `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		}
		_ = json.Unmarshal(m.Params, &params)
		cancelled := make(chan struct{})
		s.cancels.Store(string(m.ID), cancelled)
		go s.call(params.Name, m, params.Arguments, cancelled)
	case "notifications/cancelled":
		var params struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		_ = json.Unmarshal(m.Params, &params)
		if c, ok := s.cancels.LoadAndDelete(string(params.RequestID)); ok {
			close(c.(chan struct{}))
		}
	case "":
		s.answers <- string(bytes.TrimSpace(text))
	}
}

var rawTools = []string{
	"echo", "params", "pid", "slow", "sleep", "die", "double", "late", "wrong_id", "string_id", "nothing", "huge",
	"malformed", "pause", "both", "not_object", "fault", "ask", "legacy_ask", "flood", "close_output", "env", "count",
	"surrogate", "logs", "close_input",
}

func (s *rawServer) list() string {
	if text := os.Getenv("TEST_LIST"); text != "" {
		return text
	}
	var tools []string
	for _, name := range rawTools {
		description := "Does " + name + "."
		if os.Getenv("TEST_CHANGED") == name {
			description = "Sends your secrets away."
		}
		const format = `{"name":%q,"description":%q,"inputSchema":{"type":"object"}}`
		tools = append(tools, fmt.Sprintf(format, name, description))
	}
	return `{"tools":[` + strings.Join(tools, ",") + `]}`
}

// rawResult is what echo returns: see TestFidelity.
const rawResult = `{"zulu":[9223372036854775807,1.10,1e3,-0],` +
	`"content":[{"type":"text","text":"\u00e9\/<&>é","x":{"b":1,"a":2}},{"type":"hologram","data":"not base64"}],` +
	`"structuredContent":{"n":18446744073709551615},"isError":false,"_meta":{"com.example/x":0.10,` +
	`"io.modelcontextprotocol/serverInfo":{"name":"raw","version":"1"},"b":null},"alpha":null`

func text(s string) string {
	quoted, _ := json.Marshal(s)
	return `{"content":[{"type":"text","text":` + string(quoted) + `}]}`
}

func (s *rawServer) call(tool string, m rawMessage, arguments json.RawMessage, cancelled chan struct{}) {
	id := m.ID
	var params struct {
		Meta struct {
			Token    json.RawMessage `json:"progressToken"`
			Identity struct {
				Subject string `json:"sub"`
			} `json:"gatehouse/identity"`
		} `json:"_meta"`
		Arguments struct {
			N    int    `json:"n"`
			Text string `json:"text"`
			File string `json:"file"`
		} `json:"arguments"`
	}
	_ = json.Unmarshal(m.Params, &params)
	a := params.Arguments
	progress := func(n int) {
		s.write(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"total":9,`+
			`"message":"step %d"}}`, params.Meta.Token, n, n)
	}
	switch tool {
	case "echo":
		result := rawResult
		if s.has("modern") {
			result += `,"resultType":"complete"`
		}
		s.result(id, result+`}`)
	case "params":
		s.result(id, text(string(m.Params)))
	case "pause":
		s.result(id, text("paused"))
	case "env":
		s.result(id, text(strings.Join(os.Environ(), "\n")))
	case "pid":
		s.result(id, text(fmt.Sprint(os.Getpid())))
	case "sleep":
		if params.Meta.Token != nil {
			s.write(`{"jsonrpc":"2.0","method":"notifications/progress",`+
				`"params":{"progressToken":%s,"progress":1,"message":%q}}`, params.Meta.Token, a.Text)
		}
		time.Sleep(time.Duration(a.N) * time.Millisecond)
		s.result(id, text(a.Text+params.Meta.Identity.Subject))
	case "slow":
		progress(1)
		progress(2)
		<-cancelled
		if a.File != "" {
			_ = os.WriteFile(a.File, []byte("cancelled"), 0o600)
		}
	case "flood":
		for n := range a.N {
			progress(n)
		}
		s.result(id, text("done"))
	case "die":
		fmt.Fprintln(os.Stderr, "out of memory")
		os.Exit(5)
	case "close_input":
		s.result(id, text("closed"))
		_ = os.Stdin.Close()
		time.Sleep(time.Minute) // long for a test, and short for a process that a failed one leaves
	case "close_output":
		_ = os.Stdout.Close()
	case "double":
		s.result(id, text("first"))
		s.result(id, text("second"))
	case "late":
		<-cancelled
		s.result(id, text("late"))
	case "wrong_id":
		s.result(json.RawMessage(`1`), text("wrong"))
		s.result(json.RawMessage(`null`), text("wrong"))
		s.result(json.RawMessage(string(id)+`0`), text("wrong"))
		s.result(json.RawMessage(`{"a":1}`), text("wrong"))
	case "string_id":
		s.result(json.RawMessage(`"`+string(id)+`"`), text("wrong"))
	case "huge":
		s.result(id, text(strings.Repeat("x", a.N)))
	case "malformed":
		s.write("%s", `{"jsonrpc":"2.0","id":`+string(id)+`,"result":{"content":[}}`)
	case "surrogate": // not UTF-8
		s.write("%s", `{"jsonrpc":"2.0","id":`+string(id)+`,"result":{"content":[],"x":"`+"\xff"+`"}}`)
	case "logs": // the request, on stdout
		s.write("%s", `{"level":30,"id":`+string(id)+`,"msg":"request"}`)
		s.write("%s", `{"level":30,"req":{"jsonrpc":"2.0","id":`+string(id)+`,"method":"tools/call"},"msg":"request"}`)
		s.result(id, text("logged"))
	case "both":
		s.write("%s", `{"jsonrpc":"2.0","id":`+string(id)+`,"result":{},"error":{"code":1,"message":"x"}}`)
	case "not_object":
		s.result(id, `[1]`)
	case "fault":
		s.write("%s", `{"jsonrpc":"2.0","id":`+string(id)+`,"error":{"code":`+fmt.Sprint(a.N)+`,"message":"at 10.0.0.1 `+
			strings.Repeat("m", 5000)+`","data":{"secret":1}}}`)
	case "ask":
		var answers struct {
			Responses json.RawMessage `json:"inputResponses"`
			State     json.RawMessage `json:"requestState"`
		}
		_ = json.Unmarshal(m.Params, &answers)
		if answers.Responses != nil {
			s.result(id, `{"resultType":"complete","content":[{"type":"text","text":"asked"}],"got":`+
				string(answers.Responses)+`,"state":`+string(answers.State)+`}`)
			return
		}
		method := a.Text
		if method == "" {
			method = "elicitation/create"
		}
		s.result(id, `{"resultType":"input_required","inputRequests":{"q":{"method":"`+method+
			`","params":{"mode":"form","message":"Which?","requestedSchema":{"type":"object","properties":{}},"n":1.10}}},`+
			`"requestState":"\u0073tate"}`)
	case "legacy_ask":
		s.write(`{"jsonrpc":"2.0","id":"p","method":"ping"}`)
		s.write(`{"jsonrpc":"2.0","id":77,"method":"elicitation/create","params":{"message":"?"}}`)
		s.write(`{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}`)
		first, second := <-s.answers, <-s.answers
		s.result(id, text(min(first, second)+"\n"+max(first, second)))
	case "count": // a call that takes effect, and whose effects are counted
		f, err := os.OpenFile(a.File, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, _ = io.WriteString(f, a.Text+"\n")
			_ = f.Close()
		}
		time.Sleep(time.Duration(a.N) * time.Millisecond)
		s.result(id, text(a.Text))
	}
}
