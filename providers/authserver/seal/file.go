package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Limits of a file of secrets.
const (
	maxSecrets     = 10
	maxSecretBytes = 128
)

// ErrNoSecret means that a file of secrets has none.
var ErrNoSecret = errors.New("it has no secret")

// encoding is that of RFC 4648, section 5, without padding.
var encoding = base64.RawURLEncoding.Strict()

// NewSecret returns a line for a file of secrets: 32 random bytes in base64url.
func NewSecret() string {
	for {
		if text := encoding.EncodeToString(newSecret()); weakness(text) == "" { // one in millions is refused
			return text
		}
	}
}

// Parse returns the keys of a file of secrets. Each line has one secret, as [NewSecret] returns it; the first
// one seals and signs, all of them open and verify. Empty lines, and lines that begin with #, have no
// meaning.
//
// Secrets that are short, look like text or repeat themselves, duplicates, and more than ten secrets are
// refused. The error has a line for each problem, with the number of the line and without its content; it
// wraps [ErrNoSecret] if there is no secret at all.
func Parse(file []byte) (*Keys, error) {
	lines, problems := parse(file)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if len(lines) == 0 {
		return nil, ErrNoSecret
	}
	var secrets [][]byte
	for _, l := range lines {
		secrets = append(secrets, l.secret)
	}
	return FromSecrets(secrets), nil
}

// line is a secret and the number of its line.
type line struct {
	number int
	secret []byte
}

func parse(file []byte) (lines []line, problems []error) {
	number := 0
	for text := range strings.Lines(string(file)) {
		number++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		secret, problem := parseSecret(text)
		same := slices.IndexFunc(lines, func(l line) bool { return bytes.Equal(l.secret, secret) })
		switch {
		case problem != "":
		case same >= 0:
			problem = fmt.Sprintf("it is the secret of line %d again", lines[same].number)
		case len(lines) == maxSecrets:
			problem = fmt.Sprintf("there are more than %d secrets; remove the oldest", maxSecrets)
		default:
			lines = append(lines, line{number, secret})
			continue
		}
		problems = append(problems, fmt.Errorf("line %d: %s", number, problem))
		if len(problems) == maxSecrets {
			break // not a file of secrets
		}
	}
	return lines, problems
}

// parseSecret returns the secret of a line, or what is wrong with it.
func parseSecret(text string) (secret []byte, problem string) {
	secret, err := encoding.DecodeString(text)
	switch {
	case err != nil:
		return nil, "it is not base64url without padding, as `gatehouse secret` writes it"
	case len(secret) < SecretBytes:
		return nil, fmt.Sprintf("it has %d bytes, and at least %d are needed", len(secret), SecretBytes)
	case len(secret) > maxSecretBytes:
		return nil, fmt.Sprintf("it has %d bytes, and at most %d are allowed", len(secret), maxSecretBytes)
	}
	return secret, weakness(text)
}

// weakness returns why a secret in base64url is not random, or "". A check cannot find every secret that
// people invented, only those that would be invented most: words, text in another encoding, repetitions and
// sequences. It refuses less than one random secret in a million.
func weakness(text string) string {
	secret, err := encoding.DecodeString(text)
	if err != nil {
		return "it is not base64url"
	}
	steps := make([]byte, len(secret)-1)
	for i := range steps {
		steps[i] = secret[i+1] - secret[i]
	}
	const fewest = 16 // of the 32 bytes of a random secret, about 30 are different
	lower, upper := count(text, unicode.IsLower), count(text, unicode.IsUpper)
	switch {
	case count(string(secret), isText) == len(secret):
		return "it is text in base64url, and text is not random"
	case different(secret) < fewest || different(steps) < fewest:
		return "it repeats a pattern"
	case lower == 0 || upper == 0:
		return "it has letters of one case only, so it is no random base64url"
	case 5*lower >= 4*len(text):
		return "most of its characters are small letters: it looks like words"
	}
	return ""
}

func isText(r rune) bool { return r < unicode.MaxASCII && (unicode.IsPrint(r) || unicode.IsSpace(r)) }

func count(text string, is func(rune) bool) int {
	n := 0
	for i := range len(text) { // bytes, because a secret is no UTF-8
		if is(rune(text[i])) {
			n++
		}
	}
	return n
}

func different(values []byte) int {
	values = slices.Clone(values)
	slices.Sort(values)
	return len(slices.Compact(values))
}
