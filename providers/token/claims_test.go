package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/rawjson"
)

// FuzzParseObject compares with the standard library: what is accepted must be the same object there.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"SUB":1}`,
		`{"sub":{"sub":1,"sub":2}}`, `{} {}`, `{"a":1}x`, ` {"a":[]} `,
		"{\"a\":\"\xff\"}", `{"\ud800":1}`, `{"a":1e999}`, `{"":null}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseObject(raw, rawjson.NewNameSet(registeredClaims...))
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil || want == nil {
			t.Fatalf("encoding/json does not read it: %v", err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d members, encoding/json finds %d", len(got), len(want))
		}
		for name, value := range want {
			found, _ := got.find(name)
			if !bytes.Equal(bytes.TrimSpace(found), bytes.TrimSpace(value)) {
				t.Fatalf("%q is %s, encoding/json finds %s", name, found, value)
			}
		}
		// None of the readers may panic, whatever a member holds.
		for name := range got.members() {
			_, _ = got.str(name)
			_, _ = got.strs(name)
			_, _, _ = got.time(name)
			_, _, _ = got.firstScopes([]string{name})
			_, _ = got.firstString([]string{name})
			_ = RequiredClaim{Name: name, Value: "x"}.metBy(got)
		}
	})
}

// A longer key set is rejected, whatever its keys are.
func TestParseKeySetAcceptsAtMost100Keys(t *testing.T) {
	const usable = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for n, good := range map[int]bool{1: true, 100: true, 101: false} {
		body := `{"keys":[` + strings.Repeat(usable+",", n-1) + usable + `]}`
		if _, err := parseKeySet([]byte(body)); (err == nil) != good {
			t.Errorf("%d keys: %v", n, err)
		}
	}
}

// FuzzParseKeySet: a key set is parsed in the background, where a panic would end the process.
func FuzzParseKeySet(f *testing.F) {
	for _, seed := range []string{
		`{"keys":[]}`, `{"keys":null}`, `{"keys":[null,1,"x",[],{}]}`,
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"oct","k":"AA"}]}`,
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB","x5c":["x"],"x5t":"x"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ring, err := parseKeySet(raw)
		if (err == nil) != (ring != nil && len(ring.keys) > 0) {
			t.Fatalf("%+v, %v", ring, err)
		}
		if err != nil {
			return
		}
		for alg, list := range ring.keys {
			for _, k := range list {
				if !k.IsPublic() || !k.Valid() || alg == string(jose.HS256) {
					t.Fatalf("%s: %+v", alg, k)
				}
			}
		}
	})
}

func TestParseObjectLimitsMembers(t *testing.T) {
	for n, good := range map[int]bool{maxMembers: true, maxMembers + 1: false} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":1`, i)
		}
		if _, err := parseObject([]byte("{"+b.String()[1:]+"}"), nil); (err == nil) != good {
			t.Errorf("%d members: %v", n, err)
		}
	}
}
