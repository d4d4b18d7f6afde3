package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/diagnostics"
	"gatehouse/providers/token"
)

// ProbeMetadata reads the metadata of the provider, within ctx, and reports what signing in there needs.
func (u *Upstream) ProbeMetadata(ctx context.Context) diagnostics.Outcome {
	m, err := u.metadata.readNow(ctx)
	if err != nil {
		return diagnostics.Failed(err.Error(), "compare provider.issuer with the issuer in the provider's metadata, and "+
			"check that this server can reach it")
	}
	var found, missing, fixes []string
	add := func(has bool, what, problem, fix string) {
		if has {
			found = append(found, what)
			return
		}
		if problem != "" {
			missing = append(missing, problem)
			fixes = append(fixes, fix)
		}
	}
	add(slices.Contains(m.CodeChallengeMethods, "S256"), "PKCE", "it does not announce PKCE (S256): only the nonce binds "+
		"its responses", "nothing, if the provider has no setting for it")
	add(m.IssParameter, "iss in responses", "", "")
	add(m.UserinfoEndpoint != "", "userinfo", "", "")
	add(m.RevocationEndpoint != "", "revocation", "", "")
	if len(m.GrantTypes) > 0 {
		add(slices.Contains(m.GrantTypes, "refresh_token"), "refresh tokens", "it announces no refresh tokens: people sign "+
			"in again after provider.session_without_refresh", "nothing, if the provider has no setting for it")
	}
	if offline := "offline_access"; len(m.Scopes) > 0 && slices.Contains(u.config.Scopes, offline) {
		add(slices.Contains(m.Scopes, offline), offline, "it does not announce the scope offline_access",
			"remove it from provider.upstream_scopes if the provider refuses it, and set provider.authorize_params")
	}
	if method := u.authMethod(m); len(m.TokenAuthMethods) > 0 {
		add(slices.Contains(m.TokenAuthMethods, method), method, "it does not announce "+method,
			"set provider.client_secret_file or provider.client_key_file, whichever the provider has")
	}
	if len(missing) > 0 {
		return diagnostics.Warning(strings.Join(missing, "; "), strings.Join(fixes, "; "))
	}
	return diagnostics.OK(strings.Join(found, ", "))
}

// ProbeRedirect sends an authorization request that no page may answer (prompt=none), and reports whether the provider
// redirects to this server: it does so only if client and redirect URI are registered.
func (u *Upstream) ProbeRedirect(ctx context.Context) diagnostics.Outcome {
	m, err := u.metadata.get(ctx)
	if err != nil {
		return diagnostics.Skipped("the metadata cannot be read")
	}
	attempt := authserver.Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text()}
	address, err := u.authorizeURL(m, attempt, url.Values{"prompt": {"none"}})
	if err != nil {
		return diagnostics.Skipped("the authorization endpoint is not a URL")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return diagnostics.Skipped("the authorization endpoint is not a URL")
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return diagnostics.Failed("the authorization endpoint does not answer: "+token.DescribeNetworkError(err),
			"check that this server, and people, can reach it")
	}
	defer resp.Body.Close()
	fix := "register the redirect URI " + u.config.RedirectURI + " for the client provider.client_id, byte for byte"
	target, err := resp.Location()
	switch {
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		return diagnostics.Failed(fmt.Sprintf("the authorization endpoint answers %d", resp.StatusCode),
			"check that the provider works, and run this command again later")
	case resp.StatusCode >= 400:
		return diagnostics.Failed("the provider refuses the request with a page of its own", fix)
	case err != nil && resp.StatusCode < 300:
		return diagnostics.Skipped("the provider answers with a page, which may be the sign-in page or an error: open the " +
			"sign-in once")
	case err != nil:
		return diagnostics.Failed("the authorization endpoint answers without a page or a redirect", fix)
	case u.isCallback(target):
		return redirectOutcome(target.Query())
	case strings.Contains(strings.ToLower(target.Path), "error") || target.Query().Has("error") ||
		target.Query().Has("authError"):
		return diagnostics.Failed("the provider redirects to an error page of its own", fix)
	}
	return diagnostics.OK("the provider redirects to its sign-in page")
}

// redirectOutcome returns the outcome for a response at the redirect URI.
func redirectOutcome(response url.Values) diagnostics.Outcome {
	switch code := knownCode(response.Get("error")); code {
	case errorLoginRequired, errorInteractionRequired, errorConsentRequired, "account_selection_required":
		return diagnostics.OK("the redirect URI is registered")
	case "":
		if response.Has("error") {
			return diagnostics.Warning("the redirect URI is registered, and the provider answers an unknown error",
				"sign in once, and read the log")
		}
		return diagnostics.OK("the redirect URI is registered")
	default:
		return diagnostics.Failed("the redirect URI is registered, and the provider refuses the request: "+code,
			"compare provider.upstream_scopes and provider.authorize_params with the registration")
	}
}

// isCallback reports whether an address is the redirect URI with a response.
func (u *Upstream) isCallback(target *url.URL) bool {
	own, err := url.Parse(u.config.RedirectURI)
	return err == nil && own.Scheme == target.Scheme && own.Host == target.Host && own.Path == target.Path
}

// ProbeClient exchanges an invented code: a provider that accepts the credentials of the client refuses the code.
func (u *Upstream) ProbeClient(ctx context.Context) diagnostics.Outcome {
	m, err := u.metadata.get(ctx)
	if err != nil {
		return diagnostics.Skipped("the metadata cannot be read")
	}
	_, err = u.requestTokens(ctx, m, url.Values{"grant_type": {"authorization_code"}, "code": {rand.Text()},
		"redirect_uri": {u.config.RedirectURI}, "code_verifier": {rand.Text() + rand.Text()}})
	const fix = "compare provider.client_id and its secret or key with the registration at the provider; secrets expire"
	failure, ok := errors.AsType[*tokenError](err)
	switch {
	case err == nil:
		return diagnostics.Failed("the token endpoint accepts an invented code", "check provider.issuer")
	case ok && failure.code == errorInvalidGrant:
		return diagnostics.OK("the provider accepts " + u.authMethod(m))
	case ok && failure.isClient():
		return diagnostics.Failed(err.Error(), fix)
	case ok:
		return diagnostics.Warning(err.Error()+", which does not tell whether it accepts the client", fix)
	}
	return diagnostics.Failed(providers.Printable(err.Error(), 300), "check that this server can reach the provider")
}

// ProbeKeys reads the keys of the provider as the verification of ID tokens does.
func (u *Upstream) ProbeKeys(ctx context.Context) diagnostics.Outcome {
	m, ok := u.metadata.known()
	if !ok {
		return diagnostics.Skipped("the metadata cannot be read")
	}
	return probeKeys(ctx, u.client, m.JWKSURI, "no ID token can be verified, and no person can sign in")
}

// probeKeys reads a key set. The address is from metadata, and may be used. loss is what does not work without keys.
func probeKeys(ctx context.Context, client *http.Client, address, loss string) diagnostics.Outcome {
	keys, err := token.ReadKeys(ctx, client, address)
	where := "at " + providers.Quote(providers.RedactURL(address)) + ": "
	if err != nil {
		return diagnostics.Failed(where+err.Error(), "have the provider serve a JSON Web Key Set at the jwks_uri of its "+
			"metadata; until then "+loss)
	}
	found := fmt.Sprintf("%d usable, for %s", keys.Usable, strings.Join(keys.Algorithms, " "))
	if len(keys.Faulty) > 0 {
		return diagnostics.Warning(fmt.Sprintf("%s; %d faulty (%s)", found, len(keys.Faulty), keys.Faulty[0]),
			"have the provider replace or withdraw the faulty keys")
	}
	return diagnostics.OK(found)
}
