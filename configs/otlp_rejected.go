package configs

import (
	"slices"
	"strings"

	"gatehouse/providers"
)

// rejectedVariable is a standard variable of OpenTelemetry that would be ignored. To ignore it silently would mislead:
// each of them changes what is exported, or how.
type rejectedVariable struct {
	name string
	// applies reports whether it would have an effect on these settings. Platforms set variables for all programs, so
	// that one without an effect is no problem.
	applies func(Telemetry) bool
	// accepted are the values that say what is done in any case.
	accepted    func(Telemetry) []string
	reason, fix string
}

func rejectedVariables() []rejectedVariable {
	traces := func(t Telemetry) bool { return t.Traces == TelemetryOTLP }
	metrics := func(t Telemetry) bool { return t.Metrics == TelemetryOTLP }
	either := func(t Telemetry) bool { return traces(t) || metrics(t) }
	prometheus := func(t Telemetry) bool { return t.Metrics == TelemetryPrometheus }
	anyMetrics := func(t Telemetry) bool { return t.Metrics != TelemetryOff }
	only := func(values ...string) func(Telemetry) []string { return func(Telemetry) []string { return values } }

	const protocol, collectorPort = "OTLP is sent over HTTP with protobuf only", "set it to http/protobuf, with the " +
		"HTTP port of the collector (usually 4318) in " + otlpPrefix + "ENDPOINT, or unset it"
	const sampler, sample = "the share of traces is a setting of this server",
		"unset it, and set telemetry.sample, such as 0.1"
	const listener, listen = "the address is a setting of this server", "unset it, and set operator.listen"
	return []rejectedVariable{
		{otlpPrefix + "PROTOCOL", either, only("http/protobuf"), protocol, collectorPort},
		{otlpPrefix + "TRACES_PROTOCOL", traces, only("http/protobuf"), protocol, collectorPort},
		{otlpPrefix + "METRICS_PROTOCOL", metrics, only("http/protobuf"), protocol, collectorPort},
		{"OTEL_TRACES_SAMPLER", traces, only(), sampler, sample},
		{"OTEL_TRACES_SAMPLER_ARG", traces, only(), sampler, sample},
		{"OTEL_TRACES_EXPORTER", traces, only(TelemetryOTLP), "telemetry.traces is otlp",
			"unset it, or set telemetry.traces to off"},
		{"OTEL_METRICS_EXPORTER", anyMetrics, func(t Telemetry) []string { return []string{t.Metrics} },
			"telemetry.metrics is something else", "unset it, and set telemetry.metrics to off, prometheus or otlp"},
		{"OTEL_PROPAGATORS", traces, only("tracecontext", "tracecontext,baggage", "baggage,tracecontext"),
			"traces are continued by W3C Trace Context only", "set it to tracecontext, or unset it"},
		{"OTEL_EXPORTER_PROMETHEUS_HOST", prometheus, only(), listener, listen},
		{"OTEL_EXPORTER_PROMETHEUS_PORT", prometheus, only(), listener, listen},
		{"OTEL_METRICS_EXEMPLAR_FILTER", anyMetrics, only("always_off"), "there are no exemplars",
			"set it to always_off, or unset it"},
		{otlpPrefix + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION", metrics, only("explicit_bucket_histogram"),
			"the histograms have the boundaries of the conventions", "set it to explicit_bucket_histogram, or unset it"},
		{"OTEL_SDK_DISABLED", Telemetry.IsOn, only("false"), "telemetry is on in this server's settings",
			"unset it, or set telemetry.metrics and telemetry.traces to off"},
		{"OTEL_CONFIG_FILE", Telemetry.IsOn, only(), "the file is not read",
			"unset it, and use telemetry.* and the variables of OpenTelemetry"},
		{"OTEL_EXPERIMENTAL_CONFIG_FILE", Telemetry.IsOn, only(), "the file is not read",
			"unset it, and use telemetry.* and the variables of OpenTelemetry"},
	}
}

// reject reports variables that would have an effect on other programs, but have none here.
func (r *otlpReader) reject(t Telemetry) {
	for _, one := range rejectedVariables() {
		v, isSet := r.find(one.name)
		value := strings.ToLower(strings.ReplaceAll(v.value, " ", ""))
		if isSet && one.applies(t) && !slices.Contains(one.accepted(t), value) {
			r.add(Problem{Key: v.name, Value: quoteValue(v.value), Origin: v.origin, Code: providers.CodeNotAllowed,
				Reason: one.reason, Fix: one.fix})
		}
	}
}
