package broker

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
	"gatehouse/providers/authserver/seal"
	"gatehouse/providers/authserver/store"
	"gatehouse/providers/token"
)

// Validate implements [providers.Settings].
func (s *Settings) Validate(resource providers.Resource, report func(providers.Problem)) {
	s.checkIssuer(report)
	s.checkClient(resource, report)
	s.checkRequest(report)
	s.checkPeople(report)
	s.checkStore(resource, report)
	s.checkDurations(report)
	s.checkClients(resource, report)
	s.checkEnterprise(report)
	s.checkResources(resource, report)
}

func (s *Settings) checkIssuer(report func(providers.Problem)) {
	hosts := token.PlainHTTPHosts(s.HTTPAllowedHosts)
	switch err := hosts.CheckIssuer(s.Issuer); {
	case s.Issuer == "":
		report(providers.Problem{Key: "issuer", Code: providers.CodeMissing,
			Reason: "issuer is required",
			Fix:    "set it to the issuer in the metadata of the provider at which people sign in"})
	case token.IsTemplate(s.Issuer):
		report(providers.Problem{Key: "issuer", Code: providers.CodeInsecure,
			Reason: "it accepts every tenant of the provider, and anyone may be able to create one",
			Fix:    "replace the braces by the id of your own tenant"})
	case err != nil:
		report(providers.Problem{Key: "issuer", Code: providers.CodeInvalidValue,
			Reason: err.Error(),
			Fix: "set it to the issuer in the provider's metadata; a host in your own network may be listed in " +
				"provider.http_allowed_hosts" + token.IssuerHint(s.Issuer)})
	}
	for _, host := range s.HTTPAllowedHosts {
		if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" {
			report(providers.Problem{Key: "http_allowed_hosts", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(host) + " is not a host, alone or with a port",
				Fix:    "write only the host, such as issuer or issuer:9000"})
		}
	}
}

// CallbackURL returns the redirect URI to register at the provider.
func CallbackURL(resource providers.Resource) string {
	return resource.Origin() + authserver.CallbackPath
}

func (s *Settings) checkClient(resource providers.Resource, report func(providers.Problem)) {
	if s.ClientID == "" {
		report(providers.Problem{Key: "client_id", Code: providers.CodeMissing,
			Reason: "people sign in at the provider through one client, which is registered there",
			Fix:    "register a confidential web client with the redirect URI " + CallbackURL(resource) + ", and set its id"})
	}
	switch {
	case s.ClientSecret == "" && s.ClientKey == "":
		report(providers.Problem{Key: "client_secret", Code: providers.CodeMissing,
			Reason: "the client at the provider must authenticate",
			Fix:    "set provider.client_secret_file, or provider.client_key_file for private_key_jwt"})
	case s.ClientSecret != "" && s.ClientKey != "":
		report(providers.Problem{Key: "client_key", Code: providers.CodeConflict,
			Reason: "provider.client_secret is also set, and the client authenticates in one way",
			Fix:    "keep one of the two"})
	case s.ClientKey != "":
		if _, err := token.NewClientSigner(s.ClientKey, ""); err != nil {
			report(providers.Problem{Key: "client_key", Code: providers.CodeInvalidValue,
				Reason: err.Error(),
				Fix:    "set provider.client_key_file to its PEM file; RSA, P-256, P-384, P-521 or Ed25519"})
		}
	}
}

// reservedParams are the parameters of the request to the provider that this program sets.
var reservedParams = []string{"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri", "resource"}

func (s *Settings) checkRequest(report func(providers.Problem)) {
	for _, scope := range s.UpstreamScopes {
		if !providers.IsScope(scope) {
			report(providers.Problem{Key: "upstream_scopes", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(scope) + " is not a scope (RFC 6749, section 3.3)",
				Fix:    "use printable ASCII without blanks, quotes and backslashes"})
		}
	}
	if !slices.Contains(s.UpstreamScopes, "openid") {
		report(providers.Problem{Key: "upstream_scopes", Code: providers.CodeMissing,
			Reason: "without openid the provider issues no ID token, which says who has signed in",
			Fix:    "add openid"})
	}
	for _, param := range s.AuthorizeParams {
		switch name, value, ok := strings.Cut(param, "="); {
		case !ok || name == "" || value == "":
			report(providers.Problem{Key: "authorize_params", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(param) + " is not a parameter and its value",
				Fix:    "write name=value, such as access_type=offline"})
		case slices.Contains(reservedParams, name):
			report(providers.Problem{Key: "authorize_params", Code: providers.CodeNotAllowed,
				Reason: name + " is set by this program",
				Fix:    "remove it; scopes of the provider belong into provider.upstream_scopes"})
		}
	}
}

// mutableClaims may change their owner: an address can be given to another person.
var mutableClaims = []string{"email", "preferred_username", "upn", "unique_name", "name", "nickname", "phone_number"}

func (s *Settings) checkPeople(report func(providers.Problem)) {
	switch {
	case slices.Contains(mutableClaims, s.SubjectClaim) || isEmailClaim(s.SubjectClaim):
		report(providers.Problem{Key: "subject_claim", Code: providers.CodeInsecure,
			Reason: s.SubjectClaim + " can be given to another person, who would then be the same user here",
			Fix:    "use a claim that is never reassigned: sub, or oid at Entra"})
	case strings.Trim(s.SubjectClaim, " ") != s.SubjectClaim || s.SubjectClaim == "":
		report(providers.Problem{Key: "subject_claim", Code: providers.CodeInvalidValue,
			Reason: strconv.Quote(s.SubjectClaim) + " is not the name of a claim",
			Fix:    "use the name of a claim of the ID token, such as sub"})
	}
	required, problems := ParseRequiredClaims(s.RequiredClaims)
	reportSyntax("required_claims", problems, report)
	rules, problems := ParseScopeRules(s.ScopeRules)
	reportSyntax("scope_rules", problems, report)
	if isOpenIssuer(s.Issuer) && len(required) == 0 && !rules.NameClaims() {
		report(providers.Problem{Key: "issuer", Code: providers.CodeInsecure,
			Reason: "anyone can create an account there, and everyone who has one could sign in",
			Fix: "set provider.required_claims, such as hd=example.com for Google, or name claims in provider.scope_rules " +
				"(not only *)"})
	}
	if isEntra(s.Issuer) || s.Preset == "entra" {
		for _, claim := range rules.Claims() {
			if slices.Contains(mutableClaims, claim) {
				report(providers.Problem{Key: "scope_rules", Code: providers.CodeInsecure,
					Reason: "at Entra, administrators of any tenant can choose the value of " + claim,
					Fix:    "use app roles (roles=...) or groups by their ids"})
			}
		}
	}
}

func reportSyntax(key string, problems []error, report func(providers.Problem)) {
	for _, problem := range problems {
		if wrong := new(SyntaxError); errors.As(problem, &wrong) {
			report(providers.Problem{Key: key, Code: providers.CodeInvalidValue, Reason: wrong.Reason, Fix: wrong.Fix})
		}
	}
}

// openIssuers are hosts of providers at which anyone can create an account.
var openIssuers = []string{"accounts.google.com", "appleid.apple.com", "www.facebook.com", "www.linkedin.com",
	"github.com", "token.actions.githubusercontent.com", "gitlab.com", "login.yahoo.com", "api.login.yahoo.com",
	"id.twitch.tv", "access.line.me", "www.amazon.com", "login.live.com", "discord.com", "slack.com"}

// consumersTenant is the tenant of personal accounts at Microsoft.
const consumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// isOpenIssuer reports whether anyone can create an account at an issuer.
func isOpenIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return slices.Contains(openIssuers, u.Hostname()) ||
		isEntra(issuer) && slices.Contains([]string{"common", "organizations", "consumers", consumersTenant}, first)
}

func isEntra(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && strings.HasPrefix(u.Hostname(), "login.microsoftonline.")
}

func (s *Settings) checkStore(resource providers.Resource, report func(providers.Problem)) {
	if s.Secrets == "" {
		report(providers.Problem{Key: "secrets_file", Code: providers.CodeMissing,
			Reason: "registrations, cookies, refresh tokens and stored sign-ins are sealed with secrets",
			Fix:    "run `gatehouse secret FILE`, and name the file; all replicas need the same"})
	} else if _, err := seal.Parse([]byte(s.Secrets.Reveal())); err != nil {
		report(providers.Problem{Key: "secrets_file", Code: providers.CodeInsecure,
			Reason: err.Error(),
			Fix:    "run `gatehouse secret FILE`, which writes 32 random bytes, and name that file"})
	}
	switch err := store.Check(s.Store); {
	case s.Store == store.InMemory && resource.IsLoopback():
	case s.Store == store.InMemory:
		report(providers.Problem{Key: "store", Code: providers.CodeInsecure,
			Reason: "everyone would have to sign in again after each restart, and replicas would not know of each other",
			Fix:    "use file:///var/lib/gatehouse/sign-ins.db for one replica, or redis://HOST:6379/0 for several"})
	case err != nil:
		report(providers.Problem{Key: "store", Code: providers.CodeInvalidValue,
			Reason: err.Error(),
			Fix: "use file:///PATH, redis://HOST:PORT/DB or rediss://HOST:PORT/DB; a password belongs into " +
				"provider.store_password_file"})
	}
	if s.StorePassword != "" && !strings.HasPrefix(s.Store, "redis") {
		report(providers.Problem{Key: "store_password", Code: providers.CodeNoEffect,
			Reason: "the store " + s.Store + " has no password",
			Fix:    "remove it"})
	}
}

func (s *Settings) checkDurations(report func(providers.Problem)) {
	token.CheckDurations(report, []token.DurationLimits{
		{Key: "refresh_grace", Value: s.RefreshGrace, Most: 10 * time.Minute},
		{Key: "recheck_interval", Value: s.RecheckInterval, Least: time.Minute, Most: 24 * time.Hour},
		{Key: "recheck_max_stale", Value: s.RecheckMaxStale, Least: time.Minute, Most: 168 * time.Hour},
		{Key: "session_lifetime", Value: s.SessionLifetime, Least: 10 * time.Minute, Most: 8760 * time.Hour},
		{Key: "session_without_refresh", Value: s.SessionWithoutRefresh, Least: 10 * time.Minute, Most: 720 * time.Hour},
		{Key: "registration_lifetime", Value: s.RegistrationLifetime, Least: time.Hour, Most: 87600 * time.Hour},
	})
	if s.RecheckMaxStale < s.RecheckInterval {
		report(providers.Problem{Key: "recheck_max_stale", Code: providers.CodeConflict,
			Reason: "it is shorter than provider.recheck_interval, so the provider would have to be asked earlier than it is",
			Fix:    "use at least " + s.RecheckInterval.String()})
	}
	if _, err := parseRevokeBefore(s.RevokeBefore); err != nil {
		report(providers.Problem{Key: "revoke_before", Code: providers.CodeInvalidValue,
			Reason: "it is not a time",
			Fix:    "write it as in 2026-11-30T12:00:00Z (RFC 3339)"})
	}
}

func parseRevokeBefore(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, text)
}

func (s *Settings) checkClients(resource providers.Resource, report func(providers.Problem)) {
	if s.AllowLoopbackClientDocuments && !s.ClientDocuments {
		report(providers.Problem{Key: "allow_loopback_client_documents", Code: providers.CodeNoEffect,
			Reason: "provider.client_documents is false, so no document is fetched",
			Fix:    "set provider.client_documents to true, or remove this setting"})
	}
	if s.AllowLoopbackClientDocuments && !resource.IsLoopback() {
		report(providers.Problem{Key: "allow_loopback_client_documents", Code: providers.CodeInsecure,
			Reason: "anyone who reaches this server could make it send requests into its own network",
			Fix:    "remove it; it is for a resource on localhost"})
	}
	for _, host := range s.RedirectHosts {
		if name := strings.TrimPrefix(host, "*."); name != strings.ToLower(name) || !isHostName(name) {
			report(providers.Problem{Key: "redirect_hosts", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(host) + " is not the name of a host",
				Fix:    "write it in lower case, such as claude.ai, or *.example.com for all names below one"})
		}
	}
	for _, scheme := range s.RedirectSchemes {
		if err := authserver.CheckAppScheme(scheme); err != nil {
			report(providers.Problem{Key: "redirect_schemes", Code: providers.CodeNotAllowed,
				Reason: strconv.Quote(scheme) + " " + err.Error(),
				Fix:    "use the scheme of a native app, such as cursor"})
		}
	}
	for _, client := range s.DeniedClients {
		if strings.TrimSpace(client) == "" {
			report(providers.Problem{Key: "denied_clients", Code: providers.CodeInvalidValue,
				Reason: "it has an empty entry", Fix: "remove it"})
		}
	}
}

func isHostName(name string) bool {
	u, err := url.Parse("https://" + name)
	return err == nil && u.Host == name && u.Port() == "" && name != "" && !strings.ContainsAny(name, "*/ ")
}

func (s *Settings) checkEnterprise(report func(providers.Problem)) {
	hosts := token.PlainHTTPHosts(s.HTTPAllowedHosts)
	for _, issuer := range s.EnterpriseIssuers {
		if err := hosts.CheckIssuer(issuer); err != nil || token.IsTemplate(issuer) {
			reason := "it is a template"
			if err != nil {
				reason = err.Error()
			}
			report(providers.Problem{Key: "enterprise_issuers", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(issuer) + ": " + reason,
				Fix:    "name the issuer of the company's provider, exactly as in its metadata"})
		}
	}
	for _, entry := range s.EnterpriseClients {
		if _, err := readEnterpriseClient(entry); err != nil {
			report(providers.Problem{Key: "enterprise_clients", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(entry) + ": " + err.Error(),
				Fix:    "write ID=FILE with the secret in FILE, or the https URL of a client ID metadata document"})
		}
	}
	used := map[string]int{"enterprise_issuers": len(s.EnterpriseIssuers),
		"enterprise_clients": len(s.EnterpriseClients), "enterprise_scopes": len(s.EnterpriseScopes)}
	isUsed := len(s.EnterpriseIssuers)+len(s.EnterpriseClients)+len(s.EnterpriseScopes) > 0
	for _, key := range []string{"enterprise_issuers", "enterprise_clients", "enterprise_scopes"} {
		if isUsed && used[key] == 0 {
			report(providers.Problem{Key: key, Code: providers.CodeMissing,
				Reason: "identity assertions need provider.enterprise_issuers, provider.enterprise_clients and " +
					"provider.enterprise_scopes",
				Fix: "set all three, or none"})
		}
	}
	for _, scope := range s.EnterpriseScopes {
		if !providers.IsScope(scope) {
			report(providers.Problem{Key: "enterprise_scopes", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(scope) + " is not a scope (RFC 6749, section 3.3)",
				Fix:    "use printable ASCII without blanks, quotes and backslashes"})
		}
	}
}

// CheckScopes reports scopes that the settings name, but no operation needs; known may be nil. Without rules, people
// have the initial scopes.
func (s *Settings) CheckScopes(known, initial []string, report func(providers.Problem)) {
	if len(s.ScopeRules) == 0 && len(initial) == 0 {
		report(providers.Problem{Key: "scope_rules", Code: providers.CodeMissing,
			Reason: "without it, everyone has the scopes of scopes.initial, which is empty: no person could have a scope",
			Fix: "set scopes.required, such as [mcp:use], which everyone has then, or rules with scopes that this server " +
				"knows"})
	}
	if known == nil {
		return
	}
	rules, _ := ParseScopeRules(s.ScopeRules) // its errors are reported by Validate
	for _, list := range []struct {
		key    string
		scopes []string
	}{{"scope_rules", rules.Scopes()}, {"enterprise_scopes", s.EnterpriseScopes}} {
		for _, scope := range list.scopes {
			if !slices.Contains(known, scope) {
				report(providers.Problem{Key: list.key, Code: providers.CodeUnknownValue,
					Reason: "no tool and no setting of scopes has the scope " + strconv.Quote(scope),
					Fix: "use those of " + strings.Join(known, ", ") + ", name it in scopes.required if every call needs it, " +
						"or remove it"})
			}
		}
	}
}

func (s *Settings) checkResources(resource providers.Resource, report func(providers.Problem)) {
	seen := []string{resource.String()}
	for _, other := range s.Resources {
		parsed, err := providers.ParseResource(other)
		switch {
		case err != nil:
			report(providers.Problem{Key: "resources", Code: providers.CodeInvalidValue,
				Reason: strconv.Quote(other) + ": " + err.Error(),
				Fix:    "write the URL of the resource as its own setting resource has it"})
			continue
		case slices.Contains(seen, parsed.String()):
			report(providers.Problem{Key: "resources", Code: providers.CodeConflict,
				Reason: strconv.Quote(other) + " is listed twice, or is the setting resource",
				Fix:    "remove it"})
		}
		seen = append(seen, parsed.String())
	}
	if slices.Contains(authserver.ProviderPaths(), resource.Path()) {
		report(providers.Problem{Key: "kind", Code: providers.CodeConflict,
			Reason: "the authorization server answers at " + resource.Path() + ", at the origin of the resource",
			Fix:    "use another path in resource, such as /mcp"})
	}
}
