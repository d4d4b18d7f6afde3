// Package scalekitenv is a fake Scalekit environment: the endpoints, the tokens and the known misbehaviour of an
// environment with MCP servers, for tests of whatever stands behind one. An adapter is pointed at it with
// [Environment.URL] and [Resource.ResourceID]; an OAuth client finds its way from the metadata of
// [Resource.AuthorizationServer] by itself, and is signed in as [User] without a page.
//
//	env := scalekitenv.New(t, scalekitenv.Config{ServerURL: "http://localhost:3002/mcp"})
//	env.Token()                                                           // as captured from the real thing
//	env.Token(scalekitenv.Changes{"iss": env.AuthorizationServer()})      // after the migration of the issuer
//	env.Token(scalekitenv.Changes{"exp": scalekitenv.In(-time.Hour)})     // expired
//	env.Answer("/keys", scalekitenv.Status(500))                          // an outage
//
// # Guardrails
//
// It is a fake and says yes to everybody. Therefore it listens on loopback only, its keys and secrets are made in the
// process and end with it, nothing is stored, and it sends no request of its own: client ID metadata documents are
// fetched only through a client that the test hands in.
//
// # What is known, and what is inferred
//
// Nothing here was measured by us. Captures that others published in August and September 2026, Scalekit's
// documentation, SDKs and staff say: the paths and which of them are 404, the resource's metadata document, header and
// payload of a user's access token, the form of aud, the prefixes of ids, DCR's request and answer, that DCR and CIMD
// clients are public, invalid_client_metadata_url, client_credentials at /oauth/token, that a machine's sub is its
// client_id, the payload of an organisation client's token (it has no aud) and of an ID token, and the fields of the
// management record.
//
// Inferred, because no source says it; do not build on these:
//
//   - the metadata of the environment itself, but for issuer and jwks_uri (only openid-configuration is confirmed), and
//     that the resource's are always found by path insertion, too ([Inserted]);
//   - iss in the authorization response. The captured metadata do not announce it (RFC 9207, section 3), and a client
//     may refuse what is not announced, as the go-sdk does without AcceptUnadvertisedIss. [Resource.OmitResponseIssuer]
//     and [Resource.ChangeMetadata] make the two consistent pairs;
//   - that resource is demanded at the authorization endpoint, that any absolute URI will do there, and that it never
//     reaches aud. How the endpoints without a resource in their path pick one: by the client, else by the resource
//     parameter, else the first;
//   - which scopes are granted: the known ones among those asked for, all of the resource if none was asked for;
//   - all error answers but the codes above: statuses, descriptions, DCR's errors, the gRPC gateway's body, the body of a
//     429 (its error_code is known);
//   - that codes and refresh tokens go bad by their first use, and that public clients may send an empty secret in Basic,
//     as the go-sdk does because DCR's answer names no token_endpoint_auth_method;
//   - aud, scopes, oid and resid of machine tokens, the payload of tokens for the management API, and that ID tokens stay
//     with the issuer of old when a server is migrated;
//   - userinfo, introspection and revocation. The latter two are off, since nobody knows their paths;
//   - 64-bit numbers of the management record as strings (protobuf's JSON rule).
//
// Not imitated: consent and login pages, connections, XAA, logout, CORS, rate limits that count, expiry of codes.
package scalekitenv
