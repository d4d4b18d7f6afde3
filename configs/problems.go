package configs

import (
	"fmt"
	"strings"

	"gatehouse/providers"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Key is the setting, such as server.listen.
	Key string
	// Origin is the source of the value, as text.
	Origin string
	// Value is the value that was found, as text; empty if there is none. A secret is redacted.
	Value string
	// Code is one of [Codes].
	Code providers.Code
	// Reason says what is wrong with the value.
	Reason string
	// Fix says what to do.
	Fix string
}

// Problems is the error of [Load]: everything that is wrong with a configuration.
type Problems []Problem

// Error returns the whole report, on several lines.
func (p Problems) Error() string {
	var b strings.Builder
	if len(p) == 1 {
		b.WriteString("the configuration has a problem\n")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems\n", len(p))
	}
	for _, one := range p {
		fmt.Fprintf(&b, "\n  %s", one.Key)
		if one.Value != "" {
			fmt.Fprintf(&b, " = %s", one.Value)
		}
		fmt.Fprintf(&b, "\n    %-8s %s\n    %-8s %s [%s]\n    %-8s %s\n",
			"from", one.Origin, "problem", one.Reason, one.Code, "fix", one.Fix)
	}
	return b.String()
}
