package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/providers"
)

// Settings are the section "audit" of the configuration.
type Settings struct {
	Dir      string `koanf:"dir" reload:"restart" help:"folder of the audit log; {hostname} is replaced; empty: no audit log"`
	Required bool   `koanf:"required" reload:"restart" help:"a call runs only if its record is on disk; else 503 audit_unavailable"`

	Sync       time.Duration `koanf:"sync" reload:"restart" help:"records are on disk after this time at most; 0: after each write"`
	Checkpoint time.Duration `koanf:"checkpoint" reload:"restart" help:"interval of signed checkpoints"`

	SegmentBytes int `koanf:"segment_bytes" reload:"restart" help:"size at which a new file is begun, in bytes"`

	SigningKey providers.Secret `koanf:"signing_key" reload:"restart" help:"key of the checkpoints, from gatehouse audit key"`

	Arguments string `koanf:"arguments" reload:"restart" values:"none,names,hmac" help:"what is recorded of arguments: none, names, or an hmac of each value"`

	ArgumentsKey providers.Secret `koanf:"arguments_key" reload:"restart" help:"key of audit.arguments: hmac, at least 32 bytes"`

	Events string `koanf:"events" reload:"restart" values:"calls,all" help:"calls: calls, sessions and refusals; all: lists and other operations, too"`
}

// The values of audit.arguments.
const (
	ArgumentsNone  = "none"
	ArgumentsNames = "names"
	ArgumentsHMAC  = "hmac"
)

// The values of audit.events.
const (
	EventsCalls = "calls"
	EventsAll   = "all"
)

// hostnamePlaceholder in audit.dir is replaced by the name of the host, so that replicas can share a volume.
const hostnamePlaceholder = "{hostname}"

// minArgumentsKey is the least length of the HMAC key, in bytes: with a shorter one, values could be guessed.
const minArgumentsKey = 32

// DefaultSettings returns the default values of the section.
func DefaultSettings() Settings {
	return Settings{
		Sync: 200 * time.Millisecond, Checkpoint: time.Minute, SegmentBytes: 64 << 20,
		Arguments: ArgumentsNone, Events: EventsCalls,
	}
}

// Validate reports every invalid setting, all at once. The key is relative to the section.
func (s Settings) Validate(report func(providers.Problem)) {
	add := func(key string, code providers.Code, reason, fix string) {
		report(providers.Problem{Key: key, Code: code, Reason: reason, Fix: fix})
	}
	if s.Sync < 0 || s.Sync > time.Minute {
		add("sync", providers.CodeOutOfRange, "it is not between 0s and 1m", "use a duration such as 200ms")
	}
	if s.Checkpoint < time.Second || s.Checkpoint > 24*time.Hour {
		add("checkpoint", providers.CodeOutOfRange, "it is not between 1s and 24h", "use a duration such as 1m")
	}
	if least, most := 64<<10, 1<<40; s.SegmentBytes < least || s.SegmentBytes > most {
		add("segment_bytes", providers.CodeOutOfRange, fmt.Sprintf("it is not between %d and %d", least, most),
			"leave it out for the default")
	}
	if s.Events != EventsCalls && s.Events != EventsAll {
		add("events", providers.CodeUnknownValue, "it is neither calls nor all", "use calls, or all")
	}
	s.validateArguments(add)
	switch {
	case s.Dir == "" && s.Required:
		add("required", providers.CodeNoEffect, "there is no audit log: audit.dir is not set", "set audit.dir")
	case s.Dir == "":
	case s.SigningKey == "":
		add("signing_key", providers.CodeMissing,
			"the audit log needs signed checkpoints: without them, records can be replaced or cut off unseen",
			"create a key with `gatehouse audit key FILE` and name the file in audit.signing_key_file")
	default:
		if _, err := newSigner(s.SigningKey); err != nil {
			add("signing_key", providers.CodeInvalidValue, err.Error(),
				"create a key with `gatehouse audit key FILE` and name the file in audit.signing_key_file")
		}
	}
}

func (s Settings) validateArguments(add func(key string, code providers.Code, reason, fix string)) {
	const fix = "create a file with random bytes and name it in audit.arguments_key_file: openssl rand -hex 32"
	switch s.Arguments {
	case ArgumentsNone, ArgumentsNames:
		if s.ArgumentsKey != "" {
			add("arguments_key", providers.CodeNoEffect, "audit.arguments is not hmac",
				"remove it, or set audit.arguments to hmac")
		}
	case ArgumentsHMAC:
		switch {
		case s.ArgumentsKey == "":
			add("arguments_key", providers.CodeMissing, "audit.arguments: hmac needs a key", fix)
		case len(s.ArgumentsKey) < minArgumentsKey:
			add("arguments_key", providers.CodeInsecure,
				fmt.Sprintf("it has fewer than %d bytes: values could be guessed", minArgumentsKey), fix)
		case s.ArgumentsKey == s.SigningKey:
			add("arguments_key", providers.CodeConflict, "it is the key of audit.signing_key", fix)
		}
	default:
		add("arguments", providers.CodeUnknownValue, "it is not none, names or hmac", "use none, names or hmac")
	}
}

// Folder returns the folder of the log: audit.dir with the name of the host.
func (s Settings) Folder() (string, error) {
	if !strings.Contains(s.Dir, hostnamePlaceholder) {
		return s.Dir, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host has no name for %s: %w", hostnamePlaceholder, err)
	}
	return strings.ReplaceAll(s.Dir, hostnamePlaceholder, filepath.Base(host)), nil
}
