package doctor_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store/storetest"
)

// useBroker makes the server one of kind broker, at which people sign in at the provider. Its store is a file.
func useBroker(t *testing.T, e *env) {
	t.Helper()
	for name, value := range map[string]string{
		"provider.kind": "broker", "provider.issuer": e.provider.URL, "provider.client_id": "gatehouse",
		"provider.store": "file://" + filepath.Join(t.TempDir(), "sign-ins.db"),
	} {
		e.settings[name] = value
	}
	e.secret = "canary-secret"
	e.clients = append(e.clients, authserver.Client{ID: "gatehouse", Secret: e.secret,
		RedirectURIs: []string{strings.TrimSuffix(e.settings["resource"], "/mcp") + "/callback"}})
	e.useSecrets(seal.NewSecret())
}

// useSecrets sets provider.secrets_file.
func (e *env) useSecrets(secrets ...string) (path string) {
	e.t.Helper()
	path = writeMode(e.t, filepath.Join(e.t.TempDir(), "secrets"), strings.Join(secrets, "\n")+"\n", 0o600)
	e.environ = append(e.environ, "GATEHOUSE_PROVIDER__SECRETS_FILE="+path)
	return path
}

// storeFile returns the file of the store.
func (e *env) storeFile() string { return strings.TrimPrefix(e.settings["provider.store"], "file://") }

// useRedis makes the store one in Redis.
func useRedis(address string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) {
		useBroker(t, e)
		e.settings["provider.store"] = address
	}
}

// useEnterprise makes the provider an issuer of identity assertions, and returns the file with the secret of a client.
func useEnterprise(t *testing.T, e *env) (secretFile string) {
	t.Helper()
	secretFile = writeMode(t, filepath.Join(t.TempDir(), "agent"), "canary-enterprise-secret", 0o600)
	e.settings["provider.enterprise_issuers"] = e.provider.URL
	e.settings["provider.enterprise_clients"] = "agent=" + secretFile
	e.settings["provider.enterprise_scopes"] = "mcp:use"
	return secretFile
}

// redis makes the store one in a new Redis. Without redis-server, the test is skipped.
func redis(args ...string) func(*testing.T, *env) {
	return func(t *testing.T, e *env) { useRedis(storetest.StartRedis(t, args...).URL(t))(t, e) }
}

var hiddenField = regexp.MustCompile(`name="(request|token)" value="([^"]*)"`)

// signIn signs alice in at the server with a new client, up to the code: that creates a sign-in in the store.
func (e *env) signIn() {
	e.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		e.t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport, Jar: jar,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == "/done" {
				return http.ErrUseLastResponse
			}
			return nil
		}}
	origin := strings.TrimSuffix(e.settings["resource"], "/mcp")
	registered := e.send(browser, http.MethodPost, origin+"/register", "application/json",
		`{"redirect_uris":["http://127.0.0.1/done"],"token_endpoint_auth_method":"none"}`)
	id := regexp.MustCompile(`"client_id":"([^"]+)"`).FindStringSubmatch(registered)
	if id == nil {
		e.t.Fatalf("registration: %s", registered)
	}
	query := url.Values{"response_type": {"code"}, "client_id": {id[1]}, "redirect_uri": {"http://127.0.0.1/done"},
		"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"}, "scope": {"mcp:use"}}
	page := e.send(browser, http.MethodGet, origin+"/authorize?"+query.Encode(), "", "")
	form := url.Values{"decision": {"approve"}}
	for _, field := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(field[1], field[2])
	}
	approved := e.send(browser, http.MethodPost, origin+"/consent", "application/x-www-form-urlencoded", form.Encode())
	next := regexp.MustCompile(`url=([^"]+)"`).FindStringSubmatch(approved)
	if next == nil {
		e.t.Fatalf("approval: %s", approved)
	}
	if done := e.send(browser, http.MethodGet, next[1], "", ""); !strings.Contains(done, "code=") {
		e.t.Fatalf("callback: %s", done)
	}
}

// send returns the Location of the response, or its page without escapes.
func (e *env) send(client *http.Client, method, address, contentType, body string) string {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Origin", strings.TrimSuffix(e.settings["resource"], "/mcp"))
	}
	resp, err := client.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.Header.Get("Location") + html.UnescapeString(string(content))
}
