package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/providers"
)

// Settings are the section "audit" of the configuration.
type Settings struct {
	Dir      string `koanf:"dir" help:"folder of the audit log; {hostname} is replaced; empty: no audit log"`
	Required bool   `koanf:"required" help:"a call runs only if its record is on disk; else 503 audit_unavailable"`

	Sync       time.Duration `koanf:"sync" help:"records are on disk after this time at most; 0: after each write"`
	Checkpoint time.Duration `koanf:"checkpoint" help:"interval of signed checkpoints"`

	SegmentBytes int `koanf:"segment_bytes" help:"size at which a new file is begun, in bytes"`

	SigningKeyFile string `koanf:"signing_key_file" help:"key of the checkpoints, from gatehouse audit key"`

	Arguments string `koanf:"arguments" help:"what is recorded of arguments: none, names, or an hmac of each value"`

	ArgumentsKeyFile string `koanf:"arguments_key_file" help:"key of audit.arguments: hmac, at least 32 bytes"`

	Events string `koanf:"events" help:"calls: calls, sessions and refusals; all: lists and other operations, too"`
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

// Validate reports every invalid setting, all at once. The key is relative to the section. Key files are read, so
// that a wrong one is found before the server starts.
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
	case s.SigningKeyFile == "":
		add("signing_key_file", providers.CodeMissing,
			"the audit log needs signed checkpoints: without them, records can be replaced or cut off unseen",
			"create a key with `gatehouse audit key FILE` and name the file here")
	default:
		if _, err := readSigner(s.SigningKeyFile); err != nil {
			add("signing_key_file", providers.CodeUnreadableFile, fileReason(err),
				"create a key with `gatehouse audit key FILE`, readable by the user who runs gatehouse")
		}
	}
}

func (s Settings) validateArguments(add func(key string, code providers.Code, reason, fix string)) {
	switch s.Arguments {
	case ArgumentsNone, ArgumentsNames:
		if s.ArgumentsKeyFile != "" {
			add("arguments_key_file", providers.CodeNoEffect, "audit.arguments is not hmac",
				"remove it, or set audit.arguments to hmac")
		}
	case ArgumentsHMAC:
		switch {
		case s.ArgumentsKeyFile == "":
			add("arguments_key_file", providers.CodeMissing, "audit.arguments: hmac needs a key",
				"create a file with at least 32 random bytes: openssl rand -hex 32")
		case filepath.Clean(s.ArgumentsKeyFile) == filepath.Clean(s.SigningKeyFile):
			add("arguments_key_file", providers.CodeConflict, "it is the file of audit.signing_key_file",
				"use a key of its own: openssl rand -hex 32")
		default:
			if _, err := readArgumentsKey(s.ArgumentsKeyFile); err != nil {
				add("arguments_key_file", providers.CodeUnreadableFile, fileReason(err),
					"create a file with at least 32 random bytes: openssl rand -hex 32")
			}
		}
	default:
		add("arguments", providers.CodeUnknownValue, "it is not none, names or hmac", "use none, names or hmac")
	}
}

// fileReason describes an error of a key file on one line, without its name: the report shows that.
func fileReason(err error) string {
	if path, ok := err.(*os.PathError); ok {
		return "it cannot be read: " + path.Err.Error()
	}
	return err.Error()
}

// folder returns audit.dir with the name of the host.
func (s Settings) folder() (string, error) {
	if !strings.Contains(s.Dir, hostnamePlaceholder) {
		return s.Dir, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host has no name for %s: %w", hostnamePlaceholder, err)
	}
	return strings.ReplaceAll(s.Dir, hostnamePlaceholder, filepath.Base(host)), nil
}

// readArgumentsKey reads the key of audit.arguments.
func readArgumentsKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if key = bytes.TrimRight(key, "\r\n"); len(key) < minArgumentsKey {
		return nil, fmt.Errorf("it has %d bytes, and at least %d are needed", len(key), minArgumentsKey)
	}
	return key, nil
}
