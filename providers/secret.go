package providers

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a setting that must not be printed. It is formatted as [redacted]; only Reveal returns the value.
// Keep it in exported fields: package fmt does not call the methods of unexported fields.
type Secret string

const redacted = "[redacted]"

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
