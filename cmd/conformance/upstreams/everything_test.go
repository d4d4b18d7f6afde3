package upstreams

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// everythingTools are the tools of server-everything that a client without elicitation, sampling and roots gets, and
// that are not called as tasks.
var everythingTools = []string{
	"echo", "get-annotated-message", "get-env", "get-resource-links", "get-resource-reference", "get-structured-content",
	"get-sum", "get-tiny-image", "gzip-file-as-resource", "toggle-simulated-logging", "toggle-subscriber-updates",
	"trigger-long-running-operation",
}

// startEverything starts server-everything on HTTP and returns its URL.
func startEverything(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	command := npmServer("everything", "streamableHttp")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=" + port}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "server-everything listens", func() bool { return get("http://"+address+"/mcp") != 0 })
	return "http://" + address + "/mcp"
}

// One command puts a server from npm behind the sign-in, as the README shows it; and one URL.
func TestRun(t *testing.T) {
	needServers(t)
	for name, arguments := range map[string][]string{
		"by npx": {"--", "npx", "--offline", "--no", "mcp-server-everything", "stdio"},
		"by URL": {"--url", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "by URL" {
				arguments[1] = startEverything(t)
			}
			g := startGate(t, nil, append([]string{"run", "--resource=http://ADDRESS/mcp", "--server.drain_time=0s"},
				arguments...)...)
			r := g.post(t, "", modern, "", "tools/list", "")
			if r.status != 401 || !strings.Contains(r.challenge, `scope="mcp:use"`) {
				t.Errorf("without a token: %+v", r)
			}
			for _, protocol := range []string{modern, legacy} {
				t.Run(protocol, func(t *testing.T) { tryEverything(t, g.connect(t, "alice", protocol, nil), "") })
				t.Run(protocol+", progress and cancellation", func(t *testing.T) { tryOperation(t, g, protocol, "") })
			}
			if name == "by npx" { // npm, a shell and the server itself
				g.stop(t)
			}
		})
	}
}

// tryEverything lists and calls the tools of server-everything.
func tryEverything(t *testing.T, c *client, prefix string) {
	t.Helper()
	var want []string
	for _, name := range everythingTools {
		want = append(want, prefix+name)
	}
	got := slices.DeleteFunc(c.tools(t), func(name string) bool { return !strings.HasPrefix(name, prefix) })
	if !slices.Equal(got, want) {
		t.Errorf("the tools are %q, not %q", got, want)
	}
	c.expect(t, prefix+"echo", map[string]any{"message": "héllo <&>"}, "Echo: héllo <&>")
	c.expect(t, prefix+"get-sum", map[string]any{"a": 2, "b": 40}, "42")
	c.expect(t, prefix+"get-structured-content", map[string]any{"location": "New York"}, "temperature")
	// Its own check of arguments, and not one of this server.
	if text, isError := c.call(t, prefix+"get-sum", map[string]any{"a": "two"}); !isError ||
		!strings.Contains(text, "-32602") {
		t.Errorf("wrong arguments: %q, an error: %v", text, isError)
	}
	image, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: prefix + "get-tiny-image"})
	if err != nil || !slices.ContainsFunc(image.Content, func(content mcp.Content) bool {
		picture, ok := content.(*mcp.ImageContent)
		return ok && picture.MIMEType == "image/png" && strings.HasPrefix(string(picture.Data), "\x89PNG")
	}) {
		t.Errorf("the image: %+v, %v", image, err)
	}
}

// tryOperation checks that progress arrives and that a call can be cancelled.
func tryOperation(t *testing.T, g *gate, protocol, prefix string) {
	t.Helper()
	steps := make(chan *mcp.ProgressNotificationParams, 100)
	c := g.connect(t, "alice", protocol, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			steps <- r.Params
		},
	})
	params := &mcp.CallToolParams{Name: prefix + "trigger-long-running-operation",
		Arguments: map[string]any{"duration": 0.3, "steps": 3}}
	params.SetProgressToken("mine")
	result, err := c.CallTool(t.Context(), params)
	if err != nil || !strings.Contains(textOf(result), "completed") {
		t.Errorf("%+v, %v", result, err)
	}
	for want := range 3 {
		select {
		case got := <-steps:
			if got.ProgressToken != "mine" || got.Progress != float64(want+1) || got.Total != 3 {
				t.Errorf("the progress is %+v, not %d of 3", got, want+1)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the progress does not arrive")
		}
	}
	params.Arguments = map[string]any{"duration": 3, "steps": 30}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.CallTool(ctx, params)
		ended <- err
	}()
	<-steps
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a cancelled call succeeds")
		}
	case <-time.After(5 * time.Second):
		t.Error("a cancelled call goes on")
	}
	c.expect(t, prefix+"echo", map[string]any{"message": "again"}, "Echo: again")
}

// environmentOf returns the variables of the process behind server-everything.
func environmentOf(t *testing.T, c *client, prefix string) map[string]string {
	t.Helper()
	text, _ := c.call(t, prefix+"get-env", nil)
	var variables map[string]string
	if err := json.Unmarshal([]byte(text), &variables); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return variables
}
