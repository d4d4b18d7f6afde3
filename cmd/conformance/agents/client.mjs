// Runs Claude Code or Codex with a stub in place of the model: adds the server, signs in, calls tools, and signs in for one
// more scope. Usage: client.mjs claude-code|codex URL LOG PACKAGES document|registration
//
// LOG is the log of the server, in JSON. The last argument is how the client identifies itself to the issuer.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Model } from './model.mjs';

const [name, url, log, packages, identification] = process.argv.slice(2);
const home = mkdtempSync(`${process.cwd()}/home-`);
const model = new Model();
const address = await model.listen();

// run returns the exit code and the output of a program. Some commands need a terminal; script(1) provides one.
async function run(command, { terminal = false } = {}) {
  if (terminal) command = ['script', '--quiet', '--return', '--flush', '--command', command.join(' '), '/dev/null'];
  const child = spawn(command[0], command.slice(1), {
    cwd: home, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000, killSignal: 'SIGKILL',
    env: { HOME: home, PATH: process.env.PATH, BROWSER: process.env.BROWSER, TERM: 'xterm', ...clients[name].env },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const code = await new Promise((resolve) => child.once('close', resolve));
  console.log(`$ ${command.map((word) => word.replace(packages, '')).join(' ')}\n${output}exit code ${code}\n`);
  return { code, output };
}

async function ok(command, options) {
  const { code, output } = await run(command, options);
  assert.equal(code, 0, `${command.slice(2).join(' ')} failed`);
  return output;
}

const claude = (...args) => [process.execPath, `${packages}/node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs`, ...args];
const codex = (...args) => [process.execPath, `${packages}/node_modules/@openai/codex/bin/codex.js`, ...args];

const clients = {
  'claude-code': {
    clientID: 'https://claude.ai/oauth/claude-code-client-metadata',
    protocol: '2026-07-28',
    env: {
      ANTHROPIC_BASE_URL: address, ANTHROPIC_API_KEY: 'stub',
      ENABLE_TOOL_SEARCH: 'false', // offers the tools in the first request
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    },
    async add() {
      await ok(claude('mcp', 'add', '--transport', 'http', 'gatehouse', url));
      assert.match(await ok(claude('mcp', 'list')), /Needs authentication/);
      await this.signIn();
      assert.match(await ok(claude('mcp', 'list')), /Connected/);
    },
    signIn: () => ok(claude('mcp', 'login', 'gatehouse'), { terminal: true }),
    // It stores the challenge, and requests its scopes in addition to those of the token.
    stepUp() { return this.signIn(); },
    refusal: /needs additional permissions \(scope: "mcp:use greet:write greet:read"\)/,
    prompt: () => run(claude('-p', 'Do what is planned.', '--allowedTools', 'mcp__gatehouse')),
  },
  codex: {
    clientID: 'https://chatgpt.com/oauth/codex/client.json',
    protocol: '2025-06-18',
    async add() {
      // This signs in, too.
      assert.match(await ok(codex('mcp', 'add', 'gatehouse', '--url', url)), /Successfully logged in/);
      assert.match(await ok(codex('mcp', 'list')), /gatehouse .* enabled +OAuth/);
      const file = `${home}/.codex/config.toml`, added = readFileSync(file, 'utf8');
      writeFileSync(file, `
        model = "stub"
        model_provider = "stub"
        check_for_update_on_startup = false
        analytics.enabled = false
        model_providers.stub = { name = "stub", base_url = "${address}/v1", wire_api = "responses", request_max_retries = 0, stream_max_retries = 0 }
        ${added}`);
      appendFileSync(file, 'default_tools_approval_mode = "approve"\n'); // the last table is that of the server
    },
    // By default it requests the scopes of the first sign-in again.
    stepUp: () => ok(codex('mcp', 'login', 'gatehouse', '--scopes', 'mcp:use,greet:read,greet:write')),
    refusal: /Insufficient scope/,
    prompt: () => run(codex('exec', '--skip-git-repo-check', 'Do what is planned.')),
  },
};
const client = clients[name];

// calls has the model call tools, and returns the results that it received.
async function calls(...plan) {
  model.plan = plan.map(([tool, args = {}]) => ({ tool: `mcp__gatehouse__${tool}`, args }));
  model.results = [];
  const { code, output } = await client.prompt();
  console.log(`tools offered to the model: ${model.tools.join(' ')}\nresults: ${JSON.stringify(model.results, null, 2)}\n`);
  assert.equal(code, 0);
  assert.equal(model.results.length, plan.length, 'one result for each call');
  assert.match(output, /Done: /, 'the client prints the last text of the model');
  return model.results;
}

// logged returns the calls in the log of the server since this program started, as "tool status".
const begin = statSync(log).size;
const logged = () => readFileSync(log).subarray(begin).toString().split('\n')
  .filter((line) => line.includes('"tools/call"'))
  .map((line) => {
    assert.ok(line.includes(`"${client.protocol}"`), `not by protocol ${client.protocol}: ${line}`);
    return `${line.match(/"tool(?:_name)?":"(\w+)"/)?.[1]} ${line.match(/"status(?:_code)?":(\d+)/)?.[1]}`;
  });

try {
  await client.add();

  const [greeting, caller] = await calls(['greet', { name: 'Ada' }], ['whoami']);
  for (const tool of ['greet', 'whoami', 'countdown', 'send_greeting', 'server_stats']) {
    assert.ok(model.tools.includes(`mcp__gatehouse__${tool}`), `the client offers ${tool}`);
  }
  assert.match(greeting, /"greeting":"Hello, Ada!"/);
  assert.match(caller, /"subject":"alice"/);
  const me = JSON.parse(caller.slice(caller.indexOf('{')));
  assert.deepEqual(me.scopes, ['mcp:use', 'greet:read', 'offline_access'], 'scopes of the first sign-in');
  if (identification === 'document') assert.equal(me.client, client.clientID);
  else assert.doesNotMatch(me.client, /^https:/);

  // Neither client signs in by itself during a call.
  assert.match((await calls(['send_greeting', { name: 'Ada' }]))[0], client.refusal);
  await client.stepUp();
  // The tool does not send: without a user both clients cancel the elicitation.
  const [again, sent] = await calls(['greet', { name: 'Bob' }], ['send_greeting', { name: 'Ada' }]);
  assert.match(again, /"greeting":"Hello, Bob!"/);
  assert.match(sent, /"sent":false,"asked":true/);

  assert.deepEqual(
    // With protocol 2026-07-28 an elicitation takes a second request for the same call.
    logged().filter((call, i, all) => call !== all[i - 1]),
    ['greet 200', 'whoami 200', 'send_greeting 403', 'greet 200', 'send_greeting 200'],
  );
} finally {
  model.close();
}
