package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Assemble returns a compact JWS of three arbitrary byte strings.
func Assemble(header, payload, signature []byte) string {
	return signingInput(header, payload) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// SignBytes returns a compact JWS over exactly these bytes. It does not read the header.
func SignBytes(alg jose.SignatureAlgorithm, key any, header, payload []byte) string {
	return Assemble(header, payload, Signature(alg, key, []byte(signingInput(header, payload))))
}

func signingInput(header, payload []byte) string {
	return base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
}

// Signature signs input by alg (RFC 7518, section 3). The key is a private key, or []byte for HS256, where
// any bytes are a valid key: attackers use the bytes of a public key.
func Signature(alg jose.SignatureAlgorithm, key any, input []byte) []byte {
	if secret, ok := key.([]byte); ok {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	}
	if !canSign(key, alg) {
		panic(fmt.Sprintf("providertest: a %T cannot sign %q", key, alg))
	}
	if private, ok := key.(ed25519.PrivateKey); ok {
		return ed25519.Sign(private, input)
	}
	hash := hashOf(alg)
	h := hash.New()
	h.Write(input)
	digest := h.Sum(nil)
	var (
		signature []byte
		err       error
	)
	switch private := key.(type) {
	case *rsa.PrivateKey:
		if alg[0] == 'P' {
			signature, err = rsa.SignPSS(rand.Reader, private, hash, digest,
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(nil, private, hash, digest)
		}
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, private, digest)
		if err = signErr; err == nil {
			size := (private.Params().BitSize + 7) / 8
			signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return signature
}

func hashOf(alg jose.SignatureAlgorithm) crypto.Hash {
	switch alg {
	case jose.RS384, jose.PS384, jose.ES384:
		return crypto.SHA384
	case jose.RS512, jose.PS512, jose.ES512:
		return crypto.SHA512
	default:
		return crypto.SHA256
	}
}

// canSign reports whether alg fits the type of key. Curve and hash are not compared, so that a test can
// combine them as RFC 7518 forbids.
func canSign(key any, alg jose.SignatureAlgorithm) bool {
	switch key.(type) {
	case *rsa.PrivateKey:
		return alg == jose.RS256 || alg == jose.RS384 || alg == jose.RS512 || alg == jose.PS256 ||
			alg == jose.PS384 || alg == jose.PS512
	case *ecdsa.PrivateKey:
		return alg == jose.ES256 || alg == jose.ES384 || alg == jose.ES512
	case ed25519.PrivateKey:
		return alg == jose.EdDSA
	}
	return false
}

// PublicEncodings returns the encodings of a public key that an attacker would try as an HMAC secret
// (CVE-2015-9235 and its successors), by name.
func PublicEncodings(public any, kid string) map[string][]byte {
	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	asPEM := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	spki := asPEM("PUBLIC KEY", pkix)
	jwk := jose.JSONWebKey{Key: public, KeyID: kid, Use: "sig"}
	out := map[string][]byte{
		"PEM":                   spki,
		"PEM without a newline": spki[:len(spki)-1],
		"PEM with CRLF":         crlf(spki),
		"DER":                   pkix,
		"DER in base64":         []byte(base64.StdEncoding.EncodeToString(pkix)),
		"JWK":                   mustJSON(jwk),
		"JWK set":               mustJSON(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}}),
		"kid":                   []byte(kid),
		"nothing":               {},
		"one zero byte":         {0},
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		der := x509.MarshalPKCS1PublicKey(k)
		out["PKCS #1 PEM"] = asPEM("RSA PUBLIC KEY", der)
		out["PKCS #1 DER"] = der
		out["n"] = k.N.Bytes()
		out["n in base64url"] = []byte(base64.RawURLEncoding.EncodeToString(k.N.Bytes()))
	case ed25519.PublicKey:
		out["x"] = k
	}
	return out
}

func crlf(text []byte) []byte {
	var out []byte
	for _, b := range text {
		if b == '\n' {
			out = append(out, '\r')
		}
		out = append(out, b)
	}
	return out
}
