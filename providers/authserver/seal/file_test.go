package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatehouse/providers/authserver/seal"
)

func encode(secret []byte) string { return base64.RawURLEncoding.EncodeToString(secret) }

func TestParse(t *testing.T) {
	first, second := seal.NewSecret(), seal.NewSecret()
	keys, err := seal.Parse([]byte("# a comment\n\n  " + first + "\t\r\n\n# another\r\n" + second))
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{first, second} {
		one, err := seal.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Open(seal.Form, "", one.Seal(seal.Form, "", nil)); err != nil {
			t.Errorf("what secret %d sealed does not open", i+1)
		}
		if _, err := one.Open(seal.Form, "", keys.Seal(seal.Form, "", nil)); (err == nil) != (i == 0) {
			t.Errorf("secret %d opens: %v; the first one should seal", i+1, err)
		}
	}
	if _, err := seal.Parse([]byte("\n# only a comment\n")); !errors.Is(err, seal.ErrNoSecret) {
		t.Errorf("without a secret: %v", err)
	}
	ten := ""
	for range 10 {
		ten += seal.NewSecret() + "\n"
	}
	if _, err := seal.Parse([]byte(ten)); err != nil {
		t.Errorf("ten secrets: %v", err)
	}
}

// The secrets are what people write if no command makes them one.
func TestParse_Refuses(t *testing.T) {
	good := seal.NewSecret()
	random := secretOf(t)
	for !strings.ContainsAny(base64.StdEncoding.EncodeToString(random), "+/") {
		random = secretOf(t)
	}
	sequence := make([]byte, 32)
	for i := range sequence {
		sequence[i] = byte(200 + 3*i)
	}
	alternating := bytes.Repeat([]byte{0x17, 0xe4, 0x9c}, 11)
	for name, c := range map[string]struct{ secret, want string }{
		"31 bytes":               {encode(random[:31]), "it has 31 bytes, and at least 32 are needed"},
		"129 bytes":              {encode(bytes.Repeat(random, 5)[:129]), "129 bytes, and at most 128 are allowed"},
		"standard base64":        {base64.StdEncoding.EncodeToString(random), "not base64url"},
		"padded base64url":       {base64.URLEncoding.EncodeToString(random), "not base64url"},
		"bits left over":         {good[:42] + "_", "not base64url"},
		"two words in a line":    {good + " " + good, "not base64url"},
		"a comment at the end":   {good + " # new", "not base64url"},
		"a quoted secret":        {`"` + good + `"`, "not base64url"},
		"NUL":                    {good[:20] + "\x00" + good[21:], "not base64url"},
		"hexadecimal":            {hex.EncodeToString(random), "letters of one case only"},
		"words":                  {"correct-horse-battery-staple-and-some-more-words", "letters of one case only"},
		"words with capitals":    {"Correct-horse-battery-staple-and-some-more-word4", "it looks like words"},
		"a sentence, encoded":    {encode([]byte("The quick brown fox jumps over it.\n")), "text is not random"},
		"hexadecimal, encoded":   {encode([]byte(hex.EncodeToString(random))), "text is not random"},
		"zeros":                  {encode(make([]byte, 32)), "it repeats a pattern"},
		"one byte again":         {encode(bytes.Repeat([]byte{0xa7}, 32)), "it repeats a pattern"},
		"three bytes again":      {encode(alternating), "it repeats a pattern"},
		"a sequence":             {encode(sequence), "it repeats a pattern"},
		"eight bytes, four more": {encode(bytes.Repeat(random[:8], 4)), "it repeats a pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := seal.Parse([]byte("# secrets\n" + good + "\n" + c.secret + "\n"))
			if err == nil || !strings.HasPrefix(err.Error(), "line 3: ") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want line 3: %s", err, c.want)
			}
			for _, secret := range []string{good, c.secret} {
				if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), secret[:8]) {
					t.Errorf("the error has a secret: %v", err)
				}
			}
		})
	}
	t.Run("a secret twice", func(t *testing.T) {
		_, err := seal.Parse([]byte(good + "\n#\n" + good))
		if want := "line 3: it is the secret of line 1 again"; fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
	t.Run("eleven secrets", func(t *testing.T) {
		eleven := ""
		for range 11 {
			eleven += seal.NewSecret() + "\n"
		}
		_, err := seal.Parse([]byte(eleven))
		if want := "line 11: there are more than 10 secrets; remove the oldest"; fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
	t.Run("all problems at once, up to ten", func(t *testing.T) {
		_, err := seal.Parse([]byte(strings.Repeat("short\n", 1_000_000)))
		if got := strings.Count(fmt.Sprint(err), "line "); got != 10 {
			t.Errorf("%d problems: %v", got, err)
		}
	})
}

func TestNewSecret_IsAccepted(t *testing.T) {
	for range 5_000 {
		if _, err := seal.Parse([]byte(seal.NewSecret())); err != nil {
			t.Fatal(err)
		}
		secret := make([]byte, 32)
		_, _ = rand.Read(secret)
		if _, err := seal.Parse([]byte(encode(secret))); err != nil {
			t.Fatalf("%x: %v", secret, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# secrets\n" + seal.NewSecret() + "\n"))
	f.Add([]byte("\xef\xbb\xbf" + seal.NewSecret() + "\r\n\r\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := seal.Parse(file)
		if (keys == nil) == (err == nil) {
			t.Fatalf("%v, %v", keys, err)
		}
		if err == nil {
			keys.Seal(seal.Client, "", nil)
		}
	})
}
