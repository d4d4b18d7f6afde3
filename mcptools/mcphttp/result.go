package mcphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
	"gatehouse/providers/rawjson"
)

// Recorder receives what the endpoint knows of a request, for the access log and the metrics. Its methods are called
// with the context of the request, from the goroutine that writes the response.
type Recorder interface {
	// RecordOperation is called when the message has been parsed, and before that with an empty method.
	RecordOperation(context.Context, Operation)
	// RecordResult is called before the end of a request, maybe twice. Empty fields change nothing. The goroutine that
	// calls it need not be that of the request, which does not end before.
	RecordResult(context.Context, Result)
	// DetachOperation is called before the end of a request whose call continues. end, which may be nil, is called
	// once when the call has ended.
	DetachOperation(context.Context) (end func(Result))
	// BeginSession is called with the context of the request that opens a session. end, which may be nil, is called
	// once when the session has ended. It is not called if the session could not be opened after all.
	BeginSession(context.Context, SessionInfo) (end func(SessionEnd))
}

// Auditor is called before each request that invokes a handler of the catalog is dispatched.
type Auditor interface {
	// BeginCall returns an error if the call must not run. The caller gets a 503, and the reason that
	// [providers.ReasonOf] finds in the error is recorded.
	BeginCall(context.Context) error
}

// Operation is what a request does. All of it comes from the client.
type Operation struct {
	// Method is the JSON-RPC method; empty if the message could not be parsed.
	Method string
	// Tool is the name in tools/call, and Prompt that in prompts/get; empty for every other method.
	Tool, Prompt string
	// URI is that of the resource in resources/read, resources/subscribe and resources/unsubscribe.
	URI string
	// ProtocolVersion is the MCP version that the request names.
	ProtocolVersion string
	// Params are those of tools/call and prompts/get. They are only valid during the call of the [Recorder].
	Params json.RawMessage

	id, traceparent, tracestate json.RawMessage
}

// RequestID returns the JSON-RPC id as text, or "" if there is none. Like Params it is only valid during the call of
// the [Recorder].
func (o Operation) RequestID() string {
	if text := textOf(o.id); text != "" {
		return text
	}
	return string(o.id)
}

// textOf returns the value of a JSON string, and "" for anything else.
func textOf(raw json.RawMessage) string {
	if len(raw) == 0 || raw[0] != '"' { // without an error value
		return ""
	}
	text, _ := rawjson.Text(raw)
	return text
}

// TraceContext returns the members traceparent and tracestate of params._meta (SEP-414), or "" for a member that is
// missing or not a string. They are as the client sent them. Like Params they are only valid during the call of the
// [Recorder].
func (o Operation) TraceContext() (traceparent, tracestate string) {
	return textOf(o.traceparent), textOf(o.tracestate)
}

// Result is how a request ended, where the HTTP status does not show it.
type Result struct {
	// Outcome is empty if the status determines it.
	Outcome Outcome
	Reason  providers.Reason
	// Detail explains the reason. It may quote names from the request, and nothing else.
	Detail string
	// Code is the code of the JSON-RPC error in the response; 0 if there is none.
	Code int
	// TimedOut is true if the call took longer than mcp.call_timeout, or a relayed one than its own limit.
	TimedOut bool
}

// Outcome classifies the end of a request.
type Outcome string

// All outcomes that this package reports.
const (
	OutcomeToolError Outcome = "tool_error" // a tool result with isError
	OutcomeInvalid   Outcome = "invalid"    // a malformed request, or one for something unknown
	OutcomeDenied    Outcome = "denied"     // a missing scope
	OutcomeLimited   Outcome = "limited"    // a limit; the client may retry later
	OutcomeError     Outcome = "error"      // a failure of the server or of a handler
	OutcomeCanceled  Outcome = "canceled"   // the client left, or the session or the operator ended it
)

// discard is a Recorder that records nothing.
type discard struct{}

func (discard) RecordOperation(context.Context, Operation) {}
func (discard) RecordResult(context.Context, Result)       {}

func (discard) DetachOperation(context.Context) func(Result)               { return nil }
func (discard) BeginSession(context.Context, SessionInfo) func(SessionEnd) { return nil }

// recordOperation records what r does.
func (h *Handler) recordOperation(r *http.Request, m message) {
	o := Operation{
		Method: shorten(m.method), ProtocolVersion: r.Header.Get(versionHeader),
		id: m.id, traceparent: m.traceparent, tracestate: m.tracestate,
	}
	switch m.method {
	case methodCallTool:
		o.Tool, o.Params = shorten(m.name), m.params
	case methodGetPrompt:
		o.Prompt, o.Params = shorten(m.name), m.params
	case methodRead, methodSubscribe, methodUnsubscribe:
		o.URI = shorten(m.name)
	case methodInitialize:
		var version [1]json.RawMessage
		if o.ProtocolVersion == "" && rawjson.Members(m.params, version[:], "protocolVersion") == nil {
			o.ProtocolVersion, _ = rawjson.Text(version[0])
		}
	}
	if o.ProtocolVersion == "" {
		o.ProtocolVersion, _ = rawjson.Text(m.version)
	}
	o.ProtocolVersion = shorten(o.ProtocolVersion)
	h.recorder.RecordOperation(r.Context(), o)
}

// maxRecordedName bounds the names in an [Operation], in bytes, so that a long one does not stay in memory with the
// request.
const maxRecordedName = 256

// maxLoggedError bounds the text of a panic or of an invalid result in the log, in bytes. Both may quote the request.
const maxLoggedError = 1_000

func shorten(s string) string {
	if len(s) <= maxRecordedName {
		return s
	}
	return strings.Clone(s[:maxRecordedName])
}

// Texts of this package's own errors where only a JSON-RPC error can be returned. resultOf identifies them by the
// text.
const (
	textScopeMissing = "insufficient scope"
	textTooManyCalls = "too many calls in flight; try again later"
	textTooManyBytes = "too many bytes in flight; the call may have taken effect"
	textNoResource   = "there is no such resource"
)

// resultOf classifies a response to a request of the method.
func resultOf(method string, response *jsonrpc.Response) Result {
	if response.Error == nil {
		if method == methodCallTool && isToolError(response.Result) {
			return Result{Outcome: OutcomeToolError}
		}
		return Result{}
	}
	failure, ok := errors.AsType[*jsonrpc.Error](response.Error)
	if !ok {
		return Result{Outcome: OutcomeError, Reason: providers.ReasonInternalError}
	}
	result := Result{
		Outcome: OutcomeInvalid, Detail: fmt.Sprintf("JSON-RPC error %d", failure.Code), Code: int(failure.Code),
	}
	if text := safeDetail(method, failure.Message); text != "" {
		result.Detail += ": " + text
	}
	switch failure.Code {
	case jsonrpc.CodeParseError, jsonrpc.CodeInvalidRequest:
		result.Reason = ReasonMessageMalformed
	case jsonrpc.CodeMethodNotFound:
		result.Reason = ReasonMethodUnknown
	case jsonrpc.CodeInvalidParams:
		result.Reason = ReasonParamsInvalid
	case mcp.CodeHeaderMismatch:
		result.Reason = ReasonHeaderMismatch
	case mcp.CodeMissingRequiredClientCapabilities:
		result.Reason = ReasonCapabilityMissing
	case mcp.CodeUnsupportedProtocolVersion:
		result.Reason = ReasonVersionUnsupported
	case jsonrpc.CodeInternalError:
		result.Outcome, result.Reason = OutcomeError, providers.ReasonInternalError
	default: // from a handler of a tool, prompt or resource
		result.Outcome = OutcomeError
	}
	switch {
	case strings.HasPrefix(failure.Message, textScopeMissing):
		result.Outcome, result.Reason = OutcomeDenied, providers.ReasonInsufficientScope
	case failure.Message == textTooManyCalls:
		result.Outcome, result.Reason = OutcomeLimited, ReasonTooManyCalls
	case failure.Message == textEnded:
		result = Result{Outcome: OutcomeCanceled} // the reason is recorded where it is known
	case failure.Message == textTooManyBytes:
		result.Outcome, result.Reason = OutcomeLimited, ReasonTooManyBytes
	}
	return result
}

// isToolError reports whether the result of a call has isError. Only a result that contains the text is parsed.
func isToolError(result []byte) bool {
	if !bytes.Contains(result, []byte(`"isError":true`)) {
		return false
	}
	var isError [1]json.RawMessage
	return rawjson.Members(result, isError[:], "isError") == nil && string(isError[0]) == "true"
}

// safeDetail returns the part of an error message that may be logged: the SDK's own words, up to where they start to
// quote the request. A handler of a tool, prompt or resource may put anything into its message.
func safeDetail(method, message string) string {
	if invokesHandler(method) {
		for _, text := range []string{
			"unknown tool", "unknown prompt", "Resource not found", textNoResource, textScopeMissing, textTooManyCalls,
			textTooManyBytes,
		} {
			if strings.HasPrefix(message, text) {
				return text
			}
		}
		return ""
	}
	text, _, _ := strings.Cut(message, `"`)
	return providers.Printable(strings.TrimRight(strings.TrimSpace(text), " :"), maxRecordedName)
}
