package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also checks that an examination leaves nothing running, and that no test needs a DNS server: a slow
// one would delay every test. Tests use loopback addresses, or a resolver of their own.
func TestMain(m *testing.M) {
	if mode, isUpstream := os.LookupEnv(upstreamMode); isUpstream {
		serveUpstream(mode)
		return
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the local issuer's library logs there
	var queries atomic.Int64
	net.DefaultResolver = &net.Resolver{PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			queries.Add(1)
			return nil, errors.New("tests send no DNS queries")
		}}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if n := queries.Load(); n > 0 && code == 0 {
			fmt.Printf("FAIL: the tests sent %d DNS queries; GODEBUG=netdns=go+2 shows the names\n", n)
			code = 1
		}
		os.Exit(code)
	}))
}
