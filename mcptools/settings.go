package mcptools

import (
	"fmt"
	"time"

	"gatehouse/providers"
)

// minBytes is the least of the limits of bytes: less would refuse ordinary messages.
const minBytes = 64 << 10

// Settings are the section "mcp" of the configuration.
type Settings struct {
	Era                string        `koanf:"era" help:"dual: clients of every protocol version, with sessions for the older ones; stateless: no sessions, any number of replicas"`
	CallTimeout        time.Duration `koanf:"call_timeout" help:"how long one call may take"`
	SessionTimeout     time.Duration `koanf:"session_timeout" help:"how long a session may be idle; clients start a new one by themselves"`
	Keepalive          time.Duration `koanf:"keepalive" help:"how long a stream may be silent before it gets a comment, and a call before its answer becomes a stream; 0: never"`
	MaxSessions        int           `koanf:"max_sessions" help:"open sessions in all; at the limit an idle one makes room"`
	MaxSessionsPerUser int           `koanf:"max_sessions_per_user" help:"open sessions of one caller; at the limit the least recently used idle one ends"`
	MaxCalls           int           `koanf:"max_calls" help:"calls in flight in all"`
	MaxCallsPerUser    int           `koanf:"max_calls_per_user" help:"calls in flight of one caller"`
	MaxBytes           int           `koanf:"max_bytes" help:"bytes of messages being read and of calls in flight, in all; a caller with less than 64 KiB may exceed it by a quarter; 0: a quarter of the memory limit (GOMEMLIMIT, or 0.9 of the container's), 64 MiB without one"`
	MaxBytesPerUser    int           `koanf:"max_bytes_per_user" help:"the same for one caller; 0: a quarter of mcp.max_bytes"`
	MaxStreams         int           `koanf:"max_streams" help:"standing streams of notifications in all"`
	MaxStreamsPerUser  int           `koanf:"max_streams_per_user" help:"standing streams of one caller"`
}

// ToolSettings are the section "tools" of the configuration.
type ToolSettings struct {
	Demo    bool `koanf:"demo" help:"offer the demo tools whoami, greet, countdown, send_greeting and server_stats; the tools of this server are always offered"`
	ShowAll bool `koanf:"show_all" help:"list what the caller may not use yet, too: for clients that sign in again for more"`
}

// The values of mcp.era.
const (
	// EraDual serves MCP 2026-07-28 without sessions, and older versions with them.
	EraDual = "dual"
	// EraStateless serves every version without sessions. Clients of older versions lose what needs one: questions to the
	// person, and notifications outside a call.
	EraStateless = "stateless"
)

// DefaultSettings returns the section before anything was configured.
func DefaultSettings() Settings {
	return Settings{
		Era: EraDual, CallTimeout: 5 * time.Minute, SessionTimeout: 30 * time.Minute, Keepalive: 15 * time.Second,
		MaxCalls: 1000, MaxCallsPerUser: 100,
		MaxSessions: 1000, MaxSessionsPerUser: 20, MaxStreams: 1000, MaxStreamsPerUser: 20,
	}
}

// WithByteLimits returns s with the limits of bytes that are not set: a quarter of the process's memory limit in all,
// and a quarter of that for one caller. memoryLimit is in bytes; 0 means that there is none.
func (s Settings) WithByteLimits(memoryLimit int64) Settings {
	if s.MaxBytes == 0 {
		s.MaxBytes = defaultMaxBytes
		if memoryLimit > 0 {
			s.MaxBytes = int(memoryLimit / 4)
		}
	}
	if s.MaxBytesPerUser == 0 {
		s.MaxBytesPerUser = s.MaxBytes / 4
	}
	return s
}

// Validate reports every invalid setting. The key is relative to the section.
func (s Settings) Validate(report func(providers.Problem)) {
	if s.Era != EraDual && s.Era != EraStateless {
		report(providers.Problem{Key: "era", Code: providers.CodeUnknownValue,
			Reason: "it is neither dual nor stateless",
			Fix:    "use dual, or stateless when there are several replicas"})
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"call_timeout", s.CallTimeout}, {"session_timeout", s.SessionTimeout}} {
		if d.value < time.Second {
			report(providers.Problem{Key: d.key, Code: providers.CodeOutOfRange,
				Reason: "it is shorter than a second",
				Fix:    "use a duration such as 5m"})
		}
	}
	if s.MaxBytes != 0 && s.MaxBytes < minBytes {
		report(providers.Problem{Key: "max_bytes", Code: providers.CodeOutOfRange,
			Reason: fmt.Sprintf("it is less than %d", minBytes),
			Fix:    "leave it out for the default"})
	}
	if s.MaxBytesPerUser != 0 && s.MaxBytesPerUser < minBytes {
		report(providers.Problem{Key: "max_bytes_per_user", Code: providers.CodeOutOfRange,
			Reason: fmt.Sprintf("it is less than %d", minBytes),
			Fix:    "leave it out for the default"})
	} else if s.MaxBytes != 0 && s.MaxBytesPerUser > s.MaxBytes {
		report(providers.Problem{Key: "max_bytes_per_user", Code: providers.CodeConflict,
			Reason: fmt.Sprintf("it is more than mcp.max_bytes, which is %d", s.MaxBytes),
			Fix:    "leave it out for a quarter of mcp.max_bytes"})
	}
	if s.Keepalive != 0 && s.Keepalive < time.Second {
		report(providers.Problem{Key: "keepalive", Code: providers.CodeOutOfRange,
			Reason: "it is neither 0 nor at least a second",
			Fix:    "use a duration such as 15s, shorter than what proxies cut off; 0 turns it off"})
	}
	for _, n := range []struct {
		key   string
		value int
	}{
		{"max_sessions", s.MaxSessions}, {"max_sessions_per_user", s.MaxSessionsPerUser},
		{"max_calls", s.MaxCalls}, {"max_calls_per_user", s.MaxCallsPerUser},
		{"max_streams", s.MaxStreams}, {"max_streams_per_user", s.MaxStreamsPerUser},
	} {
		if n.value < 1 {
			report(providers.Problem{Key: n.key, Code: providers.CodeOutOfRange,
				Reason: "it is less than 1",
				Fix:    "use a number such as 20; mcp.era: stateless does without sessions"})
		}
	}
}
