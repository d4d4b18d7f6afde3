package authserver

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/providers/authserver/seal"
)

// carriedRequest is an authorization request as browsers carry it. Its members are in no document: they are sealed,
// and read by this version of the program or the one before or after it, within 10 minutes.
type carriedRequest struct {
	ClientID    string       `json:"c"`
	ClientName  string       `json:"n,omitempty"`
	Origin      clientOrigin `json:"o,omitempty"`
	RedirectURI string       `json:"u"`
	State       string       `json:"s,omitempty"`
	Nonce       string       `json:"nonce,omitempty"`
	Challenge   string       `json:"p"`
	Resource    string       `json:"r"`
	Scopes      []string     `json:"scope,omitempty"`
	LoginHint   string       `json:"h,omitempty"`
	Time        int64        `json:"t"` // when it was sealed, in seconds since 1970
}

// maxLoginHint bounds the login hint, in bytes. It is at most an e-mail address; longer ones are left out.
const maxLoginHint = 254

func carry(now time.Time, a *authorization) carriedRequest {
	c := carriedRequest{
		ClientID:    a.client.id,
		ClientName:  a.client.name,
		Origin:      a.client.origin,
		RedirectURI: a.redirectURI,
		State:       a.state,
		Nonce:       a.nonce,
		Challenge:   a.challenge,
		Resource:    a.resource,
		Scopes:      a.scopes,
		LoginHint:   a.loginHint,
		Time:        now.Unix(),
	}
	if len(c.LoginHint) > maxLoginHint {
		c.LoginHint = ""
	}
	return c
}

// authorization returns the request. Its client has only what the pages and the grant need.
func (c carriedRequest) authorization() *authorization {
	return &authorization{
		client:      &client{id: c.ClientID, name: c.ClientName, origin: c.Origin},
		redirectURI: c.RedirectURI,
		state:       c.State,
		nonce:       c.Nonce,
		challenge:   c.Challenge,
		resource:    c.Resource,
		scopes:      c.Scopes,
		loginHint:   c.LoginHint,
	}
}

// sealedRequests puts requests into their ids, so that a request of a stranger costs no memory, and every replica can
// answer it. A request can be decided more than once: each approval is another sign-in, and a denial changes nothing.
type sealedRequests struct {
	box boxes
	// fits reports whether the request can be carried through a sign-in.
	fits func(*authorization) bool
}

func newSealedRequests(keys *seal.Keys, issuer string, fits func(*authorization) bool) sealedRequests {
	return sealedRequests{boxes{keys, seal.Request, issuer}, fits}
}

// put implements [pendingRequests].
func (s sealedRequests) put(now time.Time, a *authorization) (id string, err error) {
	for _, value := range []string{a.state, a.nonce, a.loginHint} {
		if !utf8.ValidString(value) { // JSON would change it, and the client would not know its state again
			return "", refusedRequest("The authorization request of the application has a value that is not UTF-8.")
		}
	}
	if !s.fits(a) {
		return "", refusedRequest("The authorization request of the application is too long.")
	}
	return s.box.seal("", carry(now, a)), nil
}

func refusedRequest(text string) error {
	return &endedError{http.StatusBadRequest, problem{failedTitle, text}}
}

// show implements [pendingRequests].
func (s sealedRequests) show(now time.Time, id string) (*authorization, error) {
	var c carriedRequest
	if !s.box.open("", id, &c) {
		return nil, &endedError{http.StatusForbidden, problem{interruptedTitle, "The address of the page is incomplete " +
			"or was changed, or this server has other secrets since the page was opened." + againText}}
	}
	if !now.Before(time.Unix(c.Time, 0).Add(requestLifetime)) {
		return nil, &endedError{http.StatusForbidden, problem{expiredTitle, expiredText}}
	}
	return c.authorization(), nil
}

// check implements [pendingRequests].
func (s sealedRequests) check(now time.Time, id string) error {
	_, err := s.show(now, id)
	return err
}

// decide implements [pendingRequests].
func (s sealedRequests) decide(
	now time.Time, id string, given answer, respond func(*authorization, answer) (answer, error),
) (answer, error) {
	a, err := s.show(now, id)
	if err != nil {
		return answer{}, err
	}
	return respond(a, given)
}

// boxes seals values for browsers: base64url of the encrypted JSON.
type boxes struct {
	keys   *seal.Keys
	use    seal.Use
	issuer string // a box of another issuer with the same secrets does not open
}

// seal returns a box that opens with the same name only.
func (b boxes) seal(name string, value any) string {
	return base64.RawURLEncoding.EncodeToString(b.keys.Seal(b.use, b.context(name), marshal(value)))
}

// size returns the length of the box of a value.
func (boxes) size(value any) int {
	const nonceAndTag = 12 + 16 // of AES-GCM
	return base64.RawURLEncoding.EncodedLen(len(marshal(value)) + nonceAndTag)
}

// open reads a box into value, and reports whether it is one.
func (b boxes) open(name, box string, value any) bool {
	if strings.ContainsAny(box, "\r\n") { // the decoder skips them, so one request would have many ids
		return false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(box)
	if err != nil {
		return false
	}
	plain, err := b.keys.Open(b.use, b.context(name), sealed)
	return err == nil && json.Unmarshal(plain, value) == nil
}

func (b boxes) context(name string) string { return b.issuer + "\n" + name }

// marshal returns the JSON of a value that always has one.
func marshal(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // "&" in a query would take six bytes
	if err := encoder.Encode(value); err != nil {
		panic(err) // the types have no member that JSON cannot express
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
