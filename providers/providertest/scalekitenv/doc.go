// Package scalekitenv is a fake Scalekit environment for tests: the endpoints, the tokens and the known
// faults of an environment with MCP servers. An adapter is configured with [Environment.URL] and
// [Resource.ResourceID]; an OAuth client discovers the rest from the metadata of
// [Resource.AuthorizationServer], and is signed in as [User] without a page.
//
//	env := scalekitenv.New(t, scalekitenv.Config{ServerURL: "http://localhost:3002/mcp"})
//	env.Token()                                                       // as captured
//	env.Token(scalekitenv.Changes{"iss": env.AuthorizationServer()})  // after the migration of the issuer
//	env.Token(scalekitenv.Changes{"exp": scalekitenv.In(-time.Hour)}) // expired
//	env.Answer("/keys", scalekitenv.Status(500))                      // an outage
//
// # Guardrails
//
// It signs in every client without asking. Therefore it listens on loopback only, generates its keys and
// secrets in the process, stores nothing, and sends no requests.
//
// # Known facts and assumptions
//
// Nothing here was measured by this project. The following is from captures that others published in August
// and September 2026, and from Scalekit's documentation, SDKs and staff: the paths and which of them are 404,
// the resource's metadata document, header and payload of a user's access token, the form of aud, the
// prefixes of ids, DCR's request and response, that DCR clients are public, invalid_client_metadata_url,
// client_credentials at /oauth/token, that a machine's sub is its client_id, the payload of an organization
// client's token (it has no aud) and of an ID token, and the fields of the management record.
//
// The following are assumptions without a source; do not build on them:
//
//   - the metadata of the environment itself, except issuer and jwks_uri (only openid-configuration is
//     confirmed), and that the resource's are always available by path insertion too ([Inserted]);
//   - iss in the authorization response. The captured metadata do not announce it (RFC 9207, section 3), and
//     a client may refuse an unannounced iss, as go-sdk does without AcceptUnadvertisedIss.
//     [Resource.OmitResponseIssuer] and [Resource.ChangeMetadata] make the two consistent combinations;
//   - that resource is required at the authorization endpoint, that any absolute URI is accepted there, and
//     that it never reaches aud; and that the endpoints without a resource in their path use that of the
//     client;
//   - which scopes are granted: the known ones among those requested, all of the resource if none is
//     requested;
//   - all error responses except the codes above: statuses, descriptions, DCR's errors, the gRPC gateway's
//     body, the body of a 429 (its error_code is known);
//   - that codes and refresh tokens are valid for one use, and that public clients may send an empty secret
//     in Basic, as go-sdk does because DCR's response has no token_endpoint_auth_method;
//   - aud, scopes, oid and resid of machine tokens, the payload of tokens for the management API, and that ID
//     tokens keep the previous issuer when a server is migrated;
//   - 64-bit numbers of the management record as strings (protobuf's JSON mapping).
//
// Not implemented: consent and login pages, client ID metadata documents, connections, XAA, userinfo,
// introspection, revocation, logout, CORS, rate limits, expiry of codes.
package scalekitenv
