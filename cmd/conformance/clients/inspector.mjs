// The MCP Inspector's command line: signs in, calls, steps up. Usage: inspector.mjs URL PORT HOME legacy|modern
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const [url, port, home, era] = process.argv.slice(2);
const inspector = fileURLToPath(new URL('node_modules/.bin/mcp-inspector', import.meta.url));

async function call(name, args, ...options) {
  const child = spawn(inspector, [
    '--cli', '--server-url', url, '--transport', 'http', '--protocol-era', era, '--format', 'json',
    '--method', 'tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(args), ...options,
  ], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, BROWSER: process.env.BROWSER, HOME: home, MCP_AUTO_OPEN_ENABLED: 'true', MCP_INSPECTOR_SECRET_STORE: 'file' },
  });
  child.stdin.on('error', () => {}); // it may end without reading
  child.stdin.end('y\n'); // "Proceed with step-up authorization?"
  const output = await text(child.stdout); // empty if it failed
  console.log(output);
  return output && JSON.parse(output).result.structuredContent;
}

// As a client that registers itself it signs in, but cannot step up: with its refresh token it gets the same scopes
// again, and gives up.
const dynamic = ['--callback-url', `http://127.0.0.1:${port}/oauth/callback`];
assert.equal((await call('greet', { name: 'Ada' }, ...dynamic)).greeting, 'Hello, Ada!');
assert.equal(await call('server_stats', {}, ...dynamic), '');

// As a client that was registered before it steps up, after asking. Tools that it cannot see it does not call, so this
// needs tools.show_all.
const preregistered = ['--client-id', 'local-cli', '--callback-url', `http://127.0.0.1:${port}/callback`, '--relogin'];
assert.equal((await call('greet', { name: 'Ada' }, ...preregistered)).greeting, 'Hello, Ada!');
preregistered.pop();
assert.deepEqual(await call('send_greeting', { name: 'Ada' }, ...preregistered), { greeting: 'Hello, Ada!', sent: true, asked: false });
assert.equal((await call('server_stats', {}, ...preregistered)).keys.usable, true);
