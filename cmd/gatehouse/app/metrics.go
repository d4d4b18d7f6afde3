package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"gatehouse/configs"
	"gatehouse/mcptools/mcphttp"
	"gatehouse/mcptools/upstream"
	"gatehouse/providers"
	"gatehouse/server"
)

// gauges creates the instruments whose values are read when metrics are collected.
type gauges struct {
	meter   metric.Meter
	created []metric.Observable
	failed  []error
	// reads observe the values; each is called at each collection.
	reads []func(metric.Observer)
}

// gauge observes numbers.
func (g *gauges) gauge(name, about string, read func() int64) {
	instrument := g.newGauge(name, about)
	g.reads = append(g.reads, func(o metric.Observer) { o.ObserveInt64(instrument, read()) })
}

func (g *gauges) newGauge(name, about string, options ...metric.Int64ObservableGaugeOption) metric.Int64Observable {
	options = append(options, metric.WithDescription(about))
	instrument, err := g.meter.Int64ObservableGauge(name, options...)
	g.created, g.failed = append(g.created, instrument), append(g.failed, err)
	return instrument
}

// seconds creates a gauge of durations or times.
func (g *gauges) seconds(name, about string) metric.Float64Observable {
	instrument, err := g.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(about))
	g.created, g.failed = append(g.created, instrument), append(g.failed, err)
	return instrument
}

func (g *gauges) newCounter(name, about string) metric.Int64Observable {
	instrument, err := g.meter.Int64ObservableCounter(name, metric.WithDescription(about))
	g.created, g.failed = append(g.created, instrument), append(g.failed, err)
	return instrument
}

// observeState registers the metrics of the state of a: what its parts count and limit anyway.
func (a *App) observeState(counts *server.RequestCounts) error {
	if a.meter == nil {
		return nil
	}
	g := &gauges{meter: a.meter}
	g.gauge("gatehouse.ready", "1 if the server is ready, as /readyz reports it.", func() int64 {
		return oneIf(server.NotReady(a.chain, a.Provider()) == "")
	})
	a.observeRequests(g, counts)
	a.observeLimits(g)
	a.observeProvider(g)
	a.observeAudit(g)
	a.observeDenials(g)
	a.observeUpstreams(g)
	a.observeSignIns(g)
	a.observeConfig(g)
	_, err := a.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, read := range g.reads {
			read(o)
		}
		return nil
	}, g.created...)
	return errors.Join(append(g.failed, err)...)
}

func oneIf(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// with returns an attribute of an observation.
func with(key, value string) metric.ObserveOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
}

func (a *App) observeRequests(g *gauges, counts *server.RequestCounts) {
	requests := g.newCounter("gatehouse.requests", "Finished requests by outcome: ok, the reason of a refusal, "+
		"client_error or server_error; without health and readiness probes.")
	known := map[string]bool{"ok": true, "client_error": true, "server_error": true}
	for _, doc := range configs.Reasons() {
		known[string(doc.Code)] = true
	}
	g.reads = append(g.reads, func(o metric.Observer) {
		byOutcome := counts.Snapshot()
		var others int64
		for _, outcome := range slices.Sorted(maps.Keys(byOutcome)) {
			if !known[outcome] { // a provider of another module may have reasons of its own
				others += byOutcome[outcome]
				continue
			}
			o.ObserveInt64(requests, byOutcome[outcome], with("gatehouse.outcome", outcome))
		}
		if others > 0 {
			o.ObserveInt64(requests, others, with("gatehouse.outcome", "_OTHER"))
		}
	})
}

func (a *App) observeLimits(g *gauges) {
	for _, limit := range []struct {
		name, what, setting string
		of                  func(mcphttp.Usage) mcphttp.UsageOf
	}{
		{"sessions", "Open sessions", "sessions", func(u mcphttp.Usage) mcphttp.UsageOf { return u.Sessions }},
		{"streams", "Open notification streams", "streams", func(u mcphttp.Usage) mcphttp.UsageOf { return u.Streams }},
		{"calls", "Calls in flight", "calls", func(u mcphttp.Usage) mcphttp.UsageOf { return u.Calls }},
		{"bytes", "Bytes of messages in flight", "bytes", func(u mcphttp.Usage) mcphttp.UsageOf { return u.Bytes }},
	} {
		g.gauge("gatehouse."+limit.name+".active", limit.what+".",
			func() int64 { return int64(limit.of(a.MCP.Usage()).Active) })
		g.gauge("gatehouse."+limit.name+".limit", "The setting mcp.max_"+limit.setting+".",
			func() int64 { return int64(limit.of(a.MCP.Usage()).Limit) })
	}
}

// observeProvider registers what some providers can report. The issuer is the configured one, never that of a token.
func (a *App) observeProvider(g *gauges) {
	age := g.seconds("gatehouse.provider.keys.age", "Time since the issuer's keys were last fetched.")
	usable := g.newGauge("gatehouse.provider.keys.usable", "1 if tokens of the issuer can be verified.")
	fetches := g.newCounter("gatehouse.provider.keys.fetches", "Fetches of the issuer's keys.")
	cached := g.newGauge("gatehouse.tokens.cached", "Verified tokens that are remembered.")
	limit := g.newGauge("gatehouse.tokens.limit", "How many verified tokens can be remembered.")
	verified := g.newCounter("gatehouse.tokens.verified", "Requests with a valid token, by whether it was remembered.")
	g.reads = append(g.reads, func(o metric.Observer) {
		if reporter, ok := a.Provider().(providers.KeyReporter); ok {
			keys, issuer := reporter.Keys(), with("gatehouse.issuer", issuerOf(a.Provider()))
			if keys.Age > 0 {
				o.ObserveFloat64(age, keys.Age.Seconds(), issuer)
			}
			o.ObserveInt64(usable, oneIf(keys.Usable), issuer)
			for result, n := range map[string]int64{"ok": keys.Fetches, "error": keys.FailedFetches} {
				o.ObserveInt64(fetches, n, issuer, with("gatehouse.result", result))
			}
		}
		if reporter, ok := a.Provider().(providers.TokenReporter); ok {
			tokens := reporter.Tokens()
			o.ObserveInt64(cached, int64(tokens.Cached))
			o.ObserveInt64(limit, int64(tokens.Limit))
			o.ObserveInt64(verified, tokens.FromCache, with("gatehouse.from", "cache"))
			o.ObserveInt64(verified, tokens.Checked, with("gatehouse.from", "check"))
		}
	})
}

// issuerOf returns the authorization server that clients are sent to.
func issuerOf(p providers.Provider) string {
	if servers := p.Metadata().AuthorizationServers; len(servers) > 0 {
		return servers[0]
	}
	return ""
}

func (a *App) observeAudit(g *gauges) {
	if a.Audit == nil {
		return
	}
	g.gauge("gatehouse.audit.ok", "1 if the audit log can be written.",
		func() int64 { return oneIf(a.Audit.Status().Err == nil) })
	g.gauge("gatehouse.audit.sequence", "Number of the last record of the audit log.",
		func() int64 { return int64(a.Audit.Status().Sequence) })
	g.gauge("gatehouse.audit.unsynced", "Records of the audit log that are not on disk yet.", func() int64 {
		status := a.Audit.Status()
		return int64(status.Sequence - status.Synced)
	})
	lost := g.newCounter("gatehouse.audit.lost", "Records that the audit log lost since the start.")
	g.reads = append(g.reads, func(o metric.Observer) { o.ObserveInt64(lost, a.Audit.Status().Lost) })
}

func (a *App) observeDenials(g *gauges) {
	if a.Denials == nil {
		return
	}
	g.gauge("gatehouse.denials.ok", "0 while the file of denials is bad or gone, so that an older list is in force.",
		func() int64 { return oneIf(a.Denials.Status().Problem == nil) })
	g.gauge("gatehouse.denials.entries", "Entries of the list of denied callers in force.",
		func() int64 { return int64(a.Denials.Status().Entries) })
}

// observeUpstreams registers the state of each upstream. Their names are from the configuration.
func (a *App) observeUpstreams(g *gauges) {
	if a.upstreams == nil {
		return
	}
	up := g.newGauge("gatehouse.upstream.up", "1 if the upstream is ready; with a process for each caller, if the last "+
		"one that was to start did.")
	restarts := g.newCounter("gatehouse.upstream.restarts", "Sessions with the upstream after the first; with a process "+
		"for each caller, the processes that ended early.")
	calls := g.newCounter("gatehouse.upstream.calls", "Calls of the upstream that ended: ok if it answered, timeout, "+
		"canceled, or the reason of the failure.")
	noise := g.newCounter("gatehouse.upstream.noise", "What the upstream wrote that is no message.")
	changed := g.newGauge("gatehouse.upstream.tools.changed",
		"Tools that cannot be called until they are reviewed, because their definition changed.")
	active := g.newGauge("gatehouse.upstream.processes.active", "Processes of callers.")
	limit := g.newGauge("gatehouse.upstream.processes.limit", "The setting upstreams.NAME.max_processes.")
	g.reads = append(g.reads, func(o metric.Observer) {
		for _, s := range a.Upstreams() {
			name := with("gatehouse.upstream", s.Name)
			o.ObserveInt64(up, oneIf(s.State == upstream.StateReady), name)
			o.ObserveInt64(restarts, int64(s.Restarts), name)
			o.ObserveInt64(noise, s.Noise, name)
			o.ObserveInt64(changed, int64(len(s.Changed)), name)
			for outcome, n := range s.Calls {
				o.ObserveInt64(calls, n, name, with("gatehouse.outcome", outcome))
			}
			if s.MaxProcesses > 0 {
				o.ObserveInt64(active, int64(s.Processes), name)
				o.ObserveInt64(limit, int64(s.MaxProcesses), name)
			}
		}
	})
}

func (a *App) observeConfig(g *gauges) {
	g.gauge("gatehouse.config.generation", "Number of the configuration in force; it grows with each reload.",
		func() int64 {
			number, _ := a.Generation()
			return int64(number)
		})
	g.gauge("gatehouse.config.reload.ok", "0 if the last reload was refused.",
		func() int64 { return oneIf(a.LastReload().OK) })
	at := g.seconds("gatehouse.config.reload.time", "When the configuration was last read, as a Unix time: at the start, "+
		"or by a reload.")
	started := time.Now()
	info := g.newGauge("gatehouse.config.info", "1, with the digest of the configuration in force.")
	build := g.newGauge("gatehouse.build.info", "1, with the version of the program.")
	g.reads = append(g.reads, func(o metric.Observer) {
		last := a.LastReload().Time
		if last.IsZero() {
			last = started
		}
		o.ObserveFloat64(at, float64(last.Unix()))
		_, digest := a.Generation()
		o.ObserveInt64(info, 1, with("config", digest))
		o.ObserveInt64(build, 1, with("version", Version()))
	})
}
