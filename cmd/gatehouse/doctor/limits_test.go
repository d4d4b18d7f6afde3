package doctor_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/providers/diagnostics"
)

// hang takes a request and never answers it.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

func TestWhateverHangsTheExaminationEndsInTime(t *testing.T) {
	const limit = time.Second
	for name, c := range map[string]struct {
		after func(*testing.T, *world)
		bad   string
	}{
		"the provider": {func(_ *testing.T, w *world) { w.provider.before = hang }, "provider.metadata"},
		"the server":   {func(_ *testing.T, w *world) { w.front.before = hang }, "server.health"},
		"both":         {func(_ *testing.T, w *world) { w.provider.before, w.front.before = hang, hang }, "server.health"},
		"whoever resolves names": {func(t *testing.T, w *world) {
			// A name server that listens and never answers.
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			w.options.Resolver = resolverAt(conn.LocalAddr().String())
			w.settings["provider.issuer"] = "https://id.nowhere.example"
			w.options.Config = w.load()
		}, "provider.dns"},
		"an answer that never ends": {func(_ *testing.T, w *world) {
			w.front.Config.Handler = http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
				a.WriteHeader(http.StatusOK)
				a.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		}, "server.health"},
		"a listener that never makes TLS": {func(t *testing.T, w *world) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() }) // connections wait in its queue
			w.settings["resource"] = "https://" + ln.Addr().String() + "/mcp"
			w.options.Config = w.load()
		}, "server.tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).open()
			w.hold(func() { c.after(t, w) })
			w.options.Timeout = limit
			started := time.Now()
			results := w.examine()
			if took := time.Since(started); took > limit+500*time.Millisecond {
				t.Errorf("it took %s", took)
			}
			if r := named(results, c.bad); r.Verdict != diagnostics.VerdictFailed || !strings.Contains(r.Found, "no answer in time") && !strings.Contains(r.Found, "did not finish") {
				t.Errorf("%+v", r)
			}
		})
	}
}
