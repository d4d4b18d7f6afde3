// A person with a browser that shows nothing: follows redirects and pages that continue by themselves, approves, and signs
// in as the account of $ACCOUNT where a page asks for it. An issuer with auto_approve shows no page.

const attributes = (tag) => Object.fromEntries([...tag.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, name, value]) => [name, text(value)]));
const text = (html) => html.replaceAll('&#43;', '+').replaceAll('&#34;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&');

// form returns the request of a page's form, filled in.
function form(page, url) {
  const tag = page.match(/<form [^>]*>/)?.[0];
  if (!tag) return null;
  const fields = new URLSearchParams({ decision: 'approve' });
  for (const [input] of page.matchAll(/<input [^>]*>/g)) {
    const { type, name, value } = attributes(input);
    if (type === 'hidden') fields.set(name, value);
    if (name === 'account') fields.set(name, process.env.ACCOUNT);
  }
  return { url: new URL(attributes(tag).action, url).href, method: 'POST', body: fields };
}

// visit opens a URL, and returns the first one with the prefix until, or null at a page that leads no further. open sends
// a request, as fetch does.
export async function visit(address, until = 'never:', open = fetch) {
  const cookies = new Map(); // of all hosts: they are on this computer
  let next = { url: address, method: 'GET' };
  for (let steps = 0; next && steps < 30; steps++) {
    const { url, method, body } = next;
    if (url.startsWith(until)) return url;
    const response = await open(url, {
      method, body, redirect: 'manual',
      headers: {
        'sec-fetch-mode': 'navigate', ...(method === 'POST' && { origin: new URL(url).origin }),
        ...(cookies.size && { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') }),
      },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [name, value] = cookie.split(';')[0].split(/=(.*)/);
      if (value && !/max-age=0|expires=thu, 01 jan 1970/i.test(cookie)) cookies.set(name, value);
      else cookies.delete(name);
    }
    const location = response.headers.get('location'), page = location ? '' : await response.text();
    const refresh = page.match(/http-equiv="refresh" content="\d+; ?url=([^"]+)"/)?.[1];
    if (location || refresh) next = { url: new URL(location ?? text(refresh), url).href, method: 'GET' };
    else next = response.ok ? form(page, url) : null;
  }
  return null;
}
