#!/usr/bin/env node
// A browser for $BROWSER: requests the URL and follows redirects. It fills in no form, so the issuer needs
// auto_approve. Usage: browser.mjs URL
const deadline = Date.now() + 15_000;

// open returns the target of the redirect, or null.
async function open(url) {
  for (;;) {
    try {
      return (await fetch(url, { redirect: 'manual' })).headers.get('location');
    } catch (error) {
      // mcp-remote opens the browser before it listens for the redirect (a user is slower), and may stop before it
      // has responded.
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
