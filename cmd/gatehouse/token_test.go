package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"gatehouse/providers/providertest"
)

// runToken runs `gatehouse token ...` and returns what it printed.
func runToken(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	o := runCommandIn(t, console{stdin: strings.NewReader(stdin)}, append([]string{"token"}, args...)...)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return o.code, o.stdout, o.stderr
}

func TestToken_GetNonInteractivelyAndInspect(t *testing.T) {
	t.Parallel()
	srv := startServer(t, map[string]string{"provider.auto_approve": "true", "provider.signing_algorithm": "RS256"})
	get := func(t *testing.T, flags ...string) (code int, token, stderr string) {
		t.Helper()
		return runToken(t, "", append([]string{"get", "--resource", srv.url}, flags...)...)
	}
	inspect := func(t *testing.T, token string) (code int, stdout, stderr string) {
		t.Helper()
		return runToken(t, token, "inspect", "--resource", srv.url)
	}
	code, token, stderr := get(t)
	isOneToken := strings.Count(strings.TrimSpace(token), ".") == 2 && strings.Count(token, "\n") == 1
	if code != exitOK || stderr != "" || !isOneToken {
		t.Fatalf("get ended with %d: %q %q", code, token, stderr)
	}
	body, header := callModern("whoami", "{}")
	me := structuredContent(t, send(t, http.MethodPost, srv.url, strings.TrimSpace(token), body, header))
	if me["subject"] != "alice" {
		t.Errorf("the caller is %v", me)
	}
	signature := token[strings.LastIndexByte(token, '.')+1 : len(token)-1]
	for name, text := range map[string]string{
		"as printed":        token,
		"as a header":       "Authorization: Bearer " + token,
		"in quotes":         `"` + strings.TrimSpace(token) + `"`,
		"with bearer alone": "bearer " + token,
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := inspect(t, text)
			if code != exitOK || !strings.HasPrefix(out, "This token is accepted at "+srv.url) ||
				strings.Contains(out, "skipped") || errs != "" {
				t.Errorf("inspect ended with %d:\n%s%s", code, out, errs)
			}
			if strings.Contains(out, signature) || strings.Contains(out, strings.TrimSpace(token)) {
				t.Error("the token was printed")
			}
		})
	}
	t.Run("with other scopes", func(t *testing.T) {
		_, token, _ := get(t, "--scope", "mcp:use,gatehouse:admin")
		_, out, _ := inspect(t, token)
		if !strings.Contains(out, `"mcp:use gatehouse:admin"`) && !strings.Contains(out, `"gatehouse:admin mcp:use"`) {
			t.Errorf("inspect printed\n%s", out)
		}
	})
	t.Run("with a known client", func(t *testing.T) {
		_, token, _ := get(t, "--client-id", "local-cli")
		if _, out, _ := inspect(t, token); !strings.Contains(out, `"local-cli"`) {
			t.Errorf("inspect printed\n%s", out)
		}
	})
	t.Run("with an unknown client it does not wait for a user", func(t *testing.T) {
		code, out, errs := get(t, "--client-id", "unknown", "--no-browser", "--timeout", "20s")
		if code != exitFailure || out != "" || !strings.Contains(errs, "does it know the client") ||
			strings.Contains(errs, "Sign in at") {
			t.Errorf("get ended with %d %s%s", code, out, errs)
		}
	})
	t.Run("with another signature", func(t *testing.T) {
		forged := strings.TrimSpace(token)[:len(token)-len(signature)-1] + strings.Repeat("A", len(signature))
		code, out, _ := inspect(t, forged)
		if code != exitFailure || !strings.HasPrefix(out, "This token is refused at "+srv.url) ||
			!strings.Contains(out, "* it was changed after it was signed") {
			t.Errorf("inspect ended with %d:\n%s", code, out)
		}
	})
	t.Run("after the server has stopped the signature cannot be checked", func(t *testing.T) {
		srv.stop()
		code, out, _ := inspect(t, token)
		if code != exitFailure || !strings.HasPrefix(out, "Whether this token is accepted") ||
			!strings.Contains(out, "* signature\n    keys_unavailable: ") ||
			strings.Contains(out, "is accepted at "+srv.url+"\n") {
			t.Errorf("inspect ended with %d:\n%s", code, out)
		}
		if code, _, errs := get(t); code != exitFailure || !strings.Contains(errs, isServeRunning) {
			t.Errorf("get ended with %d %s", code, errs)
		}
	})
}

// A user signs in at the URL that is printed.
func TestTokenGet_WithBrowser(t *testing.T) {
	t.Parallel()
	t.Run("local", func(t *testing.T) {
		t.Parallel()
		srv := startServer(t, defaultAlgorithm())
		tokenGetWithBrowser(t, nil, []string{"--resource", srv.url})
	})
	t.Run("broker", func(t *testing.T) {
		t.Parallel()
		srv, _ := startBroker(t, nil)
		environ, flags := asCommand(srv.flags)
		tokenGetWithBrowser(t, environ, flags)
	})
}

func tokenGetWithBrowser(t *testing.T, environ, flags []string) {
	t.Helper()
	stderr, write := io.Pipe()
	var stdout bytes.Buffer
	done := make(chan int, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() {
		args := append([]string{"token", "get", "--no-browser"}, flags...)
		done <- run(ctx, args, console{environ: environ, stdout: &stdout, stderr: write})
		write.Close()
	}()
	var output strings.Builder
	chunk := make([]byte, 4096)
	for !strings.Contains(output.String(), "\n\n  http") || !strings.HasSuffix(output.String(), "\n\n") {
		n, err := stderr.Read(chunk)
		output.Write(chunk[:n])
		if err != nil {
			t.Fatalf("it ended before it printed the URL: %s", &output)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	address, err := url.Parse(regexp.MustCompile(`http://\S+/authorize\?\S+`).FindString(output.String()))
	if err != nil {
		t.Fatal(err)
	}
	bob := &user{name: "bob", decision: "approve"}
	response, err := bob.signIn(ctx, &auth.AuthorizationArgs{URL: address.String()})
	if err != nil {
		t.Fatal(err)
	}
	callback := address.Query().Get("redirect_uri") + "?" +
		url.Values{"code": {response.Code}, "state": {response.State}, "iss": {response.Iss}}.Encode()
	page := send(t, http.MethodGet, callback, "", "", nil)
	if page.status != http.StatusOK || !strings.Contains(page.body, "You can close this page") {
		t.Errorf("the callback returned %d %s", page.status, page.body)
	}
	if code := <-done; code != exitOK {
		t.Fatalf("it ended with %d", code)
	}
	got := runCommandIn(t, console{environ: environ, stdin: strings.NewReader(stdout.String())},
		append([]string{"token", "inspect"}, flags...)...)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if got.code != exitOK || !strings.Contains(got.stdout, `"bob"`) {
		t.Errorf("inspect printed\n%s%s", got.stdout, got.stderr)
	}
}

func TestTokenInspect_LikeliestCauseFirst(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	const resource = "https://mcp.example.com/mcp"
	args := []string{
		"inspect", "--provider.kind", "oidc", "--provider.issuer", authority.URL(),
		"--provider.jwks_url", authority.KeysURL(), "--resource", resource,
	}
	for name, c := range map[string]struct {
		changes map[string]any
		flags   []string
		first   string   // the likeliest cause begins with it
		also    []string // further texts
		code    int
	}{
		"accepted": {
			also: []string{"This token is accepted at " + resource + "\n", "ok       signature"}, code: exitOK,
		},
		"offline": {
			flags: []string{"--offline"}, first: "signature", code: exitOK,
			also: []string{"Whether this token is accepted at " + resource + " is undecided.", "skipped  signature"},
		},
		"expired": {
			changes: map[string]any{"exp": time.Now().Add(-3 * time.Hour).Unix()}, first: "it has expired",
			also: []string{"3h0m ago", "token_expired"}, code: exitFailure,
		},
		"an ID token": {
			changes: map[string]any{"aud": "web", "azp": "web", "nonce": "n"}, first: "it is an ID token",
			also: []string{"REFUSED  claim aud", "REFUSED  claim nonce", "want " + resource}, code: exitFailure,
		},
		"a slash": {
			changes: map[string]any{"aud": resource + "/"}, code: exitFailure,
			first: "its audience differs from the accepted one only by a slash",
		},
		"no audience": {
			changes: map[string]any{"aud": nil}, first: "it has no audience", also: []string{"audience mapper"},
			code: exitFailure,
		},
		"another issuer": {
			changes: map[string]any{"iss": "https://old.example.com"}, first: "it is from another issuer",
			code: exitFailure,
		},
		"another type": {
			flags: []string{"--provider.token_types", "JWT"}, first: `its typ is "at+jwt"`, code: exitFailure,
		},
		"control characters in claims": {
			changes: map[string]any{"x\ny": "canary\x1b[31m"}, also: []string{`"x\ny"`, `\u001b`}, code: exitOK,
		},
	} {
		t.Run(name, func(t *testing.T) {
			token := authority.Token(resource, c.changes)
			flags := append([]string{"--token-file", writeFile(t, "token", token)}, c.flags...)
			code, out, errs := runToken(t, "", slices.Concat(args, flags)...)
			if code != c.code || errs != "" {
				t.Errorf("it ended with %d %s", code, errs)
			}
			first := regexp.MustCompile(`(?m)^  \* (.*)$`).FindStringSubmatch(out)
			if c.first == "" && first != nil || c.first != "" && (first == nil || !strings.HasPrefix(first[1], c.first)) {
				t.Errorf("the likeliest cause is %q, want %q", first, c.first)
			}
			for _, want := range c.also {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
			signature := token[strings.LastIndexByte(token, '.')+1:]
			if strings.Contains(out, token) || strings.Contains(out, signature) || strings.ContainsRune(out, '\x1b') {
				t.Errorf("the output contains the token or a control character:\n%s", out)
			}
		})
	}
}

// Accepted values are shown too, for those who compare two providers or want to know which audience matched.
func TestTokenInspect_ShowsActualAndExpected(t *testing.T) {
	t.Parallel()
	authority := providertest.NewIssuer(t)
	const resource = "https://mcp.example.com/mcp"
	token := authority.Token(resource, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})
	_, out, _ := runToken(t, token, "inspect", "--offline", "--provider.kind", "oidc",
		"--provider.issuer", authority.URL(), "--resource", resource, "--provider.required_claims", "sub=alice")
	check := regexp.MustCompile(`(?m)^  (ok|REFUSED|skipped) +(\S+ ?\S*) +(\S.*)\n +want (\S.*)$`)
	got := map[string]string{}
	for _, m := range check.FindAllStringSubmatch(out, -1) {
		got[strings.TrimSpace(m[2])] = m[1] + " " + m[3] + "/" + m[4]
	}
	for name, want := range map[string]string{
		"header crit":     "ok absent/absent",
		"header alg":      `ok "RS256"/[RS256 PS256 ES256 EdDSA]`,
		"header typ":      `ok "at+jwt"/[at+jwt]`,
		"claim iss":       `ok "` + authority.URL() + `"/` + authority.URL(),
		"claim aud":       `ok "` + resource + `"/` + resource,
		"claim sub":       `ok "alice"/sub=alice`,
		"claim client_id": `ok "test-client"/the client that the token was issued to`,
		"claim nonce":     "ok absent/absent, as in access tokens",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	for name, begin := range map[string]string{
		"claim nbf": "REFUSED ", "signature": "skipped by key ", "claim exp": "ok ",
	} {
		if !strings.HasPrefix(got[name], begin) || strings.HasSuffix(got[name], "/") {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	marks := regexp.MustCompile(`(?m)^  (ok|REFUSED|skipped) `).FindAllString(out, -1)
	if wants := strings.Count(out, " want "); len(marks) != wants {
		t.Errorf("%d of %d checks show what they expect:\n%s", wants, len(marks), out)
	}
}

func TestToken_ArgumentIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"after inspect":        {[]string{"inspect", "canary.canary.canary"}, "least of all a token"},
		"instead of inspect":   {[]string{"canary.canary.canary"}, "use inspect or get"},
		"no input":             {[]string{"inspect"}, "there is no token"},
		"a file without token": {[]string{"inspect", "--token-file", os.DevNull}, "there is no token"},
		"a missing file": {
			[]string{"inspect", "--token-file", filepath.Join(t.TempDir(), "missing")}, "cannot be read"},
		"no command": {nil, "use inspect or get"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := runToken(t, "", c.args...)
			if code != exitConfig || !strings.Contains(errs, c.want) || strings.Contains(out+errs, "canary") {
				t.Errorf("it ended with %d: %s%s", code, out, errs)
			}
		})
	}
	if code, out, _ := runToken(t, "", "--help"); code != exitOK || !strings.Contains(out, "inspect") {
		t.Errorf("--help ended with %d: %s", code, out)
	}
}
