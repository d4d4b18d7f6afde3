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

const maxEventValue = 200 // bytes of a client id, which a stranger may have chosen

// record reports what has happened to a grant.
func (i *Issuer) record(ctx context.Context, kind string, reason providers.Reason, g *storedGrant) {
	i.send(ctx, grantEvent(kind, reason, g))
}

// recordRepeat reports a repeated refresh token, with the address that sent it first.
func (i *Issuer) recordRepeat(ctx context.Context, g *storedGrant) {
	e := grantEvent(EventRepeat, "", g)
	e.OtherAddress = g.Address
	i.send(ctx, e)
}

// recordRefusal reports a refused code or refresh token. The grant is nil if none was found.
func (i *Issuer) recordRefusal(
	ctx context.Context, kind string, reason providers.Reason, clientID string, g *storedGrant,
) {
	e := providers.SignInEvent{ClientID: clientID}
	if g != nil {
		e = grantEvent(kind, reason, g)
	}
	e.Kind, e.Reason = kind, reason
	i.send(ctx, e)
}

func grantEvent(kind string, reason providers.Reason, g *storedGrant) providers.SignInEvent {
	return providers.SignInEvent{Kind: kind, Reason: reason, Subject: g.Person.Subject, ClientID: g.ClientID,
		Resource: g.Resource, Scopes: g.allowedScopes(), SignIn: g.digest}
}

func (i *Issuer) send(ctx context.Context, e providers.SignInEvent) {
	e.ClientID = providers.Printable(displayClientID(e.ClientID), maxEventValue)
	i.config.Record(ctx, e)
}
