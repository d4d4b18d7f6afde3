package token_test

import (
	"encoding/json"
	"testing"

	"gatehouse/providers/token"
)

func TestClaimSet(t *testing.T) {
	t.Parallel()
	parse := func(text string, names ...string) token.ClaimSet {
		t.Helper()
		claims, err := token.ParseClaimSet([]byte(text), names...)
		if err != nil {
			t.Fatal(err)
		}
		return claims
	}
	claims := parse(`{"a":"x","b":{"c":["y"]},"d":null,"e":1,"f":"\ud800"}`)
	for name, want := range map[string]string{"a": `"x"`, "b.c": `["y"]`, "d": "", "g": "", "b.d": ""} {
		value, ok, err := claims.Lookup(name)
		if string(value) != want || ok != (want != "") || err != nil || claims.Has(name) != ok {
			t.Errorf("%s: %s %v %v", name, value, ok, err)
		}
	}
	for name, want := range map[string]string{"a": "x", "b": "", "d": "", "e": "", "f": "", "b.c": ""} {
		if text, ok := claims.Text(name); text != want || ok != (want != "") {
			t.Errorf("%s: %q %v", name, text, ok)
		}
	}
	merged := claims.With(parse(`{"a":"other","d":"now","h":2}`))
	for name, want := range map[string]string{"a": `"x"`, "d": `"now"`, "h": "2", "e": "1"} {
		if value, _, _ := merged.Lookup(name); string(value) != want {
			t.Errorf("%s after With: %s", name, value)
		}
	}
	if claims.Has("h") || claims.Has("d") {
		t.Error("With changes its receiver")
	}
	var raw json.RawMessage
	if value, ok, err := (token.ClaimSet{}).Lookup("a"); ok || err != nil || string(value) != string(raw) {
		t.Errorf("zero value: %s %v %v", value, ok, err)
	}
	for _, text := range []string{``, `[]`, `null`, `{"a":1,"a":2}`, `{"SUB":"x"}`, `{"Groups":[]}`, `{} x`,
		"{\"\xff\":1}"} {
		if _, err := token.ParseClaimSet([]byte(text), "groups"); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}
