// A real identity provider, the npm package better-auth with its OAuth provider plugin: the issuer has a path, access tokens
// are JWTs by EdDSA, bound to the requested resource (RFC 8707), and clients can register. The user alice approves every
// request.
//
// Usage: better-auth.mjs --port N --resource URL
import { createServer } from 'node:http';
import { randomBytes, randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { oauthProvider, oauthProviderAuthServerMetadata } from '@better-auth/oauth-provider';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';
import { jwt } from 'better-auth/plugins';

const { values: { port, resource } } = parseArgs({ options: { port: { type: 'string' }, resource: { type: 'string' } } });
const origin = `http://127.0.0.1:${port}`;
const alice = { name: 'Alice', email: 'alice@example.com', password: randomUUID() };

const tables = 'user session account verification jwks oauthClient oauthRefreshToken oauthAccessToken oauthConsent oauthResource '
  + 'oauthClientResource oauthClientAssertion oauthDeviceCode';
const auth = betterAuth({
  baseURL: origin, // the issuer is below it, at /api/auth
  secret: randomBytes(32).toString('hex'),
  database: memoryAdapter(Object.fromEntries(tables.split(' ').map((name) => [name, []]))),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  advanced: { database: { generateId: ({ model }) => (model === 'user' ? 'alice' : randomUUID()) } },
  plugins: [
    jwt(),
    oauthProvider({
      loginPage: `${origin}/login`,
      consentPage: `${origin}/consent`,
      scopes: ['openid', 'offline_access', 'mcp:use', 'greet:read', 'greet:write', 'gatehouse:admin'],
      resources: [resource, `${resource}-of-others`],
      enforcePerClientResources: false,
      allowDynamicClientRegistration: true,
      allowUnauthenticatedClientRegistration: true,
    }),
  ],
});
await auth.api.signUpEmail({ body: alice });
await (await auth.$context).adapter.create({
  model: 'oauthClient',
  data: {
    clientId: 'desktop', applicationType: 'native', tokenEndpointAuthMethod: 'none',
    redirectUris: ['http://127.0.0.1/callback'], // any port, RFC 8252, section 7.3
    grantTypes: ['authorization_code', 'refresh_token'], responseTypes: ['code'],
  },
});

// The two pages post at once what their forms would, together with the query of the page.
const pages = { '/login': ['/sign-in/email', alice], '/consent': ['/oauth2/consent', { accept: true }] };
const post = ([path, body], query, cookie = '') => auth.handler(new Request(`${origin}/api/auth${path}`, {
  method: 'POST', headers: { 'content-type': 'application/json', origin, cookie }, body: JSON.stringify({ ...body, oauth_query: query }),
}));
const authorizationServer = oauthProviderAuthServerMetadata(auth);

createServer(async (req, res) => {
  const { pathname, search } = new URL(req.url, origin);
  try {
    if (pages[pathname]) {
      const answer = await post(pages[pathname], search.slice(1), req.headers.cookie);
      const { url, ...other } = await answer.json();
      if (!url) throw new Error(`${pathname}: ${answer.status} ${JSON.stringify(other)}`);
      return res.writeHead(302, { location: url, 'set-cookie': answer.headers.getSetCookie() }).end();
    }
    if (pathname === '/.well-known/oauth-authorization-server/api/auth') {
      const answer = await authorizationServer(new Request(origin + req.url));
      return res.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
    }
    await toNodeHandler(auth)(req, res);
  } catch (error) {
    console.error(error);
    res.writeHead(500).end();
  }
}).listen(port, '127.0.0.1');
