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

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/doctor"
	"gatehouse/configs"
	"gatehouse/mcptools"
	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/diagnostics"
	"gatehouse/server"
)

// env is everything that doctor reaches: a provider, a server, and a proxy in front of it, each on a port of
// its own. A test puts a fault in before or after it opens.
type env struct {
	t *testing.T
	// settings are the configuration of the server and of doctor.
	settings map[string]string
	// config is for [doctor.Examine]. A test may change it after open.
	config doctor.Config

	provider, proxy *faultProxy
	// operator is the operator's listener, if useOperator opened it, and web an upstream; nil without one.
	operator, web *faultProxy
	// noProvider leaves provider.issuer as the test set it, noServer opens no server behind the proxy, and
	// noTools offers no tools.
	noProvider, noServer, noTools bool
	// secret is provider.client_secret, and environ are other variables.
	secret  string
	environ []string
	// clients are those at the provider in addition to the usual ones. alone runs the authorization server of kind
	// broker alone.
	clients []authserver.Client
	alone   bool
	issuer  http.Handler
	app     *app.App
	inner   string // the origin that the server listens on
}

type interceptFunc = func(http.ResponseWriter, *http.Request) bool

// faultProxy is a listener in front of a handler, which a test can make misbehave. Its fields are changed in
// [env.change].
type faultProxy struct {
	*httptest.Server

	mu   sync.Mutex
	next http.Handler
	// intercept may answer a request instead of next, and then returns true.
	intercept interceptFunc
	// rewrite may change a response of next.
	rewrite func(r *http.Request, w *httptest.ResponseRecorder)
}

func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	intercept, next, rewrite := p.intercept, p.next, p.rewrite
	p.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	recorder := httptest.NewRecorder()
	next.ServeHTTP(recorder, r)
	if rewrite != nil {
		rewrite(r, recorder)
	}
	maps.Copy(w.Header(), recorder.Header())
	w.WriteHeader(recorder.Code)
	_, _ = io.Copy(w, recorder.Body)
}

// newFaultProxy listens on loopback, with TLS if config is not nil. The default certificate is that of
// httptest.
func newFaultProxy(t *testing.T, config *tls.Config) *faultProxy {
	p := &faultProxy{next: http.NotFoundHandler()}
	p.Server = httptest.NewUnstartedServer(p)
	// Some handshakes fail on purpose.
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if p.TLS = config; config != nil {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(func() {
		p.CloseClientConnections() // a response may still hang, on purpose
		p.Close()
	})
	return p
}

// setMember returns a rewrite that sets a member of every JSON document that has the member mark. A nil value
// removes it.
func setMember(mark, name string, value any) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, w *httptest.ResponseRecorder) {
		var document map[string]any
		if json.Unmarshal(w.Body.Bytes(), &document) != nil || document[mark] == nil {
			return
		}
		if document[name] = value; value == nil {
			delete(document, name)
		}
		changed, _ := json.Marshal(document)
		setBody(w, string(changed))
	}
}

func setBody(w *httptest.ResponseRecorder, body string) {
	w.Body.Reset()
	w.Body.WriteString(body)
	w.Header().Del("Content-Length")
}

// respond returns an intercept that answers requests for path, or all requests if it is empty.
func respond(path string, status int, contentType, body string) interceptFunc {
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

// replaceInBody returns a rewrite that replaces old in every document.
func replaceInBody(old, replacement string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, w *httptest.ResponseRecorder) {
		setBody(w, strings.ReplaceAll(w.Body.String(), old, replacement))
	}
}

// newEnv returns an environment without a fault, before it opens: kind oidc, with the local issuer as the
// provider, and a proxy in front of the server.
func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{t: t, provider: newFaultProxy(t, nil), proxy: newFaultProxy(t, nil)}
	e.config.Timeout = 8 * time.Second
	e.config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // ignore the test's environment
	e.settings = map[string]string{
		"provider.kind": "oidc", "resource": e.proxy.URL + "/mcp", "log.level": "debug", "tools.show_all": "false",
		"scopes.required": "mcp:use", "scopes.initial": "mcp:use,notes:read", "server.drain_time": "0s",
		"server.allowed_origins": "http://localhost:*",
	}
	return e
}

// change changes the environment while no request is being answered.
func (e *env) change(change func()) {
	provider, proxy := e.provider, e.proxy
	provider.mu.Lock()
	defer provider.mu.Unlock()
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	change()
}

// useTLS puts TLS in front of the server, with these certificates or that of httptest. Doctor trusts the
// latter.
func (e *env) useTLS(certificates ...tls.Certificate) {
	e.proxy = newFaultProxy(e.t, &tls.Config{Certificates: certificates})
	e.settings["resource"] = e.proxy.URL + "/mcp"
	e.settings["server.listen"] = e.proxy.Listener.Addr().String() // the same port, so that there is no note
	e.config.RootCAs = e.proxy.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// certificate returns a certificate for a loopback address that expires after left.
func certificate(t *testing.T, address string, left time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(left),
		IPAddresses: []net.IP{net.ParseIP(address)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func (e *env) load() *configs.Config {
	e.t.Helper()
	sources := configs.Sources{Flags: e.settings, Environ: e.environ}
	if e.secret != "" { // secrets have no flags
		sources.Environ = append(slices.Clip(e.environ), "GATEHOUSE_PROVIDER__CLIENT_SECRET="+e.secret)
	}
	cfg, err := configs.Load(sources)
	if err != nil {
		e.t.Fatal(err)
	}
	return cfg
}

// useResource makes it the server of a public resource. The values that a loopback resource implies are set.
func (e *env) useResource(resource string) {
	e.settings["resource"] = resource
	e.settings["server.drain_time"], e.settings["server.allowed_origins"] = "5s", "https://app.example.com"
}

// catalog returns tools that need no scope, one scope, and each another one.
func (e *env) catalog(mcptools.ToolSettings, mcptools.Stats) mcptools.Catalog {
	type none = struct{}
	if e.noTools {
		return mcptools.Catalog{}
	}
	tool := func(name string, scopes ...string) mcptools.Tool {
		return mcptools.Define(mcptools.Definition{Name: name, Description: "A tool for tests.", Scopes: scopes},
			func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, none, error) {
				return nil, none{}, nil
			})
	}
	return mcptools.Catalog{Tools: []mcptools.Tool{
		tool("about"), tool("list_notes", "notes:read"), tool("read_note", "notes:read"),
		tool("write_note", "notes:write"), tool("delete_notes", "notes:admin"),
	}}
}

// open starts the provider and the server, and waits until the server has tried to get ready.
func (e *env) open() *env {
	e.t.Helper()
	discard := slog.New(slog.DiscardHandler)
	if !e.noProvider {
		issuer, err := authserver.New(authserver.Config{
			Issuer: e.provider.URL, Resources: []string{"http://localhost:3002/mcp", e.settings["resource"]},
			DangerouslyAllowPublicResource: true,
			Scopes:                         []string{"mcp:use", "notes:read", "notes:write", "notes:admin"},
			DefaultScopes:                  []string{"mcp:use"},
			SigningAlgorithm:               "ES256", AccessTokenLifetime: time.Minute,
			Clients:     append(authserver.DemoClients("canary-secret"), e.clients...),
			AutoApprove: true, ClientDocuments: true, Logger: discard,
		})
		if err != nil {
			e.t.Fatal(err)
		}
		e.issuer = issuer.Handler()
		e.change(func() { e.provider.next = e.issuer })
		if e.settings["provider.kind"] == "oidc" && e.settings["provider.issuer"] == "" {
			e.settings["provider.issuer"] = e.provider.URL
		}
	}
	cfg := e.load()
	catalog := e.catalog(cfg.Tools, mcptools.Stats{})
	e.config.Settings, e.config.ServerInfo = cfg, app.ServerInfo(cfg, catalog, discard)
	var appOptions []app.Option
	if e.config.Alone = e.alone; e.alone {
		catalog = mcptools.Catalog{}
		e.config.ServerInfo = app.AloneInfo(cfg, discard)
		appOptions = []app.Option{app.AuthorizationServerAlone()}
	}
	e.config.ToolScopes, e.config.Tools = catalog.Scopes(), len(catalog.Tools)
	for _, tool := range catalog.Tools {
		e.config.OwnTools = append(e.config.OwnTools, tool.Name)
	}
	options, err := app.UpstreamOptions(cfg, discard)
	if err != nil {
		e.t.Fatal(err)
	}
	e.config.Upstreams, e.config.KeysPath = options, app.JWKSPath
	if e.noServer {
		return e
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	e.inner = "http://" + ln.Addr().String()
	e.config.LocalHealth = e.inner + "/health"
	ctx, cancel := context.WithCancel(context.Background())
	h, err := app.New(ctx, cfg, e.catalog, discard, appOptions...)
	if err != nil {
		cancel()
		e.t.Fatal(err)
	}
	e.app = h
	served := make(chan error, 1)
	settings := cfg.Server
	settings.DrainTime = 0
	go func() { served <- server.Serve(ctx, ln, h.HTTP, settings, discard, server.Lifecycle{}) }()
	e.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			e.t.Error(err)
		}
		h.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	inner, _ := url.Parse(e.inner)
	// Connections are kept, as proxies do.
	transport := &http.Transport{}
	e.t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		// SetURL sets Host to that of inner; a proxy in front of the server must forward it unchanged.
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(inner); r.Out.Host = r.In.Host },
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	e.change(func() { e.proxy.next = proxy })
	if e.operator != nil {
		e.openOperator(discard)
	}
	keys := h.Provider().(providers.KeyReporter)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if status := keys.Keys(); status.Usable || status.Problem != "" {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	return e
}

// waitUntilUsable waits until the server can verify tokens. An endpoint that is not known yet is a problem, too.
func (e *env) waitUntilUsable() {
	e.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !e.app.Provider().(providers.KeyReporter).Keys().Usable; {
		if time.Now().After(deadline) {
			e.t.Fatal("the provider is not usable")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (e *env) examine() []doctor.Result {
	e.t.Helper()
	return doctor.Examine(e.t.Context(), e.config)
}

// text returns the results as people see them.
func text(results []doctor.Result) string {
	var b strings.Builder
	_ = doctor.WriteText(&b, results)
	return b.String()
}

func isProblem(r doctor.Result) bool {
	return r.Verdict == diagnostics.VerdictFailed || r.Verdict == diagnostics.VerdictWarning
}

// problems returns the names of the checks that failed or warn, each once and with its verdict.
func problems(results []doctor.Result) []string {
	var names []string
	for _, r := range results {
		if isProblem(r) {
			names = append(names, fmt.Sprintf("%s %s", r.Name, r.Verdict))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// find returns the first result of that name with a problem, or else the first of that name.
func find(results []doctor.Result, name string) doctor.Result {
	var first doctor.Result
	for _, r := range results {
		if r.Name != name {
			continue
		}
		if isProblem(r) {
			return r
		}
		if first.Name == "" {
			first = r
		}
	}
	return first
}

// emptyResolver knows no name. It queries a name server on loopback that answers every query with NXDOMAIN (RFC
// 1035, section 4.1.1: the query with the response bit and code 3).
func emptyResolver(t *testing.T) *net.Resolver {
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

// closedAddress returns a loopback address on which nothing listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
