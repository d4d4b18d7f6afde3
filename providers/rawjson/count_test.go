package rawjson_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse/providers/rawjson"
)

func TestCountValuesAgreesWithADecoder(t *testing.T) {
	for raw, want := range map[string]int{
		`1`: 1, `"a,b"`: 1, `null`: 1, `[]`: 1, `{}`: 1, ` [ ] `: 1,
		`[1]`: 2, `[1,2]`: 3, `{"a":1}`: 2, `{"a":[1,{}],"b":"],}"}`: 5, `[[],[],[]]`: 4, `{ "a" : { } }`: 2,
	} {
		if got := rawjson.CountValues([]byte(raw), 100); got != want {
			t.Errorf("%s: %d values, want %d", raw, got, want)
		}
	}
	for range 2_000 {
		raw := randomValue(4)
		var decoded any
		if err := json.Unmarshal([]byte(raw), &decoded); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if got, want := rawjson.CountValues([]byte(raw), 1<<20), valuesIn(decoded); got != want {
			t.Fatalf("%s: %d values, want %d", raw, got, want)
		}
	}
}

func TestCountValuesStopsBeyondItsLimit(t *testing.T) {
	if got := rawjson.CountValues([]byte("["+strings.Repeat("[],", 1_000)+"1]"), 10); got != 11 {
		t.Errorf("counted to %d, want 11", got)
	}
	if got := rawjson.CountValues([]byte(`[1,2,"a`), 10); got != 4 {
		t.Errorf("counted %d values up to a string without an end, want 4", got)
	}
}

func valuesIn(value any) int {
	n := 1
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			n += valuesIn(one)
		}
	case map[string]any:
		for _, one := range v {
			n += valuesIn(one)
		}
	}
	return n
}

// randomValue returns a JSON value of at most the given levels, with blanks and punctuation inside its
// strings.
func randomValue(levels int) string {
	scalars := []string{`1`, `-2.5e3`, `null`, `true`, `""`, `"a,b"`, `"{[\"]}"`, `"\\"`}
	kind := rand.IntN(4)
	if levels == 0 || kind > 1 {
		return scalars[rand.IntN(len(scalars))]
	}
	var parts []string
	for i := range rand.IntN(4) {
		one := randomValue(levels - 1)
		if kind == 0 {
			one = string(rune('"')) + string(rune('a'+i)) + `" : ` + one
		}
		parts = append(parts, one)
	}
	if kind == 0 {
		return "{ " + strings.Join(parts, " , ") + " }"
	}
	return "[ " + strings.Join(parts, " , ") + " ]"
}
