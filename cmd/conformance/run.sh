#!/usr/bin/env bash
# Runs the official conformance suite and real clients against the server: the suite against fixtures (this command)
# through a proxy that signs in, the clients against gatehouse itself. The clients sign in without a browser.
#
# It needs Go, npm and timeout(1) of Linux; see common.sh. With --update it writes the results into README.md.
#
# No failure is expected. A scored scenario that cannot pass is listed in expected-failures.yml, with the reason as a
# comment; the file is passed to the suite, and the results count its entries.
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

# count FILE: read the summary of the suite. Scenarios that a requirement set runs without a score are listed again,
# indented.
count() {
  awk '/^✓/ { passed++ } /^✗/ { failed++ } /^  ✓ .*\)$/ { unscored++; passed-- } /^  ✗ .*\)$/ { unscored++; failed-- }
    END { if (passed + failed) printf ": %d scenarios passed, %d failed, %d not scored", passed, failed, unscored }' "$1"
}

home() { mkdir -p "home-$1" && echo "$work/home-$1"; }

exemptions=()
if [ -e "$here/expected-failures.yml" ]; then exemptions=(--expected-failures "$here/expected-failures.yml"); fi
for revision in 2026-07-28 2025-11-25; do
  check 300 "suite $revision" node "$suite" server --url "http://localhost:$proxy/mcp" --requirements "$revision" \
    -o "suite-$revision" "${exemptions[@]}"
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
if build_mcpgo; then
  for protocol in 2026-07-28 2025-11-25; do
    check 60 "mcp-go, $protocol" ./mcpgo "$url" "$protocol"
  done
else
  skip mcp-go "its modules cannot be downloaded: $(tail -n 1 mcpgo.log)"
fi
check 5 "no error in the logs" bash -c '! grep -H -E "level=ERROR|panic|got past the HTTP layer" fixtures.log proxy.log product.log issuer.log'

# The exemptions are a part of the results: the list entries of the file.
exempt=0
if [ -e "$here/expected-failures.yml" ]; then exempt=$(grep -c '^ *- ' "$here/expected-failures.yml" || true); fi
results+=("| expected failures | $exempt |")

finish clients
