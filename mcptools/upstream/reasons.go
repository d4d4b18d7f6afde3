package upstream

import "gatehouse/providers"

// The reasons that only this package gives; [Reasons] documents them.
const (
	ReasonUnavailable providers.Reason = "upstream_unavailable"
	ReasonRefused     providers.Reason = "upstream_refused"
	ReasonLost        providers.Reason = "upstream_lost"
	ReasonMalformed   providers.Reason = "upstream_malformed"
	ReasonTooLarge    providers.Reason = "upstream_too_large"
	ReasonChanged     providers.Reason = "upstream_changed"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonUnavailable, Meaning: "the upstream of the tool does not run, cannot be reached or has no process " +
			"free; nothing was sent to it"},
		{Code: ReasonRefused, Meaning: "the upstream of the tool answered with a redirect or with a status such as 401 " +
			"or 403: its URL or its credential is wrong"},
		{Code: ReasonLost, Meaning: "the upstream of the tool ended, or its connection broke, during the call, which " +
			"may have taken effect"},
		{Code: ReasonMalformed, Meaning: "the upstream of the tool answered with something that is no response of MCP, " +
			"or with a question that must not be passed on; the call may have taken effect"},
		{Code: ReasonTooLarge, Meaning: "the upstream of the tool answered with more than " +
			"`upstreams.NAME.max_message_bytes`; the call may have taken effect"},
		{Code: ReasonChanged, Meaning: "the definition of the tool at its upstream is no longer the one that was pinned, " +
			"or found at start; calls are refused until it is reviewed"},
	}
}
