// The official TypeScript client, version 2: signs in, steps up, refreshes. Usage: ts2.mjs URL legacy|auto|2026-07-28
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { Person, includes, retryAfterSignIn } from './person.mjs';

const serverUrl = new URL(process.argv[2]);
const era = process.argv[3];
const mode = era.startsWith('20') ? { pin: era } : era;
const person = new Person();
let transport;

async function connect() {
  const client = new Client({ name: 'ts2', version: '1' }, { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { send: true } }));
  transport = new StreamableHTTPClientTransport(serverUrl, { authProvider: person });
  await client.connect(transport);
  return client;
}

// The client wraps the error of the transport.
const isUnauthorized = (error) => error != null && (error instanceof UnauthorizedError || isUnauthorized(error.cause) || isUnauthorized(error.data?.cause));
const withSignIn = (operation) => retryAfterSignIn(operation, isUnauthorized, () => transport.finishAuth(person.authorizationResponse()));

const client = await withSignIn(connect);
const call = async (name, args = {}) => (await client.callTool({ name, arguments: args })).structuredContent;
assert.equal(client.getNegotiatedProtocolVersion(), era === 'legacy' ? '2025-11-25' : '2026-07-28');

assert.equal((await call('greet', { name: 'Ada' })).greeting, 'Hello, Ada!');
assert.equal(person.requestedScopes.length, 1);
includes(person.requestedScopes[0], 'mcp:use', 'greet:read', 'offline_access');

person.invalidateToken();
assert.equal((await call('greet', { name: 'Bob' })).greeting, 'Hello, Bob!');
assert.equal(person.requestedScopes.length, 1, 'a refresh needs no authorization request');

// Each step-up also requests the scopes of the token.
assert.deepEqual(await withSignIn(() => call('send_greeting', { name: 'Ada' })), { greeting: 'Hello, Ada!', sent: true, asked: true });
assert.equal((await withSignIn(() => call('server_stats'))).keys.usable, true);
assert.equal(person.requestedScopes.length, 3);
includes(person.requestedScopes[2], 'mcp:use', 'greet:read', 'greet:write', 'gatehouse:admin', 'offline_access');

await transport.terminateSession();
await client.close();
console.log(`requested scopes: ${person.requestedScopes.join(' | ')}`);
