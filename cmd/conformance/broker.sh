#!/usr/bin/env bash
# Runs gatehouse with provider.kind broker as it is shipped, in front of a strict identity provider (the npm package
# oidc-provider): real clients sign in through it, and the tests in the folder broker run several processes of it with
# Redis: refreshes at once, kill -9, outages, disabled accounts, and a search for secrets in all that was written.
#
# It needs Go, npm and timeout(1) of Linux; see common.sh. Debian's Redis is installed if root runs the script; the
# step that needs it is skipped without it. With GATEHOUSE_LONG=1 there are 100 rounds of refreshes instead of 5, and CPU
# times are measured. With --update it writes the results into README.md.
set -euo pipefail
long=${GATEHOUSE_LONG:-}
. "$(dirname "$0")/common.sh"

(cd "$root" && go test -c -o "$work/broker.test" ./cmd/conformance/broker)
cp "$here"/clients/*.mjs "$here"/broker/*.mjs .
export BROWSER=$work/browser.mjs

redis=$(command -v redis-server || true)
if [ -z "$redis" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing redis-tools"
  # The package redis-server would start a service. Its program is a link to one of redis-tools.
  if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-tools; } \
    >redis.log 2>&1; then
    redis=$work/redis-server
    ln -s "$(command -v redis-check-rdb)" "$redis"
  fi
fi

# count FILE: read the output of the tests.
count() {
  awk '/^ *--- PASS/ { passed++ } /: note: / { sub(/.*: note: /, ""); notes = notes "; " $0 }
    /^✓/ { scenarios++ } /^✗/ { refused++ } /^  ✓ .*\)$/ { unscored++; scenarios-- } /^  ✗ .*\)$/ { unscored++; refused-- }
    END {
      if (passed) printf ": %d tests passed%s", passed, notes
      if (scenarios + refused) printf ": %d scenarios passed, %d failed, %d not scored", scenarios, refused, unscored
    }' "$1"
}

# --- real clients

read -r provider control product callback fixtures proxy fixtures_provider fixtures_control < <(ports 8)
url=http://localhost:$product/mcp
node -e '
  const { randomBytes } = require("node:crypto"), { writeFileSync } = require("node:fs");
  for (const name of ["client-secret", "secrets"]) writeFileSync(name, randomBytes(32).toString("base64url") + "\n", { mode: 0o600 });'

# start_provider NAME PORT CONTROL ORIGIN: start the company's provider of the server at ORIGIN.
start_provider() {
  start "$1" "$2" node idp.mjs --port "$2" --control "$3" --issuer "http://127.0.0.1:$2" \
    --client-secret-file client-secret --redirect "$4/callback"
}

# settings PORT PROVIDER_PORT: the settings of a server.
settings() {
  echo --resource="http://localhost:$1/mcp" --server.listen="127.0.0.1:$1" --provider.kind=broker \
    --provider.issuer="http://127.0.0.1:$2" --provider.client_id=gatehouse --provider.store="file://$work/sign-ins-$1.db" \
    --provider.upstream_scopes=openid,offline_access --provider.authorize_params=prompt=consent \
    --scopes.required=mcp:use
}
rules='groups=staff > mcp:use greet:read greet:write, groups=admins > gatehouse:admin'

export GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=client-secret GATEHOUSE_PROVIDER__SECRETS_FILE=secrets
start_provider provider "$provider" "$control" "http://localhost:$product"
# shellcheck disable=SC2046
start product "$product" ./gatehouse serve $(settings "$product" "$provider") --provider.scope_rules="$rules" \
  --scopes.initial=mcp:use,greet:read --tools.demo --tools.show_all
start_provider fixtures-provider "$fixtures_provider" "$fixtures_control" "http://localhost:$fixtures"
# shellcheck disable=SC2046
start fixtures "$fixtures" ./conformance serve $(settings "$fixtures" "$fixtures_provider") \
  --provider.scope_rules='* > mcp:use test:call' --server.allowed_origins='http://localhost:*,http://127.0.0.1:*'
unset GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE GATEHOUSE_PROVIDER__SECRETS_FILE
export ACCOUNT=admin-1

home() { mkdir -p "home-$1" && echo "$work/home-$1"; }

start proxy "$proxy" env ACCESS_TOKEN="$(node token.mjs "http://localhost:$fixtures/mcp" mcp:use test:call)" \
  ./conformance proxy "127.0.0.1:$proxy" "http://localhost:$fixtures/mcp"

# --- steps

suite=$work/node_modules/@modelcontextprotocol/conformance/dist/index.js
for revision in 2026-07-28 2025-11-25; do
  check 300 "suite $revision" node "$suite" server --url "http://localhost:$proxy/mcp" --requirements "$revision" \
    -o "suite-$revision"
done
check 60 "suite authorization, broker" node authorization.mjs "http://localhost:$product" "$url" "$callback" suite-broker
check 60 "TypeScript SDK 1" node ts1.mjs "$url"
for era in legacy auto 2026-07-28; do
  check 60 "TypeScript client 2, $era" node ts2.mjs "$url" "$era"
done
for era in legacy modern; do
  check 120 "Inspector, $era" node inspector.mjs "$url" "$callback" "$(home "inspector-$era")" "$era" dynamic
done
for era in legacy auto; do
  check 90 "mcp-remote, $era" node mcp-remote.mjs "$url" "$callback" "$(home "mcp-remote-$era")" "$era"
done
if build_mcpgo; then
  for protocol in 2026-07-28 2025-11-25; do
    check 60 "mcp-go, $protocol" ./mcpgo "$url" "$protocol"
  done
else
  skip mcp-go "its modules cannot be downloaded: $(tail -n 1 mcpgo.log)"
fi

# --- processes

tests=(./broker.test -test.v -gatehouse "$work/gatehouse" -scripts "$work")
check 60 "a file as the store" "${tests[@]}" -test.run '^TestFileStore$'
if [ -n "$long" ]; then export GATEHOUSE_LONG=$long; fi
if [ -n "$long" ]; then check 250 "CPU time" "${tests[@]}" -test.run '^TestCost$'; fi
check 60 "enterprise-managed authorization" "${tests[@]}" -test.run '^TestEnterprise$'
if [ -n "$redis" ]; then
  check 290 "two replicas with Redis" "${tests[@]}" -redis "$redis" -test.run '^(TestSignIn|TestReplicas)$'
else
  skip "two replicas with Redis" "redis-server is not here, and only root can install it with apt-get"
fi
check 5 "no error in the logs" bash -c '! grep -H -E "level=ERROR|panic|got past the HTTP layer" product.log fixtures.log proxy.log'

finish broker
