#!/usr/bin/env bash
# Runs Claude Code and Codex against gatehouse with the local issuer, and with kind broker in front of one, with a stub in
# place of their models and without a browser.
#
# Both programs contact their vendors. Therefore the packages are installed as usual, but everything is run in a network
# namespace that has only the loopback interface, with a server in place of the two sites that publish the client ID
# metadata documents of these programs. Where such a namespace cannot be created, the script prints the reason and succeeds.
#
# It needs Go, npm, and unshare(1), ip(8), script(1) and timeout(1) of Linux; see common.sh. With --update it writes the
# results into README.md.
set -euo pipefail
lock=$(cd "$(dirname "$0")" && pwd)/agents

if [ "${1:-}" != --isolated ]; then
  unavailable() { echo "skipped: $*"; exit 0; }
  for program in npm unshare ip script; do
    command -v "$program" >/dev/null || unavailable "$program is not installed"
  done
  # The mount namespace is for /etc/hosts; the end of the PID namespace kills the processes that are left in it.
  isolate=(unshare --net --mount --pid --fork --kill-child --mount-proc)
  [ "$(id -u)" -eq 0 ] || isolate+=(--map-root-user)
  refused=$("${isolate[@]}" ip link set lo up 2>&1) || unavailable "a network namespace cannot be created: $refused"
  (. "$(dirname "$0")/common.sh") # installs the packages and fills the build cache, which need the network
  exec "${isolate[@]}" "$0" --isolated "$@"
fi
shift
ip link set lo up
if ip -oneline link show up | grep -qv ' lo: ' || [ -n "$(ip route show default)" ]; then
  echo "conformance: this network namespace has more than the loopback interface" >&2
  exit 1
fi
. "$(dirname "$0")/common.sh"

cp "$here"/agents/*.mjs "$here"/clients/{browser,visit}.mjs .
export BROWSER=$work/browser.mjs
(cd "$root" && go build -o "$work/documents" ./cmd/conformance/agents)

printf '127.0.0.1 localhost claude.ai chatgpt.com\n' >hosts
mount --bind hosts /etc/hosts
start documents 443 ./documents documents.pem

# serve DOCUMENTS: start a server, with client ID metadata documents or without.
serve() {
  read -r port < <(ports 1)
  url=http://localhost:$port/mcp log=server-$port.log
  start "server-$port" "$port" env SSL_CERT_FILE=documents.pem ./gatehouse serve --resource="$url" \
    --provider.auto_approve --provider.client_documents="$1" --provider.allow_loopback_client_documents="$1" \
    --tools.demo --tools.show_all --log.format=json
}

serve true
for client in claude-code codex; do
  check 120 "$client, client ID metadata document" node client.mjs "$client" "$url" "$log" "$packages" document
done
serve false
for client in claude-code codex; do
  check 120 "$client, dynamic registration" node client.mjs "$client" "$url" "$log" "$packages" registration
done

# serve_broker: start a company's provider, and a server at which people sign in through it.
serve_broker() {
  read -r port provider < <(ports 2)
  url=http://localhost:$port/mcp log=server-$port.log
  node -e '
    const { randomBytes } = require("node:crypto"), { writeFileSync } = require("node:fs");
    for (const name of ["secret", "secrets"]) writeFileSync(name, randomBytes(32).toString("base64url"), { mode: 0o600 });'
  start "provider-$provider" "$provider" ./gatehouse issuer --listen="127.0.0.1:$provider" --auto-approve \
    --client="gatehouse:secret:http://localhost:$port/callback"
  start "server-$port" "$port" env SSL_CERT_FILE=documents.pem GATEHOUSE_PROVIDER__CLIENT_SECRET_FILE=secret \
    GATEHOUSE_PROVIDER__SECRETS_FILE=secrets ./gatehouse serve --resource="$url" --server.listen="127.0.0.1:$port" \
    --provider.kind=broker --provider.issuer="http://localhost:$provider" --provider.client_id=gatehouse \
    --provider.allow_loopback_client_documents --provider.scope_rules='* > mcp:use greet:read greet:write' \
    --scopes.required=mcp:use --scopes.initial=mcp:use,greet:read --tools.demo --tools.show_all --log.format=json
}
serve_broker
for client in claude-code codex; do
  check 120 "$client, broker" node client.mjs "$client" "$url" "$log" "$packages" document
done
check 5 "no error in the logs" bash -c '! grep -H -E "\"level\":\"ERROR\"|panic|got past the HTTP layer" server-*.log'
if [ "$failures" -gt 0 ]; then
  tail -n 40 server-*.log | cut -c 1-300 | sed 's/^/      /'
fi

finish agents
