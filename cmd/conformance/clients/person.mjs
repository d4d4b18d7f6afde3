// An OAuthClientProvider for both TypeScript SDKs, with a user but without a browser: it stores what a provider must
// store, and visits the authorization URL up to the redirect with the code.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { visit } from './visit.mjs';

export class Person {
  requestedScopes = []; // of every authorization request, in order
  #state;
  #client;
  #tokens;
  #verifier;
  #response;
  #discovered;

  redirectUrl = 'http://127.0.0.1/callback'; // never requested
  clientMetadata = {
    client_name: 'Test client without a browser',
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
    this.requestedScopes.push(url.searchParams.get('scope'));
    const target = await visit(url.href, `${this.redirectUrl}?`);
    assert.ok(target, 'the sign-in ended without a code: provider.auto_approve must be set');
    this.#response = new URL(target).searchParams;
    assert.equal(this.#response.get('state'), this.#state);
  }

  // The parameters of the redirect: code, state and iss.
  authorizationResponse() { return this.#response; }

  // Replaces the access token by an invalid one, as if it had expired.
  invalidateToken() { this.#tokens = { ...this.#tokens, access_token: 'invalid' }; }
  forgetTokens() { this.#tokens = undefined; }
}

// retryAfterSignIn runs an operation, and repeats it after a sign-in if it needs a token, or one with more scopes.
export async function retryAfterSignIn(operation, isUnauthorized, signIn) {
  try {
    return await operation();
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    await signIn();
    return await operation();
  }
}

export function includes(scopes, ...wanted) {
  for (const scope of wanted) assert.ok(scopes.split(' ').includes(scope), `"${scopes}" lacks ${scope}`);
}
