package mcphttp

import (
	"fmt"
	"time"

	"gatehouse/providers"
)

// minBytes is the smallest limit of bytes: a smaller one would reject ordinary messages.
const minBytes = 64 << 10

// Settings are the section "mcp" of the configuration.
type Settings struct {
	Era string `koanf:"era" reload:"restart" values:"dual,stateless" help:"dual: sessions for clients before MCP 2026-07-28; stateless: none, for replicas"`

	CallTimeout    time.Duration `koanf:"call_timeout" reload:"live" loosens:"raised" help:"time limit of a call"`
	SessionTimeout time.Duration `koanf:"session_timeout" reload:"new" loosens:"raised" help:"idle time after which a session ends"`

	Keepalive time.Duration `koanf:"keepalive" reload:"live" help:"silence after which an SSE comment is sent on a stream or a call; 0: never"`

	MaxSessions        int `koanf:"max_sessions" reload:"new" loosens:"raised" help:"open sessions in total; at the limit an idle one is ended"`
	MaxSessionsPerUser int `koanf:"max_sessions_per_user" reload:"new" loosens:"raised" help:"open sessions per caller, likewise"`

	MaxCalls        int `koanf:"max_calls" reload:"live" loosens:"raised" help:"calls in flight in total"`
	MaxCallsPerUser int `koanf:"max_calls_per_user" reload:"live" loosens:"raised" help:"calls in flight per caller"`

	MaxBytes        int `koanf:"max_bytes" reload:"live" loosens:"raised" help:"bytes of messages in flight in total; 0: a quarter of the memory limit"`
	MaxBytesPerUser int `koanf:"max_bytes_per_user" reload:"live" loosens:"raised" help:"bytes of messages in flight per caller; 0: max_bytes / 4"`

	MaxStreams        int `koanf:"max_streams" reload:"live" loosens:"raised" help:"open notification streams in total"`
	MaxStreamsPerUser int `koanf:"max_streams_per_user" reload:"live" loosens:"raised" help:"open notification streams per caller"`
}

// The values of mcp.era.
const (
	// EraDual serves MCP 2026-07-28 without sessions, and older versions with them.
	EraDual = "dual"
	// EraStateless serves every version without sessions. Clients of older versions lose what needs one: requests
	// from the server to the client, and notifications outside a call.
	EraStateless = "stateless"
)

// DefaultSettings returns the default values of the section.
func DefaultSettings() Settings {
	return Settings{
		Era: EraDual, CallTimeout: 5 * time.Minute, SessionTimeout: 30 * time.Minute, Keepalive: 15 * time.Second,
		MaxCalls: 1000, MaxCallsPerUser: 100,
		MaxSessions: 1000, MaxSessionsPerUser: 20, MaxStreams: 1000, MaxStreamsPerUser: 20,
	}
}

// WithByteLimits returns s with defaults for the limits of bytes that are not set: a quarter of the process's memory
// limit in total (64 MiB if there is none), and a quarter of that per caller. memoryLimit is in bytes; 0 means none.
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
				Fix:    "use a number such as 20; with mcp.era: stateless there are no sessions"})
		}
	}
}
