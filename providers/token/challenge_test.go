package token

import (
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

func TestHasBasicChallenge_AgreesWithTheMCPSDK(t *testing.T) {
	for field, want := range map[string]bool{
		``:                                    false,
		`Basic`:                               true,
		`basic realm="x"`:                     true,
		`Bearer realm="x", Basic realm="y"`:   true,
		`Bearer realm="a, Basic b"`:           false,
		`Bearer realm="a\", Basic b"`:         false,
		`Bearer error="invalid_token"`:        false,
		`Basic realm="x", charset="UTF-8"`:    true,
		`Bearer scope="a b", error="x",Basic`: true,
		`Basics realm="x"`:                    false,
	} {
		if got := hasBasicChallenge([]string{"Negotiate", field}); got != want {
			t.Errorf("%q: %v, want %v", field, got, want)
		}
		challenges, err := oauthex.ParseWWWAuthenticate([]string{field})
		isBasic := func(c oauthex.Challenge) bool { return strings.EqualFold(c.Scheme, "Basic") }
		if err == nil && slices.ContainsFunc(challenges, isBasic) != want {
			t.Errorf("%q: the SDK reads %v", field, challenges)
		}
	}
	if hasBasicChallenge([]string{`Digest realm="x", Basic = "y"`}) {
		t.Error("a parameter with the name Basic counts as a challenge")
	}
}
