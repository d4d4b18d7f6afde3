// A person without a browser, for clients of both TypeScript SDKs: keeps what their OAuthClientProvider must keep, and
// answers an authorization request by following it as far as the redirect that brings the code.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

export class Person {
  asked = []; // the scopes of every authorization request, in order
  #state;
  #client;
  #tokens;
  #verifier;
  #answer;
  #discovered;

  redirectUrl = 'http://127.0.0.1/callback'; // never dialled
  clientMetadata = {
    client_name: 'A person without a browser',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
  };

  state() { return (this.#state = randomUUID()); }
  clientInformation() { return this.#client; }
  saveClientInformation(client) { this.#client = client; }
  tokens() { return this.#tokens; }
  saveTokens(tokens) { this.#tokens = tokens; }
  discoveryState() { return this.#discovered; }
  saveDiscoveryState(state) { this.#discovered = state; }
  codeVerifier() { return this.#verifier; }
  saveCodeVerifier(verifier) { this.#verifier = verifier; }

  async redirectToAuthorization(url) {
    this.asked.push(url.searchParams.get('scope'));
    const response = await fetch(url, { redirect: 'manual' });
    const target = response.headers.get('location');
    assert.ok(target?.startsWith(`${this.redirectUrl}?`), `the issuer answered ${response.status} and no code: is provider.auto_approve set?`);
    this.#answer = new URL(target).searchParams;
    assert.equal(this.#answer.get('state'), this.#state);
  }

  // The parameters of the redirect: code, state and iss.
  answer() { return this.#answer; }

  // The access token goes bad, as if it had ended.
  spoil() { this.#tokens = { ...this.#tokens, access_token: 'spoilt' }; }
  forgetTokens() { this.#tokens = undefined; }
}

// attempt does something that may need a sign-in first, or a new one for more scopes.
export async function attempt(something, isUnauthorized, signIn) {
  try {
    return await something();
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    await signIn();
    return await something();
  }
}

export function includes(scopes, ...wanted) {
  for (const scope of wanted) assert.ok(scopes.split(' ').includes(scope), `"${scopes}" does not ask for ${scope}`);
}
