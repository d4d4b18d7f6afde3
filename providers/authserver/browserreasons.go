package authserver

import "gatehouse/providers"

// The reasons of sign-ins in a browser.
const (
	ReasonDeniedByPerson    providers.Reason = "denied_by_person"
	ReasonForeignBrowser    providers.Reason = "foreign_browser"
	ReasonSignInExpired     providers.Reason = "sign_in_expired"
	ReasonSignInRepeated    providers.Reason = "sign_in_repeated"
	ReasonUnknownState      providers.Reason = "unknown_state"
	ReasonAccountNotAllowed providers.Reason = "account_not_allowed"
)

func browserReasons() []providers.ReasonDoc {
	return []providers.ReasonDoc{
		{Code: ReasonDeniedByPerson, Meaning: "the person denied the request of the client"},
		{Code: ReasonForeignBrowser, Meaning: "the consent form, or the response of the provider, came from a browser " +
			"that has not opened the page or approved the request, or has finished the sign-in already"},
		{Code: ReasonSignInExpired, Meaning: "the response of the provider came more than 10 minutes after the approval"},
		{Code: ReasonSignInRepeated, Meaning: "the response of the provider came twice; the first one signed the person in"},
		{Code: ReasonUnknownState, Meaning: "the response of the provider has a state that this server has not issued"},
		{Code: ReasonAccountNotAllowed, Meaning: "the account lacks a claim of `provider.required_claims`, or no rule of " +
			"`provider.scope_rules` gives it a scope"},
	}
}
