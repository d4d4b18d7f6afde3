package configs

import (
	"gatehouse/providers"
)

// Telemetry is the section "telemetry". Where OTLP is sent to is in the standard variables: see [OTLP].
type Telemetry struct {
	Metrics string `koanf:"metrics" reload:"restart" values:"off,prometheus,otlp" help:"off; prometheus: read from operator.listen; or otlp: sent to a collector"`
	Traces  string `koanf:"traces" reload:"restart" values:"off,otlp" help:"off, or otlp: sent to a collector"`

	Sample float64 `koanf:"sample" reload:"restart" help:"share of traces that are recorded, from 0 to 1; callers with a valid token decide for their own"`
}

// The values of telemetry.metrics and telemetry.traces.
const (
	TelemetryOff        = "off"
	TelemetryPrometheus = "prometheus"
	TelemetryOTLP       = "otlp"
)

const metricsKey = "telemetry.metrics"

// IsOn reports whether there are metrics or traces.
func (t Telemetry) IsOn() bool { return t.Metrics != TelemetryOff || t.Traces != TelemetryOff }

// Validate reports every invalid setting. The key is relative to the section.
func (t Telemetry) Validate(report func(providers.Problem)) {
	switch t.Metrics {
	case TelemetryOff, TelemetryPrometheus, TelemetryOTLP:
	default:
		report(providers.Problem{Key: "metrics", Code: providers.CodeUnknownValue,
			Reason: "it is not off, prometheus or otlp", Fix: "use off, prometheus or otlp"})
	}
	switch t.Traces {
	case TelemetryOff, TelemetryOTLP:
	default:
		report(providers.Problem{Key: "traces", Code: providers.CodeUnknownValue,
			Reason: "it is neither off nor otlp", Fix: "use off or otlp"})
	}
	if !(t.Sample >= 0 && t.Sample <= 1) { // also for NaN
		report(providers.Problem{Key: "sample", Code: providers.CodeOutOfRange,
			Reason: "it is not between 0 and 1", Fix: "use 1 for all traces, or 0.1 for a tenth"})
	}
}

// operatorListenKey is the listener that Prometheus reads.
const operatorListenKey = "operator.listen"

// deriveMetrics serves metrics where there is a listener for them.
func (l *loader) deriveMetrics() {
	if l.merged.String(operatorListenKey) != "" && l.isDefault(metricsKey) {
		l.set(metricsKey, TelemetryPrometheus, derivedFrom+operatorListenKey)
	}
}

// validateTelemetry also reports metrics that no one can read, and the variables of OTLP.
func (l *loader) validateTelemetry(config *Config, variables []variable) {
	report := l.report("telemetry")
	config.Telemetry.Validate(report)
	if config.Telemetry.Metrics == TelemetryPrometheus && l.merged.String(operatorListenKey) == "" {
		report(providers.Problem{Key: "metrics", Code: providers.CodeNoEffect,
			Reason: "operator.listen is not set: Prometheus cannot read the metrics",
			Fix:    "set operator.listen, such as 127.0.0.1:9464, or use otlp"})
	}
	var problems Problems
	config.OTLP, problems = readOTLP(variables, config.Telemetry, l.readFile)
	l.problems = append(l.problems, problems...)
}
