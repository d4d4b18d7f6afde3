package upstream

import (
	"encoding/json"
	"net/url"
	"strings"
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
	kind          string // as in upstreams.NAME.identity
	audience      string // the URL of the upstream
	hasCredential bool   // Authorization is in use
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
		token, err := i.minter.token(i.audience, c.caller, c.offer.scopes)
		if err != nil {
			return nil, nil, err
		}
		if i.hasCredential {
			return map[string]string{headerToken: token}, nil, nil
		}
		return map[string]string{"Authorization": "Bearer " + token}, nil, nil
	}
	return nil, nil, nil
}

// percentEncode encodes all but unreserved characters (RFC 3986, section 2.1): a subject may contain anything.
func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
