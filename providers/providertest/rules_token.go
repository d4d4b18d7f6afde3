package providertest

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// attackRules are the rules about tokens that must be refused.
func attackRules() []attackRule {
	return []attackRule{
		{"algorithms", "a token with an algorithm that is not configured, or with alg none, is refused",
			"RFC 8725, sections 2.1 and 3.1; McLean 2015", algorithmAttacks},
		{"key-confusion", "a public key is not accepted as an HMAC secret",
			"RFC 8725, section 2.1; CVE-2016-5431, CVE-2023-48223, CVE-2026-34950", keyConfusionAttacks},
		{"signatures", "a token without the issuer's signature over exactly its bytes is refused",
			"RFC 7515, section 5.2; CVE-2022-21449; Wycheproof", signatureAttacks},
		{"untrusted-keys", "a key in a token is not used, and a URL in a token is not requested",
			"RFC 8725, sections 3.8 and 3.10; CVE-2018-0114", untrustedKeyAttacks},
		{"critical-headers", "a token with a critical header that is not understood is refused",
			"RFC 7515, section 4.1.11; RFC 7797; CVE-2025-59420, CVE-2026-32597", criticalAttacks},
		{"token-types", "ID tokens, logout tokens and other JWTs of the same issuer are refused",
			"RFC 9068, section 4; RFC 8725, sections 3.11 and 3.12", tokenTypeAttacks},
		{"type-claims", "a token with a claim that identifies it as a refresh, ID or logout token is refused",
			"RFC 9068, section 4; RFC 8725, section 3.12", typeClaimAttacks},
		{"malformed-tokens",
			"everything except one compact JWS of one JSON object is refused, without a panic and in " +
				"bounded time",
			"RFC 7515, section 7.1; RFC 7519, section 7.2; CVE-2024-28180, CVE-2025-27144", malformedAttacks},
		{"lifetimes", "tokens that are expired, not yet valid or without exp are refused",
			"RFC 9068, section 2.2; RFC 7519, sections 2 and 4.1", timeAttacks},
		{"issuers", "iss must equal the configured issuer byte for byte, and the metadata of another " +
			"issuer is not fetched",
			"RFC 8725, section 3.8; RFC 8414, section 3.3", issuerAttacks},
		{"audiences", "tokens for another resource are refused",
			"RFC 9068, section 4; RFC 8707; MCP, token passthrough", audienceAttacks},
		{"ambiguous-claims", "a token with a duplicate claim, or with a claim in another case, is refused",
			"RFC 7519, section 4; CVE-2026-27896", ambiguousClaimAttacks},
		{"subjects", "a token without a usable sub is refused",
			"RFC 9068, section 2.2", subjectAttacks},
		{"sender-constrained", "a token that is bound to a key is refused as a bearer token",
			"RFC 9449, section 7.2; RFC 8705, section 3", senderConstrainedAttacks},
		{"near-misses", "the tokens in Subject.Refused are refused",
			"the harness of the adapter", nearMisses},
	}
}

type attackRule struct {
	name, demand, source string
	// attacks returns the tokens. An empty list fails the rule: it must be excepted for the adapter.
	attacks func(*openAdapter) []attack
}

func tokenRules() []Rule {
	rules := []Rule{
		{"good-tokens", "tokens of every variety are accepted, and yield the expected identity",
			"RFC 9068, sections 2.2 and 4", withAdapter(checkGood)},
	}
	for _, r := range attackRules() {
		check := cpuBound(func(o *openAdapter) error { return checkAttacks(o, r.attacks) })
		rules = append(rules, Rule{r.name, r.demand, r.source, check})
	}
	return append(rules, []Rule{
		{"reasons", "every refusal carries the reason of the check that failed",
			"providers.ReasonOf", cpuBound(checkReasons)},
		{"no-leaks", "no error and no log line contains a token or its claims",
			"OWASP MCP Top 10, MCP01; CWE-532", cpuBound(checkLeaks)},
		{"cached-tokens",
			"an accepted token is refused once it expires, and does not make similar tokens acceptable",
			"RFC 7519, section 4.1.4; CWE-613; CWE-345", withAdapter(checkCache)},
		{"null-claims", "an optional claim that is null counts as absent",
			"RFC 7519, section 4.1", cpuBound(checkNullClaims)},
		{"metadata", "the metadata names this resource and its authorization servers",
			"RFC 9728, section 2; RFC 8414, section 2", withAdapter(checkMetadata)},
		{"concurrency", "concurrent callers never get each other's identity",
			"CVE-2026-25536", cpuBound(checkConcurrency)},
	}...)
}

// leewayLimit is far more than clock skew, and well below the lifetime of tokens.
const leewayLimit = 5 * time.Minute

func checkGood(o *openAdapter) error {
	var wrong problems
	for _, template := range o.all {
		wrong.add(template.name, checkIdentity(o, template))
	}
	return wrong.err()
}

func checkIdentity(o *openAdapter, template *template) error {
	id, err := o.verify(context.Background(), template.token())
	if err != nil {
		return fmt.Errorf("not accepted: %w", err)
	}
	want := template.want
	for _, field := range []struct{ name, got, want string }{
		{"issuer", id.Issuer, want.Issuer}, {"subject", id.Subject, want.Subject},
		{"client", id.Client, want.Client},
		{"audience", fmt.Sprintf("%q", id.Audience), fmt.Sprintf("%q", want.Audience)},
		{"scopes", fmt.Sprintf("%q", id.Scopes), fmt.Sprintf("%q", want.Scopes)},
		{"expiry", id.Expiry.UTC().String(), want.Expiry.UTC().String()},
		{"time of issue", id.IssuedAt.UTC().String(), want.IssuedAt.UTC().String()},
		{"token id", id.TokenID, want.TokenID},
		{"claim canary", string(id.Claims()["canary"]), strconv.Quote(canary)},
	} {
		if field.got != field.want {
			return fmt.Errorf("%s is %s, want %s", field.name, field.got, field.want)
		}
	}
	if leeway := id.ExpiryWithLeeway.Sub(id.Expiry); leeway < 0 || leeway > leewayLimit {
		return fmt.Errorf("the leeway is %s, want 0 to %s", leeway, leewayLimit)
	}
	return nil
}

// optionalClaims are claims that an access token may lack, and that may be null then.
var optionalClaims = []string{
	"nbf", "iat", "jti", "client_id", "azp", "nonce", "at_hash", "c_hash", "events", "cnf", "typ", "type",
	"token_use",
	"token_type", "tokenType", "auth_time", "act",
}

func checkNullClaims(o *openAdapter) error {
	all := m{}
	for _, name := range optionalClaims {
		all[name] = null
	}
	var wrong problems
	for _, template := range o.types() {
		if o.accepts(template.withClaims(all)) == nil {
			continue
		}
		for _, name := range optionalClaims {
			if o.accepts(template.withClaims(m{name: nil})) == nil { // otherwise the adapter requires it
				wrong.add(fmt.Sprintf("%s, with %s null", template.name, name),
					o.accepts(template.withClaims(m{name: null})))
			}
		}
	}
	return wrong.err()
}

// prepare measures the leeway, which some attacks depend on.
func (o *openAdapter) prepare() error {
	id, err := o.verify(context.Background(), o.base.token())
	if err != nil {
		return fmt.Errorf("a good token is not accepted: %w", err)
	}
	o.leeway = id.ExpiryWithLeeway.Sub(id.Expiry)
	return nil
}

// tokens calls check for every token that attacks returns.
func (o *openAdapter) tokens(attacks func(*openAdapter) []attack, check func(attack) error) error {
	if err := o.prepare(); err != nil {
		return err
	}
	list := attacks(o)
	if len(list) == 0 {
		return errors.New("no token for this rule in Good and Refused: extend them, or name the rule in Except")
	}
	var wrong problems
	for _, a := range list {
		wrong.add(a.name, check(a))
	}
	return wrong.err()
}

func checkAttacks(o *openAdapter, attacks func(*openAdapter) []attack) error {
	wrong := o.tokens(attacks, func(a attack) error { return o.refuses(a.token) })
	return errors.Join(wrong, o.Issuer.checkTrap())
}

// allAttacks returns the attacks of all rules that are not excepted.
func allAttacks(o *openAdapter) []attack {
	var all []attack
	for _, r := range attackRules() {
		if _, ok := o.Except[r.name]; !ok {
			all = append(all, r.attacks(o)...)
		}
	}
	return all
}

func nearMisses(o *openAdapter) []attack {
	var attacks []attack
	for _, miss := range o.Refused {
		template := *o.base
		template.claims = merged(template.claims, miss.Claims)
		template.key, template.header = o.Issuer.headerFor(merged(o.base.header, miss.Header))
		attacks = append(attacks, attack{miss.Name, template.token(), oneOf(miss.Want)})
	}
	return attacks
}

func checkReasons(o *openAdapter) error {
	return o.tokens(allAttacks, func(a attack) error {
		err, _ := o.refusal(a.token)
		switch reason := providers.ReasonOf(err); {
		case err == nil:
			return errors.New("the token is accepted")
		case reason == "":
			return fmt.Errorf("the error carries no reason: %w", err)
		case len(a.want) > 0 && !slices.Contains(a.want, reason):
			return fmt.Errorf("want %v: %w", a.want, err)
		}
		return nil
	})
}

func checkLeaks(o *openAdapter) error {
	wrong := o.tokens(allAttacks, func(a attack) error {
		_, err := o.verify(context.Background(), a.token)
		if err == nil {
			return errors.New("the token is accepted")
		}
		return errors.Join(checkErrorText(err, a.token), leaks(o.log.String(), a.token))
	})
	return errors.Join(wrong, leaks(o.log.String(), o.base.token()))
}

// scopeToken matches a scope-token (RFC 6749, section 3.3).
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)

func checkMetadata(o *openAdapter) error { return o.metadata() }

func (o *openAdapter) metadata() error {
	d := o.provider.Metadata()
	var wrong problems
	if d.Resource != o.Resource.String() {
		wrong.add("resource", fmt.Errorf("%q, want %q", d.Resource, o.Resource))
	}
	if len(d.AuthorizationServers) == 0 {
		wrong.add("authorization_servers", errors.New("empty"))
	}
	for _, server := range d.AuthorizationServers {
		u, err := url.Parse(server)
		if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(server, "?#") ||
			u.Scheme != "https" && (u.Scheme != "http" || !providers.IsLoopback(u.Hostname())) {
			wrong.add("authorization_servers",
				fmt.Errorf("%q is not an issuer identifier with https, or http on loopback", server))
		}
	}
	if !slices.Equal(d.BearerMethodsSupported, []string{"header"}) {
		wrong.add("bearer_methods_supported", fmt.Errorf("%q, want only header", d.BearerMethodsSupported))
	}
	if len(d.ScopesSupported) != len(o.info.InitialScopes) {
		wrong.add("scopes_supported", fmt.Errorf("%q, want as many as %q, the initial scopes", d.ScopesSupported,
			o.info.InitialScopes))
	}
	for _, scope := range d.ScopesSupported {
		if !scopeToken.MatchString(scope) || scope == "offline_access" {
			wrong.add("scopes_supported", fmt.Errorf("%q is not a scope of a resource", scope))
		}
	}
	if d.ResourceName != o.info.Name {
		wrong.add("resource_name", fmt.Errorf("%q, want %q", d.ResourceName, o.info.Name))
	}
	return wrong.err()
}

// checkCache is for adapters that cache verified tokens, which is allowed.
func checkCache(o *openAdapter) error {
	if err := o.prepare(); err != nil {
		return err
	}
	var wrong problems
	otherKeys := map[jose.SignatureAlgorithm]crypto.Signer{}
	for alg := range o.algorithms() {
		otherKeys[alg] = newKey(o.Issuer.t, alg)
	}
	for _, template := range o.all {
		header, payload, signature := template.parts()
		wrong.add(template.name, o.accepts(strings.Join([]string{header, payload, signature}, ".")))
		_, otherPayload, otherSignature := splitToken(
			template.withClaims(m{"sub": "mallory", "jti": canary + "-other"}))
		for name, token := range map[string]string{
			"without its signature":         header + "." + payload + ".",
			"with the signature of another": header + "." + payload + "." + otherSignature,
			"with the payload of another":   header + "." + otherPayload + "." + signature,
			"by another key, with the same header and payload": template.signedBy(otherKeys[template.algorithm()],
				nil),
		} {
			wrong.add(template.name+", "+name, o.refuses(token))
		}
	}
	return errors.Join(wrong.err(), o.checkCachedExpiry())
}

// checkCachedExpiry lets a token expire after it was accepted.
func (o *openAdapter) checkCachedExpiry() error {
	for {
		end := time.Now().Add(2 * time.Second).Truncate(time.Second)
		token := o.base.withClaims(m{"exp": end.Add(-o.leeway).Unix()})
		err := o.accepts(token)
		switch {
		case time.Now().After(end):
			continue // the machine was too slow: the token expired before it was verified
		case err != nil:
			return err
		}
		time.Sleep(time.Until(end))
		return o.eventually("an expired token is refused, although it was accepted before",
			func() error { return o.refuses(token) })
	}
}

func checkConcurrency(o *openAdapter) error {
	const callers, rounds = 16, 10
	type caller struct{ good, bad, mark string }
	var list []caller
	for n := range callers {
		template := o.all[n%len(o.all)]
		mark := fmt.Sprintf("%s-%d", canary, n)
		list = append(list, caller{template.withClaims(m{"canary": mark}),
			template.withClaims(m{"canary": mark, "exp": 1}), strconv.Quote(mark)})
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong problems
	)
	for n, c := range list {
		wg.Go(func() {
			for range rounds {
				id, err := o.verify(context.Background(), c.good)
				switch {
				case err != nil:
					err = fmt.Errorf("a good token is not accepted: %w", err)
				case string(id.Claims()["canary"]) != c.mark:
					err = errors.New("the identity of another caller was returned")
				default:
					err = o.refuses(c.bad)
				}
				if o.provider.Metadata().Resource != o.Resource.String() {
					err = errors.Join(err, errors.New("the metadata changed"))
				}
				if err != nil {
					mu.Lock()
					wrong.add(fmt.Sprintf("caller %d", n), err)
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return wrong.err()
}
