// mcp-remote over stdio, as desktop applications start it: lists and calls tools, steps up.
// Usage: mcp-remote.mjs URL PORT HOME legacy|auto
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

const [url, port, home, protocol] = process.argv.slice(2);
const proxy = fileURLToPath(new URL('node_modules/mcp-remote/dist/proxy.js', import.meta.url));
const client = new Client({ name: 'desktop', version: '1' });
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [proxy, url, port, '--protocol', protocol],
  env: { PATH: process.env.PATH, HOME: home, BROWSER: process.env.BROWSER, ACCOUNT: process.env.ACCOUNT ?? '', MCP_REMOTE_CONFIG_DIR: home },
});
await client.connect(transport);
const { tools } = await client.listTools();
assert.ok(tools.some((tool) => tool.name === 'greet'));
const call = async (name, args = {}) => (await client.callTool({ name, arguments: args })).structuredContent;
assert.equal((await call('greet', { name: 'Ada' })).greeting, 'Hello, Ada!');
assert.deepEqual(await call('send_greeting', { name: 'Ada' }), { greeting: 'Hello, Ada!', sent: true, asked: false });
assert.equal((await call('server_stats')).keys.usable, true);
await client.close();
