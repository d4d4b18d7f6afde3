package audit

import "gatehouse/providers"

// ReasonUnavailable is the reason of a call that is refused because audit.required is set and the log cannot
// be written.
const ReasonUnavailable providers.Reason = "audit_unavailable"

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonUnavailable, Meaning: "`audit.required` is set and the audit log cannot be written, so that no " +
			"call runs"},
	}
}
