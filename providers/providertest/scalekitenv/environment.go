package scalekitenv

import (
	"crypto/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatehouse/providers/providertest"
)

// DefaultResourceID is the default id of the first MCP server.
const DefaultResourceID = "res_103100112351265282"

// The user that signs in.
const (
	User         = "usr_1"
	Email        = "usr_1@example.com"
	Organization = "org_1"
)

// Config is what was registered in the dashboard. The zero value is valid.
type Config struct {
	// ResourceID is the id of the MCP server; [DefaultResourceID] if empty.
	ResourceID string
	// ServerURL is its Server URL, byte for byte as typed in the dashboard. Without it, aud contains the
	// resource id alone.
	ServerURL string
	// Scopes are those registered for it; todo:read and todo:write if nil.
	Scopes []string
	// Clients are registered at startup, in addition to those of [Resource.MachineClient],
	// [Environment.OrgClient] and [Environment.EnvironmentClient].
	Clients []Client
	// AccessTokenLifetime is an hour if zero.
	AccessTokenLifetime time.Duration
}

// Environment is a fake Scalekit environment, and its own first MCP server. Its methods may be called from
// several goroutines and take effect with the next request.
type Environment struct {
	*Resource
	// Signer holds and publishes the keys. Tests use it for what the methods here do not do, such as
	// malformed keys.
	Signer *providertest.Issuer

	t        testing.TB
	server   *httptest.Server
	mux      *http.ServeMux
	lifetime time.Duration
	// org and management are clients without a resource.
	org, management Client

	mu            sync.Mutex
	lastID        int64
	lastKey       int
	answers       map[string]http.HandlerFunc
	answerAll     http.HandlerFunc
	hits          map[string]int
	resources     map[string]*Resource
	clients       map[string]Client
	codes         map[string]code
	refreshTokens map[string]grant
}

// New starts an environment on loopback that is closed when t ends. It publishes two RS256 keys, snk_1 and
// snk_2, and signs with the first.
func New(t testing.TB, config Config) *Environment {
	t.Helper()
	e := &Environment{
		Signer:        providertest.NewIssuer(t, providertest.WithKeyIDs("snk_1", "snk_2")),
		t:             t,
		lifetime:      config.AccessTokenLifetime,
		lastKey:       2,
		answers:       make(map[string]http.HandlerFunc),
		hits:          make(map[string]int),
		resources:     make(map[string]*Resource),
		clients:       make(map[string]Client),
		codes:         make(map[string]code),
		refreshTokens: make(map[string]grant),
	}
	e.Signer.SignWith("snk_1")
	if e.lifetime == 0 {
		e.lifetime = time.Hour
	}
	if config.ResourceID == "" {
		config.ResourceID = DefaultResourceID
	}
	if config.Scopes == nil {
		config.Scopes = []string{"todo:read", "todo:write"}
	}
	e.mux = e.routes()
	e.server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(func() {
		e.server.CloseClientConnections() // a handler may still be waiting
		e.server.Close()
	})
	if addr, ok := e.server.Listener.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		t.Fatalf("scalekitenv: a fake that signs everyone in must not listen on %s", e.server.Listener.Addr())
	}
	e.Resource = e.addResource(config.ResourceID, config.ServerURL, config.Scopes)
	e.org = e.addClient(Client{ID: e.newID("m2morg_"), Secret: rand.Text()})
	e.management = e.addClient(Client{ID: e.newID("skc_"), Secret: rand.Text()})
	for _, c := range config.Clients {
		e.addClient(c)
	}
	return e
}

func (e *Environment) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", e.environmentMetadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", e.environmentMetadata)
	mux.HandleFunc("GET /resources/{resource}/.well-known/oauth-authorization-server",
		e.resourceMetadata(Appended))
	mux.HandleFunc("GET /.well-known/oauth-authorization-server/resources/{resource}",
		e.resourceMetadata(Inserted))
	mux.HandleFunc("GET /keys", e.keys)
	mux.HandleFunc("GET /oauth/authorize", e.authorize)
	mux.HandleFunc("GET /resources/{resource}/oauth/authorize", e.authorize)
	mux.HandleFunc("POST /oauth/token", e.token)
	mux.HandleFunc("POST /resources/{resource}/oauth/token", e.token)
	mux.HandleFunc("POST /api/v1/resources/{resource}/clients:register", e.registerClient)
	mux.HandleFunc("GET /api/v1/resources/{resource}", e.record)
	return mux
}

func (e *Environment) serve(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.hits[r.URL.Path]++
	answer := e.answers[r.URL.Path]
	if answer == nil {
		answer = e.answerAll
	}
	e.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case path.Clean(r.URL.Path) != r.URL.Path:
		http.NotFound(w, r) // the mux would redirect //keys to /keys and hide a superfluous slash in a setting
	default:
		e.mux.ServeHTTP(w, r)
	}
}

// URL returns the environment URL. It is the issuer of tokens until a server is migrated.
func (e *Environment) URL() string { return e.server.URL }

// HTTPClient returns a client that keeps no connections and follows no redirects.
func (e *Environment) HTTPClient() *http.Client { return e.Signer.Client() }

// Hits returns the number of requests for path so far, whatever the method and the response.
func (e *Environment) Hits(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hits[path]
}

// Answer replaces the response to all requests for path; nil restores it. [Status], [JSON] and the functions
// next to them return handlers. A handler that waits must return when the context of the request ends.
func (e *Environment) Answer(path string, h http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answers[path] = h
}

// AnswerAll replaces all responses without an [Environment.Answer], for an outage or a rate limit of the
// whole environment. Nil restores them.
func (e *Environment) AnswerAll(h http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answerAll = h
}

// newID returns an id in Scalekit's form.
func (e *Environment) newID(prefix string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastID++
	return prefix + strconv.FormatInt(103100112351265282+e.lastID, 10)
}
