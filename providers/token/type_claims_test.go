package token

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/providers"
)

// A value from a token is quoted once: "\"refresh_token\"" is read as if the token had the quotes.
func TestClaimValuesAreQuotedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		rules  Rules
		claims string
		want   string
	}{
		"the type of an answer": {Rules{}, `{"token_use":"refresh_token"}`,
			`token_use is "refresh_token", accepted are ["access" "access_token"]`},
		"the type of an answer, no string": {Rules{}, `{"token_use":["access"]}`,
			`token_use is "[\"access\"]", accepted`},
		"a type claim": {Rules{}, `{"tokenType":"refresh-token"}`,
			`tokenType is "refresh-token", which`},
		"a required claim": {Rules{RequiredClaims: []RequiredClaim{{"tid", "acme"}}},
			`{"tid":"other"}`, `tid is "other", it must be "acme"`},
		"a required claim that is true": {Rules{RequiredClaims: []RequiredClaim{{"tid", "acme"}}},
			`{"tid":true}`, `tid is "true", it must be "acme"`},
	} {
		claims, err := parseObject([]byte(c.claims), nil)
		if err != nil {
			t.Fatal(err)
		}
		v := NewVerifier(c.rules, nil)
		err = errors.Join(checkIntrospectedType(v, claims, &providers.Identity{}),
			checkTypeClaims(v, claims, &providers.Identity{}), checkRequiredClaims(v, claims, &providers.Identity{}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestIsTypeClaim(t *testing.T) {
	for _, name := range append([]string{"TYP", "TokenType", "token-type", "tokenUse"}, typeClaims...) {
		if !IsTypeClaim([]byte(name)) {
			t.Errorf("%s is not a type claim", name)
		}
	}
	for _, name := range []string{"", "t", "tid", "types", "token", "at_typ", "ctyp", "ext.typ",
		strings.Repeat("t-", 100) + "yp"} {
		if IsTypeClaim([]byte(name)) {
			t.Errorf("%s is a type claim", name)
		}
	}
}

// Claims are read before the signature is checked: members made up for the purpose must not make a path
// expensive.
func TestLookupFollowsEachMemberOnce(t *testing.T) {
	// Every way to split a.a.a... into names of members, as far as it fits into a token.
	const dots = 10
	nested := "{}"
	for range dots {
		nested = `{"a":` + nested + `,"a.a":` + nested + `}`
		if len(nested) > 64<<10 {
			break
		}
	}
	claims, err := parseObject([]byte(nested), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Repeat("a.", dots) + "b"
	if allocs := testing.AllocsPerRun(10, func() {
		if _, ok, err := claims.lookup(path); ok || err != nil {
			t.Error("the path is found")
		}
	}); allocs > float64(len(nested)) {
		t.Errorf("%.0f allocations for %d bytes", allocs, len(nested))
	}
}
