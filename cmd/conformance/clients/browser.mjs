#!/usr/bin/env node
// A browser for $BROWSER: visits the URL. Usage: browser.mjs URL
import { visit } from './visit.mjs';

const deadline = Date.now() + 15_000;

async function open(url, init) {
  for (;;) {
    try {
      return await fetch(url, init);
    } catch (error) {
      // mcp-remote opens the browser before it listens for the redirect (a user is slower), and may stop before it
      // has responded.
      if (error.cause?.code !== 'ECONNREFUSED') return new Response();
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

await visit(process.argv[2], undefined, open);
