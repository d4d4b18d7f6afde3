package main

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"gatehouse/providers/providertest"
)

// encodeUTF16 encodes text as Windows programs do.
func encodeUTF16(order binary.AppendByteOrder, mark bool, text string) string {
	var b []byte
	if mark {
		b = order.AppendUint16(b, 0xFEFF)
	}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// wrapAt breaks text into lines of that width.
func wrapAt(width int, end, text string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + end)
		text = text[width:]
	}
	return b.String() + text + end
}

func TestReadToken_ReadsWhatEditorsShellsAndProvidersWrite(t *testing.T) {
	t.Parallel()
	jwt := providertest.NewIssuer(t).Token("https://mcp.example.com/mcp", nil)
	const opaque = "AT.2_opaque-token~with+signs/="
	response := `{"token_type":"Bearer","access_token":"TOKEN","id_token":"x.y.z","refresh_token":"r"}`
	for name, write := range map[string]func(token string) string{
		"alone":                    func(s string) string { return s },
		"with CRLF":                func(s string) string { return s + "\r\n" },
		"with blanks":              func(s string) string { return " \t" + s + "  \n\n" },
		"UTF-8 with a mark":        func(s string) string { return "\xef\xbb\xbf" + s + "\n" },
		"UTF-16 of PowerShell":     func(s string) string { return encodeUTF16(binary.LittleEndian, true, s+"\r\n") },
		"UTF-16 without a mark":    func(s string) string { return encodeUTF16(binary.LittleEndian, false, s+"\r\n") },
		"big endian":               func(s string) string { return encodeUTF16(binary.BigEndian, true, s) },
		"big endian, without mark": func(s string) string { return encodeUTF16(binary.BigEndian, false, s) },
		"as a header":              func(s string) string { return "Authorization: Bearer " + s },
		"as a header in quotes":    func(s string) string { return `'Authorization: Bearer ` + s + `'` },
		"in smart quotes":          func(s string) string { return "“" + s + "”\n" },
		"in quotes after a scheme": func(s string) string { return `bearer "` + s + `"` },
		"a token response":         func(s string) string { return strings.Replace(response, "TOKEN", s, 1) },
		"an indented response in UTF-16": func(s string) string {
			return encodeUTF16(binary.LittleEndian, true, "{\r\n  \"access_token\": \""+s+"\"\r\n}\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, token := range []string{jwt, opaque} {
				if got, err := readToken(writeFile(t, "token", write(token)), nil); got != token || err != nil {
					t.Errorf("from a file: %q, %v", got, err)
				}
				if got, err := readToken("", strings.NewReader(write(token))); got != token || err != nil {
					t.Errorf("from standard input: %q, %v", got, err)
				}
			}
		})
	}
	for _, width := range []int{20, 64, 76, 80, 120} {
		for _, end := range []string{"\n", "\r\n", "\n  "} {
			if got, err := readToken("", strings.NewReader(wrapAt(width, end, jwt))); got != jwt || err != nil {
				t.Errorf("wrapped at %d by %q: %q, %v", width, end, got, err)
			}
		}
	}
}

// What is not exactly one token is described, never judged, and never repeated.
func TestReadToken_DescribesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	issuer := providertest.NewIssuer(t)
	jwt, other := issuer.Token("https://mcp.example.com/mcp", nil), issuer.Token("https://canary.example.com", nil)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                    {"", "there is no token"},
		"blanks":                     {" \r\n\t", "there is no token"},
		"an empty response":          {`{"access_token":""}`, "without access_token"},
		"an ID token only":           {`{"id_token":"canary"}`, "with an id_token"},
		"a refresh token only":       {`{"refresh_token":"canary"}`, "with a refresh_token"},
		"an error response":          {`{"error":"invalid_grant","error_description":"canary"}`, `"invalid_grant"`},
		"other JSON":                 {`{"canary":1}`, "it is no token response"},
		"a list":                     {`["canary"]`, "no JSON object"},
		"half a response":            {`{"access_token":"canary`, "no JSON object"},
		"JWS in JSON":                {`{"payload":"canary","signatures":[]}`, "JSON serialization"},
		"JWE in JSON":                {`{"ciphertext":"canary","iv":""}`, "JSON serialization"},
		"two JWTs":                   {jwt + "\n" + other, "2 pieces"},
		"a JWT and an opaque token":  {jwt + "\ncanary", "2 pieces"},
		"two opaque tokens":          {"canary1 canary2", "2 pieces"},
		"a wrapped opaque token":     {"canary-canary-canary\ncanary", "2 pieces"},
		"text before a JWT":          {"token: " + jwt, "2 pieces"},
		"binary":                     {"\x1f\x8b\x08\xffcanary", "the input is not text"},
		"half of UTF-16":             {encodeUTF16(binary.LittleEndian, true, "canary")[:9], "odd number of bytes"},
		"zero bytes":                 {"canary\x00canary", "the input is not text"},
		"a zero-width space":         {"canary\u200bcanary", "U+200B at position 7"},
		"an escape sequence":         {"\x1b[31mcanary", "U+001B at position 1"},
		"a dash of a word processor": {"canary–canary", "U+2013"},
		"a no-break space, as blank": {"canary\u00a0canary", "2 pieces"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readToken(writeFile(t, "token", c.text), nil)
			if got != "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%q, %v; want %q", got, err, c.want)
			}
			if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), jwt[:20]) {
				t.Errorf("it repeats the input: %v", err)
			}
			code, out, errs := runToken(t, c.text, "inspect")
			if code != exitConfig || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("inspect ended with %d: %s%s", code, out, errs)
			}
		})
	}
}
