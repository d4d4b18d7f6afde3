package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse/providers"
	"gatehouse/providers/authserver"
)

// want is the result of a sign-in or a renewal that fails.
type want struct {
	reason providers.Reason
	code   string
	detail string // part of the error
	gone   bool
}

// check fails the test unless err is w, and has no text of the provider.
func (x *fixture) check(t testing.TB, err error, w want) {
	t.Helper()
	failure, ok := errors.AsType[*authserver.SignInError](err)
	if !ok {
		t.Fatalf("got %v, want %s", err, w.reason)
	}
	got := want{failure.Reason, failure.Code, w.detail, errors.Is(err, authserver.ErrGone)}
	if got != w || !strings.Contains(err.Error(), w.detail) {
		t.Errorf("got %+v (%v), want %+v", got, err, w)
	}
	if failure.Text == "" || strings.ContainsAny(failure.Text, "<>") {
		t.Errorf("text for the person: %q", failure.Text)
	}
	x.checkSecrets(t, err.Error()+failure.Text)
}

func TestUpstream_SignsIn(t *testing.T) {
	t.Parallel()
	x := newFixture(t, func(c *upstreamConfig) {
		c.Params = []string{"access_type=offline", "prompt=consent", "state=mine", "nonce=mine",
			"redirect_uri=https://evil.example", "response_type=token", "resource=https://mcp.example.com/mcp",
			"request_uri=x", "response_mode=form_post"}
	})
	a := attempt("a")
	a.LoginHint = "alice@example.com"
	_, address, err := x.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	request, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := request.Query()
	challenge := query.Get("code_challenge")
	query.Del("code_challenge")
	if diff := cmp.Diff(url.Values{"tenant": {"x"}, "access_type": {"offline"}, "prompt": {"consent"},
		"response_type": {"code"}, "client_id": {testClient}, "redirect_uri": {testRedirect}, "state": {a.State},
		"nonce": {a.Nonce}, "scope": {"openid groups offline_access"}, "code_challenge_method": {"S256"},
		"login_hint": {"alice@example.com"}}, query); diff != "" || len(challenge) != 43 {
		t.Errorf("row 31: the authorization request has no scope or resource of the client: %s", diff)
	}
	who, err := x.finish(t, a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(authserver.Person{Subject: "alice", Scopes: []string{"mcp:use"}, Credential: x.provider.refresh,
		Time: x.clock.Now(), Details: map[string]string{"iss": x.provider.URL, "sub": "alice", "nonce": a.Nonce,
			"claims": "id_token", "rules": x.config.rulesDigest()}}, who); diff != "" {
		t.Error(diff)
	}
	if got := x.ClientStatus(); got.SignIns != 1 || got.WithoutRefresh != 0 || got.Refused {
		t.Errorf("%+v", got)
	}
	if x.Host() != strings.TrimPrefix(x.provider.URL, "http://") || x.Choices() != nil {
		t.Error(x.Host())
	}
	for _, hint := range []string{"eyJhbGciOiJub25lIn0.e30.&x", strings.Repeat("a", 129), "a b", "ä"} {
		a.LoginHint = hint
		if _, address, _ := x.Begin(t.Context(), a); strings.Contains(address, "login_hint") {
			t.Errorf("login_hint %s is forwarded", hint)
		}
	}
}

func TestUpstream_ResponseOfTheProvider(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(url.Values) { return func(r url.Values) { r.Set(name, value) } }
	mismatch := want{reason: ReasonProviderIssuerMismatch, code: "server_error"}
	denied := want{reason: ReasonProviderDenied, code: "access_denied"}
	failed := func(detail string) want {
		return want{reason: ReasonProviderError, code: "server_error", detail: detail}
	}
	busy := want{reason: ReasonProviderError, code: "temporarily_unavailable"}
	for name, c := range map[string]struct {
		metadata object
		change   func(url.Values)
		want     want
	}{
		"row 21 iss of another server": {nil, set("iss", "https://evil.example"), mismatch},
		"row 21 iss with a slash":      {nil, func(r url.Values) { r.Set("iss", r.Get("iss")+"/") }, mismatch},
		"row 21 iss is missing":        {nil, func(r url.Values) { r.Del("iss") }, mismatch},
		"row 21 iss twice": {nil, func(r url.Values) { r.Add("iss", "https://evil.example") },
			failed("twice")},
		"row 21 iss of another server, and an error": {nil, func(r url.Values) {
			r.Set("iss", "https://evil.example")
			r.Set("error", "access_denied")
		}, mismatch},
		"row 21 another iss although none is announced": {object{"authorization_response_iss_parameter_supported": nil},
			set("iss", "https://evil.example"), mismatch},
		"code is missing": {nil, func(r url.Values) { r.Del("code") }, failed("")},
		"code twice": {nil, func(r url.Values) { r.Add("code", "x") },
			failed("twice")},
		"code of 10 kB": {nil, set("code", strings.Repeat("x", 10_000)),
			failed("")},

		"row 22 access_denied":           {nil, set("error", "access_denied"), denied},
		"row 22 login_required":          {nil, set("error", "login_required"), denied},
		"row 22 temporarily_unavailable": {nil, set("error", "temporarily_unavailable"), busy},
		"row 22 server_error":            {nil, set("error", "server_error"), failed("")},
		"row 22 invented error":          {nil, set("error", "<b>invented"), failed("an unknown error")},
		"row 22 empty error":             {nil, set("error", ""), failed("")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			x.provider.metadata = with(c.metadata)
			a := attempt("a")
			response := x.approve(t, a)
			c.change(response)
			response.Set("error_description", "\x1b[31mYour password is <b>\n"+strings.Repeat("x", 1000))
			_, err := x.Finish(t.Context(), a, response)
			x.check(t, err, c.want)
			if strings.Contains(err.Error(), "password") {
				t.Errorf("row 22: the description is in %v", err)
			}
			if n := len(x.provider.tokenRequests()); n > 0 {
				t.Errorf("the token endpoint got %d requests", n)
			}
			log := x.log.String()
			if strings.ContainsAny(log, "\x1b") || strings.Contains(log, strings.Repeat("x", 300)) {
				t.Error("row 22: the description is in the log without escapes, or as a whole")
			}
		})
	}
	t.Run("row 62 invented responses do not fill the log", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		a := attempt("a")
		response := x.approve(t, a)
		response.Set("error", "invented")
		for range 1000 {
			_, _ = x.Finish(t.Context(), a, response)
		}
		if lines := strings.Count(x.log.String(), "\n"); lines > 600 {
			t.Errorf("the log has %d lines", lines)
		}
	})
	t.Run("row 21 no iss, and none is announced", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		x.provider.metadata = with(object{"authorization_response_iss_parameter_supported": nil})
		a := attempt("a")
		response := x.approve(t, a)
		response.Del("iss")
		if _, err := x.Finish(t.Context(), a, response); err != nil {
			t.Error(err)
		}
	})
}

func TestUpstream_ForeignCode(t *testing.T) {
	t.Parallel()
	t.Run("row 20 PKCE", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		_, err := x.Finish(t.Context(), attempt("victim"), x.approve(t, attempt("attacker")))
		x.check(t, err, want{reason: ReasonProviderCodeRefused, code: "server_error", detail: "invalid_grant"})
	})
	t.Run("row 23 PKCE is ignored, and the nonce binds", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		x.provider.ignorePKCE = true
		x.provider.metadata = with(object{"code_challenge_methods_supported": nil})
		x.signIn(t)
		_, err := x.Finish(t.Context(), attempt("victim"), x.approve(t, attempt("attacker")))
		x.check(t, err, want{reason: ReasonIDTokenInvalid, code: "server_error", detail: "nonce"})
		if got := x.ProbeMetadata(t.Context()); got.Verdict != "warning" || !strings.Contains(got.Found, "PKCE") {
			t.Errorf("doctor: %+v", got)
		}
	})
	t.Run("row 19 the same response again", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		a := attempt("a")
		response := x.approve(t, a)
		if _, err := x.Finish(t.Context(), a, response); err != nil {
			t.Fatal(err)
		}
		_, err := x.Finish(t.Context(), a, response)
		x.check(t, err, want{reason: ReasonProviderCodeRefused, code: "server_error"})
	})
}

func TestUpstream_IDToken(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	invalid := func(detail string) want {
		return want{reason: ReasonIDTokenInvalid, code: "server_error", detail: detail}
	}
	unnamed := want{reason: ReasonAccountUnnamed, code: "server_error"}
	for name, c := range map[string]struct {
		claims object
		sign   func(f *foreign, claims object) string
		answer object
		want   want
	}{
		"row 24 iss":                  {object{"iss": "https://evil.example"}, nil, nil, invalid("iss")},
		"row 24 iss is missing":       {object{"iss": nil}, nil, nil, invalid("iss")},
		"row 24 aud":                  {object{"aud": "another client"}, nil, nil, invalid("aud")},
		"row 24 aud is missing":       {object{"aud": nil}, nil, nil, invalid("aud")},
		"row 24 several aud, no azp":  {object{"aud": []string{testClient, "x"}}, nil, nil, invalid("azp")},
		"row 24 azp":                  {object{"azp": "another client"}, nil, nil, invalid("azp")},
		"row 24 nonce":                {object{"nonce": "x"}, nil, nil, invalid("nonce")},
		"row 24 nonce is missing":     {object{"nonce": nil}, nil, nil, invalid("nonce")},
		"row 24 exp":                  {object{"exp": now - 65}, nil, nil, invalid("expired")},
		"row 24 exp is missing":       {object{"exp": nil}, nil, nil, invalid("exp")},
		"row 24 exp is a string":      {object{"exp": "soon"}, nil, nil, invalid("another type")},
		"row 24 iat in the future":    {object{"iat": now + 120}, nil, nil, invalid("iat")},
		"row 24 iat is missing":       {object{"iat": nil}, nil, nil, invalid("iat")},
		"row 24 at_hash":              {object{"at_hash": atHash("another token")}, nil, nil, invalid("at_hash")},
		"row 24 alg none":             {nil, signNothing, nil, invalid("")},
		"row 24 SUB as well as sub":   {object{"SUB": "bob"}, nil, nil, invalid("cannot be read")},
		"row 24 a duplicate sub":      {nil, signDuplicate, nil, invalid("cannot be read")},
		"row 24 payload null":         {nil, signNull, nil, invalid("cannot be read")},
		"row 24 no ID token":          {nil, nil, object{"id_token": nil}, invalid("there is none")},
		"row 24 ID token is garbage":  {nil, nil, object{"id_token": "garbage"}, invalid("")},
		"row 24 ID token has 5 parts": {nil, nil, object{"id_token": "a.b.c.d.e"}, invalid("")},
		"row 24 HS256 with the client secret": {nil, func(f *foreign, claims object) string {
			return f.signed(jose.HS256, []byte(strings.Repeat(testSecret, 2)), "k", claims)
		}, nil, invalid("alg")},
		"row 24 a foreign key with a known kid": {nil, func(f *foreign, claims object) string {
			return f.signed(jose.ES256, other, "k", claims)
		}, nil, invalid("does not verify")},
		"row 24 unknown kid": {nil, func(f *foreign, claims object) string {
			return f.signed(jose.ES256, other, "another", claims)
		}, nil, invalid("not published")},
		"row 24 edited payload": {nil, func(f *foreign, claims object) string {
			parts := strings.Split(f.signed(jose.ES256, f.key, "k", claims), ".")
			claims["sub"] = "bob"
			return parts[0] + "." + strings.Split(unsigned(claims), ".")[1] + "." + parts[2]
		}, nil, invalid("does not verify")},

		"row 25 sub is missing": {object{"sub": nil}, nil, nil, unnamed},
		"row 25 sub is empty":   {object{"sub": ""}, nil, nil, unnamed},
		"row 25 sub is null":    {object{"sub": nil, "x": nil}, nil, nil, unnamed},
		"row 25 sub is a number": {object{"sub": 5}, nil, nil,
			want{reason: ReasonIDTokenInvalid, code: "server_error"}},
		"row 25 sub of 300 bytes":           {object{"sub": strings.Repeat("x", 300)}, nil, nil, unnamed},
		"row 25 sub with control character": {object{"sub": "alice\n"}, nil, nil, unnamed},
		"row 25 sub with lone surrogate":    {nil, signSurrogate, nil, unnamed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			x.provider.claims, x.provider.answer = with(c.claims), with(c.answer)
			if c.sign != nil {
				x.provider.sign = func(claims object) string { return c.sign(x.provider, claims) }
			}
			_, err := x.finish(t, attempt("a"))
			x.check(t, err, c.want)
		})
	}
}

func signText(f *foreign, payload string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: f.key},
		(&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		f.t.Error(err)
		return ""
	}
	return f.signedText(signer, []byte(payload))
}

func signDuplicate(f *foreign, claims object) string {
	return signText(f, strings.Replace(jsonText(claims), `{`, `{"sub":"bob",`, 1))
}

func signNothing(_ *foreign, claims object) string { return unsigned(claims) }

func signNull(f *foreign, _ object) string { return signText(f, "null") }

func signSurrogate(f *foreign, claims object) string {
	return signText(f, strings.Replace(jsonText(claims), `"alice"`, `"alice\ud800"`, 1))
}

func TestUpstream_AcceptsOddIDTokens(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	for name, claims := range map[string]object{
		"lifetime of a second":         {"exp": now + 1},
		"clock 50 s behind":            {"iat": now + 50, "exp": now + 110},
		"clock 50 s ahead":             {"iat": now - 110, "exp": now - 50},
		"no at_hash":                   {"at_hash": nil},
		"several aud with azp":         {"aud": []string{"x", testClient}, "azp": testClient},
		"fractions":                    {"iat": float64(now) - 0.5, "exp": float64(now) + 60.5},
		"type of an ID token (Dex)":    {"c_hash": "x", "type": "id-token"},
		"more than a hundred claims":   manyClaims(),
		"all groups of a large tenant": {"groups": append(manyGroups(9_999), "mcp")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			x.provider.claims = with(claims)
			x.signIn(t)
		})
	}
}

func manyClaims() object {
	claims := object{}
	for i := range 150 {
		claims["x"+strings.Repeat("y", i)] = i
	}
	return claims
}

func manyGroups(n int) []string {
	groups := make([]string, n)
	for i := range groups {
		groups[i] = "CN=" + strings.Repeat("g", i%30) + ",OU=example"
	}
	return groups
}

func TestUpstream_SubjectClaim(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claims object
		want   string
	}{
		"row 25 a string":           {object{"oid": "object id"}, "object id"},
		"row 25 missing":            {nil, ""},
		"row 25 a number":           {object{"oid": 5}, ""},
		"row 25 a list":             {object{"oid": []string{"a"}}, ""},
		"row 25 empty":              {object{"oid": ""}, ""},
		"row 25 differs in case":    {object{"OID": "a"}, ""},
		"row 25 also null is wrong": {object{"oid": map[string]any(nil)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, func(c *upstreamConfig) { c.SubjectClaim = "oid" })
			x.provider.claims = with(c.claims)
			who, err := x.finish(t, attempt("a"))
			if who.Subject != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v", who.Subject, err)
			}
			if c.want != "" && who.Details["sub"] != "alice" {
				t.Error(who.Details)
			}
		})
	}
}

func TestUpstream_Tenants(t *testing.T) {
	t.Parallel()
	invalid := func(detail string) want {
		return want{reason: ReasonIDTokenInvalid, code: "server_error", detail: detail}
	}
	for name, c := range map[string]struct {
		tenant string // in iss
		claims object
		keys   object
		want   want // none: signed in
	}{
		"a tenant of the list":       {"one", object{"tid": "one"}, nil, want{}},
		"with the keys of all":       {"one", object{"tid": "one"}, object{"issuer": "ISSUER/{tenantid}/v2.0"}, want{}},
		"row 26 a foreign tenant":    {"three", object{"tid": "three"}, nil, invalid("iss")},
		"row 26 another tid":         {"one", object{"tid": "two"}, nil, invalid("tid")},
		"row 26 no tid":              {"one", nil, nil, invalid("tid")},
		"row 26 the template itself": {"{tid}", object{"tid": "{tid}"}, nil, invalid("iss")},
		"row 26 the keys of another tenant": {"one", object{"tid": "one"}, object{"issuer": "ISSUER/two/v2.0"},
			invalid("bound to another issuer")},
		"row 26 the keys of another cloud": {"one", object{"tid": "one"},
			object{"issuer": "https://evil.example/{tenantid}/v2.0"},
			invalid("bound to another issuer")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenants(t)
			f := x.provider
			f.claims = func(claims object) {
				claims["iss"] = f.URL + "/" + c.tenant + "/v2.0"
				with(c.claims)(claims)
			}
			f.jwks = func(key object) {
				for name, value := range c.keys {
					key[name] = strings.Replace(value.(string), "ISSUER", f.URL, 1)
				}
			}
			who, err := x.finish(t, attempt("a"))
			if c.want != (want{}) {
				x.check(t, err, c.want)
				return
			}
			if err != nil || who.Subject != "one/alice" || who.Details["tid"] != "one" {
				t.Errorf("row 30: a person of a tenant is %q, %v, %v", who.Subject, who.Details, err)
			}
		})
	}
}

// newTenants returns an Upstream at a provider with the tenants one and two.
func newTenants(t testing.TB) *fixture {
	t.Helper()
	return newFixture(t, func(c *upstreamConfig) {
		c.DiscoveryURL = c.Issuer + "/.well-known/openid-configuration"
		c.Issuer += "/{tid}/v2.0"
		c.Tenants = []string{"one", "two"}
	}).withMetadata(func(f *foreign) object {
		return object{"issuer": f.URL + "/{tenantid}/v2.0", "authorization_response_iss_parameter_supported": nil}
	}).withoutIss()
}

func (x *fixture) withMetadata(metadata func(*foreign) object) *fixture {
	x.provider.metadata = with(metadata(x.provider))
	return x
}

// withoutIss makes the provider send no iss in its responses.
func (x *fixture) withoutIss() *fixture {
	x.provider.noIss = true
	return x
}

func TestUpstream_Accounts(t *testing.T) {
	t.Parallel()
	denied := func(detail string) want {
		return want{reason: authserver.ReasonAccountNotAllowed, code: "access_denied", detail: detail}
	}
	google := func(t testing.TB, c *upstreamConfig) {
		c.Required, c.Rules = mustRequired(t, "hd=example.com"), mustRules(t, "* > mcp:use")
	}
	const email, group = "email=a@x > mcp:use", "groups=mcp > mcp:use"
	rules := func(list ...string) func(testing.TB, *upstreamConfig) {
		return func(t testing.TB, c *upstreamConfig) { c.Rules = mustRules(t, list...) }
	}
	for name, c := range map[string]struct {
		config func(testing.TB, *upstreamConfig)
		claims object
		want   want
	}{
		"row 27 an account of the company": {google, object{"hd": "example.com"}, want{}},
		"row 27 without hd":                {google, object{"email": "x@example.com", "email_verified": true}, denied("hd")},
		"row 27 a consumer's account":      {google, object{"email": "x@gmail.com", "email_verified": true}, denied("hd")},
		"row 27 hd of another company":     {google, object{"hd": "evil.example"}, denied("hd")},
		"row 27 hd in another case":        {google, object{"hd": "EXAMPLE.com"}, denied("hd")},
		"row 27 a list of subjects":        {rules("sub=alice > mcp:use"), nil, want{}},
		"row 27 not in a list of subjects": {rules("sub=bob > mcp:use"), nil, denied("scope_rules")},
		"row 28 e-mail that is verified":   {rules(email), object{"email": "a@x", "email_verified": true}, want{}},
		"row 28 e-mail that is not": {rules(email), object{"email": "a@x", "email_verified": false},
			denied("scope_rules")},
		"row 28 e-mail of unknown state":    {rules(email), object{"email": "a@x"}, denied("scope_rules")},
		"row 31 admin is not in the rules":  {rules("groups=mcp > mcp:use, groups=admins > admin"), nil, want{}},
		"row 32 groups as one string":       {rules(group), object{"groups": "mcp admins"}, denied("scope_rules")},
		"row 32 an object in place of list": {rules(group), object{"groups": object{"mcp": true}}, denied("scope_rules")},
		"row 32 10,001 groups": {rules(group), object{"groups": append(manyGroups(10_000), "mcp")},
			denied("scope_rules")},
		"row 32 overage": {rules("groups=mcp > mcp:use, * > mcp:use"), object{"groups": nil,
			"_claim_names":   object{"groups": "src1"},
			"_claim_sources": object{"src1": object{"endpoint": "https://evil.example"}}},
			want{reason: ReasonAccountOverage, code: "access_denied", detail: "groups"}},
		"row 32 overage of the implicit flow": {rules(group), object{"groups": nil, "hasgroups": true},
			want{reason: ReasonAccountOverage, code: "access_denied", detail: "groups"}},
		"row 32 overage of another claim": {rules("roles=x > mcp:use"), object{"groups": nil, "roles": []string{"x"},
			"_claim_names": object{"groups": "src1"}}, want{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, func(config *upstreamConfig) { c.config(t, config) })
			x.provider.claims = with(c.claims)
			who, err := x.finish(t, attempt("a"))
			if c.want != (want{}) {
				x.check(t, err, c.want)
			} else if diff := cmp.Diff([]string{"mcp:use"}, who.Scopes); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if strings.HasPrefix(name, "row 32 an object") && !strings.Contains(x.log.String(), "the claim groups is not used") {
				t.Error("no line in the log")
			}
		})
	}
	t.Run("row 30 one e-mail address, two persons", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, func(c *upstreamConfig) { c.Rules = mustRules(t, "email=a@x > mcp:use") })
		x.provider.claims = with(object{"email": "a@x", "email_verified": true})
		first := x.signIn(t)
		x.provider.set(func(f *foreign) { f.claims = with(object{"sub": "bob", "email": "a@x", "email_verified": true}) })
		if second := x.signIn(t); first.Subject == second.Subject {
			t.Error("they are one person")
		}
	})
}

// answers are responses of the token endpoint that tell nothing about the person.
func answers() map[string]func(http.ResponseWriter) {
	status := func(status int, contentType, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const page, json = "text/html", "application/json"
	huge := strings.Repeat("x", maxResponseBytes)
	return map[string]func(http.ResponseWriter){
		"200 with HTML":               status(200, page, "<script>"),
		"200 and empty":               status(200, json, ""),
		"200 with null":               status(200, json, "null"),
		"200 with an error":           status(200, json, `{"error":"invalid_grant"}`),
		"200 with no access token":    status(200, json, `{"id_token":"x"}`),
		"200 with a number":           status(200, json, `{"access_token":1}`),
		"200 with a duplicate":        status(200, json, `{"access_token":"a","access_token":"b"}`),
		"302":                         status(302, page, ""),
		"429":                         status(429, json, `{"error":"invalid_grant"}`),
		"500":                         status(500, page, "<script>"),
		"502 with invalid_grant":      status(502, json, `{"error":"invalid_grant"}`),
		"503":                         status(503, page, "<script>"),
		"400 with HTML":               status(400, page, "invalid_grant <script>"),
		"403 of a firewall":           status(403, page, "<script>"),
		"404":                         status(404, page, "<script>"),
		"400 temporarily_unavailable": status(400, json, `{"error":"temporarily_unavailable"}`),
		"huge body":                   status(200, json, `{"access_token":"`+huge+`"}`),
		"huge error":                  status(400, json, `{"error":"invalid_grant","x":"`+huge+`"}`),
		"truncated": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"access_token":"`))
		},
		"no response": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	}
}

func TestUpstream_Outages(t *testing.T) {
	t.Parallel()
	outage := want{reason: ReasonProviderUnavailable, code: "temporarily_unavailable"}
	for name, answer := range answers() {
		t.Run("row 56 "+name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			who := x.signIn(t)
			x.provider.set(func(f *foreign) {
				f.token = func(w http.ResponseWriter, _ url.Values) bool {
					answer(w)
					return true
				}
			})
			_, err := x.Renew(t.Context(), who)
			x.check(t, err, outage)
			failure, _ := errors.AsType[*providers.Error](err)
			wait := time.Duration(0)
			if name == "429" || name == "503" {
				wait = 17 * time.Second
			}
			if failure == nil || failure.RetryAfter != wait {
				t.Errorf("Retry-After of %v is not %v", failure, wait)
			}
			// The code of a sign-in is sent once, whatever the answer.
			a := attempt("b")
			response, before := x.approve(t, a), len(x.provider.tokenRequests())
			_, err = x.Finish(t.Context(), a, response)
			x.check(t, err, outage)
			if n := len(x.provider.tokenRequests()) - before; n != 1 {
				t.Errorf("row 55: the code was sent %d times", n)
			}
			x.provider.set(func(f *foreign) { f.token = nil })
			if _, err := x.renew(t, who); err != nil {
				t.Errorf("after the outage: %v", err)
			}
		})
	}
	t.Run("row 56 no answer in time", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		who := x.signIn(t)
		x.client.Timeout = 50 * time.Millisecond
		release := make(chan struct{})
		x.provider.set(func(f *foreign) {
			f.token = func(http.ResponseWriter, url.Values) bool { <-release; return true }
		})
		_, err := x.Renew(t.Context(), who)
		close(release)
		x.check(t, err, want{reason: outage.reason, code: outage.code, detail: "no answer in time"})
	})
	t.Run("row 55 the provider is down", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		x.provider.metadata = func(m object) { clear(m) }
		_, _, err := x.Begin(t.Context(), attempt("a"))
		x.check(t, err, outage)
		_, err = x.Finish(t.Context(), attempt("a"), url.Values{"code": {"x"}})
		x.check(t, err, outage)
		_, err = x.Renew(t.Context(), authserver.Person{Credential: "x"})
		x.check(t, err, outage)
		x.Dismiss(t.Context(), authserver.Person{Credential: "x"})
		if x.provider.set(func(f *foreign) { f.metadata = nil }); x.metadata.failures != 1 {
			t.Errorf("the metadata was read %d times within a second", x.metadata.failures)
		}
		x.clock.advance(2 * time.Second)
		x.signIn(t)
		x.provider.set(func(f *foreign) { f.metadata = func(m object) { clear(m) } })
		x.clock.advance(time.Hour)
		x.signIn(t)
	})
	t.Run("row 55 the keys are down", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		x.provider.jwks = func(key object) { clear(key) }
		_, err := x.finish(t, attempt("a"))
		x.check(t, err, outage)
	})
}

func TestUpstream_ClientRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"answered 401":   func(w http.ResponseWriter) { w.WriteHeader(401) },
		"invalid_client": func(w http.ResponseWriter) { writeJSON(w, 401, object{"error": "invalid_client"}) },
		"unauthorized_client": func(w http.ResponseWriter) {
			writeJSON(w, 400, object{"error": "unauthorized_client", "error_description": "<script>"})
		},
	} {
		t.Run("row 56 "+name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			who := x.signIn(t)
			x.provider.set(func(f *foreign) {
				f.token = func(w http.ResponseWriter, _ url.Values) bool { answer(w); return true }
			})
			for range 3 {
				_, err := x.Renew(t.Context(), who)
				x.check(t, err, want{reason: ReasonProviderClientRefused, code: "temporarily_unavailable", detail: name})
			}
			_, err := x.finish(t, attempt("b"))
			x.check(t, err, want{reason: ReasonProviderClientRefused, code: "server_error", detail: name})
			if got := x.ClientStatus(); !got.Refused || got.Refusals != 4 || !got.Since.Equal(x.clock.Now()) {
				t.Errorf("%+v", got)
			}
			if n := strings.Count(x.log.String(), `"level":"ERROR"`); n != 1 {
				t.Errorf("%d alarms within a minute", n)
			}
			x.clock.advance(2 * time.Minute)
			_, _ = x.Renew(t.Context(), who)
			if n := strings.Count(x.log.String(), `"level":"ERROR"`); n != 2 {
				t.Errorf("%d alarms after two minutes", n)
			}
			x.provider.set(func(f *foreign) { f.token = nil })
			if _, err := x.renew(t, who); err != nil || x.ClientStatus().Refused {
				t.Error(err, x.ClientStatus())
			}
		})
	}
}

func TestUpstream_Renew(t *testing.T) {
	t.Parallel()
	t.Run("the same person, with another refresh token", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		who := x.signIn(t)
		x.clock.advance(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a client that hangs up does not lose the new refresh token
		renewal, err := x.Renew(ctx, who)
		if err != nil || renewal.Credential == who.Credential || renewal.Credential != x.provider.refresh {
			t.Fatal(renewal.Credential, err)
		}
		again, err := renewal.Judge(t.Context())
		want := who
		want.Credential = renewal.Credential
		if diff := cmp.Diff(want, again); diff != "" || err != nil {
			t.Error(err, diff)
		}
		form := x.provider.tokenRequests()[1]
		sent := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {who.Credential}}
		if diff := cmp.Diff(sent, form); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a refresh token that is not replaced", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		who := x.signIn(t)
		x.provider.answer = with(object{"refresh_token": nil})
		renewal, err := x.Renew(t.Context(), who)
		if err != nil || renewal.Credential != who.Credential {
			t.Error(renewal.Credential, err)
		}
	})
	for _, code := range []string{"invalid_grant", "interaction_required", "login_required", "consent_required"} {
		t.Run("row 57 "+code, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, nil)
			who := x.signIn(t)
			x.provider.token = func(w http.ResponseWriter, _ url.Values) bool {
				writeJSON(w, http.StatusBadRequest, object{"error": code, "error_description": "<script>"})
				return true
			}
			_, err := x.Renew(t.Context(), who)
			x.check(t, err, want{reason: ReasonAccountGone, code: "access_denied", detail: code, gone: true})
		})
	}
	changed := want{reason: authserver.ReasonAccountChanged, code: "access_denied", gone: true}
	invalid := want{reason: ReasonIDTokenInvalid, code: "server_error"}
	denied := func(reason providers.Reason) want { return want{reason: reason, code: "access_denied", gone: true} }
	for name, c := range map[string]struct {
		claims object
		want   want
		scopes []string
	}{
		"row 29 another sub":        {object{"sub": "bob"}, changed, nil},
		"row 29 another tid":        {object{"tid": "two"}, changed, nil},
		"no nonce":                  {object{"nonce": nil}, want{}, []string{"mcp:use", "greet:read"}},
		"another nonce":             {object{"nonce": "x"}, invalid, nil},
		"a nonce that is no string": {object{"nonce": []string{"x"}}, invalid, nil},
		"row 33 fewer groups":       {object{"groups": []string{"mcp"}}, want{}, []string{"mcp:use"}},
		"row 33 other groups":       {object{"groups": []string{"admins"}}, want{}, []string{"admin"}},
		"row 33 no groups":          {object{"groups": nil}, denied(authserver.ReasonAccountNotAllowed), nil},
		"row 33 too many groups": {object{"groups": nil, "_claim_names": object{"groups": "x"}},
			denied(ReasonAccountOverage), nil},
		"row 57 required claim":        {object{"hd": "evil.example"}, denied(authserver.ReasonAccountNotAllowed), nil},
		"row 58 ID token for another":  {object{"aud": "x"}, invalid, nil},
		"row 58 ID token has expired":  {object{"exp": 1}, invalid, nil},
		"row 58 ID token without sub":  {object{"sub": nil}, want{reason: ReasonAccountUnnamed, code: "server_error"}, nil},
		"row 58 ID token of a foreign": {object{"iss": "https://evil.example"}, invalid, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, func(c *upstreamConfig) {
				c.Rules = mustRules(t, "groups=mcp > mcp:use, groups=readers > greet:read, groups=admins > admin")
				c.Required = mustRequired(t, "hd=example.com")
			})
			signIn := object{"groups": []string{"mcp", "readers"}, "tid": "one", "hd": "example.com"}
			x.provider.claims = with(signIn)
			who := x.signIn(t)
			x.provider.set(func(f *foreign) {
				f.claims = func(claims object) {
					with(signIn)(claims)
					with(c.claims)(claims)
				}
			})
			renewal, err := x.Renew(t.Context(), who)
			if err != nil || renewal.Credential == who.Credential {
				t.Fatalf("row 58: the new refresh token is not returned first: %v", err)
			}
			again, err := renewal.Judge(t.Context())
			if c.want != (want{}) {
				x.check(t, err, c.want)
			} else if diff := cmp.Diff(c.scopes, again.Scopes); diff != "" || err != nil {
				t.Error(err, diff)
			}
		})
	}
	for name, c := range map[string]struct {
		answer object // of the provider at the refresh
		rules  string
		want   want
	}{
		"claims, and the same rules":    {nil, "groups=mcp > mcp:use admin", want{}},
		"claims, and other rules":       {nil, "groups=mcp > mcp:use", want{}},
		"no claims, and the same rules": {object{"id_token": nil}, "groups=mcp > mcp:use admin", want{}},
		"no claims, and other rules": {object{"id_token": nil}, "groups=mcp > mcp:use",
			want{reason: ReasonRulesChanged, code: "access_denied", gone: true}},
	} {
		t.Run("row 33 after a restart: "+name, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t, func(c *upstreamConfig) { c.Rules = mustRules(t, "groups=mcp > mcp:use admin") })
			x.provider.claims = with(object{"groups": []string{"mcp"}})
			who := x.signIn(t)
			x.config.Rules = mustRules(t, c.rules)
			x.provider.set(func(f *foreign) { f.answer = with(c.answer); f.metadata = with(object{"userinfo_endpoint": nil}) })
			again, err := x.renew(t, who)
			if c.want != (want{}) {
				x.check(t, err, c.want)
				return
			}
			if err != nil || slices.Contains(again.Scopes, "admin") != strings.Contains(c.rules, "admin") {
				t.Errorf("scopes %q, %v", again.Scopes, err)
			}
			// The scopes are those of the new rules, so they stay when the provider says nothing the next time.
			x.provider.set(func(f *foreign) { f.answer = with(object{"id_token": nil}) })
			if _, err := x.renew(t, again); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("row 29 another tenant of the list", func(t *testing.T) {
		t.Parallel()
		x := newTenants(t)
		in := func(tenant string) func(object) {
			return with(object{"iss": x.provider.URL + "/" + tenant + "/v2.0", "tid": tenant})
		}
		x.provider.claims = in("one")
		who := x.signIn(t)
		x.provider.set(func(f *foreign) { f.claims = in("two") })
		_, err := x.renew(t, who)
		x.check(t, err, changed)
	})
	t.Run("row 29 another subject_claim", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, func(c *upstreamConfig) { c.SubjectClaim = "oid" })
		x.provider.claims = with(object{"oid": "one"})
		who := x.signIn(t)
		x.provider.set(func(f *foreign) { f.claims = with(object{"oid": "two"}) })
		_, err := x.renew(t, who)
		x.check(t, err, changed)
	})
	t.Run("row 58 the key of the ID token is unknown", func(t *testing.T) {
		t.Parallel()
		x := newFixture(t, nil)
		who := x.signIn(t)
		x.provider.set(func(f *foreign) { f.answer = with(object{"id_token": "a.b.c"}) })
		renewal, err := x.Renew(t.Context(), who)
		if err != nil || renewal.Credential == who.Credential {
			t.Fatal(err)
		}
		_, err = renewal.Judge(t.Context())
		x.check(t, err, invalid)
	})
}

func TestUpstream_Dismiss(t *testing.T) {
	t.Parallel()
	x := newFixture(t, nil)
	who := x.signIn(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x.Dismiss(ctx, who)
	x.Dismiss(t.Context(), authserver.Person{Subject: "alice"})
	if diff := cmp.Diff([]string{who.Credential}, x.provider.revoked); diff != "" {
		t.Error(diff)
	}
}
