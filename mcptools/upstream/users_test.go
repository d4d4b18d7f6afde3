package upstream

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// sameCall is a call with the id and the progress token that every other call has. In the era before 2026-07-28,
// session is that of the user.
func sameCall(t testing.TB, client *http.Client, url, user, session, tool, text string) (progress, result string) {
	t.Helper()
	meta := `"progressToken":"same"`
	if session == "" {
		meta += `,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}`
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{"name":%q,"arguments":{"text":%q},`+
		`"_meta":{%s}}}`, tool, text, meta)
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, "")
	header := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	if session == "" {
		header["Mcp-Protocol-Version"], header["Mcp-Method"], header["Mcp-Name"] = "2026-07-28", "tools/call", tool
	} else {
		header["Mcp-Session-Id"] = session
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Error(err)
		return "", ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(answer)) {
		data, isData := strings.CutPrefix(line, "data: ")
		if !isData {
			continue
		}
		var m struct {
			ID     string
			Params struct{ ProgressToken, Message string }
			Result struct{ Content []struct{ Text string } }
		}
		switch err := json.Unmarshal([]byte(data), &m); {
		case err != nil:
			t.Errorf("%s: %v", data, err)
		case m.Params.ProgressToken == "same":
			progress += m.Params.Message
		case m.ID == "same" && len(m.Result.Content) == 1:
			result += m.Result.Content[0].Text
		}
	}
	if progress == "" || result == "" {
		t.Errorf("%s: %s", text, answer)
	}
	return progress, result
}

// Alice and Bob call at the same time, with equal ids and progress tokens, in both eras and from several clients. Each
// call gets its own progress, its own result, and the identity of its own caller.
func TestUsers_NeverCross(t *testing.T) {
	t.Parallel()
	calls := 12 // of each client; there are two for each user and era
	if os.Getenv("GATEHOUSE_LONG") != "" {
		calls = 125
	}
	stateless := &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true}
	shared := func(era string) Settings {
		s := fixture(t, era)
		s.Identity = IdentityMeta
		return s
	}
	ownProcess := func(era string) Settings {
		s := shared(era)
		s.Processes = ProcessesPerUser
		return s
	}
	byHTTP := func(h http.Handler) Settings {
		s := remote(httpServer(t, h).URL)
		s.Identity = IdentityHeaders
		return s
	}
	for name, c := range map[string]struct {
		settings Settings
		tool     string
	}{
		"stdio, legacy":           {shared("plain"), "sleep"},
		"stdio, modern":           {shared("modern"), "sleep"},
		"stdio per user, legacy":  {ownProcess("plain"), "sleep"},
		"stdio per user, modern":  {ownProcess("modern"), "sleep"},
		"HTTP, legacy, a session": {byHTTP(withoutDiscover(sdkServer(t, nil, nil))), "text"},
		"HTTP, modern":            {byHTTP(sdkServer(t, stateless, nil)), "text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := open(t, Options{}, c.settings)
			url := gate(t, set)
			var clients sync.WaitGroup
			for _, user := range []string{"alice", "bob"} {
				for i := range 4 {
					session := ""
					if i%2 == 0 {
						session = sessionFor(t, url, user)
					}
					clients.Go(func() {
						transport := &http.Transport{}
						defer transport.CloseIdleConnections()
						for n := range calls {
							want := fmt.Sprintf("%s %d %d ", user, i, n)
							progress, result := sameCall(t, &http.Client{Transport: transport}, url, user, session, c.tool, want)
							if progress != want || result != want+user {
								t.Errorf("the call %s gets the progress %q and the result %q", want, progress, result)
								return
							}
						}
					})
				}
			}
			clients.Wait()
			if s := set.Status()[0]; s.Stray != 0 || s.Restarts != 0 {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}
