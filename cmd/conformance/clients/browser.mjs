#!/usr/bin/env node
// A browser for $BROWSER: opens the address and follows redirects until it arrives. It looks at nothing, so the issuer
// must not ask anything. Usage: browser.mjs URL
const deadline = Date.now() + 15_000;

// open returns where the page redirects to, or null.
async function open(url) {
  for (;;) {
    try {
      return (await fetch(url, { redirect: 'manual' })).headers.get('location');
    } catch (error) {
      // mcp-remote opens the browser before it listens for the redirect (no person would be that quick), and may stop
      // before it has answered.
      if (error.cause?.code !== 'ECONNREFUSED') return null;
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

for (let url = process.argv[2]; url; ) {
  const next = await open(url);
  url = next && new URL(next, url).href;
}
