package server

import (
	"context"

	"gatehouse/providers"
	"gatehouse/server/audit"
)

// Operation is what a request asks of the application, for its line in the access log and its audit record. All of it
// comes from the client.
type Operation struct {
	// Method is the JSON-RPC method; empty if the message could not be parsed.
	Method string
	// Tool is the name in tools/call, and Prompt that in prompts/get; empty for every other method.
	Tool, Prompt string
	// URI is that of a resource.
	URI string
	// ProtocolVersion is the MCP version that the request names.
	ProtocolVersion string
	// ID is the JSON-RPC id as text. Traceparent and Tracestate are those of the message (SEP-414). All three are
	// only read if [ObservesOperations].
	ID, Traceparent, Tracestate string
	// Event and Arguments are for the audit log only.
	Event     audit.Event
	Arguments audit.Arguments
}

// Outcome classifies how a request ended, for its line in the access log.
type Outcome string

// All outcomes.
const (
	OutcomeOK              Outcome = "ok"
	OutcomeToolError       Outcome = "tool_error"      // a tool result with isError
	OutcomeInvalid         Outcome = "invalid"         // a malformed request, or one for something unknown
	OutcomeUnauthenticated Outcome = "unauthenticated" // no token, or an invalid one
	OutcomeDenied          Outcome = "denied"          // a missing scope, or a Host or Origin that is not allowed
	OutcomeLimited         Outcome = "limited"         // a limit; the client may retry later
	OutcomeUnavailable     Outcome = "unavailable"     // the identity provider is unavailable
	OutcomeCanceled        Outcome = "canceled"        // the client left, or the operator ended it
	OutcomeError           Outcome = "error"           // a failure of the server or of a tool
)

// Result is how the application ended an operation, where the status does not show it. Empty members say nothing.
type Result struct {
	Outcome Outcome
	Reason  providers.Reason
	// Detail explains the reason. It may quote names from the request, and nothing else.
	Detail string
	// Code is the code of the JSON-RPC error in the response; 0 if there is none.
	Code int
	// TimedOut is true if the operation exceeded its time limit.
	TimedOut bool
}

// ObservesOperations reports whether the trace context and the id of operations are recorded for the request of ctx.
func ObservesOperations(ctx context.Context) bool {
	s := stateFrom(ctx)
	return s.measured != nil || s.audited != nil
}

// RecordOperation sets the operation of the request of ctx, which begins with it. Outside the chain it does nothing.
// Like [RecordResult], it must be called from the goroutine that writes the response.
func RecordOperation(ctx context.Context, o Operation) {
	s := stateFrom(ctx)
	s.operation = o
	s.measured.begin(s)
}

// RecordResult sets how the application ended the request of ctx.
func RecordResult(ctx context.Context, r Result) {
	s := stateFrom(ctx)
	if r.Outcome != "" {
		s.outcome = r.Outcome
	}
	if r.Reason != "" {
		s.reason = r.Reason
	}
	if r.Detail != "" {
		s.detail = r.Detail
	}
	if r.Code != 0 {
		s.rpcCode = r.Code
	}
	s.timedOut = s.timedOut || r.TimedOut
}

// DetachOperation says that the operation of ctx continues after its request. end must be called when it has
// ended; it is nil if that is not recorded. Like [RecordResult], DetachOperation must be called from the
// goroutine that writes the response.
func DetachOperation(ctx context.Context) (end func(Result)) {
	s := stateFrom(ctx)
	if s.identity == nil {
		return nil
	}
	endAudited, endMeasured := s.detachAudited(), s.measured.detach()
	if endAudited == nil && endMeasured == nil {
		return nil
	}
	return func(r Result) {
		if endMeasured != nil {
			endMeasured(r)
		}
		if endAudited != nil {
			endAudited(r)
		}
	}
}
