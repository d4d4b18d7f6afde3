package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/cmd/gatehouse/house"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/mcptools/demo"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/diagnostics"
	"gatehouse/server"
)

// world is everything that an examination meets: a provider, a server, and a proxy in front of it, each a program of its
// own as far as the network can tell. A fault is put in before or after it opens.
type world struct {
	t *testing.T
	// settings are the configuration of the server and of the examination.
	settings map[string]string
	// options may be changed before the examination.
	options doctor.Options

	provider, front *bend
	// noProvider leaves provider.issuer as the test set it; noServer opens no server behind the front.
	noProvider, noServer bool
	// secret is this server's own at the provider, for introspection.
	secret string
	issuer http.Handler
	house  *house.House
	inner  string // where the server listens
}

// bend is a listener in front of something, which a test can make misbehave. What is in it is changed in [world.hold].
type bend struct {
	*httptest.Server

	mu   sync.Mutex
	next http.Handler
	// before may answer a request instead; it returns true if it did.
	before func(w http.ResponseWriter, r *http.Request) bool
	// rewrite may change an answer on its way out.
	rewrite func(r *http.Request, a *httptest.ResponseRecorder)
}

func (b *bend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	before, next, rewrite := b.before, b.next, b.rewrite
	b.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	a := httptest.NewRecorder()
	next.ServeHTTP(a, r)
	if rewrite != nil {
		rewrite(r, a)
	}
	maps.Copy(w.Header(), a.Header())
	w.WriteHeader(a.Code)
	_, _ = io.Copy(w, a.Body)
}

// newBend listens on loopback, with TLS if config is not nil; without a certificate it takes one of the test library.
func newBend(t *testing.T, config *tls.Config) *bend {
	b := &bend{next: http.NotFoundHandler()}
	b.Server = httptest.NewUnstartedServer(b)
	b.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // handshakes that fail on purpose
	if b.TLS = config; config != nil {
		b.StartTLS()
	} else {
		b.Start()
	}
	t.Cleanup(func() {
		b.CloseClientConnections() // an answer may still be hanging, on purpose
		b.Close()
	})
	return b
}

// setMember is a rewrite that sets a member of a JSON document, or removes it if value is nil, wherever the document is one
// that holds mark.
func setMember(mark, name string, value any) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) {
		var document map[string]any
		if json.Unmarshal(a.Body.Bytes(), &document) != nil || document[mark] == nil {
			return
		}
		if document[name] = value; value == nil {
			delete(document, name)
		}
		changed, _ := json.Marshal(document)
		a.Body.Reset()
		a.Body.Write(changed)
		a.Header().Del("Content-Length")
	}
}

// at is a "before" that answers at path, or anywhere if that is empty.
func at(path string, status int, contentType, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if path != "" && r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// renamed is a rewrite that replaces one address by another wherever it stands in a document.
func renamed(old, new string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) {
		changed := strings.ReplaceAll(a.Body.String(), old, new)
		a.Body.Reset()
		a.Body.WriteString(changed)
		a.Header().Del("Content-Length")
	}
}

// newWorld is a world in which nothing is wrong, before it opens: kind oidc, with the local issuer as the provider, and a
// proxy in front of the server.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, provider: newBend(t, nil), front: newBend(t, nil)}
	w.options.Timeout = 8 * time.Second
	w.options.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // whatever the environment of the test says
	w.settings = map[string]string{"provider.kind": "oidc", "resource": w.front.URL + "/mcp", "log.level": "debug",
		"tools.demo": "true", "tools.show_all": "false", "scopes.required": "mcp:use", "scopes.initial": "mcp:use,greet:read", "server.drain_time": "0s",
		"server.allowed_origins": "http://localhost:*"}
	return w
}

// hold changes the world while nobody is answered.
func (w *world) hold(change func()) {
	provider, front := w.provider, w.front
	provider.mu.Lock()
	defer provider.mu.Unlock()
	front.mu.Lock()
	defer front.mu.Unlock()
	change()
}

// secureFront puts TLS in front of the server, by one certificate or by that of the test library. The examination trusts
// it unless the test says otherwise.
func (w *world) secureFront(certificates ...tls.Certificate) {
	w.front = newBend(w.t, &tls.Config{Certificates: certificates})
	w.settings["resource"] = w.front.URL + "/mcp"
	w.settings["server.listen"] = w.front.Listener.Addr().String() // the same port, so that there is nothing to note
	w.options.RootCAs = w.front.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// certificate is one for an address of this computer that ends soon, or has ended.
func certificate(t *testing.T, address string, left time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(left),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func (w *world) load() *configs.Config {
	w.t.Helper()
	sources := configs.Sources{Flags: w.settings}
	if w.secret != "" {
		sources.Environ = []string{"GATEHOUSE_PROVIDER__CLIENT_SECRET=" + w.secret} // secrets have no flags
	}
	cfg, err := configs.Load(sources)
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

// forOthers makes it the server of a resource elsewhere, which takes nothing from the demo.
func (w *world) forOthers(resource string) {
	w.settings["resource"], w.settings["server.drain_time"], w.settings["server.allowed_origins"] = resource, "5s", "https://app.example.com"
}

// demoTools offers the demo tools if tools.demo is set, so that no test depends on the tools of this server.
func demoTools(settings mcptools.ToolSettings, v mcptools.Stats) mcptools.Catalog {
	if !settings.Demo {
		return mcptools.Catalog{}
	}
	return mcptools.Catalog{Tools: demo.Tools(v)}
}

// open starts the provider and the server, and waits until it is ready, or, if it cannot get ready, has tried.
func (w *world) open() *world {
	w.t.Helper()
	discard := slog.New(slog.DiscardHandler)
	if !w.noProvider {
		issuer, err := authserver.New(authserver.Config{
			Issuer: w.provider.URL, Resources: []string{"http://localhost:3002/mcp", w.settings["resource"]}, DangerouslyAllowPublicResource: true,
			Scopes: []string{"mcp:use", "greet:read", "greet:write", "gatehouse:admin"}, DefaultScopes: []string{"mcp:use"},
			SigningAlgorithm: "ES256", AccessTokenLifetime: time.Minute, Clients: authserver.DemoClients("canary-secret"), AutoApprove: true, ClientDocuments: true, Logger: discard,
		})
		if err != nil {
			w.t.Fatal(err)
		}
		w.issuer = issuer.Handler()
		w.hold(func() { w.provider.next = w.issuer })
		if w.settings["provider.kind"] == "oidc" && w.settings["provider.issuer"] == "" {
			w.settings["provider.issuer"] = w.provider.URL
		}
	}
	cfg := w.load()
	w.options.Config = cfg
	catalog := demoTools(cfg.Tools, mcptools.Stats{})
	w.options.ServerInfo, w.options.ToolScopes, w.options.Tools = house.ServerInfo(cfg, catalog, discard), catalog.Scopes(), len(catalog.Tools)
	if w.noServer {
		return w
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.inner = "http://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	h, err := house.Build(ctx, cfg, demoTools, discard)
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	w.house = h
	served := make(chan error, 1)
	settings := cfg.Server
	settings.DrainTime = 0
	go func() { served <- server.Serve(ctx, ln, h.HTTP, settings, discard, server.Lifecycle{}) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
		h.MCP.CloseSessions()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	inner, _ := url.Parse(w.inner)
	proxy := &httputil.ReverseProxy{
		// A good proxy passes Host on, which ReverseProxy does unless told otherwise.
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(inner); r.Out.Host = r.In.Host },
		Transport: &http.Transport{DisableKeepAlives: true},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	w.hold(func() { w.front.next = proxy })
	keys := h.Provider.(providers.KeyReporter)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if status := keys.Keys(); status.Usable || status.Problem != "" {
			break
		}
	}
	return w
}

func (w *world) examine() []doctor.Result {
	w.t.Helper()
	return doctor.Examine(w.t.Context(), w.options)
}

// text is what a person sees.
func text(results []doctor.Result) string {
	var b strings.Builder
	_ = doctor.WriteText(&b, results)
	return b.String()
}

// bad returns the names of the checks that failed or warn, each once and with its verdict.
func bad(results []doctor.Result) []string {
	var names []string
	for _, r := range results {
		if r.Verdict == diagnostics.VerdictFailed || r.Verdict == diagnostics.VerdictWarning {
			names = append(names, fmt.Sprintf("%s %s", r.Name, r.Verdict))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// named returns the first result of that name that is not good, or else the first.
func named(results []doctor.Result, name string) doctor.Result {
	var first doctor.Result
	for _, r := range results {
		if r.Name != name {
			continue
		}
		if r.Verdict == diagnostics.VerdictFailed || r.Verdict == diagnostics.VerdictWarning {
			return r
		}
		if first.Name == "" {
			first = r
		}
	}
	return first
}

// nowhere is a resolver that knows no name: a real one, with a name server on loopback that says so (RFC 1035, section
// 4.1.1: the question comes back with the response bit and the code for "no such name").
func nowhere(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for buffer := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if n < 12 {
				continue
			}
			message := buffer[:n]
			message[2] |= 0x80
			message[3] = 0x83
			_, _ = conn.WriteTo(message, from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return resolverAt(conn.LocalAddr().String())
}

func resolverAt(nameServer string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", nameServer)
	}}
}

// closed is an address of this computer at which nothing listens.
func closed(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
