package token

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/go-jose/go-jose/v4"
)

// otherwise are the vectors with another result here than in the project, with the reason.
var otherwise = map[int]string{
	281: anySalt, 282: anySalt, 283: anySalt, 284: anySalt, 285: anySalt, 286: anySalt,
	346: otherAlgorithm, 350: otherAlgorithm, 347: noSuchAlgorithm, 351: noSuchAlgorithm,
}

const (
	anySalt = "RFC 7518, section 3.5 wants a salt as long as the hash, and go-jose takes any; " +
		"only the holder of the key can choose the salt"
	otherAlgorithm = "the key says PS256 and the signature PS384; a key is offered only for its own " +
		"algorithm (RFC 8725, section 3.1)"
	noSuchAlgorithm = "the key says ES521, which is none of RFC 7518's"
)

// The JSON Web Signature vectors of Project Wycheproof. Their payloads are not claims, so the test applies
// the checks of the verifier without those of claims: form, header, key, signature.
func TestWycheproofSignatures(t *testing.T) {
	raw, err := wycheproof.TestVectors.Open("json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var vectors struct {
		TestGroups []struct {
			Comment string
			Public  json.RawMessage
			Tests   []struct {
				ID      int `json:"tcId"`
				Comment string
				JWS     json.RawMessage
				Result  string
			}
		}
	}
	if err := json.NewDecoder(raw).Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, group := range vectors.TestGroups {
		if group.Public == nil {
			continue // a shared secret
		}
		var key struct{ Alg string }
		if err := json.Unmarshal(group.Public, &key); err != nil {
			t.Fatal(err)
		}
		verifier := overKeys(t, fmt.Sprintf(`{"keys":[%s]}`, group.Public))
		for _, test := range group.Tests {
			t.Run(fmt.Sprintf("%s %d %s", key.Alg, test.ID, test.Comment), func(t *testing.T) {
				ran[key.Alg+" "+test.Result]++
				var token string
				if json.Unmarshal(test.JWS, &token) != nil {
					token = string(test.JWS) // the JSON serialization, which is never a token
				}
				_, differs := otherwise[test.ID]
				want := (test.Result == "valid") != differs
				header, payload, err := splitCompact(token, DefaultMaxTokenBytes)
				if err == nil {
					err = verifier.checkHeader(header)
				}
				if err == nil {
					var signed []byte
					if signed, err = decodeSegment(payload); err == nil {
						err = verifier.checkSignature(t.Context(), token, signed)
					}
				}
				if (err == nil) != want {
					t.Errorf("got %v, the vector is %s (%s)", err, test.Result, otherwise[test.ID])
				}
			})
		}
	}
	for _, alg := range []string{"RS256", "ES256"} {
		if ran[alg+" valid"] == 0 || ran[alg+" invalid"] == 0 {
			t.Errorf("the vectors for %s did not run: %v", alg, ran)
		}
	}
}

// overKeys is a verifier over one published key set.
func overKeys(t *testing.T, set string) *Verifier {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = w.Write([]byte(set))
	}))
	t.Cleanup(server.Close)
	client := NewClient(&http.Transport{DisableKeepAlives: true}, "")
	keys := NewKeySet(KeySource{URL: StaticURL(server.URL), Client: client}, KeyPolicy{},
		slog.New(slog.DiscardHandler))
	_ = keys.refresh(t.Context(), false) // a set without a usable key is what some of the vectors are about
	return NewVerifier(Rules{
		Algorithms: []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.ES512,
			jose.RS384, jose.RS512, jose.PS384, jose.PS512},
		TokenTypes: []string{"jwt", AbsentType},
	}, keys)
}
