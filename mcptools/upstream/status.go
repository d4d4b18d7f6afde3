package upstream

import (
	"slices"

	"gatehouse/providers"
)

// State is that of an upstream.
type State string

// The states.
const (
	// StateConnecting lasts until the first attempt has ended.
	StateConnecting State = "connecting"
	StateReady      State = "ready"
	// StateRestarting begins when a session is lost.
	StateRestarting State = "restarting"
	// StateDown begins when an attempt has failed; another one follows.
	StateDown State = "down"
)

// Status is the state of an upstream.
type Status struct {
	Name string
	// Transport is "stdio" or "http".
	Transport string
	State     State
	// Reason is that of the last failed attempt, in [StateDown], and [ReasonLost] in [StateRestarting].
	Reason providers.Reason
	// Era is the protocol version, and Server the name and version of the upstream, as far as they are known.
	Era, Server string
	// Tools is how many tools the upstream has, Offered how many of them the catalog has, and Skipped how many were
	// asked for but cannot be offered.
	Tools, Offered, Skipped int
	// Changed are the offered tools that cannot be called, because their definition at the upstream changed.
	Changed []string
	Pinned  bool
	// Restarts counts the sessions after the first; with a process for each caller, the processes that ended early.
	Restarts int
	// Processes is how many processes run, and MaxProcesses how many may, with one for each caller; otherwise both are 0.
	Processes, MaxProcesses int
	// Calls counts the calls that ended, by outcome: each of [Outcomes] is there.
	Calls map[string]int64
	// Noise counts what the upstream wrote that is no message, and Stray the messages that nothing waited for.
	Noise, Stray int64
}

func (u *upstream) status() Status {
	s := Status{Name: u.settings.Name, Transport: "stdio", Pinned: u.settings.Pinned != nil}
	if u.settings.URL != "" {
		s.Transport = "http"
	}
	u.source.status(&s)
	s.Calls = u.calls.snapshot()
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Tools, s.Offered, s.Skipped, s.Changed = u.tools, len(u.offers), len(u.refused), slices.Clone(u.changed)
	s.Noise, s.Stray = u.counters.noise.Load(), u.counters.stray.Load()
	return s
}
