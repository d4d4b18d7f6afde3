package providertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

func keyRules() []Rule {
	return []Rule{
		{"key-purpose", "a key verifies only the use and algorithm that it was published for",
			"RFC 8725, section 3.1; RFC 7518, section 3.3; CVE-2026-22817", withAdapter(checkKeyPurpose)},
		{"unusable-keys", "an unusable key in the set does not affect the other keys",
			"RFC 7517, section 5", withAdapter(checkUnusableKeys)},
		{"rotation", "a new key is found without a restart, and the old key stays valid",
			"OpenID Connect Core, section 10.1.1", withAdapter(checkRotation)},
		{"withdrawn-key", "a key that is no longer published is refused within KeyPolicy.MaxAge",
			"compromised keys", withAdapter(checkWithdrawnKey)},
		{"unknown-key-limit",
			"1,000 tokens with unknown key ids cause at most one fetch per KeyPolicy.RefetchInterval, " +
				"and are refused once it has passed",
			"go-oidc pull request 482; jose, cooldownDuration", cpuBound(checkUnknownKeys)},
		{"repeated-rotation",
			"a token signed by a key that appears within KeyPolicy.RefetchInterval of the previous key is " +
				"not reported as invalid",
			"RFC 6750, section 3.1: a 401 ends valid sessions", withAdapter(checkRepeatedRotation)},
		{"certificates", "an unreadable certificate does not affect the key that it is published with",
			"RFC 7517, sections 4.6 to 4.9; node-jwks-rsa issue 279", withAdapter(checkCertificates)},
	}
}

// waitForNewKey publishes the base key under a new id and waits until the adapter accepts it, so that the
// adapter has seen the present key set.
func (o *openAdapter) waitForNewKey() error {
	token := o.tokenWithNewKey()
	return o.eventually("a key that was just published is found", func() error { return o.accepts(token) })
}

// tokenWithNewKey publishes the base key under a new id and returns a valid token with that kid.
func (o *openAdapter) tokenWithNewKey() string {
	kid := o.Issuer.ImportKey(o.base.key.private, o.base.algorithm(), nil)
	return o.base.withHeader(m{"kid": kid})
}

func checkKeyPurpose(o *openAdapter) error {
	// A key in an unusable form is the provider's fault, so an outage is a right answer to it too.
	type misuse struct {
		name, token string
		refused     func(string) error
	}
	var list []misuse
	sign := func(name string, private crypto.Signer, alg jose.SignatureAlgorithm, changes m) {
		own := alg
		if !canSign(private, alg) {
			own = jose.ES384
		}
		kid := o.Issuer.ImportKey(private, own, changes)
		list = append(list, misuse{fmt.Sprintf("%s by %s", alg, name),
			o.Issuer.Sign(merged(o.base.header, m{"kid": kid, "alg": string(alg)}), o.base.claims), o.refuses})
	}
	faulty := func(name string, private crypto.Signer, alg jose.SignatureAlgorithm, changes m) {
		sign(name, private, alg, changes)
		list[len(list)-1].refused = o.notAccepted
	}
	for alg := range o.algorithms() {
		key := newKey(o.Issuer.t, alg)
		sign("a key for encryption", key, alg, m{"use": "enc"})
		sign("a key whose key_ops do not include verify", key, alg, m{"use": nil, "key_ops": []string{"encrypt"}})
		sign("a key for another use of its type", key, alg, m{"alg": otherUse(key), "use": nil})
		faulty("a private key that was published", key, alg, privateMembers(key))
		switch key := key.(type) {
		case *rsa.PrivateKey:
			sign("a key for another algorithm of its type", key, alg, m{"alg": otherHash(alg)})
			weak, err := rsa.GenerateKey(rand.Reader, 1024)
			if err != nil {
				return err
			}
			faulty("a weak RSA key", weak, alg, nil)
			// A key without an id must not be tried for it.
			for other, template := range o.algorithms() {
				if canSign(template.key.private, alg) && other != alg {
					o.Issuer.ImportKey(newKey(o.Issuer.t, alg), alg, m{"kid": nil, "alg": nil})
					list = append(list, misuse{fmt.Sprintf("%s by the key of %s next to one without an id", alg, other),
						template.withHeader(m{"alg": string(alg)}), o.refuses})
				}
			}
		case *ecdsa.PrivateKey:
			if alg != jose.ES256 {
				continue
			}
			other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				return err
			}
			sign("a key of another curve", other, alg, m{"alg": nil})
			faulty("a key that lies about its curve", other, alg, m{"alg": "ES256"})
		}
	}
	if err := o.waitForNewKey(); err != nil {
		return err
	}
	var wrong problems
	for _, misuse := range list {
		wrong.add(misuse.name, misuse.refused(misuse.token))
	}
	return wrong.err()
}

func otherUse(private crypto.Signer) string {
	if _, ok := private.(*rsa.PrivateKey); ok {
		return "RSA-OAEP"
	}
	return "ECDH-ES"
}

func otherHash(alg jose.SignatureAlgorithm) string {
	if alg == jose.RS384 {
		return string(jose.RS512)
	}
	return string(jose.RS384)
}

// privateMembers are the members of a JWK with the private key.
func privateMembers(private crypto.Signer) m {
	var members m
	_ = json.Unmarshal(mustJSON(jose.JSONWebKey{Key: private}), &members)
	return members
}

// unusableKeys are members of a key set that cannot verify anything.
func unusableKeys() map[string]string {
	modulus := func(n int) string { return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, n)) }
	const (
		point   = `"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
		private = `"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`
		ed25519 = `{"kty":"OKP","crv":"Ed25519","kid":"odd","x":` + point
		rsa     = `{"kty":"RSA","kid":"odd","e":"AQAB"`
		k256X   = `"JiHo7yNVTOtGVPJBZKBqtw2RIJMjpm_4KHhAfhvjYZs"`
		k256Y   = `"sLwvBHHHAlBWWzbYIDLvBaOUEVbLqlLnLSOKKcdqwyc"`
		zero    = `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`
		one     = `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"`
	)
	return map[string]string{
		"of an unsupported curve": `{"kty":"EC","crv":"secp256k1","kid":"odd","x":` + k256X + `,"y":` +
			k256Y + `}`,
		"off its curve":                 `{"kty":"EC","crv":"P-256","kid":"odd","x":` + zero + `,"y":` + one + `}`,
		"weak":                          rsa + `,"n":"` + modulus(128) + `"}`,
		"without a modulus":             rsa + `}`,
		"for encryption":                rsa + `,"use":"enc","n":"` + modulus(256) + `"}`,
		"symmetric":                     `{"kty":"oct","kid":"odd","k":"c2VjcmV0"}`,
		"of a type from the future":     `{"kty":"AKP","alg":"ML-DSA-44","kid":"odd","pub":"AA"}`,
		"without a type":                `{"kid":"odd"}`,
		"for key agreement":             `{"kty":"OKP","crv":"X25519","kid":"odd","x":` + point + `}`,
		"with key_ops that lack verify": ed25519 + `,"key_ops":["sign"]}`,
		"with key_ops that is a string": ed25519 + `,"key_ops":"verify"}`,
		"with its private half":         ed25519 + `,"d":` + private + `}`,
		"with a numeric id":             `{"kty":"OKP","crv":"Ed25519","kid":1,"x":` + point + `}`,
		"that is null":                  `null`,
		"that is a string":              `"` + canary + `"`,
		"that is a list":                `[]`,
	}
}

func checkUnusableKeys(o *openAdapter) error {
	var wrong problems
	for name, jwk := range unusableKeys() {
		o.Issuer.Publish(jwk)
		if err := o.waitForNewKey(); err != nil {
			wrong.add("next to a key "+name, err)
			break // the key stays published, so all later ones fail too
		}
	}
	return wrong.err()
}

// certificates are certificate members that no library can read.
func certificates() map[string]m {
	return map[string]m{
		"an invalid certificate":         {"x5c": []string{"AAAA"}},
		"a certificate as text":          {"x5c": "AAAA"},
		"a thumbprint that is too short": {"x5t": "AA"},
		"a thumbprint that is a number":  {"x5t": 7},
		"a SHA-256 thumbprint that is too long": {
			"x5t#S256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		"an invalid URL": {"x5u": "://"},
		"all of them":    {"x5c": []any{1}, "x5t": "?", "x5t#S256": "?", "x5u": 7},
	}
}

func checkCertificates(o *openAdapter) error {
	var wrong problems
	for name, changes := range certificates() {
		kid := o.Issuer.ImportKey(o.base.key.private, o.base.algorithm(), changes)
		token := o.base.withHeader(m{"kid": kid})
		if err := o.eventually("a token by the key is accepted",
			func() error { return o.accepts(token) }); err != nil {
			wrong.add("with "+name, err)
			break // see checkUnusableKeys
		}
	}
	return wrong.err()
}

// checkRepeatedRotation rotates several times in a row: the first new key causes a fetch, so the next one
// appears within the refetch interval.
func checkRepeatedRotation(o *openAdapter) error {
	for n := range 5 {
		token := o.tokenWithNewKey()
		err := o.eventually("a token by the new key is accepted", func() error {
			_, err := o.verify(context.Background(), token)
			if err != nil && !errors.Is(err, providers.ErrUnavailable) {
				return &permanentError{err}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("new key %d: %w", n+1, err)
		}
	}
	return nil
}

func checkRotation(o *openAdapter) error {
	alg := o.base.algorithm()
	kid := o.Issuer.ImportKey(newKey(o.Issuer.t, alg), alg, nil)
	token := o.Issuer.Sign(merged(o.base.header, m{"kid": kid}), o.base.claims)
	if err := o.eventually("a token by the new key is accepted",
		func() error { return o.accepts(token) }); err != nil {
		return err
	}
	return o.acceptsPromptly(o.base.token())
}

func checkWithdrawnKey(o *openAdapter) error {
	alg := o.base.algorithm()
	kid := o.Issuer.ImportKey(newKey(o.Issuer.t, alg), alg, nil)
	token := o.Issuer.Sign(merged(o.base.header, m{"kid": kid}), o.base.claims)
	if err := o.eventually("a token by the new key is accepted",
		func() error { return o.accepts(token) }); err != nil {
		return err
	}
	// A fetch that the new key caused must not be the one that notices the withdrawal.
	time.Sleep(2 * o.Issuer.KeyPolicy.RefetchInterval)
	o.Issuer.Withdraw(kid)
	start, limit := time.Now(), o.Issuer.KeyPolicy.MaxAge+o.timeout()
	for o.refuses(token) != nil {
		if time.Since(start) > limit {
			return fmt.Errorf("its tokens are still accepted after %s, although MaxAge is %s", limit,
				o.Issuer.KeyPolicy.MaxAge)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return o.acceptsPromptly(o.base.token())
}

// errNoRequests keeps an adapter that makes no requests from passing a rule that counts requests.
var errNoRequests = errors.New("the issuer received no request, so there is nothing to count")

func checkUnknownKeys(o *openAdapter) error {
	if o.Issuer.mostRequests() == 0 {
		return errNoRequests
	}
	// Sequentially, which an adapter without a limit answers with a fetch for each; then concurrently.
	return errors.Join(checkFlood(o, 1, 300), checkFlood(o, 20, 700), o.refuses(o.base.withUnknownKey(newKid())))
}

func checkFlood(o *openAdapter, callers, tokens int) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrong problems
	)
	known := o.base.token()
	before, start := o.Issuer.mostRequests(), time.Now()
	for range callers {
		wg.Go(func() {
			for n := range tokens / callers {
				err := o.notAccepted(o.base.withUnknownKey(newKid()))
				if n%10 == 0 {
					err = errors.Join(err, o.acceptsPromptly(known))
				}
				mu.Lock()
				wrong.add("during the flood", err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took, policy := time.Since(start), o.Issuer.KeyPolicy
	// Keys are refreshed twice within MaxAge, independently of the tokens.
	most := 2 + int(took/policy.RefetchInterval) + int(2*took/policy.MaxAge)
	if got := o.Issuer.mostRequests() - before; got > most {
		wrong.add("fetches", fmt.Errorf("%d for %d tokens in %s, want at most %d", got, tokens,
			took.Round(time.Millisecond), most))
	}
	return wrong.err()
}

// mostRequests returns the number of requests for the path that was requested most often.
func (i *Issuer) mostRequests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	most := 0
	for _, n := range i.requests {
		most = max(most, n)
	}
	return most
}
