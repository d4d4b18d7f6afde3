package authserver

import (
	"context"

	"gatehouse/providers"
)

// The kinds of [providers.SignInEvent]. An event with a reason did not succeed.
const (
	EventApprove  = "signin.approve"  // a person approved or denied the request of a client
	EventComplete = "signin.complete" // a person has signed in, and the client gets a code
	EventExchange = "signin.exchange" // a client exchanged its code
	EventRefresh  = "signin.refresh"  // a client used a refresh token
	EventRepeat   = "signin.repeat"   // a client used a replaced refresh token within the grace period
	EventRecheck  = "signin.recheck"  // the provider was asked whether the person may still sign in
	EventEnd      = "signin.end"      // a sign-in ended before its time
	EventAssert   = "signin.assert"   // a client exchanged an identity assertion
	EventRegister = "client.register" // a client registered dynamically: counted, not audited
)

// EventKinds returns the kinds of events.
func EventKinds() []string {
	return []string{EventApprove, EventComplete, EventExchange, EventRefresh, EventRepeat, EventRecheck, EventEnd,
		EventAssert, EventRegister}
}

const maxEventClient = 200 // bytes

// record passes an event on. Its client has the short form that pages and the log have: an id can be long, and
// strangers choose it.
func (i *Issuer) record(ctx context.Context, e providers.SignInEvent) {
	e.ClientID = providers.Printable(displayClientID(e.ClientID), maxEventClient)
	i.config.Record(ctx, e)
}

// requestEvent returns an event with what an authorization request says.
func requestEvent(kind string, a *authorization) providers.SignInEvent {
	return providers.SignInEvent{Kind: kind, ClientID: a.client.id, Resource: a.resource, Scopes: a.scopes}
}

// grantEvent returns an event with what a grant says.
func grantEvent(kind string, reason providers.Reason, g *storedGrant) providers.SignInEvent {
	return providers.SignInEvent{Kind: kind, Reason: reason, Subject: g.Person.Subject, ClientID: g.ClientID,
		Resource: g.Resource, Scopes: g.allowedScopes(), SignIn: g.digest}
}

// refusalEvent returns the event of a refused code or refresh token. The grant is nil if none was found.
func refusalEvent(kind string, reason providers.Reason, clientID string, g *storedGrant) providers.SignInEvent {
	if g == nil {
		return providers.SignInEvent{Kind: kind, Reason: reason, ClientID: clientID}
	}
	return grantEvent(kind, reason, g)
}
