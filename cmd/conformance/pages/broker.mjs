// The pages of kind broker: a person comes from an application, approves, signs in at the provider's own page, whose
// policy lets its form lead to this server only, and arrives at the application.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import {
  Client, checkLayout, checkProblem, click, desktop, freePort, phone, schemes, start, startProgram, text, texts,
} from "./world.mjs";

const approve = "button[value=approve]", deny = "button[value=deny]", signIn = "button[type=submit]";
const scopes = ["mcp:use", "greet:read", "offline_access"];

// startBroker starts the provider of idp.mjs, and a server in front of it.
async function startBroker(work) {
  const port = await freePort(), origin = `http://localhost:${port}`;
  const providerPort = await freePort(), control = `http://127.0.0.1:${await freePort()}`;
  const provider = `http://127.0.0.1:${providerPort}`;
  const file = (name) => {
    writeFileSync(`${work}/${name}`, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600 });
    return `${work}/${name}`;
  };
  const secret = file("broker-client-secret");
  const program = await startProgram(process.execPath, [`${work}/idp.mjs`, `--port=${providerPort}`,
    `--control=${new URL(control).port}`, `--issuer=${provider}`, `--client-secret-file=${secret}`, `--redirect=${origin}/callback`],
    `${provider}/.well-known/openid-configuration`);
  process.env.GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE = secret;
  process.env.GATEHOUSE_PROVIDER__SECRETS_FILE = file("broker-secrets");
  await start(work, origin, ["serve", `--server.listen=127.0.0.1:${port}`, `--resource=${origin}/mcp`,
    "--provider.kind=broker", `--provider.issuer=${provider}`, "--provider.client_id=gatehouse",
    "--provider.upstream_scopes=openid,offline_access", "--provider.authorize_params=prompt=consent",
    "--provider.scope_rules=groups=staff > mcp:use greet:read", "--scopes.required=mcp:use",
    "--scopes.initial=mcp:use,greet:read", "--tools.demo"]);
  delete process.env.GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE;
  delete process.env.GATEHOUSE_PROVIDER__SECRETS_FILE;
  return { origin, provider, control, program };
}

const atProvider = (page) => page.waitForFunction(() => document.title === "Corp sign-in");
const atApplication = (page) => page.waitForFunction(() => document.title === "The application");

// toProvider approves and waits for the page of the provider.
async function toProvider(page, client) {
  await page.goto(client.authorizeURL(scopes));
  await Promise.all([page.click(approve), atProvider(page)]);
}

// signsIn signs in at the provider, and waits for the application.
async function signsIn(page, account) {
  if (await page.$("input[name=account]")) await page.type("input[name=account]", account);
  await Promise.all([page.click(signIn), atApplication(page)]);
}

export async function brokerPages(work, browser, check, closeLater) {
  const { origin, provider, control, program } = await startBroker(work);
  const register = async (name) => {
    const client = await Client.register(origin, name);
    closeLater(client);
    return client;
  };

  for (const viewport of [desktop, phone]) {
    for (const scheme of schemes) {
      await check(`broker, ${viewport.name}, ${scheme}: nothing is cut on the pages of a sign-in`, async (open) => {
        const client = await register("An application with a rather long name that it has chosen for itself");
        const page = await open(viewport, scheme);
        await page.goto(client.authorizeURL(scopes));
        await checkLayout(page);
        assert.match(await text(page, "dl"), /It registered itself/);
        await browser.shoot(page, `broker-consent-${viewport.name}-${scheme}`);
        const between = await pageBetween(page, origin);
        const still = await open(viewport, scheme);
        await still.goto(between.url);
        between.server.close();
        await checkLayout(still);
        assert.match(await text(still, "main a"), /^Continue to 127\.0\.0\.1/);
        await browser.shoot(still, `broker-continue-${viewport.name}-${scheme}`);
      });
    }
  }

  await check("broker: from the application through the provider and back", async (open) => {
    const client = await register("Claude Code");
    const page = await open(desktop);
    const seen = [];
    page.on("response", (r) => {
      if (r.request().isNavigationRequest()) seen.push(`${r.status()} ${new URL(r.url()).origin === origin ? new URL(r.url()).pathname : ""}`.trim());
    });
    await toProvider(page, client);
    assert.equal(new URL(page.url()).origin, provider);
    await signsIn(page, "alice");
    // Both pages in between: with a redirect instead of one, Chromium would stop there.
    assert.ok(seen.includes("200 /consent") && seen.includes("200 /callback"), `the answers are ${seen}`);
    assert.deepEqual([client.hits.length, client.hits[0].get("state"), client.hits[0].get("iss")], [1, "s t&1", origin]);
    const answer = await client.exchange();
    assert.equal(answer.status, 200);
    const claims = JSON.parse(Buffer.from(answer.access_token.split(".")[1], "base64url"));
    assert.deepEqual([claims.iss, claims.sub, claims.aud], [origin, "alice", `${origin}/mcp`]);
    assert.deepEqual((await page.browserContext().cookies()).filter(({ name }) => name.startsWith("signin")), [], "a cookie is left");
  });

  await check("broker: it works with taps on a phone", async (open) => {
    const client = await register("Claude Code");
    const page = await open(phone);
    await page.goto(client.authorizeURL(scopes));
    await page.$eval(approve, (button) => button.scrollIntoView());
    await Promise.all([page.tap(approve), atProvider(page)]);
    await page.type("input[name=account]", "alice");
    await Promise.all([page.tap(signIn), atApplication(page)]);
    assert.equal((await client.exchange()).status, 200);
  });

  await check("broker: Deny reaches the application, and not the provider", async (open) => {
    const client = await register("Claude Code");
    const page = await open(desktop);
    const asked = [];
    page.on("request", (r) => r.url().startsWith(provider) && asked.push(r.url()));
    await page.goto(client.authorizeURL(scopes));
    await Promise.all([page.click(deny), atApplication(page)]);
    assert.deepEqual([client.hits[0].get("error"), asked.length], ["access_denied", 0]);
  });

  await check("broker: two tabs do not disturb each other", async (open) => {
    const one = await register("One"), other = await register("Other");
    const page = await open(desktop);
    const second = await page.browserContext().newPage();
    second.setDefaultTimeout(10_000);
    await page.bringToFront();
    await toProvider(page, one);
    await second.bringToFront();
    await toProvider(second, other);
    await signsIn(second, "bob");
    await page.bringToFront();
    await signsIn(page, "alice");
    for (const client of [one, other]) assert.equal((await client.exchange()).status, 200);
  });

  await check("broker: the back button leads to a page that works, or says what to do", async (open) => {
    const client = await register("Claude Code");
    const page = await open(desktop);
    await toProvider(page, client);
    while (new URL(page.url()).origin !== origin) await page.goBack(); // not to the page that continues by itself
    if (!(await page.$(approve))) await page.goBack();
    assert.ok(await page.$(approve), `the page is ${page.url()}`);
    await Promise.all([page.click(approve), atProvider(page)]);
    await signsIn(page, "alice");
    assert.equal((await client.exchange()).status, 200);
    const callback = await page.goto(page.url()); // the application again, by its own address
    assert.equal(callback.status(), 200);
    // The consent page of a finished sign-in starts another one.
    const again = await open(desktop);
    await toProvider(again, client);
    await signsIn(again, "alice");
    assert.equal((await client.exchange()).status, 200);
  });

  await check("broker: a response of the provider is accepted once", async (open) => {
    const client = await register("Claude Code");
    const page = await open(desktop);
    const answers = [];
    page.on("request", (r) => r.url().startsWith(`${origin}/callback`) && answers.push(r.url()));
    await toProvider(page, client);
    await signsIn(page, "alice");
    await checkProblem(page, await page.goto(answers[0]), 403, "Sign-in failed", /finished already/);
    await browser.shoot(page, "broker-finished");
    assert.equal(client.hits.length, 1);
    assert.equal((await client.exchange()).status, 200);
  });

  await check("broker: the provider's response in another browser is refused", async (open) => {
    const client = await register("Claude Code");
    // The victim gets the link to the provider of the attacker, who has approved, and signs in there.
    const address = await linkToProvider(open, client, origin), victim = await open(desktop);
    await victim.bringToFront();
    await victim.goto(address);
    await victim.type("input[name=account]", "alice");
    const response = await click(victim, signIn);
    await checkProblem(victim, response, 403, "Sign-in failed", /not started in this browser/);
    await browser.shoot(victim, "broker-foreign-browser");
    assert.equal(client.hits.length, 0);
  });

  await check("broker: the consent page cannot be embedded", async (open) => {
    const client = await register("Another site");
    const page = await open(desktop);
    await page.goto(client.redirect); // it has no policy of its own
    await page.evaluate((url) => new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = done;
      frame.src = url;
      document.body.append(frame);
    }), client.authorizeURL(scopes));
    const refusals = browser.problems.splice(0);
    assert.ok(refusals.some((problem) => problem.includes("frame-ancestors 'none'")), `the console says ${refusals}`);
    for (const frame of page.frames().slice(1)) assert.equal(await frame.$(approve).catch(() => null), null);
  });

  await check("broker: an account that the provider refuses", async (open) => {
    await fetch(`${control}/disable?account=mallory`, { method: "POST" });
    const client = await register("Claude Code");
    for (const [viewport, scheme] of [[desktop, "light"], [phone, "dark"]]) {
      const page = await open(viewport, scheme);
      await toProvider(page, client);
      await page.type("input[name=account]", "mallory");
      const response = await click(page, signIn);
      assert.equal(response.status(), 403);
      assert.ok((await text(page, "[role=alert]")).length > 10);
      assert.ok(!(await text(page, "body")).includes("unknown account"), "it shows the provider's text");
      await checkLayout(page);
      await browser.shoot(page, `broker-refused-${viewport.name}-${scheme}`);
      await Promise.all([page.click("main a"), atApplication(page)]);
      assert.equal(client.hits.at(-1).get("error"), "access_denied");
    }
  });

  await check("broker: an outage of the provider is a page", async (open) => {
    const client = await register("Claude Code");
    const page = await open(desktop);
    await toProvider(page, client);
    await page.type("input[name=account]", "alice");
    const pending = page.waitForRequest((r) => r.url().startsWith(`${origin}/callback`));
    page.on("request", (r) => r.url().startsWith(`${origin}/callback`) && program.stop());
    const answer = page.waitForResponse((r) => r.url().startsWith(`${origin}/callback`));
    await Promise.all([page.click(signIn), pending]);
    const response = await answer;
    assert.equal(response.status(), 503);
    assert.ok(response.headers()["retry-after"], "no Retry-After");
    await page.waitForSelector("[role=alert]");
    await checkLayout(page);
    await browser.shoot(page, "broker-outage");
    assert.ok((await texts(page, "main a")).length > 0);
  });
}

// linkToProvider returns the address at the provider to which another browser was sent.
async function linkToProvider(open, client, origin) {
  const page = await open(desktop);
  await page.bringToFront();
  await page.goto(client.authorizeURL(scopes));
  const request = page.waitForRequest((r) => r.isNavigationRequest() && !r.url().startsWith(origin));
  await Promise.all([page.click(approve), request]);
  return (await request).url();
}

// pageBetween serves the page after Approve, which leads on at once, without that.
async function pageBetween(page, origin) {
  const fields = await page.$$eval("input[type=hidden]", (all) => all.map(({ name, value }) => [name, value]));
  const cookies = await page.browserContext().cookies();
  const answer = await fetch(`${origin}/consent`, {
    method: "POST", body: new URLSearchParams([...fields, ["decision", "approve"]]),
    headers: { origin, "sec-fetch-mode": "navigate", cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; ") },
  });
  const html = await answer.text(), refresh = /<meta http-equiv="refresh"[^>]*>/;
  assert.match(html, refresh);
  const server = createServer((_, response) => response.writeHead(200, {
    "content-type": "text/html; charset=utf-8", "content-security-policy": answer.headers.get("content-security-policy"),
  }).end(html.replace(refresh, "")));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, url: `http://127.0.0.1:${server.address().port}/` };
}
