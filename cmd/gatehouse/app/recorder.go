package app

import (
	"context"
	"strings"

	"gatehouse/mcptools/mcphttp"
	"gatehouse/server"
	"gatehouse/server/audit"
)

// recorder passes operations and results of the MCP endpoint to package server, for the access log, the
// counts and the audit log.
type recorder struct {
	// events is nil without an audit log.
	events *auditEvents
}

// auditEvents makes the members of audit records that depend on the MCP message.
type auditEvents struct{ arguments *audit.ArgumentRecorder }

// RecordOperation implements mcphttp.Recorder.
func (r recorder) RecordOperation(ctx context.Context, o mcphttp.Operation) {
	operation := server.Operation{
		Method: o.Method, Tool: o.Tool, Prompt: o.Prompt, URI: o.URI, ProtocolVersion: o.ProtocolVersion,
	}
	if server.ObservesOperations(ctx) {
		operation.ID = o.RequestID()
		operation.Traceparent, operation.Tracestate = o.TraceContext()
	}
	if r.events != nil {
		operation.Event, operation.Arguments = eventOf(o.Method), r.events.arguments.Of(o.Params)
	}
	server.RecordOperation(ctx, operation)
}

// RecordResult implements mcphttp.Recorder.
func (recorder) RecordResult(ctx context.Context, r mcphttp.Result) {
	server.RecordResult(ctx, serverResult(r))
}

func serverResult(r mcphttp.Result) server.Result {
	return server.Result{
		Outcome: server.Outcome(r.Outcome), Reason: r.Reason, Detail: r.Detail, Code: r.Code, TimedOut: r.TimedOut,
	}
}

// DetachOperation implements mcphttp.Recorder.
func (recorder) DetachOperation(ctx context.Context) func(mcphttp.Result) {
	end := server.DetachOperation(ctx)
	if end == nil {
		return nil
	}
	return func(r mcphttp.Result) {
		result := serverResult(r)
		if result.Outcome == "" {
			result.Outcome = server.OutcomeOK
		}
		end(result)
	}
}

// BeginSession implements mcphttp.Recorder.
func (recorder) BeginSession(ctx context.Context, s mcphttp.SessionInfo) func(mcphttp.SessionEnd) {
	end := server.BeginSession(ctx, s.ID, s.ProtocolVersion)
	if end == nil {
		return nil
	}
	return func(how mcphttp.SessionEnd) { end(server.SessionEnd(how)) }
}

// eventOf returns the audit event of a JSON-RPC method.
func eventOf(method string) audit.Event {
	switch method {
	case "tools/call", "prompts/get", "resources/read", "resources/subscribe", "resources/unsubscribe",
		"subscriptions/listen", "completion/complete":
		return audit.EventCall
	case "initialize":
		return audit.EventSessionBegin
	}
	if strings.HasSuffix(method, "/list") {
		return audit.EventList
	}
	return audit.EventOther
}

// auditor lets a call run when its record is on disk, if audit.required is set.
type auditor struct{}

// BeginCall implements mcphttp.Auditor.
func (auditor) BeginCall(ctx context.Context) error { return server.BeginCall(ctx) }
