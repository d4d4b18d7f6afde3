package providers

// SignInEvent is something that happened at an authorization server of this program, for audit and metrics. Values
// that a stranger chose, such as a client id, are bounded by the sender of the event.
type SignInEvent struct {
	// Kind is what happened: one of a closed list, such as signin.complete.
	Kind string
	// Reason is why the request was refused or the sign-in ended; empty if it succeeded.
	Reason Reason
	// Subject is empty as long as it is not known.
	Subject, ClientID, Resource string
	Scopes                      []string
	// SignIn identifies the sign-in: a digest that is no credential.
	SignIn string
	// OtherAddress is the address that sent a refresh token for the first time, for a repeated one.
	OtherAddress string
}
