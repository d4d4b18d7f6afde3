package authserver

// The kinds of [providers.SignInEvent]. An event with a reason did not succeed.
const (
	eventApprove  = "signin.approve"  // a person approved or denied the request of a client
	eventComplete = "signin.complete" // a person has signed in, and the client gets a code
	eventExchange = "signin.exchange" // a client exchanged its code
	eventRefresh  = "signin.refresh"  // a client used a refresh token
	eventRepeat   = "signin.repeat"   // a client used a replaced refresh token within the grace period
	eventRecheck  = "signin.recheck"  // the provider was asked whether the person may still sign in
	eventEnd      = "signin.end"      // a sign-in ended before its time
	eventAssert   = "signin.assert"   // a client exchanged an identity assertion
	eventRegister = "client.register" // a client registered dynamically: counted, not audited
)

// EventKinds returns the kinds of events.
func EventKinds() []string {
	return []string{eventApprove, eventComplete, eventExchange, eventRefresh, eventRepeat, eventRecheck, eventEnd,
		eventAssert, eventRegister}
}
