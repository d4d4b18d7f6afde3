#!/usr/bin/env bash
# Runs the official conformance suite and real clients against the real chain: the suite against fixtures (this command)
# through a proxy that signs in, the clients against gatehouse itself. Every client signs in by itself, without a browser.
#
# It needs Go, npm and Linux's timeout(1); see common.sh. With --update it writes the results into README.md.
#
# No failure is expected. Should a scored scenario ever be one that cannot pass: name it in expected-failures.yml with the
# reason, and hand that file to the suite with --expected-failures.
set -euo pipefail
. "$(dirname "$0")/common.sh"

cp "$here"/clients/*.mjs .
export BROWSER=$work/browser.mjs
suite=$work/node_modules/@modelcontextprotocol/conformance/dist/index.js

# --- servers

read -r fixtures proxy product issuer callback < <(ports 5)

url=http://localhost:$product/mcp
start fixtures "$fixtures" ./conformance serve --resource="http://localhost:$fixtures/mcp" --provider.auto_approve
start proxy "$proxy" ./conformance proxy "127.0.0.1:$proxy" "http://localhost:$fixtures/mcp"
start product "$product" ./gatehouse serve --resource="$url" --provider.auto_approve --tools.demo --tools.show_all
start issuer "$issuer" ./gatehouse issuer --listen="127.0.0.1:$issuer" --issuer="http://localhost:$issuer" --resource="$url" --auto-approve

# --- steps

# count reads the suite's summary. What a requirement set runs but does not score is listed once more, indented.
count() {
  awk '/^✓/ { passed++ } /^✗/ { failed++ } /^  ✓ .*\)$/ { unscored++; passed-- } /^  ✗ .*\)$/ { unscored++; failed-- }
    END { if (passed + failed) printf ": %d scenarios passed, %d failed, %d not scored", passed, failed, unscored }' "$1"
}

home() { mkdir -p "home-$1" && echo "$work/home-$1"; }

for revision in 2026-07-28 2025-11-25; do
  check 300 "suite $revision" node "$suite" server --url "http://localhost:$proxy/mcp" --requirements "$revision" -o "suite-$revision"
done
check 60 "suite authorization, embedded issuer" node authorization.mjs "http://localhost:$product" "$url" "$callback" suite-embedded
check 60 "suite authorization, issuer alone" node authorization.mjs "http://localhost:$issuer" "$url" "$callback" suite-alone
check 60 "TypeScript SDK 1" node ts1.mjs "$url"
for era in legacy auto 2026-07-28; do
  check 60 "TypeScript client 2, $era" node ts2.mjs "$url" "$era"
done
for era in legacy modern; do
  check 120 "Inspector, $era" node inspector.mjs "$url" "$callback" "$(home "inspector-$era")" "$era"
done
for era in legacy auto; do
  check 90 "mcp-remote, $era" node mcp-remote.mjs "$url" "$callback" "$(home "mcp-remote-$era")" "$era"
done
check 5 "no error in the logs" bash -c '! grep -H -E "level=ERROR|panic|got past the HTTP layer" fixtures.log proxy.log product.log issuer.log'

finish clients
