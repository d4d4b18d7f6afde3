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

// null is a JSON null. A nil value would remove the member instead.
var null = json.RawMessage("null")

// template makes tokens that differ from an accepted one in one point.
type template struct {
	name   string
	key    key
	header m
	claims m
	want   *providers.Identity // without ExpiryWithLeeway and Claims
}

// varieties are the templates of the tokens that an adapter accepts.
type varieties struct {
	base *template
	all  []*template
	// leeway is the clock skew that the adapter tolerates.
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

// expected returns the identity that RFC 9068, section 2.2 reads in the claims.
func expected(claims m) *providers.Identity {
	var fields struct {
		Issuer  string          `json:"iss"`
		Subject string          `json:"sub"`
		Client  string          `json:"client_id"`
		Scope   json.RawMessage `json:"scope"`
		Aud     json.RawMessage `json:"aud"`
		Expiry  float64         `json:"exp"`
		Issued  float64         `json:"iat"`
		ID      string          `json:"jti"`
	}
	// Claims of another form stay empty; the variety sets the expectation in Want.
	_ = json.Unmarshal(mustJSON(claims), &fields)
	date := func(seconds float64) time.Time {
		whole, fraction := math.Modf(seconds)
		return time.Unix(int64(whole), int64(fraction*1e9))
	}
	id := &providers.Identity{
		Issuer: fields.Issuer, Subject: fields.Subject, Client: fields.Client, Audience: stringsOf(fields.Aud),
		Expiry: date(fields.Expiry), TokenID: fields.ID,
	}
	if claims["iat"] != nil {
		id.IssuedAt = date(fields.Issued)
	}
	for _, scope := range stringsOf(fields.Scope) {
		id.Scopes = append(id.Scopes, strings.Fields(scope)...)
	}
	return id
}

// stringsOf returns a JSON string, or list of strings, as a list.
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

// types returns a template for each typ that the adapter accepts, in lower case and without "application/".
// The key "" means no typ.
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

// claim returns all values of a claim in the accepted tokens.
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

// token returns an accepted token.
func (t *template) token() string { return signAs(t.key, t.header, t.claims) }

// withClaims returns an accepted token with changed claims.
func (t *template) withClaims(changes m) string {
	return signAs(t.key, t.header, merged(t.claims, changes))
}

// withHeader returns an accepted token with a changed header, signed by the same key.
func (t *template) withHeader(changes m) string {
	return signAs(t.key, merged(t.header, changes), t.claims)
}

// withPayload returns a token over exactly this payload, with an accepted header and a valid signature.
func (t *template) withPayload(payload string) string { return t.withBytes(t.goodHeader(), payload) }

// withBytes returns a token over exactly these bytes with a valid signature.
func (t *template) withBytes(header, payload string) string {
	return SignBytes(t.algorithm(), t.key.private, []byte(header), []byte(payload))
}

// signedBy returns an accepted token, but signed by private.
func (t *template) signedBy(private any, changes m) string {
	return SignBytes(t.algorithm(), private, mustJSON(merged(t.header, changes)), mustJSON(t.claims))
}

func (t *template) goodHeader() string { return string(mustJSON(t.header)) }
func (t *template) payload() string    { return string(mustJSON(t.claims)) }

// headerMembers and claimMembers return the JSON of header and claims without the closing brace, so that a
// test can append members.
func (t *template) headerMembers(without ...string) string { return openObject(t.header, without) }
func (t *template) claimMembers(without ...string) string  { return openObject(t.claims, without) }

func openObject(object m, without []string) string {
	object = maps.Clone(object)
	for _, name := range without {
		delete(object, name)
	}
	return strings.TrimSuffix(string(mustJSON(object)), "}")
}

// parts returns the three parts of an accepted token.
func (t *template) parts() (header, payload, signature string) {
	parts := strings.Split(t.token(), ".")
	return parts[0], parts[1], parts[2]
}

// withUnknownKey returns a token with an unpublished key id and an invalid signature.
func (t *template) withUnknownKey(kid string) string {
	return Assemble(mustJSON(merged(t.header, m{"kid": kid})), []byte(t.payload()), make([]byte, 256))
}

// attack is a token that must be refused.
type attack struct {
	name  string
	token string
	// want lists the acceptable reasons; nil accepts any reason.
	want []providers.Reason
}

func must(token string, err error) string {
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return token
}
