package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
	"gatehouse/providers/providertest"
)

// BenchmarkFirstUse verifies tokens that were never seen before, and compares them with the bare check of the same
// signatures, in small alternating batches. "x-bare" is the ratio.
func BenchmarkFirstUse(b *testing.B) {
	resource, err := providers.ParseResource("http://localhost:3002/mcp")
	if err != nil {
		b.Fatal(err)
	}
	issuer := providertest.NewIssuer(b)
	kids := map[string]string{"RS256": issuer.SigningKeyID(), "ES256": issuer.AddKey(jose.ES256),
		"EdDSA": issuer.AddKey(jose.EdDSA)}
	provider := issuer.Provider(b, resource, "mcp:use")
	for !provider.(providers.KeyReporter).Keys().Usable {
		time.Sleep(time.Millisecond)
	}
	var published jose.JSONWebKeySet
	if err := json.Unmarshal(issuer.KeySet(), &published); err != nil {
		b.Fatal(err)
	}
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			key := published.Key(kids[alg])[0].Key
			const batch = 16
			var ours, bare time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; done += batch {
				tokens := make([]string, batch)
				for i := range tokens {
					tokens[i] = issuer.Sign(map[string]any{"kid": kids[alg], "alg": alg}, issuer.Claims(resource.String()))
				}
				begin := time.Now()
				for _, token := range tokens {
					if _, err := provider.Verify(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
				ours += time.Since(begin)
				begin = time.Now()
				for _, token := range tokens {
					if !verifySignature(key, token) {
						b.Fatal("the signature does not hold")
					}
				}
				bare += time.Since(begin)
			}
			b.ReportMetric(0, "ns/op") // the sum of both would say nothing
			b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "ns/bare")
			b.ReportMetric(float64(ours)/float64(bare), "x-bare")
		})
	}
}

// verifySignature checks a signature and nothing else.
func verifySignature(key any, token string) bool {
	end := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil {
		return false
	}
	hash := sha256.Sum256([]byte(token[:end]))
	switch key := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.Verify(key, hash[:], new(big.Int).SetBytes(signature[:32]),
			new(big.Int).SetBytes(signature[32:]))
	case ed25519.PublicKey:
		return ed25519.Verify(key, []byte(token[:end]), signature)
	}
	return false
}

// BenchmarkKnownToken verifies tokens that were verified before, as all calls of a client do but the first.
func BenchmarkKnownToken(b *testing.B) {
	resource, err := providers.ParseResource("http://localhost:3002/mcp")
	if err != nil {
		b.Fatal(err)
	}
	issuer := providertest.NewIssuer(b)
	provider := issuer.Provider(b, resource, "mcp:use")
	for !provider.(providers.KeyReporter).Keys().Usable {
		time.Sleep(time.Millisecond)
	}
	tokens := make([]string, 1_000)
	for i := range tokens {
		claims := issuer.Claims(resource.String())
		claims["jti"] = i
		tokens[i] = issuer.Sign(nil, claims)
		if _, err := provider.Verify(b.Context(), tokens[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, err := provider.Verify(b.Context(), tokens[n%len(tokens)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNeverSeen refuses tokens for what they say, none of which was seen before: the first look that a
// flood of them costs.
func BenchmarkNeverSeen(b *testing.B) {
	resource, err := providers.ParseResource("http://localhost:3002/mcp")
	if err != nil {
		b.Fatal(err)
	}
	issuer := providertest.NewIssuer(b)
	provider := issuer.Provider(b, resource, "mcp:use")
	for !provider.(providers.KeyReporter).Keys().Usable {
		time.Sleep(time.Millisecond)
	}
	for name, changed := range map[string]map[string]any{
		"exp":                                {"exp": 1},
		"aud":                                {"aud": "https://elsewhere.example"},
		"aud 300 times and each almost ours": {"aud": slices.Repeat([]string{resource.Origin() + ":1"}, 300)},
		"aud 2,000 times and not in ASCII":   {"aud": slices.Repeat([]string{"\u00e9"}, 2_000)},
		"aud 2,300 times and each escaped":   {"aud": slices.Repeat([]string{"\n"}, 2_300)},
		"240 names, each escaped":            escapedNames(240),
	} {
		b.Run(name, func(b *testing.B) {
			claims := issuer.Claims(resource.String())
			maps.Copy(claims, changed)
			claims["name"], claims["org"], claims["groups"] = "Alice Example", "org_0123456789",
				[]string{"engineering", "on-call", "everybody", "reviewers"}
			header, rest, _ := strings.Cut(issuer.Sign(nil, claims), ".")
			_, signature, _ := strings.Cut(rest, ".")
			tokens := make([]string, 5_000)
			for i := range tokens {
				claims["jti"] = i
				payload, _ := json.Marshal(claims)
				tokens[i] = header + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + signature
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if _, err := provider.Verify(b.Context(), tokens[n%len(tokens)]); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// escapedNames returns claims with names that must be decoded and compared with all known names.
func escapedNames(n int) map[string]any {
	claims := map[string]any{"aud": "https://elsewhere.example"}
	for i := range n {
		claims["\n\u017f"+strconv.Itoa(i)] = 0
	}
	return claims
}
