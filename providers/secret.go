package providers

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is a setting that must not be printed. It is formatted as [redacted]; only Reveal returns the value.
// Keep it in exported fields: package fmt does not call the methods of unexported fields.
type Secret string

const redacted = "[redacted]"

// ParseSecret returns text without white space at its end, which editors and shells add. A secret consists of
// printable ASCII (RFC 6749, appendix A.2); a private key in PEM has line ends as well. The error does not
// contain the text.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimRight(text, " \t\r\n")
	isPEM := strings.Contains(text, "-----BEGIN ")
	for i, r := range text {
		switch {
		case ' ' <= r && r <= '~', isPEM && strings.ContainsRune("\t\r\n", r):
		case i == 0:
			return "", fmt.Errorf("it begins with %s, which no secret may have (RFC 6749, appendix A)", nameRune(r))
		default:
			return "", fmt.Errorf("it contains %s, which no secret may have (RFC 6749, appendix A)", nameRune(r))
		}
	}
	return Secret(text), nil
}

// Reveal returns the value, for code that must send or compare it.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter. With String alone, %#v, %x and %d would print the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(b []byte) error { *s = Secret(b); return nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
