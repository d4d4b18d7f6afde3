package scalekitenv

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// identityScopes are those of OpenID Connect, which every resource grants to users in addition to its own.
func identityScopes() []string { return []string{"openid", "profile", "email", "offline_access"} }

// orgScopes are those of tokens of organization clients. They are never scopes of an MCP server.
func orgScopes() []string { return []string{"deploy:applications", "read:deployments"} }

// UserClaims returns the claims of a valid access token of [User] for the resource.
func (r *Resource) UserClaims() map[string]any {
	scopes := append([]string{"openid", "offline_access"}, r.scopes...)
	return r.userClaims(r.public.ID, r.env.newID("ses_"), append(scopes, "email", "profile"))
}

// Token returns a signed token with the claims of [Resource.UserClaims], changed.
func (r *Resource) Token(changes ...Changes) string {
	r.env.t.Helper()
	return r.env.Sign(nil, withChanges(r.UserClaims(), changes...))
}

// MachineClaims returns the claims of a valid access token of [Resource.MachineClient] for the resource.
func (r *Resource) MachineClaims() map[string]any { return r.machineClaims(r.machine.ID, r.scopes) }

// MachineToken returns a signed token with the claims of [Resource.MachineClaims], changed.
func (r *Resource) MachineToken(changes ...Changes) string {
	r.env.t.Helper()
	return r.env.Sign(nil, withChanges(r.MachineClaims(), changes...))
}

// IDToken returns an ID token of [User], changed: signed by the same keys and with the same issuer. Its
// audience is the client and not the resource.
func (r *Resource) IDToken(changes ...Changes) string {
	r.env.t.Helper()
	claims := r.idClaims(r.public.ID, rand.Text(), r.Token(), rand.Text())
	return r.env.Sign(nil, withChanges(claims, changes...))
}

// OrgMachineToken returns an access token of [Environment.OrgClient], changed. It is for the customer's own
// API: it has no aud, and an MCP server must refuse it.
func (e *Environment) OrgMachineToken(changes ...Changes) string {
	e.t.Helper()
	return e.Sign(nil, withChanges(e.orgClaims(e.org.ID), changes...))
}

// ManagementToken returns an access token of [Environment.EnvironmentClient], changed. It is for Scalekit's
// API, and an MCP server must refuse it.
func (e *Environment) ManagementToken(changes ...Changes) string {
	e.t.Helper()
	return e.Sign(nil, withChanges(e.managementClaims(e.management.ID), changes...))
}

func (r *Resource) userClaims(client, session string, scopes []string) map[string]any {
	return r.accessClaims(withChanges(r.env.commonClaims(User, client), Scopes(scopes...), Changes{
		"aud": r.Audience(), "oid": Organization, "resid": r.id, "roles": []string{"admin"}, "sid": session,
	}))
}

func (r *Resource) machineClaims(client string, scopes []string) map[string]any {
	return r.accessClaims(withChanges(r.env.commonClaims(client, client), Scopes(scopes...), Changes{
		"aud": r.Audience(), "oid": Organization, "resid": r.id,
	}))
}

func (r *Resource) accessClaims(claims map[string]any) map[string]any {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	return withChanges(claims, r.tokenChanges)
}

func (r *Resource) idClaims(client, nonce, accessToken, code string) map[string]any {
	claims := withChanges(r.env.commonClaims(User, client), Changes{
		"client_id": nil, "nbf": nil, "jti": nil,
		"aud": []string{client}, "azp": client, "amr": []string{"conn_1"}, "oid": Organization, "email": Email,
		"at_hash": leftHalfHash(accessToken), "c_hash": leftHalfHash(code),
	})
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return claims
}

// leftHalfHash computes at_hash and c_hash (OpenID Connect Core, sections 3.1.3.6 and 3.3.2.11).
func leftHalfHash(s string) string {
	digest := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(digest[:len(digest)/2])
}

func (e *Environment) orgClaims(client string) map[string]any {
	return withChanges(e.commonClaims(client, client), Changes{"oid": Organization, "scopes": orgScopes()})
}

func (e *Environment) managementClaims(client string) map[string]any {
	return withChanges(e.commonClaims(client, client), Changes{"aud": []string{e.URL()}})
}

// commonClaims are the claims of all tokens.
func (e *Environment) commonClaims(subject, client string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": e.URL(), "sub": subject, "client_id": client, "jti": e.newID("tkn_"),
		"exp": now.Add(e.lifetime).Unix(), "iat": now.Unix(), "nbf": now.Unix(),
	}
}
