#!/usr/bin/env bash
# Runs gatehouse as it is shipped against real identity providers: the npm package oidc-provider, with each form of its
# access tokens, and the npm package better-auth. The server is connected to them by configuration alone; the tests in the
# folder provider sign in and call tools.
#
# It needs Go, npm and timeout(1) of Linux; see common.sh. With --update it writes the results into README.md.
set -euo pipefail
. "$(dirname "$0")/common.sh"

(cd "$root" && go test -c -o "$work/provider.test" ./cmd/conformance/provider)
cp "$here"/provider/*.mjs "$root/configs/oidc.yaml" .

# The credentials of the server. The secret has characters that Basic credentials must encode (RFC 6749, section 2.3.1).
node -e '
  const { generateKeyPairSync, randomBytes } = require("node:crypto"), { writeFileSync } = require("node:fs");
  writeFileSync("client-secret", "a+b c:d%/" + randomBytes(24).toString("base64"));
  writeFileSync("client-key.pem", generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }));'

# count FILE: read the output of the tests.
count() {
  awk '/^ *--- PASS/ { passed++ } /^ *--- SKIP/ { skipped++ } /^note: / { note = "; " substr($0, 7) }
    END { if (passed + skipped) printf ": %d tests passed, %d skipped%s", passed, skipped, note }' "$1"
}

# try NAME PROGRAM TOKENS PATH VARIABLE=VALUE...: start a provider with this form of tokens and this path in its issuer, and
# a server with the profile for kind oidc, the demo tools and these variables, and run the tests. PROGRAM is
# oidc-provider or better-auth; the latter rotates no keys.
try() {
  local name=$1 program=$2 tokens=$3 path=$4 provider control server
  shift 4
  read -r provider control server < <(ports 3)
  local issuer=http://127.0.0.1:$provider$path url=http://localhost:$server/mcp form=(--algorithm "$tokens") before=$failures
  local rotation=http://127.0.0.1:$control
  [ "$tokens" != opaque ] || form=(--tokens opaque)
  case $program in
    oidc-provider)
      start "provider-$provider" "$provider" node provider.mjs --port "$provider" --control "$control" --path "$path" "${form[@]}" \
        --client-secret-file client-secret --client-key-file client-key.pem
      ;;
    better-auth)
      rotation=
      start "provider-$provider" "$provider" node better-auth.mjs --port "$provider" --resource "$url"
      ;;
  esac
  start "server-$provider" "$server" env GATEHOUSE_RESOURCE="$url" GATEHOUSE_PROVIDER__ISSUER="$issuer" \
    GATEHOUSE_TOOLS__DEMO=true GATEHOUSE_SCOPES__INITIAL=mcp:use,greet:read \
    GATEHOUSE_PROVIDER__KEY_REFETCH_INTERVAL=1s GATEHOUSE_LOG__LEVEL=debug "$@" ./gatehouse serve --config oidc.yaml
  check 90 "$name" ./provider.test -test.v -resource "$url" -issuer "$issuer" -control "$rotation" -tokens "$tokens"
  if [ "$failures" -gt "$before" ]; then
    tail -n 40 "provider-$provider.log" "server-$provider.log" | sed 's/^/      /'
  fi
}

for algorithm in RS256 ES256 EdDSA; do
  try "JWTs by $algorithm" oidc-provider "$algorithm" ''
done
try "JWTs by RS256, an issuer with a path" oidc-provider RS256 /tenants/one
try "opaque tokens, client_secret_basic" oidc-provider opaque '' \
  GATEHOUSE_PROVIDER__INTROSPECTION=opaque GATEHOUSE_PROVIDER__INTROSPECTION_CACHE=2s \
  GATEHOUSE_PROVIDER__CLIENT_ID=gatehouse-secret GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=client-secret
try "opaque tokens, private_key_jwt" oidc-provider opaque '' \
  GATEHOUSE_PROVIDER__INTROSPECTION=always GATEHOUSE_PROVIDER__INTROSPECTION_CACHE=2s GATEHOUSE_PROVIDER__INTROSPECTION_AUTH=private_key_jwt \
  GATEHOUSE_PROVIDER__CLIENT_ID=gatehouse-key GATEHOUSE_PROVIDER__CLIENT_KEY_FILE=client-key.pem
try "better-auth, JWTs by EdDSA, an issuer with a path" better-auth EdDSA /api/auth
check 5 "no error and no JWT in the logs of the servers" bash -c '! grep -H -E "level=ERROR|panic|eyJ" server-*.log'

finish provider
