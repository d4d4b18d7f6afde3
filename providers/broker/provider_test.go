package broker

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

func TestUpstream_Metadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change object
		want   string // part of the error; none: it is used
	}{
		"another issuer":               {object{"issuer": "https://evil.example"}, "its issuer is"},
		"no issuer":                    {object{"issuer": nil}, "its issuer is"},
		"no authorization endpoint":    {object{"authorization_endpoint": nil}, "authorization endpoint"},
		"no token endpoint":            {object{"token_endpoint": nil}, "token endpoint"},
		"no keys":                      {object{"jwks_uri": nil}, "keys"},
		"token endpoint on plain http": {object{"token_endpoint": "http://192.0.2.1/token"}, "plain http"},
		"authorization on plain http":  {object{"authorization_endpoint": "http://192.0.2.1/"}, "plain http"},
		"keys at another scheme":       {object{"jwks_uri": "file:///etc/passwd"}, "not an https URL"},
		"revocation on plain http":     {object{"revocation_endpoint": "http://192.0.2.1/"}, ""},
		"userinfo on plain http":       {object{"userinfo_endpoint": "http://192.0.2.1/"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			x.provider.metadata = with(c.change)
			_, _, err := x.Begin(t.Context(), attempt("a"))
			if c.want != "" {
				x.check(t, err, want{reason: ReasonProviderUnavailable, code: "temporarily_unavailable", detail: c.want})
				return
			}
			if m, _ := x.metadata.known(); err != nil || m.UserinfoEndpoint != "" ||
				name == "revocation on plain http" && m.RevocationEndpoint != "" {
				t.Errorf("%v, %+v", err, m)
			}
		})
	}
	t.Run("row 55 the provider is down at start", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		u, err := newUpstream(upstreamConfig{Issuer: "http://" + listener.Addr().String(), RedirectURI: testRedirect,
			ClientID: testClient, ClientSecret: testSecret, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = u.Begin(t.Context(), attempt("a"))
		(&fixture{provider: newForeign(t)}).check(t, err,
			want{reason: ReasonProviderUnavailable, code: "temporarily_unavailable", detail: "cannot be reached"})
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Parallel()
		for _, key := range []providers.Secret{"", "canary"} {
			if _, err := newUpstream(upstreamConfig{Issuer: "https://login.example.com", ClientKey: key}); err == nil ||
				strings.Contains(err.Error(), "canary") {
				t.Error(err)
			}
		}
	})
}

func TestUpstream_ClientAuthentication(t *testing.T) {
	t.Parallel()
	t.Run("client_secret_post", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		x.provider.metadata = with(object{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}})
		_, _ = x.finish(t, attempt("a"))
		form := x.provider.tokenRequests()[0]
		if form.Get("client_id") != testClient || form.Get("client_secret") != testSecret {
			t.Error(form)
		}
	})
	t.Run("private_key_jwt", func(t *testing.T) {
		t.Parallel()
		key := newForeign(t).key
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		x := newFixture(t, func(c *upstreamConfig) {
			c.ClientSecret = ""
			c.ClientKey = providers.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		})
		_, _ = x.finish(t, attempt("a"))
		form := x.provider.tokenRequests()[0]
		assertion, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := assertion.Claims(key.Public(), &claims); err != nil {
			t.Fatal(err)
		}
		if err := claims.Validate(jwt.Expected{Issuer: testClient, Subject: testClient,
			AnyAudience: jwt.Audience{x.provider.URL}}); err != nil || form.Has("client_secret") {
			t.Error(err, form)
		}
	})
}

func TestUpstream_Probes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config   func(*upstreamConfig)
		metadata object
		token    func(w http.ResponseWriter, form url.Values) bool
		want     [3]string // verdicts of metadata, redirect, client
		found    string    // part of one of them
	}{
		"all is well": {nil, nil, nil, [3]string{"ok", "ok", "ok"}, "PKCE, iss in responses, revocation"},
		"redirect URI is not registered": {func(c *upstreamConfig) { c.RedirectURI += "2" }, nil, nil,
			[3]string{"ok", "failed", "ok"}, "a page of its own"},
		"client is not registered": {func(c *upstreamConfig) { c.ClientID = "x" }, nil, nil,
			[3]string{"ok", "failed", "failed"}, "invalid_client"},
		"wrong secret": {func(c *upstreamConfig) { c.ClientSecret = "x" }, nil, nil,
			[3]string{"ok", "ok", "failed"}, "invalid_client"},
		"another error of the token endpoint": {nil, nil, func(w http.ResponseWriter, _ url.Values) bool {
			writeJSON(w, 400, object{"error": "invalid_request"})
			return true
		}, [3]string{"ok", "ok", "warning"}, "does not tell"},
		"the token endpoint is down": {nil, nil, func(w http.ResponseWriter, _ url.Values) bool {
			w.WriteHeader(500)
			return true
		}, [3]string{"ok", "ok", "failed"}, "answered 500"},
		"401 without a cause": {nil, nil, func(w http.ResponseWriter, _ url.Values) bool {
			w.WriteHeader(401)
			return true
		}, [3]string{"ok", "ok", "failed"}, "answered 401"},
		"metadata without what is needed": {nil, object{"code_challenge_methods_supported": nil,
			"grant_types_supported": []string{"authorization_code"}, "scopes_supported": []string{"openid"},
			"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}, nil,
			[3]string{"warning", "ok", "ok"}, "no refresh tokens"},
		"no metadata": {nil, object{"issuer": "x"}, nil, [3]string{"failed", "skipped", "skipped"}, "issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, c.config)
			x.provider.metadata, x.provider.token = with(c.metadata), c.token
			metadata, redirect, client := x.ProbeMetadata(t.Context()), x.ProbeRedirect(t.Context()), x.ProbeClient(t.Context())
			if got := [3]string{string(metadata.Verdict), string(redirect.Verdict), string(client.Verdict)}; got != c.want {
				t.Errorf("got %v, want %v: %+v %+v %+v", got, c.want, metadata, redirect, client)
			}
			all := metadata.Found + redirect.Found + client.Found + metadata.Reason + redirect.Reason + client.Reason
			if !strings.Contains(all, c.found) {
				t.Errorf("%q is not in %s", c.found, all)
			}
			x.checkSecrets(t, all+metadata.Fix+redirect.Fix+client.Fix)
			for _, o := range []string{"warning", "failed"} {
				if string(metadata.Verdict) == o && metadata.Fix == "" || string(redirect.Verdict) == o && redirect.Fix == "" ||
					string(client.Verdict) == o && client.Fix == "" {
					t.Error("a fix is missing")
				}
			}
		})
	}
}

// TestUpstream_LocalIssuer signs alice in at this program's own issuer, as the provider of a company.
func TestUpstream_LocalIssuer(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	issuer, err := authserver.New(authserver.Config{Issuer: origin, Resources: []string{origin + "/mcp"},
		Scopes: []string{"mcp:use"}, AutoApprove: true, Logger: slog.New(slog.DiscardHandler),
		Clients: []authserver.Client{{ID: testClient, Secret: testSecret, RedirectURIs: []string{testRedirect}}}})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = issuer.Handler()
	server.Start()
	t.Cleanup(server.Close)

	log := &lockedBuffer{}
	u, err := newUpstream(upstreamConfig{Issuer: origin, RedirectURI: testRedirect, ClientID: testClient,
		ClientSecret: testSecret, Scopes: []string{"openid", "offline_access"}, Rules: mustRules(t, "sub=alice > mcp:use"),
		Logger: slog.New(slog.NewTextHandler(log, nil)), Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	x := &fixture{Upstream: u, provider: newForeign(t), log: log}
	who := x.signIn(t)
	if who.Subject != "alice" || who.Credential == "" || who.Details["iss"] != origin ||
		time.Since(who.Time) > time.Minute {
		t.Errorf("%+v", who)
	}
	for _, outcome := range []diagnostics.Outcome{u.ProbeMetadata(t.Context()), u.ProbeClient(t.Context())} {
		if outcome.Verdict != diagnostics.VerdictOK {
			t.Errorf("doctor: %+v", outcome)
		}
	}
	renewal, err := u.Renew(t.Context(), who)
	if err != nil || renewal.Credential == who.Credential {
		t.Fatal(err)
	}
	again, err := renewal.Judge(t.Context())
	if err != nil || again.Subject != "alice" || len(again.Scopes) != 1 {
		t.Fatalf("%+v %v", again, err)
	}
	// bob may sign in there, and not here.
	b := attempt("b")
	b.LoginHint = "bob"
	_, err = x.finish(t, b)
	x.check(t, err, want{reason: authserver.ReasonAccountNotAllowed, code: "access_denied"})
	// A sign-in that has ended is revoked there.
	u.Dismiss(t.Context(), again)
	_, err = u.Renew(t.Context(), again)
	x.check(t, err, want{reason: ReasonAccountGone, code: "access_denied", gone: true})
	for _, secret := range []string{who.Credential, again.Credential, testSecret} {
		if strings.Contains(log.String(), secret) {
			t.Error("row 62: a secret is in the log")
		}
	}
}

func TestUpstream_WithoutRefreshToken(t *testing.T) {
	t.Parallel()
	for name, refresh := range map[string]any{"none": nil, "17 KiB": strings.Repeat("x", 17<<10)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			x.provider.answer = with(object{"refresh_token": refresh})
			if who := x.signIn(t); who.Credential != "" {
				t.Error("there is a credential")
			}
			if got := x.ClientStatus(); got.SignIns != 1 || got.WithoutRefresh != 1 ||
				!strings.Contains(x.log.String(), "session_without_refresh") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestMetadataCache(t *testing.T) {
	t.Parallel()
	now := &clock{now: time.Now()}
	fail, reads := false, 0
	cache := newMetadataCache(func(context.Context) (token.PublishedMetadata, error) {
		if reads++; fail {
			return token.PublishedMetadata{}, errors.New("down")
		}
		return token.PublishedMetadata{Issuer: "i"}, nil
	}, now.Now)
	use := func(what string, read func(context.Context) (token.PublishedMetadata, error), isKnown bool, wantReads int) {
		t.Helper()
		m, err := read(t.Context())
		if (m.Issuer == "i") != isKnown || (err == nil) != isKnown || reads != wantReads {
			t.Errorf("%s: %+v, %v, %d reads", what, m, err, reads)
		}
	}
	use("first", cache.get, true, 1)
	use("again", cache.get, true, 1)
	use("renewed", cache.renew, true, 2)
	fail = true
	use("not renewed", cache.renew, true, 3)
	use("a moment later", cache.renew, true, 3)
	now.advance(2 * time.Second)
	use("two seconds later", cache.renew, true, 4)
	use("known", cache.get, true, 4)
	now.advance(metadataMaxStale)
	use("too old", cache.get, false, 5)
	use("a moment after that", cache.get, false, 5)
	fail = false
	now.advance(metadataMaxBackoff)
	use("available again", cache.get, true, 6)

	cache.turn <- struct{}{} // another caller reads the metadata, and is slow
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.renew(ctx); err == nil {
		t.Error("a caller that has hung up waits")
	}
	if _, err := cache.get(ctx); err != nil {
		t.Errorf("known metadata is not used while it is read again: %v", err)
	}
}

// TestUpstream_TwoDocuments has a provider with both metadata documents, of which one lacks the userinfo endpoint.
func TestUpstream_TwoDocuments(t *testing.T) {
	t.Parallel()
	x := newFixture(t, nil).withUserinfo()
	x.provider.Config.Handler.(*http.ServeMux).HandleFunc("/.well-known/oauth-authorization-server",
		func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, object{"issuer": x.provider.URL, "authorization_endpoint": x.provider.URL,
				"token_endpoint": x.provider.URL, "jwks_uri": x.provider.URL})
		})
	if m, err := x.metadata.get(t.Context()); err != nil || m.UserinfoEndpoint == "" {
		t.Error(m, err)
	}
}
