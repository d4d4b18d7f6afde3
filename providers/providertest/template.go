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

// template makes tokens that are good but for one thing.
type template struct {
	name   string
	key    key
	header m
	claims m
	want   *providers.Identity // without GoodUntil and Claims
}

// varieties are the mints of an adapter's good tokens.
type varieties struct {
	base *template
	all  []*template
	// leeway is what the times of the adapter's tokens are checked with.
	leeway time.Duration
}

func (s *Subject) varieties() varieties {
	var v varieties
	for _, good := range s.Good {
		claims := merged(s.Issuer.Claims(s.Resource.String()), good.Claims)
		claims["canary"], claims["jti"] = canary, canary
		template := &template{name: good.Name, claims: claims, want: expected(claims)}
		template.key, template.header = s.Issuer.headerFor(good.Header)
		if good.Want != nil {
			good.Want(template.want)
		}
		v.all = append(v.all, template)
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
		Issuer: said.Issuer, Subject: said.Subject, Client: said.Client, Audience: stringsOf(said.Aud),
		Expiry: time.Unix(int64(whole), int64(fraction*1e9)),
	}
	for _, scope := range stringsOf(said.Scope) {
		id.Scopes = append(id.Scopes, strings.Fields(scope)...)
	}
	return id
}

// texts reads a string or a list of strings.
func stringsOf(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil && raw != nil {
		return []string{one}
	}
	var list []string
	_ = json.Unmarshal(raw, &list)
	return list
}

// algorithms returns a template for each algorithm that the adapter accepts.
func (v varieties) algorithms() map[jose.SignatureAlgorithm]*template {
	out := map[jose.SignatureAlgorithm]*template{}
	for _, template := range v.all {
		alg := template.algorithm()
		if _, ok := out[alg]; !ok {
			out[alg] = template
		}
	}
	return out
}

// types returns a template for each typ that the adapter accepts, in lower case and without "application/"; "" is none.
func (v varieties) types() map[string]*template {
	out := map[string]*template{}
	for _, template := range v.all {
		typ, _ := template.header["typ"].(string)
		typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
		if _, ok := out[typ]; !ok {
			out[typ] = template
		}
	}
	return out
}

// claim returns all values that the good tokens have in a claim.
func (v varieties) claim(name string) []string {
	var out []string
	for _, template := range v.all {
		if raw, ok := template.claims[name]; ok {
			out = append(out, stringsOf(mustJSON(raw))...)
		}
	}
	return out
}

func (t *template) algorithm() jose.SignatureAlgorithm {
	alg, _ := t.header["alg"].(string)
	return jose.SignatureAlgorithm(alg)
}

// token returns a good token.
func (t *template) token() string { return signAs(t.key, t.header, t.claims) }

// with returns a good token but for changed claims.
func (t *template) withClaims(changes m) string { return signAs(t.key, t.header, merged(t.claims, changes)) }

// headed returns a good token but for a changed header, signed by the good key.
func (t *template) withHeader(changes m) string { return signAs(t.key, merged(t.header, changes), t.claims) }

// raw returns a token over exactly this payload, with a good header and signature.
func (t *template) withPayload(payload string) string { return t.withBytes(t.goodHeader(), payload) }

// rawHeader returns a token over exactly these bytes, well signed.
func (t *template) withBytes(header, payload string) string {
	return SignBytes(t.algorithm(), t.key.private, []byte(header), []byte(payload))
}

// by returns a token that is good but for the key that signed it.
func (t *template) signedBy(private any, changes m) string {
	return SignBytes(t.algorithm(), private, mustJSON(merged(t.header, changes)), mustJSON(t.claims))
}

func (t *template) goodHeader() string { return string(mustJSON(t.header)) }
func (t *template) payload() string    { return string(mustJSON(t.claims)) }

// headerMembers and members return good JSON without the last brace, to write more members behind it.
func (t *template) headerMembers(without ...string) string { return openObject(t.header, without) }
func (t *template) claimMembers(without ...string) string     { return openObject(t.claims, without) }

func openObject(object m, without []string) string {
	object = maps.Clone(object)
	for _, name := range without {
		delete(object, name)
	}
	return strings.TrimSuffix(string(mustJSON(object)), "}")
}

// parts returns the parts of a good token.
func (t *template) parts() (header, payload, signature string) {
	parts := strings.Split(t.token(), ".")
	return parts[0], parts[1], parts[2]
}

// unknownKey returns a token that is good but for a key id and a signature that nobody ever made.
func (t *template) withUnknownKey(kid string) string {
	return Assemble(mustJSON(merged(t.header, m{"kid": kid})), []byte(t.payload()), make([]byte, 256))
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
