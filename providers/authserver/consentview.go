package authserver

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

// consentView is the data of the consent page.
type consentView struct {
	RequestID, Token string
	ClientName       string
	ClientID         string
	DocumentHost     string // of a client ID metadata document
	SelfRegistered   bool
	Warning          string
	Resource         string
	Scopes           []scopeView
	GrantedBy        string // the user who has granted the scopes that are not new; empty for a first sign-in
	RedirectHost     string
	People           []Person
	Chosen           string

	// For people of another provider.
	ClaimedName string // the client's name, with escapes
	Next        string // the host at which they sign in; empty if it is not known
}

type scopeView struct {
	Name, Meaning string
	New           bool // at a step-up
}

func (i *Issuer) newConsentView(a *authorization) consentView {
	v := consentView{
		ClientName:     a.client.name,
		ClientID:       displayClientID(a.client.id),
		DocumentHost:   a.client.host(),
		SelfRegistered: a.client.origin == dynamic,
		Resource:       a.resource,
		RedirectHost:   redirectHost(a.redirectURI),
		Warning:        i.consentWarning(a),
		People:         i.signIn.Choices(),
		ClaimedName:    claimedName(a.client.name),
	}
	if known, ok := i.signIn.(host); ok {
		v.Next = known.Host()
	}
	chosen, granted := i.choosePerson(a)
	v.Chosen = chosen.Subject
	if granted != nil {
		v.GrantedBy = chosen.Name
	}
	for _, scope := range a.scopes {
		isNew := granted != nil && !slices.Contains(granted, scope)
		v.Scopes = append(v.Scopes, scopeView{scope, i.describeScope(scope), isNew})
	}
	slices.SortStableFunc(v.Scopes, func(a, b scopeView) int {
		switch {
		case a.New == b.New:
			return 0
		case a.New:
			return -1
		}
		return 1
	})
	return v
}

// redirectHost says where a redirect to uri leads.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Scheme != "https" && u.Scheme != "http":
		return "the app on this device that handles " + u.Scheme + ": links"
	}
	return u.Host
}

// maxClaimedName bounds the name of a client on the page, in bytes after escaping.
const maxClaimedName = 120

// claimedName returns a client's name for the page. Characters that are not visible are escaped: some could reorder
// or hide the text around them.
func claimedName(name string) string {
	if shown := providers.Printable(name, maxClaimedName); len(name) <= maxClaimedName {
		return shown
	}
	return providers.Printable(strings.ToValidUTF8(name[:maxClaimedName], ""), maxClaimedName) + "…"
}

// choosePerson returns the person that the page proposes, and the scopes that this person has already granted to the
// client. The issuer has no sessions: it is the person that the request names, the one who was the last to authorize
// the client, or the first.
func (i *Issuer) choosePerson(a *authorization) (chosen Person, granted []string) {
	people := i.signIn.Choices()
	if len(people) == 0 {
		return Person{}, nil
	}
	var latest time.Time
	chosen, isNamed := findPerson(people, a.loginHint)
	if !isNamed {
		chosen = people[0]
	}
	for _, candidate := range people {
		if isNamed && candidate.Subject != chosen.Subject {
			continue
		}
		scopes, at := i.consents.of(i.config.Now(), a.client.id, candidate.Subject, a.resource)
		if at.After(latest) {
			chosen, granted, latest = candidate, scopes, at
		}
	}
	return chosen, granted
}

// consentWarning returns the most important warning: users do not read several.
func (i *Issuer) consentWarning(a *authorization) string {
	u, err := url.Parse(a.redirectURI)
	switch {
	case a.client.origin == unregistered: // its valid redirect URIs are loopback
		return "This client has not registered since the issuer started, and may never have; its name is not verified. " +
			i.wording.loopback
	case err == nil && isLoopback(u.Hostname()):
		return i.wording.loopback
	}
	return ""
}

// displayClientID shortens an id that contains a registration to its prefix and digest: the page shows the
// registration itself.
func displayClientID(id string) string {
	if strings.HasPrefix(id, clientIDPrefix) {
		return clientIDPrefix + "…" + id[strings.LastIndex(id, "."):]
	}
	short, _ := shortenSealedID(id)
	return short
}
