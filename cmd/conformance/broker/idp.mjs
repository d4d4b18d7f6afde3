// A company's identity provider, the npm package oidc-provider, as strict as it can be: it demands PKCE, sends iss, knows
// one confidential client, refuses a resource, and its refresh tokens are good for one use: a second use of one ends the
// sign-in. People sign in on its own page, whose policy lets a form lead to the client only.
//
// Usage: idp.mjs --port N --issuer URL --control N --client-secret-file FILE --redirect URL
//
// It listens on port, and its metadata name the issuer. On the control port an account is disabled by POST
// /disable?account=NAME. Every other account exists.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import Provider from 'oidc-provider';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string' },
    issuer: { type: 'string' },
    control: { type: 'string' },
    'client-secret-file': { type: 'string' },
    redirect: { type: 'string' },
  },
});

const disabled = new Set();

function findAccount(_, id) {
  if (disabled.has(id)) return undefined;
  return {
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@corp.example`, name: `Name of ${id}`, groups: ['staff', id.startsWith('admin') ? 'admins' : 'guests'] }),
  };
}

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const provider = new Provider(options.issuer, {
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'upstream-1', alg: 'ES256', use: 'sig' }] },
  clients: [{
    client_id: 'gatehouse',
    client_secret: readFileSync(options['client-secret-file'], 'utf8').trim(),
    token_endpoint_auth_method: 'client_secret_basic',
    redirect_uris: [options.redirect],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: 'ES256',
  }],
  claims: { openid: ['sub', 'groups'], email: ['email'], profile: ['name'] },
  conformIdTokenClaims: false, // groups are in the ID token
  findAccount,
  pkce: { required: () => true },
  rotateRefreshToken: true,
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true, allowedPolicy: (_, client, token) => token.clientId === client.clientId },
    resourceIndicators: { enabled: true, defaultResource: () => undefined },
  },
});
provider.on('server_error', (_, error) => console.error(error));

const style = 'body { font: 1rem/1.5 sans-serif; margin: 2rem }';
const policy = [
  "default-src 'none'", 'img-src data:', `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  `form-action 'self' ${new URL(options.redirect).origin}`, "frame-ancestors 'none'",
].join('; ');

function page(uid, account) {
  const field = account ? `<p>Signed in as <strong>${account}</strong></p>` : '<p><label>Account <input name="account" required autocomplete="off"></label></p>';
  return `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Corp sign-in</title><link rel="icon" href="data:,"><style>${style}</style>
<h1>Corp sign-in</h1><form method="post" action="/interaction/${uid}">${field}<button type="submit">Sign in</button></form></html>`;
}

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return new URLSearchParams(text);
}

async function interact(req, res) {
  const { params, session, uid } = await provider.interactionDetails(req, res);
  if (req.method !== 'POST') {
    res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy, 'cache-control': 'no-store' });
    return res.end(page(uid, session?.accountId));
  }
  const accountId = session?.accountId ?? (await body(req)).get('account');
  if (!/^[a-z0-9-]+$/.test(accountId ?? '') || disabled.has(accountId)) {
    return provider.interactionFinished(req, res, { error: 'access_denied', error_description: '<b>unknown account</b>' });
  }
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(req, res, { login: { accountId }, consent: { grantId: await grant.save() } });
}

createServer(async (req, res) => {
  if (!req.url.startsWith('/interaction/')) return provider.callback()(req, res);
  try {
    await interact(req, res);
  } catch (error) {
    console.error(error);
    res.writeHead(400, { 'content-type': 'text/plain' }).end('The sign-in is unknown or finished.\n');
  }
}).listen(options.port, '127.0.0.1');

createServer((req, res) => {
  const url = new URL(req.url, 'http://localhost');
  if (req.method !== 'POST' || url.pathname !== '/disable') return res.writeHead(404).end();
  disabled.add(url.searchParams.get('account'));
  res.end();
}).listen(options.control, '127.0.0.1');
