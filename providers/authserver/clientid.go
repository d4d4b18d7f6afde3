package authserver

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	clientIDPrefix  = "reg1." // the format's version
	maxRegistration = 700     // bytes of JSON; some clients limit the length of a client_id
	clientIDSalt    = 10      // bytes; not a multiple of 3, or every id would contain "eyJ" like a JWT
	clientIDMAC     = 18      // bytes of HMAC-SHA-256
	clientIDDigest  = 9       // bytes of SHA-256
)

// readableIDs issues and reads the client_id of public clients that register dynamically at the demo. The id contains
// the registration, so nothing is stored and registrations cannot evict each other:
//
//	reg1.REGISTRATION.MAC.DIGEST
//
// REGISTRATION is a random salt and the JSON of a [carriedRegistration]. MAC is its HMAC-SHA-256 under a key
// of this process; it proves that /register issued the id. DIGEST is a SHA-256 of everything before it; it
// detects a damaged id. Each part is base64url; MAC and DIGEST are truncated.
//
// The salt makes the ids of two registrations with equal metadata different: a page that registers the
// metadata of another client must not share that client's limit of pending sign-ins.
type readableIDs struct {
	key   []byte
	rules clientRules
}

func newReadableIDs(rules clientRules) readableIDs {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return readableIDs{key, rules}
}

// carriedRegistration is the part of a registration that the client_id contains: what requests of the client
// depend on.
type carriedRegistration struct {
	RedirectURIs []string         `json:"r,omitempty"`
	Name         string           `json:"n,omitempty"`
	GrantTypes   []oidc.GrantType `json:"g,omitempty"`
}

func (c carriedRegistration) encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // "&" in a query would take six bytes
	if err := encoder.Encode(c); err != nil {
		return nil, err
	}
	registration := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(registration) > maxRegistration {
		return nil, invalidMetadata("redirect_uris and client_name together are longer than " +
			strconv.Itoa(maxRegistration) +
			" bytes; the client_id of a public client contains them")
	}
	return registration, nil
}

// issue returns the id of a public client. Its metadata must have passed [clientRules.checkRegistration].
// The error is invalid_client_metadata if the registration is too long.
func (ids readableIDs) issue(m clientMetadata) (string, error) {
	encoded, err := carriedRegistration{m.RedirectURIs, m.ClientName, m.GrantTypes}.encode()
	if err != nil {
		return "", err
	}
	registration := append(make([]byte, clientIDSalt, clientIDSalt+len(encoded)), encoded...)
	var id string
	for range 8 {
		_, _ = rand.Read(registration[:clientIDSalt]) // never fails
		id = clientIDPrefix + base64.RawURLEncoding.EncodeToString(registration) + "." + ids.mac(registration)
		id += "." + digestOf(id)
		if !strings.Contains(id, "eyJ") { // scanners that search logs for tokens would report it
			break
		}
	}
	return id, nil
}

// read returns the client in an id, after applying the rules of /register to it again. It returns false for a
// damaged id, and for one that /register would not issue. A client with an invalid MAC registered before the
// process started, or never: only its loopback redirect URIs are valid then, and without one it is unknown.
func (ids readableIDs) read(id string) (*client, bool) {
	rest, ok := strings.CutPrefix(id, clientIDPrefix)
	parts := strings.Split(rest, ".")
	if strings.ContainsAny(id, "\r\n") { // the decoder skips them, so one registration would have many ids
		return nil, false
	}
	if !ok || len(parts) != 3 || len(parts[0]) > base64.RawURLEncoding.EncodedLen(clientIDSalt+maxRegistration) {
		return nil, false
	}
	if digestOf(strings.TrimSuffix(id, "."+parts[2])) != parts[2] {
		return nil, false
	}
	registration, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil || len(registration) < clientIDSalt {
		return nil, false
	}
	encoded := registration[clientIDSalt:]
	var carried carriedRegistration
	if err := json.Unmarshal(encoded, &carried); err != nil {
		return nil, false
	}
	m := clientMetadata{
		RedirectURIs: carried.RedirectURIs, ClientName: carried.Name, GrantTypes: carried.GrantTypes,
		TokenEndpointAuthMethod: oidc.AuthMethodNone,
	}
	if ids.rules.checkRegistration(&m) != nil {
		return nil, false
	}
	// checkRegistration normalizes some values, such as control characters in a name, and JSON allows several
	// encodings of one value.
	canonical, err := carriedRegistration{m.RedirectURIs, m.ClientName, m.GrantTypes}.encode()
	if err != nil || !bytes.Equal(canonical, encoded) {
		return nil, false
	}
	c := &client{id: id, name: m.ClientName, origin: dynamic, redirectURIs: m.RedirectURIs,
		grantTypes: m.GrantTypes}
	if !hmac.Equal([]byte(parts[1]), []byte(ids.mac(registration))) {
		c.origin, c.redirectURIs = unregistered, nil
		for _, uri := range m.RedirectURIs {
			if redirectsToLoopback(uri) {
				c.redirectURIs = append(c.redirectURIs, uri)
			}
		}
		if len(c.redirectURIs) == 0 {
			return nil, false
		}
	}
	return c, true
}

func (ids readableIDs) mac(registration []byte) string {
	mac := hmac.New(sha256.New, ids.key)
	mac.Write([]byte("client registration\n")) // separates this use of the key from others
	mac.Write(registration)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:clientIDMAC])
}

func digestOf(s string) string {
	digest := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(digest[:clientIDDigest])
}
