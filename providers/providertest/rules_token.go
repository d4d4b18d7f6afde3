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

// attackRules are the rules that refuse a list of tokens.
func attackRules() []attackRule {
	return []attackRule{
		{"algorithms", "no token says an algorithm that was not configured, and none least of all", "RFC 8725, sections 2.1 and 3.1; McLean 2015", algorithmAttacks},
		{"key-confusion", "a public key is nobody's secret", "RFC 8725, section 2.1; CVE-2016-5431, CVE-2023-48223, CVE-2026-34950", keyConfusionAttacks},
		{"signatures", "a token without its issuer's signature over exactly these bytes is refused", "RFC 7515, section 5.2; CVE-2022-21449; Wycheproof", signatureAttacks},
		{"self-service", "no token says which key it is to be verified with, and none causes a request", "RFC 8725, sections 3.8 and 3.10; CVE-2018-0114", selfServiceAttacks},
		{"critical-headers", "a token that must be read in a way that is not understood is refused", "RFC 7515, section 4.1.11; RFC 7797; CVE-2025-59420, CVE-2026-32597", criticalAttacks},
		{"other-kinds", "ID tokens, logout tokens and other JWTs of the same issuer open nothing", "RFC 9068, section 4; RFC 8725, sections 3.11 and 3.12", otherKindAttacks},
		{"own-types", "a token that calls itself a refresh, ID or logout token in a claim is no access token", "RFC 9068, section 4; RFC 8725, section 3.12", ownTypeAttacks},
		{"shapes", "whatever is not one compact JWS over one JSON object is refused, without a panic and in time", "RFC 7515, section 7.1; RFC 7519, section 7.2; CVE-2024-28180, CVE-2025-27144", shapeAttacks},
		{"times", "tokens that expired, have not begun, or do not say when are refused", "RFC 9068, section 2.2; RFC 7519, sections 2 and 4.1", timeAttacks},
		{"issuers", "iss is the configured issuer byte for byte, and is never looked up", "RFC 8725, section 3.8; RFC 8414, section 3.3", issuerAttacks},
		{"audiences", "tokens for another resource are refused", "RFC 9068, section 4; RFC 8707; MCP, token passthrough", audienceAttacks},
		{"ambiguous-names", "a claim that is there twice, or in another case, refuses the token", "RFC 7519, section 4; CVE-2026-27896", nameAttacks},
		{"subjects", "a token that names nobody is refused", "RFC 9068, section 2.2", subjectAttacks},
		{"sender-constrained", "a token that is bound to a key is no bearer token", "RFC 9449, section 7.2; RFC 8705, section 3", boundAttacks},
		{"near-misses", "what this very adapter must refuse is refused", "the adapter's harness", nearMisses},
	}
}

type attackRule struct {
	name, demand, source string
	// attacks makes the tokens. None at all means that there is nothing to make them from, and the rule cannot be shown.
	attacks func(*opened) []attack
}

func tokenRules() []Rule {
	rules := []Rule{
		{"good-tokens", "tokens of every variety are accepted, and say who is calling", "RFC 9068, sections 2.2 and 4", opening(checkGood)},
	}
	for _, r := range attackRules() {
		rules = append(rules, Rule{r.name, r.demand, r.source, working(func(o *opened) error { return checkAttacks(o, r.attacks) })})
	}
	return append(rules,
		Rule{"reasons", "every refusal names the rule that decided", "providers.ReasonOf", working(checkReasons)},
		Rule{"discretion", "no error and no log line repeats a token or what it claims", "OWASP MCP Top 10, MCP01; CWE-532", working(checkDiscretion)},
		Rule{"remembered-tokens", "what was accepted a moment ago is refused when it is over, and is no pledge for its likes", "RFC 7519, section 4.1.4; CWE-613; CWE-345", opening(checkMemory)},
		Rule{"null-claims", "an optional claim that is null counts as absent", "RFC 7519, section 4.1", working(checkNull)},
		Rule{"metadata", "the metadata names this resource, and where to sign in for it", "RFC 9728, section 2; RFC 8414, section 2", opening(checkMetadata)},
		Rule{"concurrency", "callers who come at once are never taken for one another", "CVE-2026-25536", working(checkConcurrency)},
	)
}

// leewayLimit is far beyond what clocks differ by, and well below what tokens live for.
const leewayLimit = 5 * time.Minute

func checkGood(o *opened) error {
	var wrong problems
	for _, mint := range o.all {
		wrong.add(mint.name, checkIdentity(o, mint))
	}
	return wrong.err()
}

func checkIdentity(o *opened, mint *mint) error {
	id, err := o.verify(context.Background(), mint.token())
	if err != nil {
		return fmt.Errorf("it is not accepted: %w", err)
	}
	want := mint.want
	for _, field := range []struct{ name, got, want string }{
		{"issuer", id.Issuer, want.Issuer}, {"subject", id.Subject, want.Subject}, {"client", id.Client, want.Client},
		{"audience", fmt.Sprintf("%q", id.Audience), fmt.Sprintf("%q", want.Audience)},
		{"scopes", fmt.Sprintf("%q", id.Scopes), fmt.Sprintf("%q", want.Scopes)},
		{"expiry", id.Expiry.UTC().String(), want.Expiry.UTC().String()},
		{"claim canary", string(id.Claims()["canary"]), strconv.Quote(canary)},
	} {
		if field.got != field.want {
			return fmt.Errorf("its %s is %s, want %s", field.name, field.got, field.want)
		}
	}
	if leeway := id.ExpiryWithLeeway.Sub(id.Expiry); leeway < 0 || leeway > leewayLimit {
		return fmt.Errorf("it is good until %s after its expiry, want none to %s", leeway, leewayLimit)
	}
	return nil
}

// optionalClaims are claims without which an access token may do, and which it may have as null then.
var optionalClaims = []string{
	"nbf", "iat", "jti", "client_id", "azp", "nonce", "at_hash", "c_hash", "events", "cnf", "typ", "type", "token_use",
	"token_type", "tokenType", "auth_time", "act",
}

func checkNull(o *opened) error {
	all := m{}
	for _, name := range optionalClaims {
		all[name] = null
	}
	var wrong problems
	for _, mint := range o.types() {
		if o.accepts(mint.with(all)) == nil {
			continue
		}
		for _, name := range optionalClaims {
			if o.accepts(mint.with(m{name: nil})) == nil { // otherwise this adapter needs it
				wrong.add(fmt.Sprintf("%s, with %s null", mint.name, name), o.accepts(mint.with(m{name: null})))
			}
		}
	}
	return wrong.err()
}

// prepare finds out what some attacks are measured by.
func (o *opened) prepare() error {
	id, err := o.verify(context.Background(), o.base.token())
	if err != nil {
		return fmt.Errorf("a good token is not accepted: %w", err)
	}
	o.leeway = id.ExpiryWithLeeway.Sub(id.Expiry)
	return nil
}

// tokens calls check for every token of a list of attacks.
func (o *opened) tokens(attacks func(*opened) []attack, check func(attack) error) error {
	if err := o.prepare(); err != nil {
		return err
	}
	list := attacks(o)
	if len(list) == 0 {
		return errors.New("the good tokens and near misses give nothing to attack with: add to them, or except this rule")
	}
	var wrong problems
	for _, a := range list {
		wrong.add(a.name, check(a))
	}
	return wrong.err()
}

func checkAttacks(o *opened, attacks func(*opened) []attack) error {
	wrong := o.tokens(attacks, func(a attack) error { return o.refuses(a.token) })
	return errors.Join(wrong, o.Issuer.trapped())
}

// allAttacks are those of all rules that can be shown of the adapter.
func allAttacks(o *opened) []attack {
	var all []attack
	for _, r := range attackRules() {
		if _, ok := o.Except[r.name]; !ok {
			all = append(all, r.attacks(o)...)
		}
	}
	return all
}

func nearMisses(o *opened) []attack {
	var attacks []attack
	for _, miss := range o.Refused {
		mint := *o.base
		mint.claims = merged(mint.claims, miss.Claims)
		mint.key, mint.header = o.Issuer.headerFor(merged(o.base.header, miss.Header))
		attacks = append(attacks, attack{miss.Name, mint.token(), because(miss.Want)})
	}
	return attacks
}

func checkReasons(o *opened) error {
	return o.tokens(allAttacks, func(a attack) error {
		err, _ := o.refusal(a.token)
		switch reason := providers.ReasonOf(err); {
		case err == nil:
			return errors.New("it is accepted")
		case reason == "":
			return fmt.Errorf("the error carries no reason: %w", err)
		case len(a.want) > 0 && !slices.Contains(a.want, reason):
			return fmt.Errorf("want %v: %w", a.want, err)
		}
		return nil
	})
}

func checkDiscretion(o *opened) error {
	wrong := o.tokens(allAttacks, func(a attack) error {
		_, err := o.verify(context.Background(), a.token)
		if err == nil {
			return errors.New("it is accepted")
		}
		return errors.Join(indiscreet(err, a.token), repeats(o.log.String(), a.token))
	})
	return errors.Join(wrong, repeats(o.log.String(), o.base.token()))
}

// scopeToken is a scope as RFC 6749, section 3.3 has it.
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)

func checkMetadata(o *opened) error { return o.metadata() }

func (o *opened) metadata() error {
	d := o.provider.Metadata()
	var wrong problems
	if d.Resource != o.Resource.String() {
		wrong.add("resource", fmt.Errorf("%q, clients compare it with %q", d.Resource, o.Resource))
	}
	if len(d.AuthorizationServers) == 0 {
		wrong.add("authorization_servers", errors.New("there is none"))
	}
	for _, server := range d.AuthorizationServers {
		u, err := url.Parse(server)
		if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(server, "?#") || u.Scheme != "https" && (u.Scheme != "http" || !providers.IsLoopback(u.Hostname())) {
			wrong.add("authorization_servers", fmt.Errorf("%q is no issuer identifier that clients could follow", server))
		}
	}
	if !slices.Equal(d.BearerMethodsSupported, []string{"header"}) {
		wrong.add("bearer_methods_supported", fmt.Errorf("%q, want only header", d.BearerMethodsSupported))
	}
	if len(d.ScopesSupported) != len(o.info.InitialScopes) {
		wrong.add("scopes_supported", fmt.Errorf("%q, want as many as %q: what to ask for at first sign-in", d.ScopesSupported, o.info.InitialScopes))
	}
	for _, scope := range d.ScopesSupported {
		if !scopeToken.MatchString(scope) || scope == "offline_access" {
			wrong.add("scopes_supported", fmt.Errorf("%q is not a resource's scope", scope))
		}
	}
	if d.ResourceName != o.info.Name {
		wrong.add("resource_name", fmt.Errorf("%q, want %q", d.ResourceName, o.info.Name))
	}
	return wrong.err()
}

// checkMemory is about adapters that remember tokens, as they may.
func checkMemory(o *opened) error {
	if err := o.prepare(); err != nil {
		return err
	}
	var wrong problems
	strangers := map[jose.SignatureAlgorithm]crypto.Signer{}
	for alg := range o.algorithms() {
		strangers[alg] = newKey(o.Issuer.t, alg)
	}
	for _, mint := range o.all {
		header, payload, signature := mint.parts()
		wrong.add(mint.name, o.accepts(strings.Join([]string{header, payload, signature}, ".")))
		_, otherPayload, otherSignature := cut(mint.with(m{"sub": "mallory", "jti": canary + "-other"}))
		for name, token := range map[string]string{
			"without its signature":         header + "." + payload + ".",
			"with the signature of another": header + "." + payload + "." + otherSignature,
			"with the payload of another":   header + "." + otherPayload + "." + signature,
			"by a stranger, word for word":  mint.by(strangers[mint.algorithm()], nil),
		} {
			wrong.add(mint.name+", "+name, o.refuses(token))
		}
	}
	return errors.Join(wrong.err(), o.checkRememberedExpiry())
}

// checkRememberedExpiry lets a token end while it is remembered.
func (o *opened) checkRememberedExpiry() error {
	for {
		end := time.Now().Add(2 * time.Second).Truncate(time.Second)
		token := o.base.with(m{"exp": end.Add(-o.leeway).Unix()})
		err := o.accepts(token)
		switch {
		case time.Now().After(end):
			continue // on a machine so slow that it ended before it was looked at
		case err != nil:
			return err
		}
		time.Sleep(time.Until(end))
		return o.eventually("a token that is over is refused, although it was good", func() error { return o.refuses(token) })
	}
}

func checkConcurrency(o *opened) error {
	const callers, rounds = 16, 10
	type caller struct{ good, bad, mark string }
	var list []caller
	for n := range callers {
		mint := o.all[n%len(o.all)]
		mark := fmt.Sprintf("%s-%d", canary, n)
		list = append(list, caller{mint.with(m{"canary": mark}), mint.with(m{"canary": mark, "exp": 1}), strconv.Quote(mark)})
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
					err = errors.New("somebody else's identity came back")
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
