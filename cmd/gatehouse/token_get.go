package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/providers"
)

const tokenGetHelp = `Sign in at the running server of this configuration, as a native client would, and print an access
token on standard output. Everything else is printed on standard error, so that the token can be piped:
gatehouse token get | gatehouse token inspect

`

func tokenGet(ctx context.Context, args []string, c console) int {
	flags := newFlags("token get", tokenGetHelp+settingsHelp, c)
	s := signIn{console: c}
	flags.StringVar(&s.clientID, "client-id", "", "client ID known to the provider; without it, a client is registered")
	flags.StringSliceVar(&s.scopes, "scope", nil, "scopes to request, instead of those in the server's challenge")
	flags.IntVar(&s.port, "port", 0,
		"port on this computer for the redirect; a pre-registered client may need a fixed one")
	flags.BoolVar(&s.noBrowser, "no-browser", false, "print the sign-in URL instead of opening a browser")
	timeout := flags.Duration("timeout", 5*time.Minute, "how long to wait for the sign-in")
	cfg, code, done := loadConfig(flags, args, c)
	if done {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	token, err := s.run(ctx, cfg.Resource)
	if err != nil {
		fmt.Fprintf(c.stderr, "gatehouse token get: %v\n", err)
		return exitFailure
	}
	fmt.Fprintln(c.stdout, token)
	return exitOK
}

// signIn is a native client (RFC 8252) that gets one token.
type signIn struct {
	console   console
	clientID  string
	scopes    []string
	port      int
	noBrowser bool

	redirect string
	callback chan url.Values // the query of the authorization response
	last     *lastRequest
	refused  error // why there is no authorization code; free of the provider's texts
}

func (s *signIn) run(ctx context.Context, resource providers.Resource) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(s.port)))
	if err != nil {
		return "", fmt.Errorf("cannot listen on port %d of this computer: %w", s.port, err)
	}
	s.redirect, s.callback = "http://"+ln.Addr().String()+"/callback", make(chan url.Values, 1)
	redirect := &http.Server{Handler: http.HandlerFunc(s.handleCallback), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = redirect.Serve(ln) }() // it ends with Shutdown below
	defer func() {
		// The browser must receive its page before the program exits.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = redirect.Shutdown(last)
	}()

	s.last = &lastRequest{next: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	client := &http.Client{Transport: s.last, Timeout: 20 * time.Second}
	handler, err := auth.NewAuthorizationCodeHandler(s.clientConfig(client))
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, resource.String(), strings.NewReader(""))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("no response from %s; %s", resource, isServeRunning)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		resp.Body.Close()
		return "", fmt.Errorf("%s returned %d without a token; expected 401 with a challenge", resource, resp.StatusCode)
	}
	s.replaceScopes(resp.Header)
	token, err := authorize(ctx, handler, req, resp)
	switch {
	case s.refused != nil:
		return "", s.refused
	case err != nil:
		return "", s.last.describe(err)
	}
	return token.AccessToken, nil
}

func (s *signIn) clientConfig(client *http.Client) *auth.AuthorizationCodeHandlerConfig {
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: s.redirect, AuthorizationCodeFetcher: s.fetchCode, Client: client,
	}
	if s.clientID != "" {
		config.PreregisteredClient = &oauthex.ClientCredentials{ClientID: s.clientID}
		return config
	}
	config.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{
		Metadata: &oauthex.ClientRegistrationMetadata{
			RedirectURIs: []string{s.redirect}, ClientName: "gatehouse token get",
			TokenEndpointAuthMethod: "none", GrantTypes: []string{"authorization_code"},
		},
	}
	return config
}

func authorize(
	ctx context.Context, handler *auth.AuthorizationCodeHandler, req *http.Request, resp *http.Response,
) (*oauth2.Token, error) {
	if err := handler.Authorize(ctx, req, resp); err != nil {
		return nil, err
	}
	source, err := handler.TokenSource(ctx)
	if err != nil {
		return nil, err
	}
	return source.Token()
}

var challengeScope = regexp.MustCompile(`(, *)?scope="[^"]*"`)

// replaceScopes replaces the scopes in the challenge, which is where the SDK's client reads them, by those of
// --scope.
func (s *signIn) replaceScopes(header http.Header) {
	if len(s.scopes) == 0 {
		return
	}
	challenge := challengeScope.ReplaceAllString(header.Get("WWW-Authenticate"), "")
	header.Set("WWW-Authenticate", challenge+`, scope="`+strings.Join(s.scopes, " ")+`"`)
}

// fetchCode gets the authorization code: without interaction where possible, otherwise from a user with a
// browser.
func (s *signIn) fetchCode(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	if s.refused = checkOpenable(args.URL); s.refused != nil {
		return nil, s.refused
	}
	s.last.reset() // later failures are unrelated to the requests so far
	response, ok := s.tryNonInteractive(ctx, args.URL)
	if s.refused != nil {
		return nil, s.refused
	}
	if !ok {
		fmt.Fprintf(s.console.stderr, "Sign in at\n\n  %s\n\n", args.URL)
		if !s.noBrowser && openBrowser(ctx, args.URL) != nil {
			fmt.Fprintln(s.console.stderr, "(no browser could be opened)")
		}
		select {
		case response = <-s.callback:
		case <-ctx.Done():
			s.refused = errors.New("timed out waiting for the sign-in")
			return nil, s.refused
		}
	}
	if code := response.Get("error"); code != "" {
		s.refused = errors.New("the provider refused: " + providers.Quote(code))
		return nil, s.refused
	}
	return &auth.AuthorizationResult{
		Code: response.Get("code"), State: response.Get("state"), Iss: response.Get("iss"),
	}, nil
}

// tryNonInteractive requests the authorization URL and reports whether it redirects straight to the callback,
// as the local issuer does with auto_approve. It also detects requests that the provider refuses without
// redirecting (RFC 6749, section 4.1.2.1), so that no user waits for them. It only does so for a provider on
// this computer; others would see a sign-in that is never completed.
func (s *signIn) tryNonInteractive(ctx context.Context, address string) (url.Values, bool) {
	u, err := url.Parse(address)
	if err != nil || !providers.IsLoopback(u.Hostname()) {
		return nil, false
	}
	var response url.Values
	redirected := false
	checkRedirect := func(r *http.Request, via []*http.Request) error {
		redirected = true
		switch {
		case strings.HasPrefix(r.URL.String(), s.redirect+"?"):
			response = r.URL.Query()
			return http.ErrUseLastResponse
		case !providers.IsLoopback(r.URL.Hostname()), len(via) >= maxRedirects:
			return http.ErrUseLastResponse // a sign-in page elsewhere
		}
		return nil
	}
	jar, err := cookiejar.New(nil) // a provider may recognize its own request by a cookie
	if err != nil {
		return nil, false
	}
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Timeout: 10 * time.Second, Transport: transport, CheckRedirect: checkRedirect, Jar: jar}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, false
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, false
	}
	resp.Body.Close()
	// Only the first response is about the request. Later pages are for a browser: they may need its scripts.
	if resp.StatusCode == http.StatusBadRequest && !redirected {
		s.refused = fmt.Errorf("the provider at %s refuses the authorization request (status 400): does it know "+
			"the client, with %s as its redirect URI?", u.Host, s.redirect)
	}
	return response, response != nil
}

// maxRedirects is how many redirects are followed without a browser.
const maxRedirects = 10

// checkOpenable returns why the authorization URL, which the provider's metadata names, is not passed to the
// system: a handler of another scheme may start any program (a file, an editor, a shell).
func checkOpenable(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && u.User == nil &&
		(u.Scheme == "https" || u.Scheme == "http" && providers.IsLoopback(u.Hostname())) {
		return nil
	}
	return errors.New("the authorization_endpoint in the provider's metadata is neither https nor http on " +
		"this computer: it is not opened; check provider.issuer, and see `gatehouse doctor`")
}

// handleCallback receives the authorization response from the browser.
func (s *signIn) handleCallback(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.URL.Path != "/callback" || !query.Has("code") && !query.Has("error") {
		http.NotFound(w, r)
		return
	}
	writeCallbackPage(w, query)
	select {
	case s.callback <- query:
	default: // the page was reloaded
	}
}

func openBrowser(ctx context.Context, address string) error {
	switch runtime.GOOS {
	case "darwin":
		return exec.CommandContext(ctx, "open", address).Run()
	case "windows":
		return exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", address).Run()
	default:
		return exec.CommandContext(ctx, "xdg-open", address).Run()
	}
}
