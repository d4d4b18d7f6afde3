package authserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/providers"
)

// nameServer answers every query for an IPv4 address with the same addresses.
func nameServer(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	serving.Go(func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(nameAnswer(buffer[:n], addresses), from)
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// nameAnswer answers a DNS query (RFC 1035, section 4.1).
func nameAnswer(query []byte, addresses []string) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root label, type and class
	answer := slices.Clone(query[:end])
	binary.BigEndian.PutUint16(answer[2:], 0x8180)
	clear(answer[6:12])
	if binary.BigEndian.Uint16(query[end-4:]) != 1 { // only A
		return answer
	}
	binary.BigEndian.PutUint16(answer[6:], uint16(len(addresses)))
	for _, address := range addresses {
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, net.ParseIP(address).To4()...)
	}
	return answer
}

func TestDocumentNamesOfPrivateAddresses(t *testing.T) {
	for _, addresses := range [][]string{{"127.0.0.1"}, {"10.0.0.1"}, {"169.254.169.254"}, {"10.0.0.1", "127.0.0.1"}} {
		t.Run("row 08 a name for "+strings.Join(addresses, " and ")+" is refused after it was resolved, and before the "+
			"connection", func(t *testing.T) {
			var connections atomic.Int32
			host := httptest.NewUnstartedServer(http.NotFoundHandler())
			host.Config.ConnState = func(net.Conn, http.ConnState) { connections.Add(1) }
			host.Config.ErrorLog = log.New(io.Discard, "", 0)
			host.StartTLS()
			defer host.Close()
			f := newDocumentFetcher(withDefaults(Config{}), demoRules())
			dialer := newGuardedDialer(false)
			dialer.Resolver = nameServer(t, addresses...)
			f.http.Transport.(*http.Transport).DialContext = dialer.DialContext
			_, port, _ := net.SplitHostPort(host.Listener.Addr().String())
			_, err := f.find(t.Context(), "https://rebind.example:"+port+"/client.json")
			if refused := new(documentError); !errors.As(err, refused) || refused.reason != errForbiddenAddress.Error() {
				t.Errorf("error %v", err)
			}
			if connections.Load() != 0 {
				t.Error("a connection was made")
			}
		})
	}
}

func TestSlowAndLargeDocuments(t *testing.T) {
	release := make(chan struct{})
	host := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/endless":
			chunk := []byte(`{"x":"` + strings.Repeat("x", 4<<10))
			for written := 0; written < 10<<20; {
				n, err := w.Write(chunk)
				if err != nil {
					return
				}
				written += n
			}
		case "/deep":
			fmt.Fprintf(w, `{"x":%s1%s}`, strings.Repeat("[", 2000), strings.Repeat("]", 2000))
		case "/drip":
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		default:
			<-release
		}
	}))
	defer host.Close()
	defer close(release)
	newFetcher := func() *documentFetcher {
		f := newDocumentFetcher(withDefaults(Config{AllowLoopbackClientDocuments: true}), signInRules(ClientPolicy{}))
		f.http.Transport.(*http.Transport).TLSClientConfig.RootCAs =
			host.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		f.timeout = 300 * time.Millisecond
		return f
	}
	for path, want := range map[string]string{
		"/endless": "larger than 5 KiB", "/drip": "does not respond in time", "/deep": "not a JSON object",
	} {
		t.Run("row 09 "+path, func(t *testing.T) {
			if _, err := newFetcher().find(t.Context(), host.URL+path); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
	t.Run("row 09 endless many URLs of one address leave slots to others", func(t *testing.T) {
		f := newFetcher()
		f.timeout = 5 * time.Second
		from := func(address string) context.Context {
			return context.WithValue(t.Context(), providers.AddressKey{}, address)
		}
		var waiting sync.WaitGroup
		defer waiting.Wait()
		for n := range maxDocumentFetchesByAddress {
			waiting.Go(func() { _, _ = f.find(from("192.0.2.1"), fmt.Sprintf("%s/slow/%d", host.URL, n)) })
		}
		for range 500 {
			if len(f.slots) == maxDocumentFetchesByAddress {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for n := range 20 {
			_, err := f.find(from("192.0.2.1"), fmt.Sprintf("%s/more/%d", host.URL, n))
			if refused := new(documentError); !errors.As(err, refused) || !refused.temporary {
				t.Fatalf("error %v", err)
			}
		}
		if used := len(f.slots); used != maxDocumentFetchesByAddress {
			t.Errorf("%d slots are used", used)
		}
		_, err := f.find(from("192.0.2.2"), host.URL+"/endless")
		if err == nil || !strings.Contains(err.Error(), "larger") {
			t.Errorf("another address: %v", err)
		}
		for range maxDocumentFetchesByAddress {
			release <- struct{}{}
		}
		waiting.Wait()
		if len(f.fetching) != 0 {
			t.Errorf("addresses are remembered: %v", f.fetching)
		}
	})
}
