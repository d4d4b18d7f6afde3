package telemetry

import (
	"time"

	"gatehouse/cmd/gatehouse/app"
)

// OperatorStatus is the document of /status.json, and what the status page shows.
type OperatorStatus struct {
	app.Status
	Traffic TrafficStatus `json:"traffic"`
	// Tools are the tools that were called, the most called first, at most 50; nil without metrics for
	// Prometheus.
	Tools []ToolStatus `json:"tools"`
	// OtherToolCalls are the calls of tools beyond those.
	OtherToolCalls uint64 `json:"other_tool_calls"`
}

// status returns the state of now, and the samples that end with it.
func (o *Operator) status() (OperatorStatus, []sample) {
	s := OperatorStatus{Status: o.config.Status()}
	now := sample{at: time.Now(), outcomes: s.Requests, serverErrors: o.metrics.serverErrors()}
	samples := o.traffic.all()
	s.Traffic = trafficStatus(samples, now)
	s.Tools, s.OtherToolCalls = o.metrics.tools()
	return s, append(samples, now)
}
