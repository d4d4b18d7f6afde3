// Opens the pages of a real server and a real issuer in Chromium, and clicks: node pages.mjs WORK [--screenshots DIR]
// [--only TEXT]. WORK contains the program gatehouse. The exit code is 1 if a check fails, if a page causes a console
// error or violates its Content-Security-Policy, or if a request leaves this computer.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { brokerPages } from "./broker.mjs";
import {
  Browser, Client, call, checkLayout, checkProblem, click, desktop, freePort, openSession, phone, run, schemes, start,
  stopAll, text, texts,
} from "./world.mjs";

const { positionals: [work], values: options } = parseArgs({
  allowPositionals: true, options: { screenshots: { type: "string" }, only: { type: "string", default: "" } },
});

const approve = "button[value=approve]", deny = "button[value=deny]";
const first = ["mcp:use", "greet:read"], all = [...first, "greet:write", "gatehouse:admin", "offline_access"];

const origin = `http://localhost:${await freePort()}`, resource = `${origin}/mcp`;
const issuerPort = await freePort(), issuer = `http://localhost:${issuerPort}`;
const startIssuer = () =>
  start(work, issuer, ["issuer", `--listen=127.0.0.1:${issuerPort}`, `--resource=${resource}`, `--issuer=${issuer}`]);
const operator = `http://localhost:${await freePort()}`;
const operatorFlag = (url) => `--operator.listen=${url.replace("http://localhost", "127.0.0.1")}`;
await start(work, origin, ["serve", `--resource=${resource}`, operatorFlag(operator)]);
let standalone = await startIssuer();
const browser = await Browser.launch(options.screenshots);

let failures = 0;
const clients = [];
const register = async (name, at = origin) => {
  clients.push(await Client.register(at, name));
  return clients.at(-1);
};

const status = async () => (await fetch(`${operator}/status.json`)).json();

// check runs one check. A failure does not stop the others.
async function check(name, body) {
  if (!name.includes(options.only)) return;
  const began = Date.now();
  let error;
  const page = { opened: [], async open(...args) { this.opened.push(await browser.open(...args)); return this.opened.at(-1); } };
  try {
    await body((...args) => page.open(...args));
  } catch (e) {
    error = e;
  }
  for (const opened of page.opened) await opened.close().catch(() => {});
  const problems = browser.problems.splice(0);
  if (error) problems.unshift(error.stack);
  failures += problems.length > 0 ? 1 : 0;
  console.log(`${problems.length ? "FAIL" : "ok  "} ${String(Date.now() - began).padStart(5)} ms  ${name}`);
  for (const problem of problems) console.log(problem.replaceAll(/^/gm, "       "));
}

// --- landing page

for (const viewport of [desktop, phone]) {
  for (const scheme of schemes) {
    await check(`landing page, ${viewport.name}, ${scheme}: nothing is cut`, async (open) => {
      const page = await open(viewport, scheme);
      for (const address of [origin, resource]) {
        const response = await page.goto(address);
        assert.equal(response.status(), 200);
        assert.equal(await text(page, "h1"), "Gatehouse");
        assert.match(await page.title(), /Gatehouse/);
        await checkLayout(page);
      }
      await browser.shoot(page, `landing-${viewport.name}-${scheme}`);
    });
  }
}

await check("landing page: one block for each client, and a click selects its command", async (open) => {
  const page = await open(desktop);
  await page.goto(resource);
  const names = await texts(page, "h2");
  assert.ok(names.length >= 6 && names.includes("Claude Code"), `the clients are ${names}`);
  const blocks = await page.$$("pre code");
  assert.equal(blocks.length, names.length + 1, "each client has a block, and so has the address");
  for (const block of blocks) {
    await block.click();
    const [selected, command] = await block.evaluate((code) => [getSelection().toString(), code.textContent]);
    assert.equal(selected, command);
    assert.ok(command.includes(resource), `${command} does not contain the address`);
    assert.ok(!command.includes("\n"), `${command} is more than one command`);
  }
});

await check("landing page: on this computer it does not propose connectors of web services", async (open) => {
  const page = await open(desktop);
  await page.goto(resource);
  assert.doesNotMatch(await text(page, "main"), /custom connector/);
});

// --- consent page

for (const viewport of [desktop, phone]) {
  for (const scheme of schemes) {
    await check(`consent page, ${viewport.name}, ${scheme}: nothing is cut`, async (open) => {
      const client = await register("Claude Code");
      const page = await open(viewport, scheme);
      await page.goto(client.authorizeURL(all));
      await checkLayout(page);
      await browser.shoot(page, `consent-${viewport.name}-${scheme}`);
    });
  }
}

await check("consent page: Approve is visible at 1280x800", async (open) => {
  // An id of another process gets the longest warning.
  const here = await register("Claude Code"), earlier = await register("A client with a longer name", issuer);
  for (const id of [here.id, earlier.id]) {
    const page = await open(desktop);
    const client = id === here.id ? here : earlier;
    await page.goto(client.authorizeURL(all).replace(client.issuer, origin));
    const box = await page.$eval(approve, (button) => button.getBoundingClientRect().toJSON());
    assert.ok(box.top >= 0 && box.bottom <= desktop.height, `Approve ends at ${box.bottom} of ${desktop.height}`);
    assert.equal(await page.evaluate(() => scrollY), 0);
    const warnings = await texts(page, ".warn");
    assert.equal(warnings.length, 1, `the warnings are ${warnings}`);
    assert.equal(/has not registered since/.test(warnings[0]), client === earlier);
  }
});

await check("consent page: it names the application, and describes the permissions", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  await page.goto(client.authorizeURL([...all, "openid"]));
  assert.match(await page.title(), /^Sign in/);
  assert.equal(await text(page, "h1"), "“Claude Code” requests access");
  assert.equal(await text(page, "dd > strong"), "Claude Code");
  const size = (selector) => page.$eval(selector, (e) => parseFloat(getComputedStyle(e).fontSize));
  assert.ok((await size("dd > small")) < (await size("dd > strong")), "the id is as large as the name");
  const scopes = await texts(page, "dd li");
  assert.equal(scopes.length, all.length + 1);
  for (const scope of scopes) assert.match(scope, /^[A-Z][a-z]+ .+ [a-z:_]+$/, "a permission is not described");
  assert.equal((await page.$$(".new")).length, 0, "at a first sign-in nothing is new");
});

await check("Approve reaches the application", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  await page.goto(client.authorizeURL(first));
  await page.click("input[value=bob]");
  await click(page, approve);
  assert.equal(await page.title(), "The application");
  assert.equal(client.hits.length, 1);
  assert.equal(client.hits[0].get("state"), "s t&1");
  assert.equal(client.hits[0].get("iss"), origin);
  const answer = await client.exchange();
  assert.equal(answer.status, 200);
  const claims = JSON.parse(Buffer.from(answer.access_token.split(".")[1], "base64url"));
  assert.deepEqual([claims.sub, claims.scope, claims.aud], ["bob", first.join(" "), resource]);
});

await check("Approve works with a tap on a phone", async (open) => {
  const client = await register("Claude Code");
  const page = await open(phone);
  await page.goto(client.authorizeURL(all));
  await page.$eval(approve, (button) => button.scrollIntoView());
  await Promise.all([page.waitForNavigation(), page.tap(approve)]);
  assert.equal((await client.exchange()).status, 200);
});

await check("Deny reaches the application", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  await page.goto(client.authorizeURL(first));
  await click(page, deny);
  assert.equal(client.hits.length, 1);
  assert.deepEqual([client.hits[0].get("error"), client.hits[0].get("code")], ["access_denied", null]);
});

// A browser that sends the form twice shows the second answer. The application may have received the first.
for (const pause of [0, 120]) {
  for (const [kind, delay, exchangeAtOnce] of [
    ["answers at once", 0, false], ["answers after 0.5 s", 500, false], ["uses the code before it answers", 500, true],
  ]) {
    await check(`double click, ${pause} ms apart, at an application that ${kind}: it signs in`, async (open) => {
      const client = await register("Claude Code");
      Object.assign(client, { delay, exchangeAtOnce });
      const page = await open(desktop);
      const statuses = [];
      page.on("response", (r) => r.request().isNavigationRequest() && statuses.push(r.status()));
      await page.goto(client.authorizeURL(all));
      const box = await page.$eval(approve, (b) => b.getBoundingClientRect().toJSON());
      const at = [box.x + box.width / 2, box.y + box.height / 2];
      await page.mouse.click(...at);
      await new Promise((done) => setTimeout(done, pause));
      await page.mouse.click(...at).catch(() => {});
      await page.waitForFunction(() => ["The application", "Signed in · demo issuer"].includes(document.title),
        { timeout: 5000 });
      assert.ok(statuses.every((status) => status < 400), `the answers have the statuses ${statuses}`);
      assert.ok(client.hits.length > 0, "the application was not reached");
      assert.equal(new Set(client.hits.map((query) => query.get("code"))).size, 1, "there are two codes");
      if (exchangeAtOnce) assert.equal(client.hits.length, 1, "the application was reached twice");
      const answer = exchangeAtOnce ? client.answer : await client.exchange();
      assert.equal(answer.status, 200);
      assert.equal(await client.refresh(answer.refresh_token), 200, "what was issued is revoked");
    });
  }
}

await check("a step-up marks what is new, for the user who has signed in before", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  await page.goto(client.authorizeURL(first));
  await page.click("input[value=bob]");
  await click(page, approve);
  await page.goto(client.authorizeURL([...first, "greet:write"]));
  const isNew = await page.$$eval("dd li", (all) => all.map((li) => [li.innerText, !!li.querySelector(".new")]));
  assert.equal(isNew.length, 3);
  for (const [scope, marked] of isNew) assert.equal(marked, scope.includes("greet:write"), scope);
  assert.ok(isNew[0][1], "the new permission is not the first");
  assert.equal(await page.$eval("input[name=person]:checked", (input) => input.value), "bob");
  assert.match(await text(page, "dl"), /Bob has already granted/);
  for (const scheme of schemes) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await checkLayout(page);
    await browser.shoot(page, `step-up-${scheme}`);
  }
});

// --- sign-ins that do not go on

await check("the page of an answered request says so", async (open) => {
  for (const [button, title] of [[approve, "Already approved"], [deny, "Already denied"]]) {
    const client = await register("Claude Code");
    const page = await open(desktop);
    await page.goto(client.authorizeURL(first));
    const address = page.url();
    await click(page, button);
    const response = await page.goto(address);
    await checkProblem(page, response, 400, title, /already answered: you have (approved|denied) it/);
    await browser.shoot(page, title.toLowerCase().replace(" ", "-"));
  }
});

await check("another answer to an answered request does not change it", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  await page.goto(client.authorizeURL(first));
  const other = await page.browserContext().newPage(); // the same page in a second tab
  await other.goto(page.url());
  await page.bringToFront();
  await click(page, deny);
  await other.bringToFront();
  await checkProblem(other, await click(other, approve), 400, "Already denied", /you have denied it/);
  assert.equal(client.hits.length, 1);
});

await check("a restart of the issuer is told when the form is sent", async (open) => {
  const client = await register("Claude Code", issuer);
  for (const [viewport, scheme] of [[desktop, "light"], [phone, "dark"]]) {
    const page = await open(viewport, scheme);
    await page.goto(client.authorizeURL(first));
    await standalone.stop();
    standalone = await startIssuer();
    await checkProblem(page, await click(page, approve), 400, "Sign-in interrupted", /has restarted/);
    await browser.shoot(page, `restart-${viewport.name}-${scheme}`);
  }
});

await check("a wrong client and a wrong redirect are explained and not redirected", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  const wrongClient = await page.goto(client.authorizeURL(first, { client_id: "not-registered" }));
  await checkProblem(page, wrongClient, 400, "Sign-in failed", /The client is unknown.*register again/s);
  await browser.shoot(page, "wrong-client");
  const wrongRedirect = await page.goto(client.authorizeURL(first, { redirect_uri: "https://app.example/cb" }));
  await checkProblem(page, wrongRedirect, 400, "Sign-in failed", /redirect_uri is not registered/);
  await browser.shoot(page, "wrong-redirect");
  assert.equal(client.hits.length, 0);
});

// --- the other pages

await check("a wrong path is a page in the same style, at the server and at the issuer", async (open) => {
  for (const [viewport, scheme] of [[desktop, "light"], [phone, "dark"]]) {
    const page = await open(viewport, scheme);
    const response = await page.goto(`${origin}/nothing`);
    await checkProblem(page, response, 404, "Not Found", /Nothing is served at this path/);
    assert.equal(await text(page, "main a"), resource);
    await browser.shoot(page, `not-found-${viewport.name}-${scheme}`);
    await checkProblem(page, await page.goto(`${issuer}/nothing`), 404, "Not Found", /Nothing is served at this path/);
  }
});

for (const [viewport, scheme] of [[desktop, "light"], [desktop, "dark"], [phone, "light"], [phone, "dark"]]) {
  await check(`the issuer's own page, ${viewport.name}, ${scheme}: its links lead to the metadata`, async (open) => {
    const page = await open(viewport, scheme);
    const response = await page.goto(issuer);
    assert.equal(response.status(), 200);
    assert.equal(await text(page, "h1"), "This is the demo issuer");
    await checkLayout(page);
    await browser.shoot(page, `issuer-${viewport.name}-${scheme}`);
    const links = await page.$$("main a");
    assert.equal(links.length, 2);
    for (let i = 0; i < links.length; i++) {
      await page.goto(issuer);
      const [document] = await Promise.all([page.waitForNavigation(), (await page.$$("main a"))[i].click()]);
      assert.equal((await document.json()).issuer, issuer);
    }
  });
}

await check("the callback of gatehouse token get is a page in the same style", async (open) => {
  for (const [button, title, scheme] of [[approve, "Signed in", "light"], [deny, "Sign-in refused", "dark"]]) {
    const program = run(work, ["token", "get", `--resource=${resource}`, "--no-browser", "--timeout=20s"]);
    for (let i = 0; i < 100 && !program.stderr.includes("\n\n  http"); i++) await new Promise((d) => setTimeout(d, 50));
    const [address] = program.stderr.match(/http:\S+/) ?? assert.fail(program.stderr);
    const page = await open(desktop, scheme);
    await page.goto(address);
    assert.equal(await text(page, "dd > strong"), "gatehouse token get");
    const response = await click(page, button);
    assert.equal(response.status(), 200);
    assert.equal(await text(page, "h1"), title);
    assert.equal((await page.$$("[role=status], [role=alert]")).length, 1);
    await checkLayout(page);
    await browser.shoot(page, `token-get-${scheme}`);
    assert.equal(await program.ended, button === approve ? 0 : 1);
    if (button === approve) assert.match(program.stdout, /^ey[\w-]+\.[\w-]+\.[\w-]+\n$/);
  }
});

// --- status page

// The traffic of a small server: both protocol eras, several tools, refusals and tool errors.
await check("status page: it counts calls of both eras, refusals and tool errors", async (open) => {
  const client = await register("Claude Code");
  const page = await open(desktop);
  await page.goto(client.authorizeURL(all));
  await click(page, approve);
  const token = (await client.exchange()).access_token;
  const forged = token.slice(0, -9) + (token.at(-9) === "A" ? "B" : "A") + token.slice(-8);
  const before = await status();
  for (let i = 0; i < 20; i++) assert.equal((await call(resource, token, "greet", { name: "Ada" })).status, 200);
  for (let i = 0; i < 5; i++) assert.equal((await call(resource, token, "whoami", {})).status, 200);
  const session = await openSession(resource, token);
  for (let i = 0; i < 10; i++) {
    assert.equal((await call(resource, token, "greet", { name: "Ada" }, session)).status, 200);
  }
  assert.equal((await call(resource, token, "countdown", { seconds: 1 })).status, 200);
  for (let i = 0; i < 3; i++) await call(resource, token, "countdown", { seconds: -1 }); // a tool error
  await call(resource, token, "<script>alert(1)</script>", {});
  for (let i = 0; i < 4; i++) assert.equal((await call(resource, undefined, "greet", {})).status, 401);
  for (let i = 0; i < 3; i++) assert.equal((await call(resource, forged, "greet", {})).status, 401);
  for (let i = 0; i < 2; i++) assert.equal((await fetch(`${origin}/nothing`)).status, 404);

  await page.goto(operator);
  assert.equal(await text(page, "h1"), "Ready");
  assert.match(await page.title(), /^Ready · Gatehouse$/);
  const after = await status();
  const more = (outcome) => (after.requests[outcome] ?? 0) - (before.requests[outcome] ?? 0);
  assert.ok(more("ok") >= 38, `${more("ok")} requests succeeded`);
  assert.deepEqual([more("no_credentials"), more("signature_invalid"), after.sessions.active], [4, 3, 1]);
  const tools = Object.fromEntries(after.tools.map((tool) => [tool.name, tool]));
  assert.deepEqual([tools.greet.calls, tools.whoami.calls, tools.countdown.calls], [30, 5, 4]);
  assert.deepEqual([tools.greet.tool_errors, tools.countdown.tool_errors], [0, 3]);
  const rows = await texts(page, "table.tools td:first-child");
  assert.deepEqual(rows.slice(0, 3), ["greet", "whoami", "countdown"]);
  assert.ok(!rows.some((name) => name.includes("script")), `the tools are ${rows}`);
  assert.ok((await page.$$("svg.chart rect")).length > 0, "the chart is empty");
});

for (const viewport of [desktop, phone, { ...phone, name: "narrow", width: 360, height: 780 }]) {
  for (const scheme of schemes) {
    await check(`status page, ${viewport.name}, ${scheme}: nothing is cut`, async (open) => {
      const page = await open(viewport, scheme);
      assert.equal((await page.goto(operator)).status(), 200);
      await checkLayout(page);
      assert.equal((await page.$$("script")).length, 0);
      await browser.shoot(page, `status-${viewport.name}-${scheme}`);
    });
  }
}

await check("status page: a click on a reason shows what it means", async (open) => {
  const page = await open(phone);
  await page.goto(`${operator}/?refresh=off`);
  const links = await page.$$("main a[href^='#']");
  assert.ok(links.length >= 3, `${links.length} reasons are linked`);
  for (const link of links) {
    const reason = await link.evaluate((a) => a.innerText.trim());
    await link.click();
    const target = await page.$eval(":target", (e) => {
      const box = e.getBoundingClientRect();
      return { text: e.innerText.trim(), isVisible: box.top >= 0 && box.bottom <= innerHeight + 1 };
    });
    assert.ok(target.isVisible && target.text.startsWith(reason), `${reason} leads to ${JSON.stringify(target)}`);
    assert.ok(target.text.length > reason.length + 10, `${reason} is not explained`);
  }
});

await check("status page: the browser loads it again, until the user stops that", async (open) => {
  const page = await open(desktop);
  await page.goto(operator);
  const again = await page.waitForNavigation({ timeout: 15_000 });
  assert.equal(again.status(), 200);
  await click(page, "a[href='/?refresh=off']");
  assert.equal((await page.$$("meta[http-equiv=refresh]")).length, 0);
  await click(page, "footer a[href='/']");
  assert.equal((await page.$$("meta[http-equiv=refresh]")).length, 1);
});

const stdioUpstream = (name, ...more) => [`command=["node", "${work}/upstream.mjs"]`, "tools=*", ...more]
  .map((setting) => `--upstreams.${name}.${setting}`);

// pinsOf writes the pins of an upstream that has one tool, and returns the path.
function pinsOf(tool) {
  const definition = { name: tool, inputSchema: { type: "object" } };
  const path = `${work}/${tool}.pins.json`;
  writeFileSync(path, JSON.stringify({ server: "pinned 1", tools: [{ sha256: "0".repeat(64), definition }] }));
  return path;
}

await check("status page of a server with problems: it names them", async (open) => {
  const [other, itsOperator] = [`http://localhost:${await freePort()}`, `http://localhost:${await freePort()}`];
  const program = await start(work, other, ["serve", `--resource=${other}/mcp`, operatorFlag(itsOperator),
    "--provider.kind=oidc", `--provider.issuer=http://localhost:${await freePort()}`, "--scopes.required=mcp:use",
    ...stdioUpstream("notes"), ...stdioUpstream("files", "processes=per_user"),
    `--upstreams.tickets.url=http://127.0.0.1:${await freePort()}/mcp`, "--upstreams.tickets.tools=*",
    `--upstreams.tickets.pins=${pinsOf("get_ticket")}`]);
  await new Promise((done) => setTimeout(done, 500));
  for (const viewport of [desktop, phone]) {
    for (const scheme of schemes) {
      const page = await open(viewport, scheme);
      await page.goto(itsOperator);
      assert.equal(await text(page, "h1"), "Not ready: keys_unavailable");
      const problems = await text(page, ".problems");
      assert.match(problems, /No token of http:\S+ can be verified: keys_unavailable/);
      assert.match(problems, /The upstream tickets is down: upstream_unavailable/);
      const upstreams = await texts(page, "table.upstreams td:first-child");
      assert.match(upstreams[0], /^files ready\s+stdio · MCP 2025-11-25 · notes 1.2.3 · 0 of 50 processes$/);
      assert.match(upstreams[1], /^notes ready\s+stdio · MCP 2025-11-25 · notes 1.2.3$/);
      assert.match(upstreams[2], /^tickets down: upstream_unavailable\s+http · pinned$/);
      await checkLayout(page);
      await browser.shoot(page, `status-problems-${viewport.name}-${scheme}`);
    }
  }
  await program.stop();
});

await check("status page: a page of another site can neither read nor embed it", async (open) => {
  const client = await register("Another site");
  const page = await open(desktop);
  await page.goto(client.redirect); // it has no policy of its own
  const read = await page.evaluate(async (url) => {
    const isRead = (mode) => fetch(`${url}/status.json`, { mode }).then(() => true, () => false);
    return { cors: await isRead("cors"), opaque: await isRead("no-cors") };
  }, operator);
  assert.deepEqual(read, { cors: false, opaque: false });
  await page.evaluate((url) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = done;
    frame.src = url;
    document.body.append(frame);
  }), operator);
  const refusals = browser.problems.splice(0); // the browser says in its console what it refuses
  for (const why of ["CORS policy", "ERR_BLOCKED_BY_RESPONSE.NotSameOrigin", "frame-ancestors 'none'"]) {
    assert.ok(refusals.some((text) => text.includes(operator) && text.includes(why)), `${why}: ${refusals.join("\n")}`);
  }
});

await brokerPages(work, browser, check, (client) => clients.push(client));

for (const client of clients) client.close();
await browser.close();
await stopAll();
console.log(failures ? `pages: ${failures} checks failed` : `pages: all checks passed in ${Math.round(performance.now() / 1000)} s`);
process.exit(failures ? 1 : 0);
