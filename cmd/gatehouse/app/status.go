package app

import (
	"cmp"
	"runtime"
	"runtime/metrics"
	"time"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/server"
	"gatehouse/server/audit"
)

// Status is the state of a running server, for its operators. It contains nothing about a caller, and no text
// of an identity provider. The names in JSON are those of /status.json and stay as they are.
type Status struct {
	Time          time.Time `json:"time"`
	Version       string    `json:"version"`
	Resource      string    `json:"resource"`
	ProviderKind  string    `json:"provider_kind"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	// Ready is what /readyz reports, and NotReady why not: a reason, or [Stopping].
	Ready    bool           `json:"ready"`
	NotReady string         `json:"not_ready,omitempty"`
	Issuers  []IssuerStatus `json:"issuers"`
	// Requests are the finished requests since the start, by outcome: ok, a reason, client_error or
	// server_error.
	Requests map[string]int64 `json:"requests"`
	Calls    Usage            `json:"calls"`
	Streams  Usage            `json:"streams"`
	Sessions Usage            `json:"sessions"`
	Bytes    Usage            `json:"bytes"`
	// Tokens is nil if the provider does not remember verified tokens.
	Tokens *TokenStatus `json:"tokens,omitempty"`
	// Audit is nil without an audit log.
	Audit  *AuditStatus `json:"audit,omitempty"`
	Config ConfigStatus `json:"config"`
	// Denials is nil if denials.file is not set.
	Denials *DenialStatus `json:"denials,omitempty"`
	// SignIns is nil if the provider has no authorization server in this program.
	SignIns *SignInStatus `json:"sign_ins,omitempty"`
	// Upstreams are in the order of their names.
	Upstreams []UpstreamStatus `json:"upstreams,omitempty"`
	Process   ProcessStatus    `json:"process"`
}

// Stopping is why a server that drains is not ready.
const Stopping = "stopping"

// IssuerStatus is the state of the keys of one issuer.
type IssuerStatus struct {
	Issuer string `json:"issuer"`
	// Usable reports whether tokens of the issuer can be verified.
	Usable bool `json:"usable"`
	// KeysAgeSeconds is the time since the last successful fetch; nil if there was none or none is needed.
	KeysAgeSeconds *float64 `json:"keys_age_seconds,omitempty"`
	// Problem is why the last fetch failed; empty if it succeeded. The log has the details.
	Problem providers.Reason `json:"problem,omitempty"`
}

// Usage is how much of a limit is in use. Limit 0 means that there is none.
type Usage struct {
	Active int64 `json:"active"`
	Limit  int64 `json:"limit"`
}

// TokenStatus counts verified tokens since the start.
type TokenStatus struct {
	Cached int64 `json:"cached"`
	Limit  int64 `json:"limit"`
	// FromCache is how many requests had a token that was remembered, and Checked how many had one that was
	// verified.
	FromCache int64 `json:"from_cache"`
	Checked   int64 `json:"checked"`
}

// AuditStatus is the state of the audit log.
type AuditStatus struct {
	// OK reports whether the log can be written.
	OK       bool `json:"ok"`
	Required bool `json:"required"`
	// Sequence is the number of the last record, and Unsynced how many records are not on disk yet.
	Sequence uint64 `json:"sequence"`
	Unsynced uint64 `json:"unsynced"`
	// Checkpoint is the last record that a checkpoint covers, and CheckpointTime when it was made, if there is
	// one.
	Checkpoint     uint64     `json:"checkpoint"`
	CheckpointTime *time.Time `json:"checkpoint_time,omitempty"`
	// Lost is how many records were dropped since the start.
	Lost int64 `json:"lost"`
}

// ConfigStatus identifies the configuration in force.
type ConfigStatus struct {
	Digest     string `json:"digest"`
	Generation uint64 `json:"generation"`
	// Reload is the last reload; nil if there was none.
	Reload *ReloadResult `json:"reload,omitempty"`
}

// ReloadResult is how a reload ended.
type ReloadResult struct {
	Time time.Time `json:"time"`
	OK   bool      `json:"ok"`
	// Reason is why it was refused, without any value of a setting.
	Reason string `json:"reason,omitempty"`
}

// DenialStatus is the state of the list of denied callers.
type DenialStatus struct {
	Entries int `json:"entries"`
	// OK is false if the file cannot be used and an earlier list is in force.
	OK bool `json:"ok"`
	// Hits is how many requests were refused since the start.
	Hits int64 `json:"hits"`
}

// UpstreamStatus is the state of an upstream.
type UpstreamStatus struct {
	Name string `json:"name"`
	// Transport is stdio or http.
	Transport string `json:"transport"`
	// State is connecting, ready, restarting or down, and Reason why it is one of the last two.
	State  upstream.State   `json:"state"`
	Reason providers.Reason `json:"reason,omitempty"`
	// ProtocolVersion is that of MCP, and Server how the upstream introduced itself, as far as they are known.
	ProtocolVersion string `json:"protocol_version,omitempty"`
	Server          string `json:"server,omitempty"`
	// Tools is how many the upstream has, and Offered how many of them this server has. Changed is how many of those
	// cannot be called, because their definition changed.
	Tools   int  `json:"tools"`
	Offered int  `json:"offered"`
	Changed int  `json:"changed"`
	Pinned  bool `json:"pinned"`
	// Restarts counts the sessions after the first.
	Restarts int `json:"restarts"`
	// Processes are those of callers; nil if all callers share one, or with a URL.
	Processes *Usage `json:"processes,omitempty"`
	// Calls counts those that ended since the start, by outcome: ok, timeout, canceled or a reason.
	Calls map[string]int64 `json:"calls"`
	// Noise counts what the upstream wrote that is no message.
	Noise int64 `json:"noise"`
}

// ProcessStatus is the state of the process.
type ProcessStatus struct {
	Goroutines int `json:"goroutines"`
	// MemoryBytes is what the Go runtime holds of the system's memory: what GOMEMLIMIT limits.
	MemoryBytes uint64 `json:"memory_bytes"`
}

// Status returns the state of the server. It may be called at any time, also after Close.
func (a *App) Status() Status {
	g, usage := a.current.Load(), a.MCP.Usage()
	provider := g.provider.Provider
	s := Status{
		Time: time.Now().UTC(), Version: Version(),
		Resource: g.config.Resource.String(), ProviderKind: g.config.Kind,
		UptimeSeconds: int64(time.Since(a.started) / time.Second),
		NotReady:      string(server.NotReady(a.chain, provider)),
		Issuers:       issuerStatus(provider),
		Requests:      a.chain.Counts.Snapshot(),
		Calls:         usageOf(usage.Calls), Streams: usageOf(usage.Streams),
		Sessions: usageOf(usage.Sessions), Bytes: usageOf(usage.Bytes),
		Config:    ConfigStatus{Digest: g.digest, Generation: g.number},
		Upstreams: upstreamStatus(a.Upstreams()),
		Process:   processStatus(),
	}
	s.Ready = s.NotReady == ""
	s.SignIns = a.signInStatus(provider, s.Time)
	if reporter, ok := provider.(providers.TokenReporter); ok {
		t := reporter.Tokens()
		s.Tokens = &TokenStatus{int64(t.Cached), int64(t.Limit), t.FromCache, t.Checked}
	}
	if a.Audit != nil {
		s.Audit = auditStatus(a.Audit)
	}
	if a.Denials != nil {
		d := a.Denials.Status()
		s.Denials = &DenialStatus{Entries: d.Entries, OK: d.Problem == nil, Hits: d.Hits}
	}
	if last := a.LastReload(); !last.Time.IsZero() {
		s.Config.Reload = &ReloadResult{Time: last.Time.UTC(), OK: last.OK, Reason: last.Reason}
	}
	return s
}

func usageOf(u mcphttp.UsageOf) Usage { return Usage{Active: int64(u.Active), Limit: int64(u.Limit)} }

// issuerStatus returns the state of the keys, under the issuer that clients are sent to.
func issuerStatus(p providers.Provider) []IssuerStatus {
	one := IssuerStatus{Issuer: issuerOf(p), Usable: true}
	reporter, hasKeys := p.(providers.KeyReporter)
	if !hasKeys { // it needs none
		return []IssuerStatus{one}
	}
	keys := reporter.Keys()
	one.Usable = keys.Usable
	if keys.Age > 0 {
		age := keys.Age.Seconds()
		one.KeysAgeSeconds = &age
	}
	// The text of the problem may contain addresses of the network; it is in the log.
	if keys.Problem != "" || !keys.Usable {
		one.Problem = cmp.Or(keys.Reason, providers.ReasonKeysUnavailable)
	}
	return []IssuerStatus{one}
}

func auditStatus(log *audit.Log) *AuditStatus {
	status := log.Status()
	s := &AuditStatus{
		OK: status.Err == nil, Required: log.Required(), Sequence: status.Sequence,
		Unsynced: status.Sequence - min(status.Synced, status.Sequence), Checkpoint: status.Checkpoint, Lost: status.Lost,
	}
	if !status.CheckpointTime.IsZero() {
		made := status.CheckpointTime.UTC()
		s.CheckpointTime = &made
	}
	return s
}

func upstreamStatus(all []upstream.Status) []UpstreamStatus {
	var shown []UpstreamStatus
	for _, u := range all {
		s := UpstreamStatus{
			Name: u.Name, Transport: u.Transport, State: u.State, Reason: u.Reason, ProtocolVersion: u.Era, Server: u.Server,
			Tools: u.Tools, Offered: u.Offered, Changed: len(u.Changed), Pinned: u.Pinned, Restarts: u.Restarts, Calls: u.Calls,
			Noise: u.Noise,
		}
		if u.MaxProcesses > 0 {
			s.Processes = &Usage{Active: int64(u.Processes), Limit: int64(u.MaxProcesses)}
		}
		shown = append(shown, s)
	}
	return shown
}

func processStatus() ProcessStatus {
	memory := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(memory)
	return ProcessStatus{
		Goroutines: runtime.NumGoroutine(), MemoryBytes: memory[0].Value.Uint64() - memory[1].Value.Uint64(),
	}
}
