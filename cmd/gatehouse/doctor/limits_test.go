package doctor_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/diagnostics"
)

// hang is an intercept that never responds.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

func TestTimeoutHoldsWhateverHangs(t *testing.T) {
	const limit = time.Second
	for name, c := range map[string]struct {
		after func(*testing.T, *env)
		bad   string
	}{
		"the provider": {func(_ *testing.T, e *env) { e.provider.intercept = hang }, "provider.metadata"},
		"the server":   {func(_ *testing.T, e *env) { e.proxy.intercept = hang }, "server.health"},
		"both": {func(_ *testing.T, e *env) {
			e.provider.intercept, e.proxy.intercept = hang, hang
		}, "server.health"},
		"the name server": {func(t *testing.T, e *env) {
			// It receives queries and never responds.
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			e.config.Resolver = resolverAt(conn.LocalAddr().String())
			e.settings["provider.issuer"] = "https://id.invalid"
			e.config.Settings = e.load()
		}, "provider.dns"},
		"a response that never ends": {func(_ *testing.T, e *env) {
			e.proxy.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		}, "server.health"},
		"a TLS handshake": {func(t *testing.T, e *env) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() }) // connections stay in its queue
			e.settings["resource"] = "https://" + ln.Addr().String() + "/mcp"
			e.config.Settings = e.load()
		}, "server.tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t).open()
			e.change(func() { c.after(t, e) })
			e.config.Timeout = limit
			started := time.Now()
			results := e.examine()
			if took := time.Since(started); took > limit+500*time.Millisecond {
				t.Errorf("it took %s", took)
			}
			if r := find(results, c.bad); r.Verdict != diagnostics.VerdictFailed ||
				!strings.Contains(r.Found, "no answer in time") && !strings.Contains(r.Found, "not complete") {
				t.Errorf("%+v", r)
			}
		})
	}
}
