package upstream

import (
	"encoding/json"
	"net/url"
	"strings"

	"gatehouse/providers"
)

// metaIdentity is the member of _meta that has the caller for a process. A process trusts it because of the pipe; the
// caller's own _meta is never passed on.
const metaIdentity = "gatehouse/identity"

// The headers that have the caller for an upstream by HTTP, percent-encoded.
const (
	headerSubject = "X-Gatehouse-Subject"
	headerClient  = "X-Gatehouse-Client"
	headerScope   = "X-Gatehouse-Scope"
	headerIssuer  = "X-Gatehouse-Issuer"
)

// headerToken has the token of identity: jwt if Authorization has the credential of this server.
const headerToken = "X-Gatehouse-Identity"

// identity tells an upstream who calls.
type identity struct {
	kind          string   // as in upstreams.NAME.identity
	audience      string   // the URL of the upstream
	hasCredential bool     // Authorization is in use
	scopes        []string // of all lines of upstreams.NAME.tools
	minter        *Minter
}

// of returns the headers and the member of _meta that have the caller. The scopes are those of the tool only: the
// upstream learns nothing about what else the caller may do.
func (i identity) of(c *call) (headers map[string]string, meta []byte, err error) {
	scope := strings.Join(c.offer.scopes, " ")
	switch i.kind {
	case IdentityHeaders:
		return map[string]string{
			headerIssuer:  percentEncode(c.caller.Issuer),
			headerSubject: percentEncode(c.caller.Subject),
			headerClient:  percentEncode(c.caller.Client),
			headerScope:   percentEncode(scope),
		}, nil, nil
	case IdentityMeta:
		claims, err := json.Marshal(map[string]string{
			"iss": c.caller.Issuer, "sub": c.caller.Subject, "client_id": c.caller.Client, "scope": scope,
		})
		if err != nil {
			return nil, nil, err
		}
		return nil, append([]byte(`"`+metaIdentity+`":`), claims...), nil
	case IdentityJWT:
		headers, err := i.tokenHeaders(c.caller, c.offer.scopes)
		return headers, nil, err
	}
	return nil, nil, nil
}

// own returns the headers of requests that no caller causes: those of the handshake, and of the end of a session. A
// server that wants a token with each request gets one about this server, with the scopes of all lines: it would
// leave tools out of its list otherwise.
func (i identity) own() (map[string]string, error) {
	if i.kind != IdentityJWT {
		return nil, nil
	}
	return i.tokenHeaders(i.minter.self(), i.scopes)
}

func (i identity) tokenHeaders(caller *providers.Identity, scopes []string) (map[string]string, error) {
	token, err := i.minter.token(i.audience, caller, scopes)
	if err != nil {
		return nil, err
	}
	if i.hasCredential {
		return map[string]string{headerToken: token}, nil
	}
	return map[string]string{"Authorization": "Bearer " + token}, nil
}

// percentEncode encodes all but unreserved characters (RFC 3986, section 2.1): a subject may contain anything.
func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
