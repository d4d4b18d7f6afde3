package server

import "gatehouse/providers"

// The reasons that only this package gives; [Reasons] documents them.
const (
	ReasonCredentialsMalformed providers.Reason = "credentials_malformed"
	ReasonScopeUnobtainable    providers.Reason = "scope_unobtainable"
	ReasonOriginRefused        providers.Reason = "origin_refused"
	ReasonHostRefused          providers.Reason = "host_refused"
	ReasonHeaderTooLong        providers.Reason = "header_too_long"
	ReasonHeaderRepeated       providers.Reason = "header_repeated"
	ReasonAnswerNotSent        providers.Reason = "answer_not_sent"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonCredentialsMalformed, Meaning: "the Authorization header is not exactly one " +
			"well-formed Bearer credential (RFC 6750, section 2.1)"},
		{Code: ReasonScopeUnobtainable, Meaning: "the token lacks a scope, has no scope claim and got its scopes from " +
			"`provider.default_scopes`, so that signing in again cannot add one"},
		{Code: ReasonOriginRefused, Meaning: "the request is from a web page whose origin is not allowed"},
		{Code: ReasonHostRefused, Meaning: "the Host header is not that of the resource: DNS rebinding, or " +
			"a proxy that rewrites Host"},
		{Code: ReasonHeaderTooLong, Meaning: "the request has more than 200 header fields"},
		{Code: ReasonHeaderRepeated, Meaning: "Origin, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method or " +
			"Mcp-Name occurs twice: a proxy may use the other value"},
		{Code: ReasonAnswerNotSent, Meaning: "the client disconnected before the response was written"},
	}
}
