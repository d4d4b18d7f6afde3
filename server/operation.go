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
	OutcomeCanceled        Outcome = "canceled"        // the client was gone before there was a response
	OutcomeError           Outcome = "error"           // a failure of the server or of a tool
)

// RecordOperation sets the operation of the request of ctx. Outside the chain it does nothing. Like [RecordResult],
// it must be called from the goroutine that writes the response.
func RecordOperation(ctx context.Context, o Operation) { stateFrom(ctx).operation = o }

// RecordResult sets how the application ended the request of ctx, where the status does not show it. Empty values
// change nothing. detail explains the reason. It may quote names from the request, and nothing else.
func RecordResult(ctx context.Context, outcome Outcome, reason providers.Reason, detail string) {
	state := stateFrom(ctx)
	if outcome != "" {
		state.outcome = outcome
	}
	if reason != "" {
		state.reason = reason
	}
	if detail != "" {
		state.detail = detail
	}
}
