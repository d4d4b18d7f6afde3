// The official TypeScript client, version 2, with enterprise-managed authorization: it calls a tool with a token for an
// assertion of the company's identity provider, without a browser. Usage: enterprise.mjs URL ISSUER CLIENT_ID, with the
// variables SECRET, of the client at both servers, and ID_TOKEN, of a person at ISSUER.
import assert from 'node:assert/strict';
import { Client, CrossAppAccessProvider, StreamableHTTPClientTransport, discoverAndRequestJwtAuthGrant } from '@modelcontextprotocol/client';

const [url, idpUrl, clientId] = process.argv.slice(2);
const { SECRET: clientSecret, ID_TOKEN: idToken } = process.env;

const authProvider = new CrossAppAccessProvider({
  clientId, clientSecret, expectedIssuer: new URL(url).origin,
  assertion: async ({ authorizationServerUrl, resourceUrl, scope, fetchFn }) => {
    const { jwtAuthGrant } = await discoverAndRequestJwtAuthGrant({
      idpUrl, idToken, clientId, clientSecret, scope, fetchFn, audience: authorizationServerUrl, resource: resourceUrl,
    });
    return jwtAuthGrant;
  },
});
const client = new Client({ name: 'agent', version: '1' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }));
const { structuredContent } = await client.callTool({ name: 'greet', arguments: { name: 'Ada' } });
assert.equal(structuredContent.greeting, 'Hello, Ada!');
const claims = JSON.parse(Buffer.from(authProvider.tokens().access_token.split('.')[1], 'base64url'));
assert.deepEqual([claims.client_id, claims.aud], [clientId, url]);
assert.equal(authProvider.tokens().refresh_token, undefined);
await client.close();
