// Runs the suite's scenarios for an authorization server, which wait for a user: registers a client, and opens the URL
// that the suite prints. Usage: authorization.mjs ISSUER RESOURCE PORT OUTPUT
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const [issuer, resource, port, output] = process.argv.slice(2);
const metadata = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
const registration = await fetch(metadata.registration_endpoint, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    client_name: 'Conformance suite',
    redirect_uris: [`http://127.0.0.1:${port}/callback`],
    token_endpoint_auth_method: 'none',
  }),
});
assert.equal(registration.status, 201);
const { client_id } = await registration.json();

const suite = fileURLToPath(new URL('node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url));
const child = spawn(process.execPath, [
  suite, 'authorization', '--url', issuer, '--client-id', client_id, '--resource', resource, '--port', port, '-o', output,
], { stdio: ['ignore', 'pipe', 'inherit'] });
for await (const line of createInterface({ input: child.stdout })) {
  console.log(line);
  if (line.startsWith(metadata.authorization_endpoint)) spawn(process.env.BROWSER, [line], { stdio: 'inherit' });
}
process.exit(child.exitCode ?? (await new Promise((resolve) => child.once('exit', resolve))) ?? 1);
