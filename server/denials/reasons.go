package denials

import "gatehouse/providers"

// The reasons that only this package gives; [Reasons] documents them.
const (
	ReasonCallerDenied providers.Reason = "caller_denied"
	ReasonTokenRevoked providers.Reason = "token_revoked"
)

// Reasons returns the reasons of this package, with their meanings.
func Reasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonCallerDenied, Meaning: "the operator denied the subject or the client (`denials.file`)"},
		{Code: ReasonTokenRevoked, Meaning: "the operator denied the token, or the tokens of its subject that were " +
			"issued before some time (`denials.file`); another sign-in helps"},
	}
}
