package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"gatehouse/providers/providertest"
)

// tokenCommand runs `gatehouse token ...` and returns what it printed.
func tokenCommand(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	o := gatehouseIn(t, console{stdin: strings.NewReader(stdin)}, append([]string{"token"}, args...)...)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return o.code, o.stdout, o.stderr
}

func TestATokenIsHadWithoutAnybodyAndExplained(t *testing.T) {
	h := startHouse(t, map[string]string{"provider.auto_approve": "true"})
	code, token, stderr := tokenCommand(t, "", "get", "--resource", h.url)
	if code != exitOK || stderr != "" || strings.Count(strings.TrimSpace(token), ".") != 2 || strings.Count(token, "\n") != 1 {
		t.Fatalf("get ended with %d: %q %q", code, token, stderr)
	}
	body, header := callModern("whoami", "{}")
	if me := structured(t, send(t, http.MethodPost, h.url, strings.TrimSpace(token), body, header)); me["subject"] != "alice" {
		t.Errorf("the server takes the token for %v", me)
	}
	signature := token[strings.LastIndexByte(token, '.')+1 : len(token)-1]
	for name, text := range map[string]string{
		"as it was printed":   token,
		"as a header":         "Authorization: Bearer " + token,
		"in quotes":           `"` + strings.TrimSpace(token) + `"`,
		"as bearer, in lower": "bearer " + token,
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := tokenCommand(t, text, "inspect", "--resource", h.url)
			if code != exitOK || !strings.HasPrefix(out, "This token is accepted at "+h.url) || strings.Contains(out, "skipped") || errs != "" {
				t.Errorf("inspect ended with %d:\n%s%s", code, out, errs)
			}
			if strings.Contains(out, signature) || strings.Contains(out, strings.TrimSpace(token)) {
				t.Error("the token was printed")
			}
		})
	}
	t.Run("with scopes of its own", func(t *testing.T) {
		_, token, _ := tokenCommand(t, "", "get", "--resource", h.url, "--scope", "mcp:use,gatehouse:admin")
		if _, out, _ := tokenCommand(t, token, "inspect", "--resource", h.url); !strings.Contains(out, `"mcp:use gatehouse:admin"`) && !strings.Contains(out, `"gatehouse:admin mcp:use"`) {
			t.Errorf("inspect says\n%s", out)
		}
	})
	t.Run("by a client that is known", func(t *testing.T) {
		_, token, _ := tokenCommand(t, "", "get", "--resource", h.url, "--client-id", "local-cli")
		if _, out, _ := tokenCommand(t, token, "inspect", "--resource", h.url); !strings.Contains(out, `"local-cli"`) {
			t.Errorf("inspect says\n%s", out)
		}
	})
	t.Run("by a client that is not known nobody waits for a person", func(t *testing.T) {
		code, out, errs := tokenCommand(t, "", "get", "--resource", h.url, "--client-id", "nobody", "--no-browser", "--timeout", "20s")
		if code != exitFailure || out != "" || !strings.Contains(errs, "does it know the client") || strings.Contains(errs, "Sign in at") {
			t.Errorf("get ended with %d %s%s", code, out, errs)
		}
	})
	t.Run("with another signature", func(t *testing.T) {
		forged := strings.TrimSpace(token)[:len(token)-len(signature)-1] + strings.Repeat("A", len(signature))
		code, out, _ := tokenCommand(t, forged, "inspect", "--resource", h.url)
		if code != exitFailure || !strings.HasPrefix(out, "This token is refused at "+h.url) || !strings.Contains(out, "* it was changed after it was signed") {
			t.Errorf("inspect ended with %d:\n%s", code, out)
		}
	})
	t.Run("after the server is gone the signature cannot be checked", func(t *testing.T) {
		h.stop()
		code, out, _ := tokenCommand(t, token, "inspect", "--resource", h.url)
		if code != exitFailure || !strings.HasPrefix(out, "Whether this token is accepted") || !strings.Contains(out, "* signature\n    keys_unavailable: ") || strings.Contains(out, "is accepted at "+h.url+"\n") {
			t.Errorf("inspect ended with %d:\n%s", code, out)
		}
		if code, _, errs := tokenCommand(t, "", "get", "--resource", h.url); code != exitFailure || !strings.Contains(errs, "is `gatehouse serve` running") {
			t.Errorf("get ended with %d %s", code, errs)
		}
	})
}

// A person signs in at the address that is printed.
func TestATokenIsHadByAPersonWithABrowser(t *testing.T) {
	h := startHouse(t, nil)
	stderr, write := io.Pipe()
	var stdout bytes.Buffer
	done := make(chan int, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() {
		done <- run(ctx, []string{"token", "get", "--resource", h.url, "--no-browser"}, console{stdout: &stdout, stderr: write})
		write.Close()
	}()
	address := regexp.MustCompile(`http://\S+/authorize\?\S+`)
	var seen strings.Builder
	chunk := make([]byte, 4096)
	for !strings.Contains(seen.String(), "\n\n  http") || !strings.HasSuffix(seen.String(), "\n\n") {
		n, err := stderr.Read(chunk)
		seen.Write(chunk[:n])
		if err != nil {
			t.Fatalf("it ended before it asked anybody: %s", &seen)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	// The page that the browser comes back to is on a server that ends with the command.
	back, err := (&person{name: "bob", decision: "approve"}).signIn(ctx, &auth.AuthorizationArgs{URL: address.FindString(seen.String())})
	if err != nil {
		t.Fatal(err)
	}
	redirect := regexp.MustCompile(`redirect_uri=([^&\s]+)`).FindStringSubmatch(seen.String())[1]
	redirect = strings.NewReplacer("%3A", ":", "%2F", "/").Replace(redirect)
	page := send(t, http.MethodGet, redirect+"?code="+back.Code+"&state="+back.State+"&iss="+back.Iss, "", "", nil)
	if page.status != http.StatusOK || !strings.Contains(page.body, "You can close this page") {
		t.Errorf("the page says %d %s", page.status, page.body)
	}
	if code := <-done; code != exitOK {
		t.Fatalf("it ended with %d", code)
	}
	if _, out, _ := tokenCommand(t, stdout.String(), "inspect", "--resource", h.url); !strings.Contains(out, `"bob"`) {
		t.Errorf("inspect says\n%s", out)
	}
}

func TestARefusedTokenIsExplainedWithTheLikeliestCauseFirst(t *testing.T) {
	authority := providertest.NewIssuer(t)
	const resource = "https://mcp.example.com/mcp"
	args := []string{"--provider.kind", "oidc", "--provider.issuer", authority.URL(), "--provider.jwks_url", authority.KeysURL(), "--resource", resource}
	for name, c := range map[string]struct {
		changes map[string]any
		flags   []string
		first   string
		also    []string
		code    int
	}{
		"accepted":        {nil, nil, "", []string{"This token is accepted at " + resource + "\n", "ok       signature"}, exitOK},
		"offline":         {nil, []string{"--offline"}, "signature", []string{"Whether this token is accepted at " + resource + " is open.", "skipped  signature"}, exitOK},
		"expired":         {map[string]any{"exp": time.Now().Add(-3 * time.Hour).Unix()}, nil, "it has expired", []string{"3h0m ago", "token_expired"}, exitFailure},
		"an ID token":     {map[string]any{"aud": "web", "azp": "web", "nonce": "n"}, nil, "it is an ID token", []string{"REFUSED  claim aud", "REFUSED  claim nonce", "want " + resource}, exitFailure},
		"a slash":         {map[string]any{"aud": resource + "/"}, nil, "its audience differs from the accepted one only by a slash", nil, exitFailure},
		"no audience":     {map[string]any{"aud": nil}, nil, "it has no audience", []string{"audience mapper"}, exitFailure},
		"another issuer":  {map[string]any{"iss": "https://old.example.com"}, nil, "it is from another issuer", nil, exitFailure},
		"another kind":    {nil, []string{"--provider.token_types", "JWT"}, `its typ is "at+jwt"`, nil, exitFailure},
		"hostile claims ": {map[string]any{"x\ny": "canary\x1b[31m"}, nil, "", []string{`"x\ny"`, `\u001b`}, exitOK},
	} {
		t.Run(name, func(t *testing.T) {
			token := authority.Token(resource, c.changes)
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := tokenCommand(t, "", append(append([]string{"inspect", "--token-file", file}, args...), c.flags...)...)
			if code != c.code || errs != "" {
				t.Errorf("it ended with %d %s", code, errs)
			}
			first := regexp.MustCompile(`(?m)^  \* (.*)$`).FindStringSubmatch(out)
			if c.first == "" && first != nil || c.first != "" && (first == nil || !strings.HasPrefix(first[1], c.first)) {
				t.Errorf("the likeliest cause is %q, want %q", first, c.first)
			}
			for _, want := range c.also {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, token) || strings.Contains(out, token[strings.LastIndexByte(token, '.')+1:]) || strings.ContainsRune(out, '\x1b') {
				t.Errorf("it prints what it must not:\n%s", out)
			}
		})
	}
}

// What was accepted, and why, is a question too: somebody compares two providers, or wonders which audience it was.
func TestEachCheckSaysWhatItGotAndWhatItWants(t *testing.T) {
	authority := providertest.NewIssuer(t)
	const resource = "https://mcp.example.com/mcp"
	token := authority.Token(resource, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})
	_, out, _ := tokenCommand(t, token, "inspect", "--offline", "--provider.kind", "oidc", "--provider.issuer", authority.URL(), "--resource", resource, "--provider.required_claims", "sub=alice")
	checked, want := regexp.MustCompile(`(?m)^  (ok|REFUSED|skipped) +(\S+ ?\S*) +(\S.*)\n +want (\S.*)$`), map[string]string{
		"header crit": "ok absent/absent", "header alg": `ok "RS256"/[RS256 PS256 ES256 EdDSA]`, "header typ": `ok "at+jwt"/[at+jwt]`,
		"claim iss": `ok "` + authority.URL() + `"/` + authority.URL(), "claim aud": `ok "` + resource + `"/` + resource,
		"claim sub": `ok "alice"/sub=alice`, "claim client_id": `ok "test-client"/the client that the token was issued to`,
		"claim nonce": "ok absent/absent, as in access tokens",
	}
	got := map[string]string{}
	for _, m := range checked.FindAllStringSubmatch(out, -1) {
		got[strings.TrimSpace(m[2])] = m[1] + " " + m[3] + "/" + m[4]
	}
	for name, line := range want {
		if got[name] != line {
			t.Errorf("%s: %q, want %q", name, got[name], line)
		}
	}
	for name, begin := range map[string]string{"claim nbf": "REFUSED ", "signature": "skipped by key ", "claim exp": "ok "} {
		if !strings.HasPrefix(got[name], begin) || strings.HasSuffix(got[name], "/") {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	if marks := regexp.MustCompile(`(?m)^  (ok|REFUSED|skipped) `).FindAllString(out, -1); len(marks) != strings.Count(out, " want ") {
		t.Errorf("%d checks say %d times what they want:\n%s", len(marks), strings.Count(out, " want "), out)
	}
}

func TestATokenOnTheCommandLineIsNotRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		stdin string
		args  []string
		says  string
	}{
		"behind inspect":       {"", []string{"inspect", "canary.canary.canary"}, "least of all a token"},
		"in place of inspect":  {"", []string{"canary.canary.canary"}, "say inspect or get"},
		"nothing at all":       {"", []string{"inspect"}, "there is no token"},
		"a file without token": {"", []string{"inspect", "--token-file", os.DevNull}, "there is no token"},
		"a file that is none":  {"", []string{"inspect", "--token-file", "/nonexistent"}, "cannot be read"},
		"no command":           {"", nil, "say inspect or get"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := tokenCommand(t, c.stdin, c.args...)
			if code != exitConfig || !strings.Contains(errs, c.says) || strings.Contains(out+errs, "canary") {
				t.Errorf("it ended with %d: %s%s", code, out, errs)
			}
		})
	}
	if code, out, _ := tokenCommand(t, "", "--help"); code != exitOK || !strings.Contains(out, "inspect") {
		t.Errorf("--help ended with %d: %s", code, out)
	}
}
