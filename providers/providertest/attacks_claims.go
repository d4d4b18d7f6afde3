package providertest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers/token"
)

// timeAttacks are good tokens at another time, or at no time at all.
func timeAttacks(o *opened) []attack {
	base, now := o.base, time.Now()
	raw := func(name, value string) string {
		return base.raw(base.members(name) + fmt.Sprintf(`,%q:%s}`, name, value))
	}
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	expired, early, malformed := because(token.ReasonExpired), because(token.ReasonNotYetValid), because(token.ReasonClaimsMalformed)
	attacks := []attack{
		{"exp missing", base.with(m{"exp": nil}), because(token.ReasonExpiryMissing)},
		{"exp an hour ago", base.with(m{"exp": at(-time.Hour)}), expired},
		{"exp just past the leeway", base.with(m{"exp": at(-o.leeway - time.Second)}), expired},
		{"exp zero", raw("exp", "0"), expired},
		{"exp minus zero", raw("exp", "-0"), expired},
		{"nbf in an hour", base.with(m{"nbf": at(time.Hour)}), early},
		{"nbf a minute ahead of the leeway", base.with(m{"nbf": at(o.leeway + time.Minute)}), early}, // which a slow machine may need
		{"iat in an hour", base.with(m{"iat": at(time.Hour)}), early},
	}
	later := fmt.Sprint(at(time.Hour))
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{
			`"` + later + `"`, `"2999-01-01T00:00:00Z"`, `""`, `true`, `[` + later + `]`, `{}`, `-1`, `-1e300`, `1e300`, `1e400`, `253402300800`,
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

// issuerAttacks are signed by the right key in another name.
func issuerAttacks(o *opened) []attack {
	accepted := o.claim("iss")
	iss := o.base.want.Issuer
	mismatch := because(token.ReasonIssuerMismatch)
	scheme, rest, _ := strings.Cut(iss, "://")
	otherScheme := map[string]string{"http": "https", "https": "http"}[scheme]
	var attacks []attack
	for name, other := range map[string]string{
		"another": "https://mallory.example", "with a slash": iss + "/", "without its slash": strings.TrimSuffix(iss, "/"), "in another case": strings.ToUpper(iss),
		"with more behind": iss + ".mallory.example", "with a path": iss + "/realms/x", "a part of it": iss[:len(iss)-1],
		"with user info": scheme + "://user@" + rest, "with the right host as user info": iss + "@mallory.example",
		"with a fragment": iss + "#", "with a query": iss + "?", "with a blank": iss + " ", "with a NUL": iss + "\x00", "of another scheme": otherScheme + "://" + rest,
		"where it would like to be looked up": o.Issuer.trap(), "empty": "", "long": strings.Repeat("i", 5000), "hidden": strings.Repeat("\U000e0001", 2000),
	} {
		if !slices.Contains(accepted, other) {
			attacks = append(attacks, attack{"iss is " + name, o.base.with(m{"iss": other}), mismatch})
		}
	}
	for name, value := range map[string]any{"a list": []string{iss}, "an object": m{"iss": iss}, "a number": 1, "null": null, "true": true} {
		attacks = append(attacks, attack{"iss is " + name, o.base.with(m{"iss": value}), because(token.ReasonClaimsMalformed)})
	}
	return append(attacks, attack{"iss missing", o.base.with(m{"iss": nil}), mismatch})
}

// audienceAttacks are meant for somebody else (token passthrough).
func audienceAttacks(o *opened) []attack {
	if len(o.base.want.Audience) == 0 {
		return nil // something else binds these tokens to the resource, which near misses must show
	}
	accepted := o.claim("aud")
	mismatch := because(token.ReasonAudienceMismatch)
	var attacks []attack
	seen := map[string]bool{}
	for _, audience := range append(slices.Clone(o.base.want.Audience), o.Resource.String()) {
		for _, other := range append(similar(audience), o.base.want.Issuer) {
			if seen[other] || slices.ContainsFunc(accepted, func(a string) bool { return token.SameAudience(a, other) }) {
				continue
			}
			seen[other] = true
			attacks = append(attacks,
				attack{fmt.Sprintf("aud is %.60q", other), o.base.with(m{"aud": other}), mismatch},
				attack{fmt.Sprintf("aud lists %.60q", other), o.base.with(m{"aud": []string{other, "https://elsewhere.example"}}), mismatch})
		}
	}
	aud := o.base.want.Audience[0]
	for name, value := range map[string]any{
		"an object": m{"aud": aud}, "a number": 1, "true": true, "null": null, "a list with null": []any{aud, nil},
		"a list with a number": []any{aud, 1}, "a list in a list": []any{[]string{aud}}, "a list with an object": []any{aud, m{}},
	} {
		attacks = append(attacks, attack{"aud is " + name, o.base.with(m{"aud": value}), because(token.ReasonClaimsMalformed)})
	}
	return append(attacks,
		attack{"aud missing", o.base.with(m{"aud": nil}), mismatch},
		attack{"aud is an empty list", o.base.with(m{"aud": []string{}}), mismatch},
	)
}

// similar returns what somebody could take for an audience.
func similar(audience string) []string {
	others := []string{
		"https://elsewhere.example/mcp", "*", "", "test-client", strings.Repeat("a", 5000), strings.Repeat("\U000e0001", 2000),
		audience[:len(audience)-1], audience + "2", audience + "/", " " + audience, audience + "\n", audience + "\x00", strings.ToUpper(audience),
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
		site, site+"/", site+"/"+path, site+"/."+path, site+path+"/x", site+strings.ToUpper(path), site+path+"?", site+path+"#", site+path+"#x", site+path+"?x=1",
		site+"\\"+strings.TrimPrefix(path, "/"), scheme+"://user@"+host+port+path, site+"@mallory.example"+path, scheme+"://"+host+"."+port+path, scheme+"://"+host+".evil"+port+path,
		scheme+"://"+host+":3003"+path, scheme+"://"+host+":80"+path, scheme+"://"+host+":"+path, scheme+"\u017f://"+host+port+path, scheme+"://"+strings.ReplaceAll(host, "s", "\u017f")+port+path,
		scheme+"://\u017f"+host+port+path, "//"+host+port+path, host+port+path, path, "https://"+host+port+path, "http://"+host+port+path, scheme+"://127.0.0.1"+port+path,
	)
	if port != "" {
		others = append(others, scheme+"://"+host+path, scheme+"://"+host+strings.Replace(port, ":", ":0", 1)+path, scheme+"://"+host+port+"0"+path)
	}
	if len(path) > 1 {
		others = append(others, site+fmt.Sprintf("/%%%02x", path[1])+path[2:])
	}
	return others
}

// nameAttacks are about two readers of one token who see different claims.
func nameAttacks(o *opened) []attack {
	base := o.base
	malformed, header := because(token.ReasonClaimsMalformed), because(token.ReasonMalformed)
	var attacks []attack
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "client_id", "cnf", "nonce"} {
		for _, imitation := range []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			attacks = append(attacks, attack{"claim " + imitation, base.raw(base.members() + fmt.Sprintf(`,%q:"x"}`, imitation)), malformed})
		}
	}
	for name, value := range base.claims {
		if name == "" {
			continue
		}
		value := mustJSON(value)
		attacks = append(attacks,
			attack{name + " twice", base.raw(base.members() + fmt.Sprintf(`,%q:%s}`, name, value)), malformed},
			attack{name + " twice, once escaped", base.raw(base.members() + fmt.Sprintf(`,"\u%04x%s":%s}`, name[0], name[1:], value)), malformed})
	}
	for _, name := range []string{"iss", "sub", "aud", "exp"} {
		value, ok := base.claims[name]
		if !ok {
			continue
		}
		attacks = append(attacks, attack{name + " only as " + strings.ToUpper(name),
			base.raw(base.members(name) + fmt.Sprintf(`,%q:%s}`, strings.ToUpper(name), mustJSON(value))), malformed})
	}
	said := func(members string) string { return base.rawHeader(members, base.payload()) }
	behind := func(member string) string { return said(base.headMembers() + "," + member + "}") }
	before := func(member string) string {
		return said("{" + member + "," + strings.TrimPrefix(base.headMembers(), "{") + "}")
	}
	return append(attacks,
		attack{"sub with a long s", base.raw(base.members() + `,"\u017fub":"admin"}`), malformed},
		attack{"imitation in escapes", base.raw(base.members() + `,"\u0053ub":"admin"}`), malformed},
		attack{"header alg twice, none first", before(`"alg":"none"`), header},
		attack{"header alg twice, none last", behind(`"alg":"none"`), header},
		attack{"header Alg beside alg", behind(`"Alg":"none"`), header},
		attack{"header typ twice", said(base.headMembers("typ") + `,"typ":"JWT","typ":"at+jwt"}`), header},
		attack{"header KID beside kid", behind(`"KID":"x"`), header},
		attack{"header Crit", behind(`"Crit":["x"]`), header},
	)
}

// subjectAttacks name nobody.
func subjectAttacks(o *opened) []attack {
	attacks := []attack{{"sub missing", o.base.with(m{"sub": nil}), because(token.ReasonSubjectMissing)}}
	for name, sub := range map[string]string{"empty": "", "blank": " ", "white space": "\t\n\u2003"} {
		attacks = append(attacks, attack{"sub is " + name, o.base.with(m{"sub": sub}), because(token.ReasonSubjectMissing)})
	}
	for name, value := range map[string]any{"a number": 1, "a list": []any{1}, "an object": m{"x": 1}, "null": null, "true": true} {
		attacks = append(attacks, attack{"sub is " + name, o.base.with(m{"sub": value}), because(token.ReasonClaimsMalformed)})
	}
	// Each is another name to whoever issued the token, and all are one to a decoder in Go.
	for _, half := range []string{`\ud800`, `\udfff`, `\ufffd`, `\udfff\ud800`} {
		attacks = append(attacks, attack{"sub ends with " + half, o.base.raw(o.base.members("sub") + `,"sub":"alice` + half + `"}`), because(token.ReasonClaimsMalformed)})
	}
	return append(attacks, attack{"sub names two", o.base.with(m{"sub": []any{"alice", "bob"}}), because(token.ReasonSubjectMissing)})
}

// boundAttacks are tokens of somebody who would have to prove that they hold a key, presented as bearer tokens.
func boundAttacks(o *opened) []attack {
	constrained := because(token.ReasonSenderConstrained)
	return []attack{
		{"bound to a DPoP key", o.base.with(m{"cnf": m{"jkt": "x"}}), constrained},
		{"bound to a certificate", o.base.with(m{"cnf": m{"x5t#S256": "x"}}), constrained},
	}
}
