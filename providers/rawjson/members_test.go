package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// FuzzMembers holds the reader of members against a decoder that refuses what occurs twice.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1 , "b":[{"a":"}"}] } `, `{"a":"\\\"","b":{"c":[1,2,"]"]}}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"A":1}`, `{"a":-1.5e+3,"b":true,"c":null}`,
		`{"":0,"x":"\u00e9"}`, `{"\u212a":1,"k":2}`, `[]`, `null`, `"a"`, `{"a":{"a":{"a":[[[]]]}}}`, "{\"\xff\":1,\"\xfe\":2}", `{"a":[1 , 2],"b": {} }`,
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
				t.Fatalf("%q was read, the decoder says %v", raw, err)
			}
			return
		}
		for member := range want {
			for _, name := range names {
				if member != name && strings.EqualFold(member, name) {
					if gotErr == nil {
						t.Fatalf("%q was read although %q imitates %q", raw, member, name)
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
				t.Fatalf("%q: %s is %q, the decoder says %q", raw, name, got[i], want[name])
			}
		}
	})
}

// FuzzValid: whoever is not of the same opinion as encoding/json would walk off the end of a text, or refuse a good one.
func FuzzValid(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` [ 1 , -0.5e+3 , "\u00e9\ud83d" ] `, `{"a":1,}`, `[1,]`, `01`, `1.`, `-`, `1e`, `.5`, `"a`, "\"\x01\"", "\"\xff\"", `"\x"`, `"\u12"`, `tru`, `nul`, `{} {}`, `{"a" 1}`, `{a:1}`, ``, ` `, "\ufeff{}",
		`"12345678901234567890\"`, `{"a":"\\","b":"\\\""}`, strings.Repeat("[", 1001) + strings.Repeat("]", 1001),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got := Valid(raw); got != json.Valid(raw) {
			t.Fatalf("%q is valid: %v", raw, got)
		}
	})
}

// A stack overflow would end the process.
func TestATextThatIsNestedWithoutEndIsRefused(t *testing.T) {
	for _, open := range []string{"[", `{"a":`, `[{"":`} {
		if Valid([]byte(strings.Repeat(open, 5<<20))) {
			t.Errorf("%s for ever is valid", open)
		}
	}
	if !Valid([]byte("[" + strings.Repeat(`"[{[{\"[{",`, 10_000) + "1]")) {
		t.Error("brackets in texts are taken for nesting")
	}
}

func TestANameIsImitatedByOneThatDiffersInNothingButCase(t *testing.T) {
	long := strings.Repeat("long", 10)
	names := NamesOf("sub", "scope", "Scope", "k", long).And("active")
	for name, want := range map[string]string{
		"sub": "", "SUB": "sub", "suB": "sub", "subs": "", "su": "", "": "", "scope": "", "Scope": "", "SCOPE": "scope", "\u017fub": "sub", "\u212a": "k", "\u017f": "",
		"ACTIVE": "active", long: "", strings.ToUpper(long): long, "sub\\": "",
	} {
		if got := names.Imitated([]byte(name)); got != want {
			t.Errorf("%q imitates %q, want %q", name, got, want)
		}
	}
	if got := (*Names)(nil).Imitated([]byte("SUB")); got != "" {
		t.Errorf("without names %q is imitated", got)
	}
}

func TestAMemberTwiceIsRefusedAmongMany(t *testing.T) {
	object := func(n int, last string) []byte {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			fmt.Fprintf(&b, `"m%d":%d,`, i, i)
		}
		b.WriteString(last + "}")
		return []byte(b.String())
	}
	for _, n := range []int{0, 1, 23, 24, 25, 40, 10_000} {
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

func TestDepthIsCountedOutsideOfTexts(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"just deep enough":           {`[[[1]]]`, false},
		"one too deep":               {`[[[[1]]]]`, true},
		"objects count too":          {`{"a":[{"b":[]}]}`, true},
		"beside each other":          {`[[1],[2],[{}],{"a":[]}]`, false},
		"brackets in a text":         {`["[[[[","\"[[[[","{{\\",[[]]]`, false},
		"behind a text with a quote": {`["\\\"",[[[]]]]`, true},
		"short":                      {`[]`, false},
	} {
		if got := DeeperThan(3, []byte(c.text)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
