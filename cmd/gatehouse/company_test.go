package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	brokers "gatehouse/providers/broker"
)

const (
	companyClient = "gatehouse"
	companySecret = "secret-at-the-company"
	agentClient   = "agent" // exchanges its ID tokens for identity assertions
)

// company is the OpenID provider of a company: the local issuer on a listener of its own, at which the server under
// test is a confidential client.
type company struct {
	url string

	mu      sync.Mutex
	config  authserver.Config
	handler http.Handler
	down    bool
	held    chan struct{} // closed when token requests may go on; nil if they need not wait
	waiting chan struct{} // receives one value for each that waits
	// afterConsent is called when a person has answered the consent page, before the browser is sent back; may be nil.
	afterConsent func()
	asked        map[string]int // token requests by grant type
	issued       []issuedTokens // responses to token requests
	entries      []url.Values   // authorization requests
	secrets      []string       // codes, tokens, states: nothing of this server may show them
}

type issuedTokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}

func newCompany(t testing.TB) *company {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{asked: map[string]int{}}
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	c.url = server.URL
	c.config = authserver.Config{
		Issuer: c.url, Resources: []string{c.url + "/api"}, Scopes: []string{"mcp:use"}, SigningAlgorithm: "ES256",
		SigningKey: key, Logger: slog.New(slog.DiscardHandler),
		Clients: []authserver.Client{
			// The port is that of the server, which is not known yet.
			{ID: companyClient, Secret: companySecret, RedirectURIs: []string{"http://127.0.0.1/callback"}},
			{ID: agentClient, Secret: companySecret, RedirectURIs: []string{redirectURI},
				GrantTypes: []string{"authorization_code", authserver.GrantTokenExchange}},
		},
	}
	c.forget(t)
	return c
}

// forget ends all sessions at the company: its refresh tokens are unknown then.
func (c *company) forget(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	issuer, err := authserver.New(c.config)
	if err != nil {
		t.Fatal(err)
	}
	c.handler = issuer.Handler()
}

// use makes the company issue access tokens for the resource of the server, as one that knows resources does.
func (c *company) use(t testing.TB) func(*configs.Config) {
	return func(cfg *configs.Config) {
		c.mu.Lock()
		c.config.Resources = []string{cfg.Resource.String()}
		c.mu.Unlock()
		c.forget(t)
	}
}

// set changes what the company does.
func (c *company) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *company) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// hold makes token requests wait until goOn is called. asked receives a value for each of them.
func (c *company) hold() (asked <-chan struct{}, goOn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := make(chan struct{})
	c.held, c.waiting = held, make(chan struct{}, 100)
	return c.waiting, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.held = nil
		close(held)
	}
}

// ServeHTTP closes the connection while the company is down.
func (c *company) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	down, handler, held, waiting, afterConsent := c.down, c.handler, c.held, c.waiting, c.afterConsent
	c.mu.Unlock()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case r.URL.Path == "/authorize":
		c.mu.Lock()
		c.entries = append(c.entries, r.URL.Query())
		c.secrets = append(c.secrets, r.URL.Query().Get("state"), r.URL.Query().Get("nonce"))
		c.mu.Unlock()
	case r.URL.Path == "/consent" && r.Method == http.MethodPost && afterConsent != nil:
		defer afterConsent() // the response is sent when this function returns
	case r.URL.Path == "/token":
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if held != nil {
			waiting <- struct{}{}
			<-held
		}
		recorded := httptest.NewRecorder()
		handler.ServeHTTP(recorded, r)
		form, _ := url.ParseQuery(string(body))
		c.note(form, recorded.Body.Bytes())
		maps.Copy(w.Header(), recorded.Header())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
		return
	}
	handler.ServeHTTP(w, r)
}

func (c *company) note(form url.Values, answer []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[form.Get("grant_type")]++
	for _, name := range []string{"code", "code_verifier", "refresh_token"} {
		c.secrets = append(c.secrets, form.Get(name))
	}
	var tokens issuedTokens
	if json.Unmarshal(answer, &tokens) == nil && tokens.Access != "" {
		c.issued = append(c.issued, tokens)
		c.secrets = append(c.secrets, tokens.Access, tokens.ID, tokens.Refresh)
	}
}

// questions returns how many refresh tokens were sent.
func (c *company) questions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked["refresh_token"]
}

func (c *company) lastIssued(t testing.TB) issuedTokens {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.issued) == 0 {
		t.Fatal("the company has issued no tokens")
	}
	return c.issued[len(c.issued)-1]
}

func (c *company) authorizations() []url.Values {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.entries)
}

// wantNoSecrets expects that a text shows nothing that the server and the company have told each other.
func (c *company) wantNoSecrets(t testing.TB, what, text string, more ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.secrets) == 0 {
		t.Error("there are no secrets to look for")
	}
	for _, secret := range slices.Concat(c.secrets, more, []string{companySecret}) {
		if len(secret) > 8 && strings.Contains(text, secret) {
			t.Errorf("%s contains %q", what, secret)
		}
	}
}

// settings are those of a server with kind broker, at which alice may do everything and bob may greet.
func (c *company) settings(t testing.TB, more map[string]string) map[string]string {
	t.Helper()
	settings := map[string]string{
		"provider.kind": "broker", "provider.issuer": c.url, "provider.client_id": companyClient,
		"provider.client_secret_file": writeFile(t, "secret", companySecret+"\n"),
		"provider.secrets_file":       writeFile(t, "secrets", seal.NewSecret()+"\n"),
		"provider.scope_rules": "sub=alice > mcp:use greet:read greet:write gatehouse:admin, " +
			"sub=bob > mcp:use greet:read",
	}
	maps.Copy(settings, more)
	return settings
}

// startBroker starts a server of kind broker, with a company of its own.
func startBroker(
	t testing.TB, more map[string]string, prepare ...func(*configs.Config),
) (*testServer, *company) {
	t.Helper()
	c := newCompany(t)
	return startServer(t, c.settings(t, more), append([]func(*configs.Config){c.use(t)}, prepare...)...), c
}

// withBroker changes settings of kind broker beyond what their validation allows, so that no test waits for minutes.
func withBroker(change func(*brokers.Settings)) func(*configs.Config) {
	return func(cfg *configs.Config) { change(cfg.Provider.(*brokers.Settings)) }
}

// recheckAtOnce makes each refresh ask the company.
func recheckAtOnce(s *brokers.Settings) { s.RecheckInterval = time.Nanosecond }

// asCommand returns the settings as flags and, for files with secrets, as environment.
func asCommand(settings map[string]string) (environ, flags []string) {
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		if strings.HasSuffix(key, "_file") {
			name := "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
			environ = append(environ, name+"="+value)
			continue
		}
		flags = append(flags, "--"+key+"="+value)
	}
	return environ, flags
}
