package authserver

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"gatehouse/providers"
)

// demo signs in alice and bob, without a password.
type demo struct{}

// Choices implements [Authenticator].
func (demo) Choices() []Person {
	return []Person{
		{Subject: "alice", Name: "Alice", Unrestricted: true},
		{Subject: "bob", Name: "Bob", Unrestricted: true},
	}
}

// Begin implements [Authenticator]: it returns the person that was chosen, else the one that the client names, else
// the default.
func (d demo) Begin(_ context.Context, a Attempt) (who *Person, address string, err error) {
	people := d.Choices()
	if a.Choice != "" {
		who, ok := findPerson(people, a.Choice)
		if !ok {
			return nil, "", demoError("the person is not one of the choices")
		}
		return &who, "", nil
	}
	hinted, ok := findPerson(people, a.LoginHint)
	if !ok {
		hinted = people[0]
	}
	return &hinted, "", nil
}

// Finish implements [Authenticator]. Begin never leads elsewhere.
func (demo) Finish(context.Context, Attempt, url.Values) (Person, error) {
	return Person{}, demoError("people do not sign in elsewhere")
}

// Renew implements [Authenticator]. It is not called, because the people have no credential.
func (demo) Renew(_ context.Context, p Person) (Renewal, error) {
	return Renewal{Judge: func(context.Context) (Person, error) { return p, nil }}, nil
}

// Dismiss implements [Authenticator].
func (demo) Dismiss(context.Context, Person) {}

func demoError(text string) error {
	return &SignInError{Reason: providers.ReasonInternalError, Code: codeServerError,
		Text: "The sign-in failed.", Err: errors.New(text)}
}

// findPerson returns the person with that subject.
func findPerson(people []Person, subject string) (Person, bool) {
	at := slices.IndexFunc(people, func(p Person) bool { return p.Subject == subject })
	if at < 0 {
		return Person{}, false
	}
	return people[at], true
}
