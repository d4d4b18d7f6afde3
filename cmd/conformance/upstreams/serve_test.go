package upstreams

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// profile writes the profile of a gatehouse with five upstreams and one tool of its own, and returns its path and the
// folder that server-filesystem serves.
func profile(t *testing.T) (path, docs string) {
	t.Helper()
	folder := t.TempDir()
	docs = filepath.Join(folder, "docs")
	if err := os.Mkdir(docs, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(docs, "note.txt"), "a note of alice")
	write(t, filepath.Join(folder, "secrets.env"), "FROM_FILE=hunter2\n")
	command := func(words []string) string {
		text, _ := json.Marshal(words) // strings never fail
		return string(text)
	}
	content := `
provider: {kind: local, signing_algorithm: ES256}
scopes: {required: [mcp:use], initial: [mcp:use, greet:read]}
tools: {demo: true, show_all: true}
server: {drain_time: 0s}
upstreams:
  everything:
    command: ` + command(npmServer("everything")) + `
    env: ["INLINE=hunter2"]
    env_file: ` + filepath.Join(folder, "secrets.env") + `
    tools: ["get-env > everything:admin", "*"]
  remote:
    url: ` + startEverything(t) + `
    tools: ["*"]
  files:
    command: ` + command(npmServer("filesystem", docs)) + `
    prefix: ""
    tools:
      - "read_* list_* search_files get_file_info > files:read"
      - "write_file edit_file > files:read files:write"
  notes:
    command: ` + command(npmServer("memory")) + `
    env: ["MEMORY_FILE_PATH=` + folder + `/{user}.json"]
    processes: per_user
    tools: ["create_entities read_graph > notes:use"]
`
	path = filepath.Join(folder, "gatehouse.yaml")
	write(t, path, content)
	return path, docs
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func serve(t *testing.T, path string) *gate {
	t.Helper()
	return startGate(t, []string{"SECRET_OF_THE_SERVER=hunter2", "GATEHOUSE_LOG__LEVEL=debug"},
		"serve", "--config="+path, "--resource=http://ADDRESS/mcp", "--server.listen=ADDRESS")
}

// Several upstreams, on stdio and HTTP, shared and per user, behind one address, for clients of both eras.
func TestServe(t *testing.T) {
	needServers(t)
	path, docs := profile(t)
	g := serve(t, path)
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			for _, prefix := range []string{"everything_", "remote_"} {
				t.Run(prefix, func(t *testing.T) {
					tryEverything(t, g.connect(t, "alice", protocol, nil), prefix)
					tryOperation(t, g, protocol, prefix)
				})
			}
			t.Run("a call that needs more scopes", func(t *testing.T) { trySteppingUp(t, g, protocol, docs) })
			t.Run("refusals", func(t *testing.T) { tryRefusals(t, g, protocol) })
			t.Run("the environment", func(t *testing.T) { tryEnvironment(t, g, protocol) })
			t.Run("a process for each user", func(t *testing.T) { tryNotes(t, g, protocol) })
			t.Run("its own tool", func(t *testing.T) {
				g.connect(t, "bob", protocol, nil).expect(t, "greet", map[string]any{"name": "Ada"}, "Hello, Ada!")
			})
		})
	}
	if took := g.stop(t); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// trySteppingUp calls tools with scopes of their own: the client signs in again, and the call succeeds.
func trySteppingUp(t *testing.T, g *gate, protocol, docs string) {
	c := g.connect(t, "alice", protocol, nil)
	note, written := filepath.Join(docs, "note.txt"), filepath.Join(docs, protocol+".txt")
	c.expect(t, "read_text_file", map[string]any{"path": note}, "a note of alice")
	if c.signIns != 2 || !strings.Contains(c.scopes, "files:read") {
		t.Errorf("%d sign-ins, the last one for %q", c.signIns, c.scopes)
	}
	c.expect(t, "write_file", map[string]any{"path": written, "content": protocol}, "Successfully wrote")
	if content, err := os.ReadFile(written); err != nil || string(content) != protocol {
		t.Errorf("the file has %q, %v", content, err)
	}
	if c.signIns != 3 || !strings.Contains(c.scopes, "files:write") || !strings.Contains(c.scopes, "files:read") {
		t.Errorf("%d sign-ins, the last one for %q", c.signIns, c.scopes)
	}
	// What the upstream itself refuses is an error that the model reads.
	if text, isError := c.call(t, "read_text_file", map[string]any{"path": "/etc/passwd"}); !isError ||
		!strings.Contains(text, "Access denied") {
		t.Errorf("outside of its folder: %q, an error: %v", text, isError)
	}
	if slices.Contains(c.tools(t), "move_file") {
		t.Error("a tool that no line names is offered")
	}
}

// tryRefusals sends raw calls that must not reach an upstream.
func tryRefusals(t *testing.T, g *gate, protocol string) {
	token := g.token(t, "alice", "mcp:use", "files:read")
	session := g.initialize(t, token, protocol)
	const unknown = `"code":-32602`
	notFound := map[string]int{modern: 400, legacy: 200}[protocol]
	for name, c := range map[string]struct {
		token, params   string
		status          int
		challenge, text string
	}{
		"no token":               {"", `"name":"everything_echo"`, 401, `scope="mcp:use greet:read"`, ""},
		"a scope is missing":     {token, `"name":"notes_read_graph"`, 403, `notes:use`, ""},
		"one of two is missing":  {token, `"name":"write_file"`, 403, `files:write`, ""},
		"a tool that is hidden":  {token, `"name":"move_file"`, notFound, "", unknown},
		"a tool without prefix":  {token, `"name":"get-sum"`, notFound, "", unknown},
		"a tool as a task":       {token, `"name":"everything_simulate-research-query"`, notFound, "", unknown},
		"one with elicitation":   {token, `"name":"everything_trigger-elicitation-request"`, notFound, "", unknown},
		"one with sampling":      {token, `"name":"remote_trigger-sampling-request"`, notFound, "", unknown},
		"a call that is allowed": {token, `"name":"everything_echo","arguments":{"message":"x"}`, 200, "", "Echo: x"},
	} {
		r := g.post(t, c.token, protocol, session, "tools/call", c.params)
		if r.status != c.status || !strings.Contains(r.challenge, c.challenge) || !strings.Contains(r.message, c.text) ||
			r.status == 403 && !strings.Contains(r.challenge, `error="insufficient_scope"`) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// tryEnvironment reads the variables of the processes: the allowed ones, and what the profile sets.
func tryEnvironment(t *testing.T, g *gate, protocol string) {
	c := g.connect(t, "alice", protocol, nil)
	variables := environmentOf(t, c, "everything_")
	names := slices.Sorted(maps.Keys(variables))
	if want := []string{"FROM_FILE", "HOME", "INLINE", "PATH"}; !slices.Equal(names, want) {
		t.Errorf("the variables are %q, not %q", names, want)
	}
	if variables["FROM_FILE"] != "hunter2" || variables["INLINE"] != "hunter2" || variables["PATH"] != os.Getenv("PATH") {
		t.Errorf("the variables are %q", variables)
	}
}

// tryNotes checks that each user has a process with a file of its own, in both eras the same.
func tryNotes(t *testing.T, g *gate, protocol string) {
	people := []string{"alice", "bob"}
	add := func(person string) {
		entity := map[string]any{"name": person + protocol, "entityType": "note", "observations": []string{"x"}}
		g.connect(t, person, protocol, nil).expect(t, "notes_create_entities",
			map[string]any{"entities": []any{entity}}, person+protocol)
	}
	for _, person := range people {
		add(person)
	}
	for i, person := range people {
		graph, isError := g.connect(t, person, protocol, nil).call(t, "notes_read_graph", nil)
		if isError || !strings.Contains(graph, person+protocol) || strings.Contains(graph, people[1-i]) {
			t.Errorf("%s reads %s", person, graph)
		}
	}
}

// One upstream is killed again and again. All others answer every call meanwhile, the server stays ready, and the
// killed one answers again later.
func TestServe_OneIsKilled(t *testing.T) {
	needServers(t)
	path, docs := profile(t)
	g := serve(t, path)
	token := g.token(t, "alice", "mcp:use", "greet:read", "files:read", "notes:use")
	read := fmt.Sprintf(`"name":"read_text_file","arguments":{"path":%q}`, filepath.Join(docs, "note.txt"))
	others := map[string]string{
		`"name":"everything_echo","arguments":{"message":"x"}`: "Echo: x",
		`"name":"remote_echo","arguments":{"message":"x"}`:     "Echo: x",
		`"name":"notes_read_graph"`:                            "entities",
		`"name":"greet","arguments":{"name":"Ada"}`:            "Hello, Ada!",
	}
	var stop atomic.Bool
	var calls sync.WaitGroup
	var answered atomic.Int64
	for call, want := range others {
		for _, protocol := range []string{modern, legacy} {
			session := g.initialize(t, token, protocol) // in a session, ids in flight are distinct
			calls.Go(func() {
				for !stop.Load() {
					r := g.post(t, token, protocol, session, "tools/call", call)
					if r.status != 200 || !strings.Contains(r.message, want) || strings.Contains(r.message, `"isError":true`) {
						t.Errorf("%s, %s: %+v", call, protocol, r)
						return
					}
					answered.Add(1)
				}
			})
		}
	}
	defer calls.Wait()
	defer stop.Store(true)
	for range 3 {
		if err := syscall.Kill(g.childWith(t, "server-filesystem"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		sawFailure := false
		eventually(t, "the killed one answers again", func() bool {
			r := g.post(t, token, modern, "", "tools/call", read)
			isUp := strings.Contains(r.message, "a note of alice")
			isDown := strings.Contains(r.message, "the server behind this tool") && !strings.Contains(r.message, "/")
			if r.status != 200 || !isUp && !isDown {
				t.Errorf("while it is down: %+v", r)
			}
			sawFailure = sawFailure || isDown
			return isUp && sawFailure
		})
		if status := get(strings.TrimSuffix(g.url, "/mcp") + "/readyz"); status != 200 {
			t.Errorf("/readyz: %d", status)
		}
	}
	if n := answered.Load(); n < 50 {
		t.Errorf("only %d calls of others", n)
	}
}

// After the gate is killed, servers that read their input end: nothing else could end them.
func TestServe_Killed(t *testing.T) {
	needServers(t)
	path, _ := profile(t)
	g := serve(t, path)
	groups := groupsOf(t, g.cmd.Process.Pid)
	if len(groups) < 2 {
		t.Fatalf("the groups of the upstreams are %v", groups)
	}
	_ = g.cmd.Process.Kill()
	<-g.exited
	eventually(t, "no process of an upstream is left", func() bool {
		return !slices.ContainsFunc(processes(t), func(p running) bool { return slices.Contains(groups, p.group) })
	})
}

// The pins of real servers: the server starts with them while an upstream is away, and offers the same.
func TestPins(t *testing.T) {
	needServers(t)
	path, _ := profile(t)
	pins := filepath.Join(filepath.Dir(path), "everything.pins.json")
	flag := "--upstreams.everything.pins=" + pins
	if output, code := run(t, "upstream", "pin", "everything", "--config="+path, flag); code != 0 ||
		!strings.Contains(output, "new echo\n") {
		t.Fatalf("exit code %d: %s", code, output)
	}
	if output, code := run(t, "upstream", "pin", "everything", "--config="+path, flag, "--check"); code != 0 {
		t.Errorf("--check of an unchanged server: exit code %d: %s", code, output)
	}
	lists := map[string]string{}
	for name, flags := range map[string][]string{
		"unpinned":         nil,
		"pinned":           {flag},
		"pinned, and away": {flag, `--upstreams.everything.command=["false"]`},
	} {
		g := startGate(t, nil, append([]string{"serve", "--config=" + path, "--resource=http://ADDRESS/mcp",
			"--server.listen=ADDRESS"}, flags...)...)
		token := g.token(t, "alice", "mcp:use", "everything:admin")
		list := g.post(t, token, modern, "", "tools/list", "")
		lists[name] = list.message
		want := "Echo: x"
		if strings.HasSuffix(name, "away") {
			want = "the server behind this tool cannot be reached; nothing was sent, try again later"
		}
		eventually(t, name+": a call is answered with "+want, func() bool { // the server did not wait for its upstream
			r := g.post(t, token, modern, "", "tools/call", `"name":"everything_echo","arguments":{"message":"x"}`)
			return strings.Contains(r.message, want)
		})
	}
	for name, list := range lists {
		if list != lists["unpinned"] || !strings.Contains(list, "everything_echo") {
			t.Errorf("%s, the list is %s", name, list)
		}
	}
}

// A server with the habits of Python servers works, and does not outlive the gate.
func TestPython(t *testing.T) {
	needServers(t)
	if *python == "" {
		t.Skip("there is no python3")
	}
	script, err := filepath.Abs("habits.py")
	if err != nil {
		t.Fatal(err)
	}
	noticed := filepath.Join(t.TempDir(), "noticed")
	g := startGate(t, nil, "run", "--resource=http://ADDRESS/mcp", "--server.drain_time=0s",
		"--upstreams.main.env=HABITS_FILE="+noticed, "--", *python, "-u", script)
	for _, protocol := range []string{modern, legacy} {
		t.Run(protocol, func(t *testing.T) {
			c := g.connect(t, "alice", protocol, nil)
			if got, want := c.tools(t), []string{"fail", "not_a_number", "say", "wait"}; !slices.Equal(got, want) {
				t.Errorf("the tools are %q", got)
			}
			c.expect(t, "say", map[string]any{"text": "héllo <&> \U0001f40d"}, "héllo <&> \U0001f40d")
			if text, isError := c.call(t, "fail", nil); !isError || text != "Error executing tool fail: no such thing" {
				t.Errorf("an error: %q", text)
			}
			if text, isError := c.call(t, "not_a_number", nil); !isError || !strings.Contains(text, "cannot be passed on") {
				t.Errorf("what is no JSON: %q", text)
			}
			before := strings.Count(readFile(noticed), "cancelled")
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := c.CallTool(ctx, &mcp.CallToolParams{Name: "wait"}); err == nil {
				t.Error("a cancelled call succeeds")
			}
			eventually(t, "the cancellation arrives", func() bool {
				return strings.Count(readFile(noticed), "cancelled") > before
			})
			c.expect(t, "say", map[string]any{"text": "again"}, "again")
		})
	}
	if !strings.Contains(g.output.String(), "writes something other than messages") {
		t.Error("its output that is no message is not reported")
	}
	// It goes on after the end of its input, and for a while after SIGTERM.
	if took := g.stop(t); took < 5*time.Second || took > 12*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if !strings.Contains(readFile(noticed), "sigterm") {
		t.Error("it was killed before it could end by itself")
	}
}

func readFile(path string) string {
	content, _ := os.ReadFile(path) // "" before it exists
	return string(content)
}
