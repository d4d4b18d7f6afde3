package providertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers"
)

// m is a JSON object.
type m = map[string]any

// null is a member that is there and null; nil would remove it.
var null = json.RawMessage("null")

// mint makes tokens that are good but for one thing.
type mint struct {
	name   string
	key    key
	header m
	claims m
	want   *providers.Identity // without ExpiryWithLeeway and Claims
}

// varieties are the mints of an adapter's good tokens.
type varieties struct {
	base *mint
	all  []*mint
	// leeway is what the times of the adapter's tokens are checked with.
	leeway time.Duration
}

func (s *Subject) varieties() varieties {
	var v varieties
	for _, good := range s.Good {
		claims := merged(s.Issuer.Claims(s.Resource.String()), good.Claims)
		claims["canary"], claims["jti"] = canary, canary
		mint := &mint{name: good.Name, claims: claims, want: expected(claims)}
		mint.key, mint.header = s.Issuer.headerFor(good.Header)
		if good.Want != nil {
			good.Want(mint.want)
		}
		v.all = append(v.all, mint)
	}
	v.base = v.all[0]
	return v
}

// expected is the identity of an access token that does what RFC 9068, section 2.2 says.
func expected(claims m) *providers.Identity {
	var said struct {
		Issuer  string          `json:"iss"`
		Subject string          `json:"sub"`
		Client  string          `json:"client_id"`
		Scope   json.RawMessage `json:"scope"`
		Aud     json.RawMessage `json:"aud"`
		Expiry  float64         `json:"exp"`
	}
	// What does not fit is left out: then the variety has a Want that says it.
	_ = json.Unmarshal(mustJSON(claims), &said)
	whole, fraction := math.Modf(said.Expiry)
	id := &providers.Identity{
		Issuer: said.Issuer, Subject: said.Subject, Client: said.Client, Audience: texts(said.Aud),
		Expiry: time.Unix(int64(whole), int64(fraction*1e9)),
	}
	for _, scope := range texts(said.Scope) {
		id.Scopes = append(id.Scopes, strings.Fields(scope)...)
	}
	return id
}

// texts reads a string or a list of strings.
func texts(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil && raw != nil {
		return []string{one}
	}
	var list []string
	_ = json.Unmarshal(raw, &list)
	return list
}

// algorithms returns a mint for each algorithm that the adapter accepts.
func (v varieties) algorithms() map[jose.SignatureAlgorithm]*mint {
	out := map[jose.SignatureAlgorithm]*mint{}
	for _, mint := range v.all {
		alg := mint.algorithm()
		if _, ok := out[alg]; !ok {
			out[alg] = mint
		}
	}
	return out
}

// types returns a mint for each typ that the adapter accepts, in lower case and without "application/"; "" is none.
func (v varieties) types() map[string]*mint {
	out := map[string]*mint{}
	for _, mint := range v.all {
		typ, _ := mint.header["typ"].(string)
		typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
		if _, ok := out[typ]; !ok {
			out[typ] = mint
		}
	}
	return out
}

// claim returns all values that the good tokens have in a claim.
func (v varieties) claim(name string) []string {
	var out []string
	for _, mint := range v.all {
		if raw, ok := mint.claims[name]; ok {
			out = append(out, texts(mustJSON(raw))...)
		}
	}
	return out
}

func (k *mint) algorithm() jose.SignatureAlgorithm {
	alg, _ := k.header["alg"].(string)
	return jose.SignatureAlgorithm(alg)
}

// token returns a good token.
func (k *mint) token() string { return signAs(k.key, k.header, k.claims) }

// with returns a good token but for changed claims.
func (k *mint) with(changes m) string { return signAs(k.key, k.header, merged(k.claims, changes)) }

// headed returns a good token but for a changed header, signed by the good key.
func (k *mint) headed(changes m) string { return signAs(k.key, merged(k.header, changes), k.claims) }

// raw returns a token over exactly this payload, with a good header and signature.
func (k *mint) raw(payload string) string { return k.rawHeader(k.goodHeader(), payload) }

// rawHeader returns a token over exactly these bytes, well signed.
func (k *mint) rawHeader(header, payload string) string {
	return SignBytes(k.algorithm(), k.key.private, []byte(header), []byte(payload))
}

// by returns a token that is good but for the key that signed it.
func (k *mint) by(private any, changes m) string {
	return SignBytes(k.algorithm(), private, mustJSON(merged(k.header, changes)), mustJSON(k.claims))
}

func (k *mint) goodHeader() string { return string(mustJSON(k.header)) }
func (k *mint) payload() string    { return string(mustJSON(k.claims)) }

// headMembers and members return good JSON without the last brace, to write more members behind it.
func (k *mint) headMembers(without ...string) string { return unclosed(k.header, without) }
func (k *mint) members(without ...string) string     { return unclosed(k.claims, without) }

func unclosed(object m, without []string) string {
	object = maps.Clone(object)
	for _, name := range without {
		delete(object, name)
	}
	return strings.TrimSuffix(string(mustJSON(object)), "}")
}

// parts returns the parts of a good token.
func (k *mint) parts() (header, payload, signature string) {
	parts := strings.Split(k.token(), ".")
	return parts[0], parts[1], parts[2]
}

// unknownKey returns a token that is good but for a key id and a signature that nobody ever made.
func (k *mint) unknownKey(kid string) string {
	return Assemble(mustJSON(merged(k.header, m{"kid": kid})), []byte(k.payload()), make([]byte, 256))
}

// attack is a token that must be refused.
type attack struct {
	name  string
	token string
	// want are the reasons that would be right; none means any.
	want []providers.Reason
}

func must(token string, err error) string {
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return token
}
