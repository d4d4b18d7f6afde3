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

func because(reasons ...providers.Reason) []providers.Reason { return reasons }

// algorithmAttacks say an algorithm that is none, or that the adapter does not accept.
func algorithmAttacks(o *opened) []attack {
	accepted := o.algorithms()
	refused := because(token.ReasonAlgorithmRefused)
	var attacks []attack
	for _, alg := range []any{
		"none", "None", "NONE", "nOnE", "none ", "\u017fone", "", "rs256", "RS256 ", " RS256", "RS256\x00", "XS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "ES256K", "EdDSA", "HS256", "HS384", "HS512", "dir", "RSA-OAEP", 256, true, []string{"RS256"}, m{},
	} {
		if said, ok := alg.(string); ok && accepted[jose.SignatureAlgorithm(said)] != nil {
			continue
		}
		token := o.base.headed(m{"alg": alg})
		attacks = append(attacks,
			attack{fmt.Sprintf("alg %q over a good signature", alg), token, refused},
			attack{fmt.Sprintf("alg %q without a signature", alg), token[:strings.LastIndexByte(token, '.')+1], refused})
	}
	return append(attacks,
		attack{"alg none and nothing else", Assemble([]byte(`{"alg":"none"}`), []byte(o.base.payload()), nil), because(token.ReasonAlgorithmRefused, token.ReasonTypeRefused)},
		attack{"alg missing", o.base.headed(m{"alg": nil}), refused},
		attack{"alg null", o.base.headed(m{"alg": null}), refused},
		attack{"alg that is a whole novel", o.base.headed(m{"alg": strings.Repeat("\U000e0001", 2000)}), refused},
	)
}

// keyConfusionAttacks use public keys as HMAC secrets.
func keyConfusionAttacks(o *opened) []attack {
	var attacks []attack
	for alg, mint := range o.algorithms() {
		payload := []byte(mint.payload())
		for spelling, secret := range PublicEncodings(mint.key.private.Public(), mint.key.id) {
			attacks = append(attacks,
				attack{fmt.Sprintf("HS256 by the public %s key as %s", alg, spelling),
					SignBytes("HS256", secret, mustJSON(merged(mint.header, m{"alg": "HS256"})), payload), because(token.ReasonAlgorithmRefused)},
				attack{fmt.Sprintf("HMAC by the public %s key as %s that says %s", alg, spelling, alg),
					SignBytes("HS256", secret, mustJSON(mint.header), payload), because(token.ReasonSignatureInvalid)})
		}
	}
	return attacks
}

// signatureAttacks come with a signature that nobody made for them.
func signatureAttacks(o *opened) []attack {
	invalid, malformed := because(token.ReasonSignatureInvalid), because(token.ReasonMalformed)
	var attacks []attack
	for alg, mint := range o.algorithms() {
		header, payload, signature := mint.parts()
		_, otherPayload, otherSignature := cut(mint.with(m{"sub": "bob"}))
		raw := decode(signature)
		add := func(name string, want []providers.Reason, parts ...string) {
			attacks = append(attacks, attack{fmt.Sprintf("%s: %s", alg, name), strings.Join(parts, "."), want})
		}
		signed := func(name string, signature []byte) {
			add(name, invalid, header, payload, base64.RawURLEncoding.EncodeToString(signature))
		}
		stranger := newKey(o.Issuer.t, alg)
		add("forged by a stranger's key under our key id", invalid, mint.by(stranger, nil))
		add("signed by a key that was never published", because(token.ReasonKeyUnknown), mint.by(stranger, m{"kid": "never-published"}))
		add("no signature", invalid, header, payload, "")
		add("the signature of another token", invalid, header, payload, otherSignature)
		add("the payload of another token", invalid, header, otherPayload, signature)
		add("its parts in another order", because(token.ReasonAlgorithmRefused, token.ReasonMalformed), payload, header, signature)
		add("a signature with base64 padding", malformed, header, payload, signature+"==")
		add("a signature in standard base64", malformed, header, payload, signature[:len(signature)-4]+"+/+/")
		if loose, ok := looseEnd(signature); ok {
			add("a signature with one bit more in its last letter", malformed, header, payload, loose)
		}
		signed("a signature of zeros", make([]byte, len(raw)))
		signed("a signature one byte short", raw[:len(raw)-1])
		signed("a signature with a zero in front", append([]byte{0}, raw...))
		signed("a signature with a zero behind", append(slices.Clone(raw), 0))
		switch private := mint.key.private.(type) {
		case *rsa.PrivateKey:
			twin := jose.PS256
			if alg == jose.PS256 {
				twin = jose.RS256
			}
			add(fmt.Sprintf("%s said, %s done", alg, twin), invalid, SignBytes(twin, private, []byte(mint.goodHeader()), []byte(mint.payload())))
		case *ecdsa.PrivateKey:
			half := len(raw) / 2
			r, s := raw[:half], raw[half:]
			order := private.Params().N.FillBytes(make([]byte, half))
			zeros := make([]byte, half)
			der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
			signed("r is zero", slices.Concat(zeros, s))
			signed("s is zero", slices.Concat(r, zeros))
			signed("r and s are the order", slices.Concat(order, order))
			signed("s is one more than it can be", slices.Concat(r, slices.Repeat([]byte{0xff}, half)))
			signed("r and s swapped", slices.Concat(s, r))
			signed("its second half missing", r)
			if err == nil {
				signed("a signature in DER", der)
			}
		case ed25519.PrivateKey:
			signed("the signature of the digest of nothing", ed25519.Sign(private, nil))
		}
		for other, neighbour := range o.algorithms() {
			if other == alg {
				continue
			}
			otherHeader, _, _ := neighbour.parts()
			add(fmt.Sprintf("the header of an %s token", other), because(token.ReasonSignatureInvalid, token.ReasonKeyUnknown), otherHeader, payload, signature)
			add(fmt.Sprintf("%s said, by the key of %s", alg, other), because(token.ReasonKeyUnknown, token.ReasonSignatureInvalid),
				signAs(neighbour.key, merged(mint.header, m{"kid": neighbour.key.id}), mint.claims))
		}
	}
	return attacks
}

func cut(token string) (header, payload, signature string) {
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

// looseEnd sets a bit of the last letter that stands for nothing, if there is one. A lax decoder sees no difference.
func looseEnd(part string) (string, bool) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(part)%4 < 2 {
		return "", false
	}
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + alphabet[last+1:last+2], true
}
