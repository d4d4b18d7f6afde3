// A real identity provider, the npm package oidc-provider, configured as is usual for MCP servers: access tokens are bound
// to the requested resource (RFC 8707), and clients can register. The user alice approves every request.
//
// Usage: provider.mjs --port N --control N --client-secret-file FILE --client-key-file FILE
//                     [--path /PATH] [--algorithm RS256|ES256|EdDSA] [--tokens jwt|opaque]
//
// The files are the credentials of the resource server for introspection. On the control port the provider accepts requests
// to rotate its keys, see the end.
import { createPublicKey, generateKeyPair, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs, promisify } from 'node:util';
import Provider from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string' },
    control: { type: 'string' },
    path: { type: 'string', default: '' },
    algorithm: { type: 'string', default: 'RS256' },
    tokens: { type: 'string', default: 'jwt' },
    'client-secret-file': { type: 'string' },
    'client-key-file': { type: 'string' },
  },
});
const { path, algorithm } = options;

const desktop = {
  client_id: 'desktop',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/callback'], // any port matches (RFC 8252, section 7.3)
  grant_types: ['authorization_code', 'refresh_token'],
};
// The resource server, which introspects tokens: one client for each authentication method.
const server = { redirect_uris: [], response_types: [], grant_types: [] };
const withSecret = {
  ...server,
  client_id: 'gatehouse-secret',
  token_endpoint_auth_method: 'client_secret_basic',
  client_secret: readFileSync(options['client-secret-file'], 'utf8'),
};
const withKey = {
  ...server,
  client_id: 'gatehouse-key',
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [createPublicKey(readFileSync(options['client-key-file'])).export({ format: 'jwk' })] },
};

const configuration = {
  adapter: createMemoryAdapter(), // shared by the providers of all key sets, so that grants outlive them
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clients: [desktop, withSecret, withKey],
  clientDefaults: { id_token_signed_response_alg: algorithm }, // of access tokens too
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // Otherwise clients that request offline_access without prompt=consent get no refresh token.
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  interactions: { url: (_, interaction) => `${path}/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true, allowedPolicy: (_, client, token) => token.clientId === client.clientId },
    introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId.startsWith('gatehouse-') },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        audience: resource,
        scope: 'mcp:use greet:read greet:write gatehouse:admin',
        accessTokenFormat: options.tokens,
        // Go clients renew a token ten seconds before it expires, so they renew it every two seconds.
        accessTokenTTL: 12,
      }),
    },
  },
};

// The user alice signs in and grants every request.
async function interact(req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res);
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: 'alice' } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) grant.addResourceScope(resource, scopes.join(' '));
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

// Keys. The package reads them in the constructor, so a new key set needs a new provider at the same address.
const kinds = { RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
let keys = [];
let made = 0;
let provider;

async function make() {
  const { privateKey } = await promisify(generateKeyPair)(...kinds[algorithm]);
  return { ...privateKey.export({ format: 'jwk' }), kid: `key-${++made}`, alg: algorithm, use: 'sig' };
}

function use(...set) {
  keys = set;
  provider = new Provider(`http://127.0.0.1:${options.port}${path}`, { ...configuration, jwks: { keys } });
  provider.on('server_error', (_, error) => console.error(error));
}

const steps = {
  '/publish': async () => use(...keys, await make()), // the old one still signs
  '/sign': async () => use(keys.at(-1), ...keys.slice(0, -1)), // the first one signs
  '/withdraw': async () => use(keys[0]), // the keys that do not sign
};

use(await make());

createServer(async (req, res) => {
  if (!req.url.startsWith(`${path}/`)) return res.writeHead(404).end();
  req.originalUrl = req.url; // the package derives its mount path from both
  req.url = req.url.slice(path.length);
  if (!req.url.startsWith('/interaction/')) return provider.callback()(req, res);
  try {
    await interact(req, res);
  } catch (error) {
    console.error(error);
    res.writeHead(500).end();
  }
}).listen(options.port, '127.0.0.1');

createServer(async (req, res) => {
  if (req.method !== 'POST' || !steps[req.url]) return res.writeHead(404).end();
  await steps[req.url]();
  res.end(`${keys[0].kid} signs, published are ${keys.map((key) => key.kid).join(' ')}\n`);
}).listen(options.control, '127.0.0.1');
