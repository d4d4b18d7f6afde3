package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/providers/authserver"
)

const (
	asMetadata   = "/.well-known/oauth-authorization-server" // RFC 8414
	oidcMetadata = "/.well-known/openid-configuration"
)

func TestIssuer_RunsAlone(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "secret", "hunter2\n")
	s, address := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS",
		"--resource=http://localhost:3002/mcp", "--signing-algorithm=ES256", "--client-secret-file="+secret)
	origin := "http://" + address
	for _, path := range []string{asMetadata, oidcMetadata} {
		status, body := httpGet(t, origin+path)
		var metadata struct {
			Issuer        string `json:"issuer"`
			TokenEndpoint string `json:"token_endpoint"`
			Documents     bool   `json:"client_id_metadata_document_supported"`
		}
		if err := json.Unmarshal([]byte(body), &metadata); status != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		if metadata.Issuer != origin || metadata.TokenEndpoint != origin+"/token" || !metadata.Documents {
			t.Errorf("%s: %+v", path, metadata)
		}
	}
	for _, line := range []string{
		"anyone can sign in as anyone", "Issuer    " + origin + "\n", "Metadata  " + origin + asMetadata + "\n",
		"http://localhost:3002/mcp",
	} {
		if !strings.Contains(s.stdout.String(), line) {
			t.Errorf("the banner lacks %q:\n%s", line, s.stdout)
		}
	}
	status, page := httpGet(t, origin)
	for _, want := range []string{"This is the demo issuer", origin + asMetadata, "http://localhost:3002/mcp"} {
		if status != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("the page at the origin has status %d and lacks %q: %s", status, want, page)
		}
	}
	if got := runCommand(t, "healthcheck", "--url="+origin+"/health"); got.code != exitOK {
		t.Errorf("healthcheck: %+v", got)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if out := s.stdout.String() + s.stderr.String(); strings.Contains(out, "hunter2") {
		t.Errorf("the output contains the secret:\n%s", out)
	}
}

// The client of --client signs in and exchanges its ID token.
func TestIssuer_ConfidentialClient(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "secret", "hunter2-hunter2\n")
	const redirect = "http://127.0.0.1:7777/callback?x=a,b"
	s, address := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS", "--auto-approve",
		"--signing-algorithm=ES256", "--client=agent:"+secret+":"+redirect)
	origin := "http://" + address
	const verifier = "a-code-verifier-that-is-long-enough-for-rfc-7636-0123456789"
	digest := sha256.Sum256([]byte(verifier))
	query := url.Values{"client_id": {"agent"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}}
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(origin + "/authorize?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	target, err := resp.Location()
	if err != nil {
		t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	post := func(form url.Values) map[string]any {
		form.Set("client_id", "agent")
		form.Set("client_secret", "hunter2-hunter2")
		resp, err := http.PostForm(origin+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d: %v, %v", resp.StatusCode, answer, err)
		}
		return answer
	}
	tokens := post(url.Values{"grant_type": {"authorization_code"}, "code": {target.Query().Get("code")},
		"code_verifier": {verifier}})
	answer := post(url.Values{"grant_type": {authserver.GrantTokenExchange},
		"subject_token":        {tokens["id_token"].(string)},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:id_token"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:id-jag"},
		"audience":             {"https://mcp.example.com"}, "resource": {"https://mcp.example.com/mcp"}})
	if answer["issued_token_type"] != "urn:ietf:params:oauth:token-type:id-jag" || answer["access_token"] == "" {
		t.Errorf("answer %v", answer)
	}
	s.stop()
	if out := s.stdout.String() + s.stderr.String(); strings.Contains(out, "hunter2") {
		t.Errorf("the output contains the secret:\n%s", out)
	}
}

func TestIssuer_RefusesInvalidFlags(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		flags string
		want  string
	}{
		"a public resource": {"--resource=https://mcp.example.com/mcp", "other computers can reach it"},
		"a public resource among others": {
			"--resource=http://localhost:3002/mcp,https://mcp.example.com/mcp", "mcp.example.com",
		},
		"a resource that is no URL":       {"--resource=localhost", `"localhost"`},
		"an unsupported algorithm":        {"--signing-algorithm=HS256", "use RS256, ES256 or EdDSA"},
		"algorithm none":                  {"--signing-algorithm=none", "use RS256, ES256 or EdDSA"},
		"a lifetime of nothing":           {"--token-lifetime=1ms", "lifetime"},
		"a missing secret file":           {"--client-secret-file=" + missing, "no such file"},
		"an empty secret file":            {"--client-secret-file=" + writeFile(t, "empty", "\n"), "the file is empty"},
		"a client without a redirect URI": {"--client=agent:file", "ID:SECRET_FILE:REDIRECT"},
		"a client without a secret file": {
			"--client=agent:" + missing + ":http://127.0.0.1/callback", "no such file",
		},
		"a client with a redirect URI that is none": {
			"--client=agent:" + writeFile(t, "good", "secret\n") + ":callback", "redirect URI",
		},
		"the id of a client twice": {
			"--client=local-cli:" + writeFile(t, "good", "secret\n") + ":http://127.0.0.1/callback", "not unique",
		},
		"loopback documents, but none": {
			"--client-documents=false --allow-loopback-client-documents", "client documents are disabled",
		},
		"a negative refresh grace":         {"--refresh-grace=-1s", "refresh grace"},
		"an issuer with a path":            {"--issuer=http://localhost:9000/issuer", "issuer"},
		"a public issuer with plain http":  {"--issuer=http://id.example.com", "plain http"},
		"an unknown default scope":         {"--default-scopes=nothing", `"nothing"`},
		"a description without a scope":    {"--scope-description=Read", `"Read"`},
		"a log level that does not exist":  {"--log.level=loud", "use debug, info, warn, error"},
		"a log format that does not exist": {"--log.format=xml", "use text or json"},
	} {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			got := runCommand(t, append([]string{"issuer", "--listen=" + address}, strings.Fields(c.flags)...)...)
			if got.code != exitConfig || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			if !strings.Contains(got.stderr, c.want) {
				t.Errorf("stderr lacks %q: %q", c.want, got.stderr)
			}
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Error("something listens")
			}
		})
	}
}

// Anyone who reaches the local issuer can sign in as anyone.
func TestIssuer_ListensOnLoopbackUnlessForced(t *testing.T) {
	t.Parallel()
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		got := runCommand(t, "issuer", "--listen="+address, "--issuer=http://localhost:9000")
		if got.code != exitConfig || !strings.Contains(got.stderr, "--dangerously-listen-for-others") {
			t.Errorf("--listen=%s: %+v", address, got)
		}
	}
	// With the flag it fails only because the port is in use.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	got := runCommand(t, "issuer", "--listen=:"+port, "--dangerously-listen-for-others")
	if got.code != exitPort {
		t.Errorf("with the flag: %+v", got)
	}
}

func TestIssuer_ReportsAllProblems(t *testing.T) {
	t.Parallel()
	got := runCommand(t, "issuer", "--log.level=loud", "--log.format=xml", "--issuer=ftp://localhost",
		"--client-secret-file=none")
	for _, flag := range []string{"--log.level", "--log.format", "--issuer", "--client-secret-file"} {
		if !strings.Contains(got.stderr, flag) {
			t.Errorf("nothing about %s:\n%s", flag, got.stderr)
		}
	}
}

func TestIssuer_WithoutClientDocuments(t *testing.T) {
	t.Parallel()
	_, address := startService(t, "issuer", "--listen=ADDRESS", "--issuer=http://ADDRESS",
		"--client-documents=false", "--signing-algorithm=ES256")
	_, body := httpGet(t, "http://"+address+asMetadata)
	if strings.Contains(body, "client_id_metadata_document_supported") {
		t.Errorf("the metadata announces them: %s", body)
	}
}

func TestIssuer_IdentifierFollowsPort(t *testing.T) {
	t.Parallel()
	s, address := startService(t, "issuer", "--listen=ADDRESS", "--signing-algorithm=ES256")
	_, port, _ := net.SplitHostPort(address)
	_, body := httpGet(t, "http://"+address+oidcMetadata)
	if !strings.Contains(body, `"issuer":"http://localhost:`+port+`"`) {
		t.Errorf("the metadata is %s", body)
	}
	status, body := httpGet(t, "http://"+address+"/mcp")
	if status != http.StatusNotFound || strings.Contains(body, "MCP") {
		t.Errorf("the response names an endpoint that does not exist: %d %s", status, body)
	}
	s.stop()
	if !strings.Contains(s.stderr.String(), "msg=stopped") {
		t.Errorf("the log is\n%s", s.stderr)
	}
}

// In a container network, the provider of a company has a name that browsers resolve to loopback.
func TestIssuer_NameBelowLocalhost(t *testing.T) {
	t.Parallel()
	const name = "http://company.localhost:9001"
	_, address := startService(t, "issuer", "--listen=ADDRESS", "--issuer="+name)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+oidcMetadata, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "company.localhost:9001"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var metadata struct{ Issuer string }
	if err := json.NewDecoder(resp.Body).Decode(&metadata); err != nil || metadata.Issuer != name {
		t.Errorf("status %d, %+v, %v", resp.StatusCode, metadata, err)
	}
}

// The library behind the issuer logs other values than the client sent. The issuer's own line has the reason.
func TestIssuer_LogsRefusedAuthorizationOnce(t *testing.T) {
	t.Parallel()
	p, address := startProcess(t, "", nil)
	if !p.healthy(address) {
		t.Fatal("the server is not healthy")
	}
	const redirect = "http://127.0.0.1:7777/callback"
	resp, err := http.Post("http://"+address+"/register", "application/json",
		strings.NewReader(`{"redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var client struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&client); err != nil || client.ID == "" {
		t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	query := url.Values{"client_id": {client.ID}, "redirect_uri": {redirect}, "response_type": {"code"},
		"resource": {"http://localhost:1/other"}, "state": {"secret-state"}, "code_challenge_method": {"S256"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	browser := &http.Client{CheckRedirect: stay}
	answer, err := browser.Get("http://" + address + "/authorize?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusFound {
		t.Errorf("answered %d", answer.StatusCode)
	}
	p.end(t, os.Interrupt)
	log := p.stderr.String()
	if strings.Count(log, "error=invalid_target") != 1 || strings.Contains(log, "auth request") ||
		strings.Contains(log, "secret-state") {
		t.Errorf("the log:\n%s", log)
	}
}
