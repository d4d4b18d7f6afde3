// Signs in for scopes, and prints the access token. Usage: token.mjs URL SCOPE...
import { auth } from '@modelcontextprotocol/sdk/client/auth.js';
import { Person } from './person.mjs';

const [serverUrl, ...scopes] = process.argv.slice(2);
const person = new Person();
await auth(person, { serverUrl, scope: scopes.join(' ') });
await auth(person, { serverUrl, authorizationCode: person.authorizationResponse().get('code') });
console.log(person.tokens().access_token);
