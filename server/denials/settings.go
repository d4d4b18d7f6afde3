package denials

import (
	"time"

	"gatehouse/providers"
)

// Settings are the section "denials" of the configuration.
type Settings struct {
	File string `koanf:"file" reload:"restart" help:"list of denied callers, as gatehouse deny writes it; empty: none"`

	Poll time.Duration `koanf:"poll" reload:"restart" help:"how often the list is read; a change acts after two equal reads"`
}

// DefaultSettings returns the default values of the section. With them, a change is in force within a second.
func DefaultSettings() Settings { return Settings{Poll: 250 * time.Millisecond} }

// Validate reports every invalid setting. The key is relative to the section. The list itself is read by
// [Open].
func (s Settings) Validate(report func(providers.Problem)) {
	if s.Poll < 10*time.Millisecond || s.Poll > time.Minute {
		report(providers.Problem{Key: "poll", Code: providers.CodeOutOfRange, Reason: "it is not between 10ms and 1m",
			Fix: "leave it out for 250ms, with which a change is in force within a second"})
	}
}
