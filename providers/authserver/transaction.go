package authserver

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse/providers/authserver/seal"
)

const (
	transactionLifetime = 10 * time.Minute
	maxTransactions     = 4
	// maxTransactionBytes bounds the names and values of all transaction cookies of a browser. Browsers refuse a cookie
	// of more than 4096 bytes with its attributes.
	maxTransactionBytes = 3900
)

var errNoTransaction = errors.New("the browser has not started the sign-in")

// transactions are sign-ins that continue at another provider. Each is in a sealed cookie of the browser that approved
// the request, whose name has the digest of the state: the response of the provider is accepted from that browser
// only, and nothing is stored before a person has signed in.
type transactions struct {
	states  datedIDs
	box     boxes
	cookies cookies
}

// transaction is the content of the cookie. The state is in its name.
type transaction struct {
	carriedRequest
	AttemptNonce string `json:"an"`
	Verifier     string `json:"av"`
}

func newTransactions(keys *seal.Keys, issuer string) *transactions {
	t := &transactions{
		states:  datedIDs{keys, "state"},
		box:     boxes{keys, seal.Transaction, issuer},
		cookies: hostCookies("signin", isHTTPS(issuer)),
	}
	t.cookies.count, t.cookies.bytes = maxTransactions, maxTransactionBytes
	t.cookies.issuedAt = func(name, value string) (time.Time, bool) {
		var content transaction
		ok := t.box.open(name, value, &content)
		return time.Unix(content.Time, 0), ok
	}
	return t
}

// attempt returns a new attempt.
func (t *transactions) attempt(now time.Time) Attempt {
	verifier := make([]byte, 32) // RFC 7636, section 4.1
	_, _ = rand.Read(verifier)   // never fails
	return Attempt{State: t.states.issue(now), Nonce: rand.Text(),
		Verifier: base64.RawURLEncoding.EncodeToString(verifier)}
}

// start sets the cookie of an attempt.
func (t *transactions) start(w http.ResponseWriter, r *http.Request, now time.Time, attempt Attempt, a *authorization) {
	t.cookies.set(w, r, attempt.State, t.box.seal(t.cookies.name(attempt.State), newTransaction(now, attempt, a)),
		transactionLifetime)
}

func newTransaction(now time.Time, attempt Attempt, a *authorization) transaction {
	content := transaction{carry(now, a), attempt.Nonce, attempt.Verifier}
	content.LoginHint = ""                             // for the consent page only
	content.ClientName = shortName(content.ClientName) // for the list of sign-ins
	return content
}

// shortName cuts the name of a client: cookies are small.
func shortName(name string) string {
	const limit = 60 // bytes
	return strings.ToValidUTF8(name[:min(len(name), limit)], "")
}

// fits reports whether the cookie of a request is short enough.
func (t *transactions) fits(a *authorization) bool {
	now := time.Now()
	attempt := t.attempt(now)
	return len(t.cookies.name(attempt.State))+t.box.size(newTransaction(now, attempt, a)) <= maxTransactionBytes
}

// startedAt returns when this server, or another replica, issued the state.
func (t *transactions) startedAt(state string) (time.Time, bool) { return t.states.issuedAt(state) }

// open returns the attempt and the request to a state. The error is errNoTransaction if the browser has not started it.
func (t *transactions) open(r *http.Request, state string) (Attempt, *authorization, error) {
	var content transaction
	value, ok := t.cookies.sent(r, state)
	if !ok || !t.box.open(t.cookies.name(state), value, &content) {
		return Attempt{}, nil, errNoTransaction
	}
	return Attempt{State: state, Nonce: content.AttemptNonce, Verifier: content.Verifier},
		content.authorization(), nil
}

// end removes the cookie of a state.
func (t *transactions) end(w http.ResponseWriter, state string) { t.cookies.remove(w, state) }

// signInID is the id of the grant of a state, the same on every replica: one state makes one grant.
func signInID(state string) string { return digestName(state) }

func isHTTPS(issuer string) bool { return strings.HasPrefix(issuer, "https://") }
