// Package denials refuses callers that an operator has denied: a person, a client, or the holder of a token.
// The list is a YAML file, which a [Watcher] reads again and again. README.md describes it for operators.
package denials

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"gatehouse/providers"
)

// Entry denies the requests of one caller. Exactly one of Subject, Client and Token is set.
type Entry struct {
	// Issuer restricts Subject or Client to one issuer, with or without a slash at the end; empty means every
	// issuer.
	Issuer string
	// Subject is the subject of tokens.
	Subject string
	// IssuedBefore restricts Subject to tokens that were issued before it, and to those that do not say when
	// they were issued. The zero time means every token.
	IssuedBefore time.Time
	// Client is the OAuth client that tokens were issued to.
	Client string
	// Token is the id of one token (jti).
	Token string
	// Reason is for the readers of the file.
	Reason string
	// Until is when the entry ends; the zero time means never.
	Until time.Time
}

// Matches reports whether e and other deny the same, apart from when they end.
func (e Entry) Matches(other Entry) bool {
	return e.Issuer == other.Issuer && e.Subject == other.Subject && e.Client == other.Client &&
		e.Token == other.Token && e.IssuedBefore.Equal(other.IssuedBefore)
}

// equals reports whether e and other have the same members.
func (e Entry) equals(other Entry) bool {
	return e.Matches(other) && e.Reason == other.Reason && e.Until.Equal(other.Until)
}

// HasEnded reports whether e does not apply any more.
func (e Entry) HasEnded(now time.Time) bool { return !e.Until.IsZero() && !now.Before(e.Until) }

// List is a list of denials, for looking up callers. It does not change.
type List struct {
	entries []Entry
	content fingerprint

	subjects map[key]subjectRule
	clients  map[key]time.Time    // when the denial ends
	tokens   map[string]time.Time // when the denial ends
}

// key is a subject or client of one issuer, or of every issuer if issuer is empty. See [issuerKey].
type key struct{ issuer, name string }

// issuerKey returns an issuer without a slash at its end. Issuers differ in nothing but that slash from their
// documentation, and a denial that is written without it would deny no one.
func issuerKey(issuer string) string {
	if issuer == "/" { // an entry of it must not become one of every issuer
		return issuer
	}
	return strings.TrimSuffix(issuer, "/")
}

// subjectRule is what all entries say about one subject.
type subjectRule struct {
	until time.Time // when the denial of every token ends; the zero time if there is none
	older []revocation
}

// revocation denies the tokens that were issued before a time.
type revocation struct{ issuedBefore, until time.Time }

// forever is the end of an entry without one. It is later than every time that a file can contain.
var forever = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

// newList returns the list with these entries, of a file with this content.
func newList(entries []Entry, content fingerprint) *List {
	l := &List{
		entries: entries, content: content, subjects: map[key]subjectRule{}, clients: map[key]time.Time{},
		tokens: map[string]time.Time{},
	}
	for _, e := range entries {
		until := e.Until
		if until.IsZero() {
			until = forever
		}
		switch {
		case e.Token != "":
			l.tokens[e.Token] = later(l.tokens[e.Token], until)
		case e.Client != "":
			k := key{issuerKey(e.Issuer), e.Client}
			l.clients[k] = later(l.clients[k], until)
		default:
			k := key{issuerKey(e.Issuer), e.Subject}
			rule := l.subjects[k]
			if e.IssuedBefore.IsZero() {
				rule.until = later(rule.until, until)
			} else {
				rule.add(revocation{e.IssuedBefore, until})
			}
			l.subjects[k] = rule
		}
	}
	return l
}

// add adds one revocation. Those that deny nothing more than another are dropped, so that a subject with many
// entries does not make its requests slow.
func (r *subjectRule) add(one revocation) {
	covers := func(a, b revocation) bool { return !a.issuedBefore.Before(b.issuedBefore) && !a.until.Before(b.until) }
	if slices.ContainsFunc(r.older, func(other revocation) bool { return covers(other, one) }) {
		return
	}
	r.older = slices.DeleteFunc(r.older, func(other revocation) bool { return covers(one, other) })
	r.older = append(r.older, one)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Check reports whether the list denies a caller, and why: [ReasonCallerDenied], or [ReasonTokenRevoked] if
// another sign-in helps. It costs a few look-ups, whatever the length of the list, and allocates nothing.
func (l *List) Check(id *providers.Identity) (reason providers.Reason, denied bool) {
	issuers := [...]string{issuerKey(id.Issuer), ""}
	for _, issuer := range issuers {
		if applies(l.subjects[key{issuer, id.Subject}].until) || applies(l.clients[key{issuer, id.Client}]) {
			return ReasonCallerDenied, true
		}
	}
	if applies(l.tokens[id.TokenID]) {
		return ReasonTokenRevoked, true
	}
	for _, issuer := range issuers {
		for _, one := range l.subjects[key{issuer, id.Subject}].older {
			// A token without a time of issue has the zero time, which is before every other.
			if id.IssuedAt.Before(one.issuedBefore) && applies(one.until) {
				return ReasonTokenRevoked, true
			}
		}
	}
	return "", false
}

// applies reports whether a denial that ends at until is in force. The zero time means that there is none.
func applies(until time.Time) bool { return !until.IsZero() && time.Now().Before(until) }

// Entries returns the entries in the order of the file.
func (l *List) Entries() []Entry { return slices.Clone(l.entries) }

// Len returns the number of entries, including those that have ended.
func (l *List) Len() int { return len(l.entries) }

// Digest returns the SHA-256 of the file, in hexadecimal.
func (l *List) Digest() string { return hex.EncodeToString(l.content[:]) }

// Adds reports whether the list has an entry that before does not have.
func (l *List) Adds(before *List) bool {
	// The reason denies nothing, and two times are equal in every time zone.
	denied := func(e Entry) Entry {
		e.Reason, e.IssuedBefore, e.Until = "", e.IssuedBefore.UTC(), e.Until.UTC()
		return e
	}
	old := make(map[Entry]bool, len(before.entries))
	for _, e := range before.entries {
		old[denied(e)] = true
	}
	return slices.ContainsFunc(l.entries, func(e Entry) bool { return !old[denied(e)] })
}
