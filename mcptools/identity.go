package mcptools

import (
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/providers"
)

// identityKey is the key of the *providers.Identity in [auth.TokenInfo].Extra.
const identityKey = "gatehouse.identity"

// Caller returns the identity of the caller of req: of a tool, a prompt or a resource. It is not nil in a handler,
// because no request without an identity is dispatched. The context of a handler is no substitute: in a session it
// belongs to the session and has no identity.
func Caller(req mcp.Request) *providers.Identity {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil
	}
	id, _ := extra.TokenInfo.Extra[identityKey].(*providers.Identity)
	return id
}

// TokenInfo returns id in the form in which the MCP SDK passes it to handlers. [Caller] is the inverse. UserID is
// [providers.Identity.Principal], which is never empty.
func TokenInfo(id *providers.Identity) *auth.TokenInfo {
	return &auth.TokenInfo{
		Scopes:     id.Scopes,
		Expiration: id.ExpiryWithLeeway,
		UserID:     id.Principal(),
		Extra:      map[string]any{identityKey: id},
	}
}
