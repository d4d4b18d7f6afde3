// Servers, clients and browser pages for pages.mjs.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

export const desktop = { name: "desktop", width: 1280, height: 800 };
export const phone = { name: "phone", width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
export const schemes = ["light", "dark"];

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

// --- servers

const children = new Set();
process.once("exit", () => children.forEach(({ child }) => child.kill("SIGKILL"))); // after an error

export const run = (work, args) => runProgram(join(work, "gatehouse"), args, work);

function runProgram(path, args, cwd) {
  const child = spawn(path, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const program = { child, stdout: "", stderr: "", ended: new Promise((done) => child.once("exit", done)) };
  child.stdout.on("data", (text) => (program.stdout += text));
  child.stderr.on("data", (text) => (program.stderr += text));
  children.add(program);
  program.ended.then(() => children.delete(program));
  program.stop = () => (child.kill("SIGTERM"), program.ended);
  return program;
}

// start starts a server and waits until it answers.
export const start = (work, origin, args) => answers(run(work, args), args, `${origin}/health`);

// startProgram starts another program and waits until it answers at url.
export const startProgram = (path, args, url) => answers(runProgram(path, args), args, url);

async function answers(program, args, url) {
  for (let i = 0; i < 150; i++) {
    if (program.child.exitCode !== null) break;
    const response = await fetch(url).catch(() => null);
    if (response?.ok) return program;
    await sleep(100);
  }
  throw new Error(`${args.join(" ")} does not start:\n${program.stdout}${program.stderr}`);
}

export async function stopAll() {
  for (const program of children) await program.stop();
}

// --- clients

const verifier = randomBytes(32).toString("base64url");
const challenge = createHash("sha256").update(verifier).digest("base64url");

// Client is a registered client with its redirect URI. Its callback page answers after delay ms.
export class Client {
  hits = []; // the query of each request to the redirect URI
  delay = 0;
  exchangeAtOnce = false;

  static async register(issuer, name, redirectPath = "/callback") {
    const client = new Client();
    client.issuer = issuer;
    client.name = name;
    client.server = createServer((request, response) => client.#callback(request, response));
    await new Promise((done) => client.server.listen(0, "127.0.0.1", done));
    client.redirect = `http://127.0.0.1:${client.server.address().port}${redirectPath}`;
    const answer = await fetch(`${issuer}/register`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        redirect_uris: [client.redirect],
        client_name: name,
        token_endpoint_auth_method: "none",
        grant_types: ["authorization_code", "refresh_token"],
      }),
    });
    assert.equal(answer.status, 201);
    client.id = (await answer.json()).client_id;
    return client;
  }

  async #callback(request, response) {
    const url = new URL(request.url, this.redirect);
    if (url.pathname !== "/callback") return response.writeHead(404).end();
    this.hits.push(url.searchParams);
    if (this.exchangeAtOnce && this.hits.length === 1) this.answer = await this.exchange();
    await sleep(this.delay);
    response.setHeader("content-type", "text/html");
    response.end('<!DOCTYPE html><title>The application</title><link rel="icon" href="data:,"><p>Done.');
  }

  authorizeURL(scopes, changes = {}) {
    const query = new URLSearchParams({
      client_id: this.id, redirect_uri: this.redirect, response_type: "code", state: "s t&1", scope: scopes.join(" "),
      code_challenge: challenge, code_challenge_method: "S256", ...changes,
    });
    return `${this.issuer}/authorize?${query}`;
  }

  // exchange sends the code of the last hit to the token endpoint.
  async exchange() {
    const answer = await fetch(`${this.issuer}/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "authorization_code", client_id: this.id, code: this.hits.at(-1).get("code"),
        redirect_uri: this.redirect, code_verifier: verifier,
      }),
    });
    return { status: answer.status, ...(await answer.json()) };
  }

  async refresh(token) {
    const answer = await fetch(`${this.issuer}/token`, {
      method: "POST",
      body: new URLSearchParams({ grant_type: "refresh_token", client_id: this.id, refresh_token: token }),
    });
    return answer.status;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

// --- calls

const accepted = { "content-type": "application/json", accept: "application/json, text/event-stream" };

const post = (resource, token, message, headers) =>
  fetch(resource, {
    method: "POST", body: JSON.stringify({ jsonrpc: "2.0", ...message }),
    headers: { ...accepted, ...headers, ...(token && { authorization: `Bearer ${token}` }) },
  });

// openSession returns the headers of a session of MCP 2025-11-25.
export async function openSession(resource, token) {
  const version = { "mcp-protocol-version": "2025-11-25" };
  const answer = await post(resource, token, {
    id: 1, method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "pages", version: "1" } },
  });
  assert.equal(answer.status, 200);
  await answer.text();
  const headers = { ...version, "mcp-session-id": answer.headers.get("mcp-session-id") };
  await (await post(resource, token, { method: "notifications/initialized" }, headers)).text();
  return headers;
}

// call calls a tool: in a session, or without one by MCP 2026-07-28.
export async function call(resource, token, name, args, session) {
  const version = "2026-07-28", meta = "io.modelcontextprotocol";
  const _meta = {
    [`${meta}/protocolVersion`]: version, [`${meta}/clientCapabilities`]: {},
    [`${meta}/clientInfo`]: { name: "pages", version: "1" },
  };
  const params = { name, arguments: args, ...(session ? {} : { _meta }) };
  const modern = { "mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": name };
  const answer = await post(resource, token, { id: 2, method: "tools/call", params }, session ?? modern);
  return { status: answer.status, body: await answer.text() };
}

// --- the browser

// isLoopback reports whether a URL stays on this computer.
const isLoopback = (url) =>
  ["data:", "about:", "blob:"].includes(new URL(url).protocol) ||
  /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname);

// isOwnService reports whether a target of the proxy is a service that Chromium contacts by itself, in spite of its
// flags. Requests of pages do not reach the proxy: they are intercepted.
const isOwnService = (target) =>
  /\.(google|googleapis|gstatic|gvt1)\.com$/.test(new URL(target.includes("://") ? target : `https://${target}`).hostname);

// Browser is Chromium behind a proxy that refuses everything: only loopback bypasses it.
export class Browser {
  problems = [];

  static async launch(screenshots) {
    const browser = new Browser();
    browser.screenshots = screenshots;
    if (screenshots) mkdirSync(screenshots, { recursive: true });
    const refuse = (target) => {
      if (!isOwnService(target)) browser.problems.push(`a request for ${target} tried to leave this computer`);
    };
    browser.proxy = createServer((request, response) => {
      refuse(request.url);
      response.writeHead(502).end();
    });
    browser.proxy.on("connect", (request, socket) => {
      refuse(request.url);
      socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
    });
    await new Promise((done) => browser.proxy.listen(0, "127.0.0.1", done));
    browser.chromium = await puppeteer.launch({
      executablePath: process.env.CHROMIUM,
      args: [
        "--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--no-first-run", "--disable-domain-reliability",
        `--proxy-server=127.0.0.1:${browser.proxy.address().port}`,
      ],
    });
    return browser;
  }

  async close() {
    await this.chromium.close();
    this.proxy.close();
  }

  // open returns a page in a browser context of its own. Errors of a page fail the run.
  async open(viewport = desktop, scheme = "light") {
    const context = await this.chromium.createBrowserContext();
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.setRequestInterception(true);
    page.on("request", (request) => {
      if (isLoopback(request.url())) return request.continue();
      this.problems.push(`a page requested ${request.url()}`);
      return request.abort();
    });
    page.on("pageerror", (error) => this.problems.push(`a script failed: ${error.message}`));
    page.on("console", (message) => {
      // Chromium writes a line for each document with an error status. The checks compare the status.
      // Only pages have an icon: for a JSON document it requests /favicon.ico.
      const { url = "" } = message.location();
      const isStatus = /^Failed to load resource: the server responded with a status of \d+/.test(message.text());
      const isExpected = url === page.url() || url.endsWith("/favicon.ico") && page.url().includes("/.well-known/");
      if (["error", "warn"].includes(message.type()) && !(isStatus && isExpected)) {
        this.problems.push(`${page.url()}: ${message.type()}: ${message.text()} ${url}`);
      }
    });
    page.once("close", () => context.close().catch(() => {}));
    return page;
  }

  async shoot(page, name) {
    if (this.screenshots) await page.screenshot({ path: join(this.screenshots, `${name}.png`), fullPage: true });
  }
}

// checkLayout checks what is true of every page: it is as wide as the window, its text is readable, it has an icon.
export async function checkLayout(page) {
  // Not innerWidth: a phone zooms out until everything fits.
  const found = await page.evaluate(async (width) => {
    const rgb = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = ([r, g, b]) =>
      [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const background = (element) => {
      for (let e = element; e; e = e.parentElement) {
        const color = rgb(getComputedStyle(e).backgroundColor);
        if (color.length === 3 || color[3] > 0) return color;
      }
      return [255, 255, 255];
    };
    const overflowing = [], unreadable = [];
    for (const element of document.body.querySelectorAll("*")) {
      const box = element.getBoundingClientRect();
      if (box.right > width + 0.5 || box.left < -0.5) overflowing.push(element.outerHTML.slice(0, 80));
      if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
      const [one, other] = [luminance(rgb(getComputedStyle(element).color)), luminance(background(element))];
      const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      if (contrast < 4.5) unreadable.push(`${contrast.toFixed(1)}: ${element.outerHTML.slice(0, 80)}`);
    }
    const icon = new Image();
    icon.src = document.querySelector("link[rel=icon]")?.href ?? "";
    const hasIcon = await icon.decode().then(() => icon.src.startsWith("data:"), () => false);
    return {
      overflowing, unreadable, hasIcon, language: document.documentElement.lang,
      scrolls: document.documentElement.scrollWidth > width,
      isDark: luminance(background(document.body)) < 0.2,
      prefersDark: matchMedia("(prefers-color-scheme: dark)").matches,
    };
  }, page.viewport().width);
  assert.deepEqual(found.overflowing, [], "elements are wider than the window");
  assert.equal(found.scrolls, false, "the page scrolls horizontally");
  assert.deepEqual(found.unreadable, [], "texts have a contrast below 4.5");
  assert.equal(found.hasIcon, true, "the page has no icon of its own");
  assert.equal(found.language, "en");
  assert.equal(found.isDark, found.prefersDark, "the page ignores the color scheme");
}

export const text = (page, selector) => page.$eval(selector, (element) => element.innerText.trim());
export const texts = (page, selector) => page.$$eval(selector, (all) => all.map((element) => element.innerText.trim()));

// checkProblem checks a page that explains an error: it is announced, and names the request.
export async function checkProblem(page, response, status, title, pattern) {
  assert.equal(response.status(), status);
  assert.equal(await text(page, "h1"), title);
  assert.match(await text(page, "[role=alert]"), pattern);
  const id = response.headers()["x-request-id"];
  assert.ok(id && (await text(page, "body")).includes(id), "the page does not show the request ID");
  await checkLayout(page);
}

// click clicks, and returns the response of the page that follows.
export async function click(page, selector) {
  const [response] = await Promise.all([page.waitForNavigation(), page.click(selector)]);
  return response;
}
