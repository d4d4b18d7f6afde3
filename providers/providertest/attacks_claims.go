package providertest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers/token"
)

// timeAttacks are valid tokens with other times, or without.
func timeAttacks(o *openAdapter) []attack {
	base, now := o.base, time.Now()
	raw := func(name, value string) string {
		return base.withPayload(base.claimMembers(name) + fmt.Sprintf(`,%q:%s}`, name, value))
	}
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	expired, early, malformed := oneOf(token.ReasonExpired), oneOf(token.ReasonNotYetValid),
		oneOf(token.ReasonClaimsMalformed)
	attacks := []attack{
		{"exp missing", base.withClaims(m{"exp": nil}), oneOf(token.ReasonExpiryMissing)},
		{"exp an hour ago", base.withClaims(m{"exp": at(-time.Hour)}), expired},
		{"exp just past the leeway", base.withClaims(m{"exp": at(-o.leeway - time.Second)}), expired},
		{"exp zero", raw("exp", "0"), expired},
		{"exp minus zero", raw("exp", "-0"), expired},
		{"nbf in an hour", base.withClaims(m{"nbf": at(time.Hour)}), early},
		// The minute is the margin for a slow machine.
		{"nbf a minute ahead of the leeway", base.withClaims(m{"nbf": at(o.leeway + time.Minute)}), early},
		{"iat in an hour", base.withClaims(m{"iat": at(time.Hour)}), early},
	}
	later := fmt.Sprint(at(time.Hour))
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{
			`"` + later + `"`, `"2999-01-01T00:00:00Z"`, `""`, `true`, `[` + later + `]`, `{}`, `-1`, `-1e300`,
			`1e300`, `1e400`, `253402300800`,
			`9223372036854775808`, `18446744073709551617`,
		} {
			attacks = append(attacks, attack{fmt.Sprintf("%s is %s", name, value), raw(name, value), malformed})
		}
	}
	for _, value := range []string{`null`, `NaN`, `Infinity`, `0x7fffffff`, `1_000`, `+1`, `.5`, `01`} {
		attacks = append(attacks, attack{"exp is " + value, raw("exp", value), malformed})
	}
	return attacks
}

// issuerAttacks have another iss, signed by the right key.
func issuerAttacks(o *openAdapter) []attack {
	accepted := o.claim("iss")
	iss := o.base.want.Issuer
	mismatch := oneOf(token.ReasonIssuerMismatch)
	scheme, rest, _ := strings.Cut(iss, "://")
	otherScheme := map[string]string{"http": "https", "https": "http"}[scheme]
	var attacks []attack
	for name, other := range map[string]string{
		"another": "https://mallory.example", "with a slash": iss + "/",
		"without its slash": strings.TrimSuffix(iss, "/"), "in another case": strings.ToUpper(iss),
		"with a suffix": iss + ".mallory.example", "with a path": iss + "/realms/x",
		"a prefix of it": iss[:len(iss)-1],
		"with user info": scheme + "://user@" + rest, "with the right host as user info": iss + "@mallory.example",
		"with a fragment": iss + "#", "with a query": iss + "?", "with a space": iss + " ",
		"with a NUL": iss + "\x00", "of another scheme": otherScheme + "://" + rest,
		"a URL that must not be requested": o.Issuer.trap(), "empty": "", "long": strings.Repeat("i", 5000),
		"hidden": strings.Repeat("\U000e0001", 2000),
	} {
		if !slices.Contains(accepted, other) {
			attacks = append(attacks, attack{"iss is " + name, o.base.withClaims(m{"iss": other}), mismatch})
		}
	}
	for name, value := range map[string]any{"a list": []string{iss}, "an object": m{"iss": iss}, "a number": 1,
		"null": null, "true": true} {
		attacks = append(attacks, attack{"iss is " + name, o.base.withClaims(m{"iss": value}),
			oneOf(token.ReasonClaimsMalformed)})
	}
	return append(attacks, attack{"iss missing", o.base.withClaims(m{"iss": nil}), mismatch})
}

// audienceAttacks are for another resource (token passthrough).
func audienceAttacks(o *openAdapter) []attack {
	if len(o.base.want.Audience) == 0 {
		return nil // another claim binds these tokens to the resource; Subject.Refused must cover it
	}
	accepted := o.claim("aud")
	mismatch := oneOf(token.ReasonAudienceMismatch)
	var attacks []attack
	seen := map[string]bool{}
	for _, audience := range append(slices.Clone(o.base.want.Audience), o.Resource.String()) {
		for _, other := range append(similar(audience), o.base.want.Issuer) {
			if seen[other] || slices.ContainsFunc(accepted,
				func(a string) bool { return token.SameAudience(a, other) }) {
				continue
			}
			seen[other] = true
			attacks = append(attacks,
				attack{fmt.Sprintf("aud is %.60q", other), o.base.withClaims(m{"aud": other}), mismatch},
				attack{fmt.Sprintf("aud lists %.60q", other),
					o.base.withClaims(m{"aud": []string{other, "https://elsewhere.example"}}), mismatch})
		}
	}
	aud := o.base.want.Audience[0]
	for name, value := range map[string]any{
		"an object": m{"aud": aud}, "a number": 1, "true": true, "null": null, "a list with null": []any{aud, nil},
		"a list with a number": []any{aud, 1}, "a list in a list": []any{[]string{aud}},
		"a list with an object": []any{aud, m{}},
	} {
		attacks = append(attacks, attack{"aud is " + name, o.base.withClaims(m{"aud": value}),
			oneOf(token.ReasonClaimsMalformed)})
	}
	return append(attacks,
		attack{"aud missing", o.base.withClaims(m{"aud": nil}), mismatch},
		attack{"aud is an empty list", o.base.withClaims(m{"aud": []string{}}), mismatch},
	)
}

// similar returns strings that a lax comparison could take for audience.
func similar(audience string) []string {
	others := []string{
		"https://elsewhere.example/mcp", "*", "", "test-client", strings.Repeat("a", 5000),
		strings.Repeat("\U000e0001", 2000),
		audience[:len(audience)-1], audience + "2", audience + "/", " " + audience, audience + "\n",
		audience + "\x00", strings.ToUpper(audience),
		audience + " " + audience, audience + ",https://elsewhere.example",
	}
	u, err := url.Parse(audience)
	if err != nil || u.Host == "" {
		return others
	}
	scheme, host, port, path := u.Scheme, u.Hostname(), u.Port(), u.Path
	if port != "" {
		port = ":" + port
	}
	site := scheme + "://" + host + port
	others = append(others,
		site, site+"/", site+"/"+path, site+"/."+path, site+path+"/x", site+strings.ToUpper(path), site+path+"?",
		site+path+"#", site+path+"#x", site+path+"?x=1",
		site+"\\"+strings.TrimPrefix(path, "/"), scheme+"://user@"+host+port+path, site+"@mallory.example"+path,
		scheme+"://"+host+"."+port+path, scheme+"://"+host+".evil"+port+path,
		scheme+"://"+host+":3003"+path, scheme+"://"+host+":80"+path, scheme+"://"+host+":"+path,
		scheme+"\u017f://"+host+port+path, scheme+"://"+strings.ReplaceAll(host, "s", "\u017f")+port+path,
		scheme+"://\u017f"+host+port+path, "//"+host+port+path, host+port+path, path, "https://"+host+port+path,
		"http://"+host+port+path, scheme+"://127.0.0.1"+port+path,
	)
	if port != "" {
		others = append(others, scheme+"://"+host+path, scheme+"://"+host+strings.Replace(port, ":", ":0", 1)+path,
			scheme+"://"+host+port+"0"+path)
	}
	if len(path) > 1 {
		others = append(others, site+fmt.Sprintf("/%%%02x", path[1])+path[2:])
	}
	return others
}

// ambiguousClaimAttacks are tokens in which two parsers see different claims.
func ambiguousClaimAttacks(o *openAdapter) []attack {
	base := o.base
	malformed, header := oneOf(token.ReasonClaimsMalformed), oneOf(token.ReasonMalformed)
	var attacks []attack
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "client_id", "cnf",
		"nonce"} {
		for _, imitation := range []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			attacks = append(attacks, attack{"claim " + imitation,
				base.withPayload(base.claimMembers() + fmt.Sprintf(`,%q:"x"}`, imitation)), malformed})
		}
	}
	for name, value := range base.claims {
		if name == "" {
			continue
		}
		value := mustJSON(value)
		attacks = append(attacks,
			attack{name + " twice", base.withPayload(base.claimMembers() + fmt.Sprintf(`,%q:%s}`, name, value)),
				malformed},
			attack{name + " twice, once escaped",
				base.withPayload(base.claimMembers() + fmt.Sprintf(`,"\u%04x%s":%s}`, name[0], name[1:], value)),
				malformed})
	}
	for _, name := range []string{"iss", "sub", "aud", "exp"} {
		value, ok := base.claims[name]
		if !ok {
			continue
		}
		attacks = append(attacks, attack{name + " only as " + strings.ToUpper(name),
			base.withPayload(base.claimMembers(name) + fmt.Sprintf(`,%q:%s}`, strings.ToUpper(name), mustJSON(value))),
			malformed})
	}
	sign := func(members string) string { return base.withBytes(members, base.payload()) }
	after := func(member string) string { return sign(base.headerMembers() + "," + member + "}") }
	before := func(member string) string {
		return sign("{" + member + "," + strings.TrimPrefix(base.headerMembers(), "{") + "}")
	}
	return append(attacks,
		attack{"sub with a long s", base.withPayload(base.claimMembers() + `,"\u017fub":"admin"}`), malformed},
		attack{"imitation in escapes", base.withPayload(base.claimMembers() + `,"\u0053ub":"admin"}`), malformed},
		attack{"header alg twice, none first", before(`"alg":"none"`), header},
		attack{"header alg twice, none last", after(`"alg":"none"`), header},
		attack{"header Alg next to alg", after(`"Alg":"none"`), header},
		attack{"header typ twice", sign(base.headerMembers("typ") + `,"typ":"JWT","typ":"at+jwt"}`), header},
		attack{"header KID next to kid", after(`"KID":"x"`), header},
		attack{"header Crit", after(`"Crit":["x"]`), header},
	)
}

// subjectAttacks have no usable sub.
func subjectAttacks(o *openAdapter) []attack {
	attacks := []attack{{"sub missing", o.base.withClaims(m{"sub": nil}), oneOf(token.ReasonSubjectMissing)}}
	for name, sub := range map[string]string{"empty": "", "blank": " ", "white space": "\t\n\u2003"} {
		attacks = append(attacks, attack{"sub is " + name, o.base.withClaims(m{"sub": sub}),
			oneOf(token.ReasonSubjectMissing)})
	}
	for name, value := range map[string]any{"a number": 1, "a list": []any{1}, "an object": m{"x": 1},
		"null": null, "true": true} {
		attacks = append(attacks, attack{"sub is " + name, o.base.withClaims(m{"sub": value}),
			oneOf(token.ReasonClaimsMalformed)})
	}
	// The issuer may tell these subjects apart; the JSON decoder of Go maps all of them to U+FFFD.
	for _, surrogate := range []string{`\ud800`, `\udfff`, `\ufffd`, `\udfff\ud800`} {
		attacks = append(attacks, attack{"sub ends with " + surrogate,
			o.base.withPayload(o.base.claimMembers("sub") + `,"sub":"alice` + surrogate + `"}`),
			oneOf(token.ReasonClaimsMalformed)})
	}
	return append(attacks, attack{"sub is a list of two", o.base.withClaims(m{"sub": []any{"alice", "bob"}}),
		oneOf(token.ReasonSubjectMissing)})
}

// senderConstrainedAttacks are tokens whose sender must prove possession of a key, presented as bearer
// tokens.
func senderConstrainedAttacks(o *openAdapter) []attack {
	constrained := oneOf(token.ReasonSenderConstrained)
	return []attack{
		{"bound to a DPoP key", o.base.withClaims(m{"cnf": m{"jkt": "x"}}), constrained},
		{"bound to a certificate", o.base.withClaims(m{"cnf": m{"x5t#S256": "x"}}), constrained},
	}
}
