// The MCP Inspector on the command line: signs in, calls tools, steps up. Usage: inspector.mjs URL PORT HOME legacy|modern
// [dynamic]; with dynamic, it does what it can without a preregistered client.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const [url, port, home, era, only] = process.argv.slice(2);
const inspector = fileURLToPath(new URL('node_modules/.bin/mcp-inspector', import.meta.url));

async function call(name, args, ...options) {
  const child = spawn(inspector, [
    '--cli', '--server-url', url, '--transport', 'http', '--protocol-era', era, '--format', 'json',
    '--method', 'tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(args), ...options,
  ], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, BROWSER: process.env.BROWSER, ACCOUNT: process.env.ACCOUNT ?? '', HOME: home, MCP_AUTO_OPEN_ENABLED: 'true', MCP_INSPECTOR_SECRET_STORE: 'file' },
  });
  child.stdin.on('error', () => {}); // it may exit without reading
  child.stdin.end('y\n'); // "Proceed with step-up authorization?"
  const output = await text(child.stdout); // empty after a failure
  console.log(output);
  return output && JSON.parse(output).result.structuredContent;
}

// With dynamic registration it signs in, but cannot step up: its refresh token gets it the same scopes again, and it
// gives up.
const dynamic = ['--callback-url', `http://127.0.0.1:${port}/oauth/callback`];
assert.equal((await call('greet', { name: 'Ada' }, ...dynamic)).greeting, 'Hello, Ada!');
assert.equal(await call('server_stats', {}, ...dynamic), '');
if (only === 'dynamic') process.exit(0);

// As a preregistered client it steps up, after a confirmation. It calls only tools that are listed, which needs
// tools.show_all.
const preregistered = ['--client-id', 'local-cli', '--callback-url', `http://127.0.0.1:${port}/callback`, '--relogin'];
assert.equal((await call('greet', { name: 'Ada' }, ...preregistered)).greeting, 'Hello, Ada!');
preregistered.pop();
assert.deepEqual(await call('send_greeting', { name: 'Ada' }, ...preregistered), { greeting: 'Hello, Ada!', sent: true, asked: false });
assert.equal((await call('server_stats', {}, ...preregistered)).keys.usable, true);
