package providertest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/token"
)

func oneOf(reasons ...providers.Reason) []providers.Reason { return reasons }

// algorithmAttacks have an algorithm that does not exist, or that the adapter does not accept.
func algorithmAttacks(o *openAdapter) []attack {
	accepted := o.algorithms()
	refused := oneOf(token.ReasonAlgorithmRefused)
	var attacks []attack
	for _, alg := range []any{
		"none", "None", "NONE", "nOnE", "none ", "\u017fone", "", "rs256", "RS256 ", " RS256", "RS256\x00", "XS256",
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "ES256K", "EdDSA", "HS256", "HS384", "HS512", "dir", "RSA-OAEP", 256, true,
		[]string{"RS256"}, m{},
	} {
		if name, ok := alg.(string); ok && accepted[jose.SignatureAlgorithm(name)] != nil {
			continue
		}
		token := o.base.withHeader(m{"alg": alg})
		attacks = append(attacks,
			attack{fmt.Sprintf("alg %q with a valid signature", alg), token, refused},
			attack{fmt.Sprintf("alg %q without a signature", alg), token[:strings.LastIndexByte(token, '.')+1],
				refused})
	}
	return append(attacks,
		attack{"alg none and nothing else", Assemble([]byte(`{"alg":"none"}`), []byte(o.base.payload()), nil),
			oneOf(token.ReasonAlgorithmRefused, token.ReasonTypeRefused)},
		attack{"alg missing", o.base.withHeader(m{"alg": nil}), refused},
		attack{"alg null", o.base.withHeader(m{"alg": null}), refused},
		attack{"alg that is very long", o.base.withHeader(m{"alg": strings.Repeat("\U000e0001", 2000)}), refused},
	)
}

// keyConfusionAttacks use public keys as HMAC secrets.
func keyConfusionAttacks(o *openAdapter) []attack {
	var attacks []attack
	for alg, template := range o.algorithms() {
		payload := []byte(template.payload())
		for spelling, secret := range PublicEncodings(template.key.private.Public(), template.key.id) {
			attacks = append(attacks,
				attack{fmt.Sprintf("HS256 by the public %s key as %s", alg, spelling),
					SignBytes("HS256", secret, mustJSON(merged(template.header, m{"alg": "HS256"})), payload),
					oneOf(token.ReasonAlgorithmRefused)},
				attack{fmt.Sprintf("HMAC by the public %s key as %s with alg %s", alg, spelling, alg),
					SignBytes("HS256", secret, mustJSON(template.header), payload), oneOf(token.ReasonSignatureInvalid)})
		}
	}
	return attacks
}

// signatureAttacks have an invalid signature.
func signatureAttacks(o *openAdapter) []attack {
	invalid, malformed := oneOf(token.ReasonSignatureInvalid), oneOf(token.ReasonMalformed)
	var attacks []attack
	for alg, template := range o.algorithms() {
		header, payload, signature := template.parts()
		_, otherPayload, otherSignature := splitToken(template.withClaims(m{"sub": "bob"}))
		raw := decode(signature)
		add := func(name string, want []providers.Reason, parts ...string) {
			attacks = append(attacks, attack{fmt.Sprintf("%s: %s", alg, name), strings.Join(parts, "."), want})
		}
		signed := func(name string, signature []byte) {
			add(name, invalid, header, payload, base64.RawURLEncoding.EncodeToString(signature))
		}
		otherKey := newKey(o.Issuer.t, alg)
		add("signed by another key under the published kid", invalid, template.signedBy(otherKey, nil))
		add("signed by a key that was never published", oneOf(token.ReasonKeyUnknown),
			template.signedBy(otherKey, m{"kid": "never-published"}))
		add("no signature", invalid, header, payload, "")
		add("the signature of another token", invalid, header, payload, otherSignature)
		add("the payload of another token", invalid, header, otherPayload, signature)
		add("its parts in another order", oneOf(token.ReasonAlgorithmRefused, token.ReasonMalformed), payload,
			header, signature)
		add("a signature with base64 padding", malformed, header, payload, signature+"==")
		add("a signature in standard base64", malformed, header, payload, signature[:len(signature)-4]+"+/+/")
		if loose, ok := setUnusedBits(signature); ok {
			add("a signature with an unused bit set", malformed, header, payload, loose)
		}
		signed("a signature of zeros", make([]byte, len(raw)))
		signed("a signature one byte short", raw[:len(raw)-1])
		signed("a signature with a leading zero", append([]byte{0}, raw...))
		signed("a signature with a trailing zero", append(slices.Clone(raw), 0))
		switch private := template.key.private.(type) {
		case *rsa.PrivateKey:
			twin := jose.PS256
			if alg == jose.PS256 {
				twin = jose.RS256
			}
			add(fmt.Sprintf("alg %s, signed with %s", alg, twin), invalid,
				SignBytes(twin, private, []byte(template.goodHeader()), []byte(template.payload())))
		case *ecdsa.PrivateKey:
			half := len(raw) / 2
			r, s := raw[:half], raw[half:]
			order := private.Params().N.FillBytes(make([]byte, half))
			zeros := make([]byte, half)
			der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
			signed("r is zero", slices.Concat(zeros, s))
			signed("s is zero", slices.Concat(r, zeros))
			signed("r and s are the order", slices.Concat(order, order))
			signed("s is larger than the order", slices.Concat(r, slices.Repeat([]byte{0xff}, half)))
			signed("r and s swapped", slices.Concat(s, r))
			signed("its second half missing", r)
			if err == nil {
				signed("a signature in DER", der)
			}
		case ed25519.PrivateKey:
			signed("the signature of the digest of nothing", ed25519.Sign(private, nil))
		}
		for other, otherTemplate := range o.algorithms() {
			if other == alg {
				continue
			}
			otherHeader, _, _ := otherTemplate.parts()
			add(fmt.Sprintf("the header of an %s token", other),
				oneOf(token.ReasonSignatureInvalid, token.ReasonKeyUnknown), otherHeader, payload, signature)
			add(fmt.Sprintf("alg %s, signed by the key of %s", alg, other),
				oneOf(token.ReasonKeyUnknown, token.ReasonSignatureInvalid),
				signAs(otherTemplate.key, merged(template.header, m{"kid": otherTemplate.key.id}), template.claims))
		}
	}
	return attacks
}

func splitToken(token string) (header, payload, signature string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

func decode(part string) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return raw
}

// setUnusedBits sets an unused bit of the last character of a base64url string, if it has one. A lax decoder
// ignores it.
func setUnusedBits(part string) (string, bool) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(part)%4 < 2 {
		return "", false
	}
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + alphabet[last+1:last+2], true
}
