package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// FuzzMembers compares Members with a decoder that rejects duplicate names.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1 , "b":[{"a":"}"}] } `, `{"a":"\\\"","b":{"c":[1,2,"]"]}}`, `{"a":1,"a":2}`,
		`{"a":1,"\u0061":2}`, `{"A":1}`, `{"a":-1.5e+3,"b":true,"c":null}`,
		`{"":0,"x":"\u00e9"}`, `{"\u212a":1,"k":2}`, `[]`, `null`, `"a"`, `{"a":{"a":{"a":[[[]]]}}}`,
		"{\"\xff\":1,\"\xfe\":2}", `{"a":[1 , 2],"b": {} }`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		var want map[string]json.RawMessage
		err := josejson.Unmarshal(raw, &want)
		names := []string{"a", "b", "k"}
		got := make([]json.RawMessage, len(names))
		gotErr := Members(raw, got, names...)
		if err != nil || want == nil {
			if gotErr == nil {
				t.Fatalf("%q was accepted, the decoder returns %v", raw, err)
			}
			return
		}
		for member := range want {
			for _, name := range names {
				if member != name && strings.EqualFold(member, name) {
					if gotErr == nil {
						t.Fatalf("%q was accepted although %q differs from %q only in case", raw, member, name)
					}
					return
				}
			}
		}
		if gotErr != nil {
			t.Fatalf("%q was refused: %v", raw, gotErr)
		}
		for i, name := range names {
			if !bytes.Equal(bytes.TrimSpace(got[i]), bytes.TrimSpace(want[name])) {
				t.Fatalf("%q: %s is %q, want %q", raw, name, got[i], want[name])
			}
		}
	})
}

// FuzzEach compares Each with encoding/json: if they differed, a token could mean one thing here and another
// in the library that decodes it.
func FuzzEach(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":[ 1 , -0.5e+3 , "\u00e9\ud83d", [ ] , {} ] , "b" : true}`, `{"a":1,}`, `{,}`,
		`{"a":[1,]}`, `{"a":01}`, `{"a":1.}`, `{"a":-}`, `{"a":1e}`, `{"a":.5}`, `{"a":0E-1}`, `{"a":"a`,
		"{\"\x01\":1}",
		"{\"a\":\"\xff\"}", `{"\x":1}`, `{"a":"\u12"}`, `{"a":"\u12G0"}`, `{"a":tru}`, `{"a":nul`,
		`{"a":falsehood}`, `{} {}`, `{"a" 1}`, `{a:1}`, `{"a":1 "b":2}`, `{"a":[1 2]}`, `{"a"`, `{"a":`, `{"`, `{`,
		"\ufeff{}", `[]`, `{"a":1]`, `{"a":[1}`,
		`{"12345678901234567890\"":"1234567\\","x":"12345678\"90","y":"\/\b\f\n\r\t"}`, "{\"a\":\"12345678\x1f\"}",
		"{\"a\":\"1234567\u007f\u0080\u00a2\u00dc\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(compareWithEncodingJSON)
}

// Each byte of valid documents is dropped, replaced and preceded by each byte that has a meaning in JSON.
func TestEachAgreesWithEncodingJSONOnSyntaxErrors(t *testing.T) {
	special := []byte("{}[]:,\"\\/ \t\n\r\f\x00\x1f\x7f\x80\xc3\xff0159-+.eEuabfgnrtlsxAFG")
	for _, good := range []string{
		` { "a" : 1 , "b":[ ] , "c" : { } } `, `{"a":[0,-0,10,0.5e+7,1E-2,3e1],"b":-1.25}`,
		`{"a":true,"b":[false,null]}`, `{"":"","12345678":"1234567\"890","c":"\\\/\b\f\n\r\t"}`,
		`{"\u00e9\uD83D":"\uFaF0"}`, "{\"a\":\"12345678 1234567\u00a2 1234567\"}",
		`{"a":{"b":{"c":[[],[{}]]},"d":1}}`,
	} {
		compareWithEncodingJSON(t, []byte(good))
		for i := range len(good) {
			before, after := good[:i], good[i+1:]
			compareWithEncodingJSON(t, []byte(before+after))
			compareWithEncodingJSON(t, []byte(before))
			for _, c := range special {
				compareWithEncodingJSON(t, []byte(before+string([]byte{c})+after))
				compareWithEncodingJSON(t, []byte(before+string([]byte{c})+good[i:]))
			}
		}
	}
}

// compareWithEncodingJSON compares Each with encoding/json, and for duplicate names with a decoder that
// rejects them.
func compareWithEncodingJSON(t *testing.T, raw []byte) {
	var want map[string]json.RawMessage
	valid := json.Unmarshal(raw, &want) == nil && want != nil
	twice := valid && josejson.Unmarshal(raw, &want) != nil
	mayBeDeep := bytes.Count(raw, []byte("["))+bytes.Count(raw, []byte("{")) > maxLevels
	n := 0
	err := Each(raw, func(_, value []byte) error {
		n++
		if valid && !json.Valid(value) {
			t.Errorf("%q is a value in %q", value, raw)
		}
		return nil
	})
	if !mayBeDeep && (err == nil) != (valid && !twice) || err == nil && (!valid || n != len(want)) {
		t.Fatalf("%q: %v with %d members, encoding/json finds %d", raw, err, n, len(want))
	}
}

// FuzzTexts compares Texts with encoding/json: a list that both decoded differently could bypass the audience
// check.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{
		`"a"`, ` "a" `, `"a" `, ` "a"`, `[]`, ` [ ] `, `["a","b"]`, ` [ "a" , "\u0062\"" ] `, `["\u0061","b"]`,
		`["a","\u0062","c"]`, `[null]`, `null`, `["a",1]`, `[["a"]]`, `{"a":"b"}`, `1`,
		`["\ud800"]`, "\"\u00e9\"", "\"\u00e9\\u0041\"", "[\"\u00e9\\u0041\"]", "\"\x80\"", "\"a\xff\"",
		"[\"\xff\"]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		var one *string
		var many []*string
		var want []string
		switch {
		case json.Unmarshal(raw, &one) == nil && one != nil:
			want = []string{*one}
		case json.Unmarshal(raw, &many) == nil && many != nil && !slices.Contains(many, nil):
			for _, text := range many {
				want = append(want, *text)
			}
		default:
			if got, ok := Texts(raw); ok {
				t.Errorf("%q was decoded as %q", raw, got)
			}
			return
		}
		if got, ok := Texts(raw); !ok || !slices.Equal(got, want) {
			t.Errorf("%q was decoded as %q, %t, want %q", raw, got, ok, want)
		}
	})
}

// A stack overflow would end the process.
func TestEachRejectsDeepNesting(t *testing.T) {
	if maxLevels > 1_000 {
		t.Error("the MCP SDK would reject what is accepted here")
	}
	nested := func(open, end string, levels int) []byte {
		return []byte(`{"a":` + strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels) + "}")
	}
	for open, end := range map[string]string{"[": "]", `{"a":`: "}"} {
		for levels, good := range map[int]bool{0: true, 1: true, maxLevels - 1: true, maxLevels: false,
			1 << 20: false} {
			if err := Each(nested(open, end, levels), func(_, _ []byte) error { return nil }); (err == nil) != good {
				t.Errorf("%d times %s: %v", levels, open, err)
			}
		}
	}
}

func TestCaseVariantIsAnotherCaseOfAKnownName(t *testing.T) {
	long := strings.Repeat("long", 10)
	names := NewNameSet("sub", "scope", "Scope", "k", long).With("active")
	for name, want := range map[string]string{
		"sub": "", "SUB": "sub", "suB": "sub", "subs": "", "su": "", "": "", "scope": "", "Scope": "",
		"SCOPE": "scope", "\u017fub": "sub", "\u212a": "k", "\u017f": "",
		"ACTIVE": "active", long: "", strings.ToUpper(long): long, "sub\\": "",
	} {
		if got := names.CaseVariant([]byte(name)); got != want {
			t.Errorf("%q is a variant of %q, want %q", name, got, want)
		}
	}
	if got := (*NameSet)(nil).CaseVariant([]byte("SUB")); got != "" {
		t.Errorf("in an empty set: a variant of %q", got)
	}
}

func TestEachRejectsVeryManyMembers(t *testing.T) {
	for n, want := range map[int]bool{maxMembers: true, maxMembers + 1: false} {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"%d":{}`, i))
		}
		all := "{" + strings.Join(members, ",") + "}"
		if err := Each([]byte(all), func(_, _ []byte) error { return nil }); (err == nil) != want {
			t.Errorf("%d members: %v", n, err)
		}
		if err := Each([]byte(`{"a":`+all+`}`), func(_, _ []byte) error { return nil }); err != nil {
			t.Errorf("%d members of a member: %v", n, err)
		}
	}
}

func TestMembersRejectsDuplicatesAmongMany(t *testing.T) {
	object := func(n int, last string) []byte {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			fmt.Fprintf(&b, `"m%d":%d,`, i, i)
		}
		b.WriteString(last + "}")
		return []byte(b.String())
	}
	for _, n := range []int{0, 1, 23, 24, 25, 40, 9_000} {
		if err := Members(object(n, `"x":1`), make([]json.RawMessage, 1), "x"); err != nil {
			t.Errorf("%d others: %v", n, err)
		}
		for _, last := range []string{`"x":1,"x":1`, `"x":1,"\u0078":1`} {
			if err := Members(object(n, last), make([]json.RawMessage, 1), "y"); err == nil {
				t.Errorf("%d others: x was accepted twice", n)
			}
		}
		if n > 0 {
			if err := Members(object(n, `"m0":1`), make([]json.RawMessage, 1), "y"); err == nil {
				t.Errorf("%d others: the first was accepted twice", n)
			}
		}
	}
}
