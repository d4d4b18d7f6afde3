package mcphttp

import "gatehouse/providers"

// The reasons that only this package gives; [Reasons] documents them.
const (
	ReasonMessageMalformed   providers.Reason = "message_malformed"
	ReasonBodyTooLarge       providers.Reason = "body_too_large"
	ReasonVersionUnsupported providers.Reason = "version_unsupported"
	ReasonHeaderMismatch     providers.Reason = "header_mismatch"
	ReasonMediaTypeRefused   providers.Reason = "media_type_refused"
	ReasonHTTPMethodRefused  providers.Reason = "http_method_refused"
	ReasonMethodUnknown      providers.Reason = "method_unknown"
	ReasonParamsInvalid      providers.Reason = "params_invalid"
	ReasonCapabilityMissing  providers.Reason = "capability_missing"
	ReasonSessionUnknown     providers.Reason = "session_unknown"
	ReasonTooManySessions    providers.Reason = "too_many_sessions"
	ReasonTooManyStreams     providers.Reason = "too_many_streams"
	ReasonTooManyCalls       providers.Reason = "too_many_calls"
	ReasonTooManyBytes       providers.Reason = "too_many_bytes"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonMessageMalformed, Meaning: "the body is not a single, unambiguous JSON-RPC message (batches " +
			"are not supported), or it is not allowed in this state"},
		{Code: ReasonBodyTooLarge, Meaning: "the body is longer than `server.max_body_bytes`; `_meta`, " +
			"`initialize`, a notification or a subscription is longer than 16 KiB; or the message has too many " +
			"values: 10,000 in arguments, 200 in `_meta`, `initialize` and notifications"},
		{Code: ReasonVersionUnsupported, Meaning: "the protocol version is older than all supported " +
			"ones, or the request names a session and a version without sessions"},
		{Code: ReasonHeaderMismatch, Meaning: "an Mcp-... header is missing, too long, or differs from the " +
			"message (MCP 2026-07-28)"},
		{Code: ReasonMediaTypeRefused, Meaning: "Content-Type is not application/json, or Accept does not " +
			"contain both application/json and text/event-stream"},
		{Code: ReasonHTTPMethodRefused, Meaning: "the MCP endpoint does not support the HTTP method"},
		{Code: ReasonMethodUnknown, Meaning: "the server does not have the JSON-RPC method"},
		{Code: ReasonParamsInvalid, Meaning: "params do not match the method, or name an unknown tool, " +
			"prompt or resource"},
		{Code: ReasonCapabilityMissing, Meaning: "the method needs a capability that the client does not declare"},
		{Code: ReasonSessionUnknown, Meaning: "the session ID is missing, or its session has ended or " +
			"belongs to another caller"},
		{Code: ReasonTooManySessions, Meaning: "more sessions than `mcp.max_sessions_per_user` or " +
			"`mcp.max_sessions`, and no idle one can be ended"},
		{Code: ReasonTooManyStreams, Meaning: "more open streams than `mcp.max_streams_per_user` or " +
			"`mcp.max_streams`"},
		{Code: ReasonTooManyCalls, Meaning: "more calls in flight than `mcp.max_calls_per_user` or `mcp.max_calls`"},
		{Code: ReasonTooManyBytes, Meaning: "more bytes of messages in flight than `mcp.max_bytes_per_user` or " +
			"`mcp.max_bytes`"},
	}
}
