package rawjson_test

import (
	"encoding/json"
	"testing"

	"gatehouse/providers/rawjson"
)

func TestWithout(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{}`:                             `{}`,
		`{"a":1}`:                        `{"a":1}`,
		`{"x":1}`:                        `{}`,
		` { "x" : [1, 2] } `:             ` {} `,
		`{"x":1,"b":1.10}`:               `{"b":1.10}`,
		`{"a":1,"x":{"x":1}}`:            `{"a":1}`,
		`{"a":1 , "x":2 , "b":"\u003c"}`: `{"a":1 ,  "b":"\u003c"}`,
		`{"a":{"x":1},"\u0078":2}`:       `{"a":{"x":1}}`,
		`{"X":1}`:                        `{"X":1}`,
	} {
		// With room after the text, as a slice of a buffer has.
		buffer := append(make([]byte, 0, len(raw)+10), raw...)
		if got := string(rawjson.Without(buffer, "x")); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s, not %s", raw, got, want)
		}
		if string(buffer) != raw {
			t.Errorf("%s was changed to %s", raw, buffer)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"a":1}`:                  `{"a":[true]}`,
		` {"b":1,"a" : 10 ,"c":1}`: ` {"b":1,"a" : [true] ,"c":1}`,
	} {
		buffer := append(make([]byte, 0, len(raw)+10), raw...)
		var values [1]json.RawMessage
		if err := rawjson.Members(buffer, values[:], "a"); err != nil {
			t.Fatal(err)
		}
		if got := string(rawjson.Replace(buffer, values[0], []byte("[true]"))); got != want || string(buffer) != raw {
			t.Errorf("%s: %s, not %s", raw, got, want)
		}
	}
}
