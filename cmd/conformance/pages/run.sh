#!/usr/bin/env bash
# Opens the HTML pages of the server, its status page included, of the local issuer and of kind broker in Chromium, and
# clicks. It needs Go, npm and Debian's chromium, which root may let it install with apt. Without them it prints
# "skipped" and the reason.
#
# run.sh [--screenshots DIR] [--only TEXT]: save a PNG of each page, and run only the checks with TEXT in their name.
# To change the version of puppeteer-core: edit package.json and run `npm install --package-lock-only`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)

skip() { echo "skipped: $*"; exit 0; }

command -v npm >/dev/null || skip "npm is not here, and it installs puppeteer-core"
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' ||
  skip "node is $(node --version), and puppeteer-core needs 18 or later"
if ! command -v chromium >/dev/null; then
  [ "$(id -u)" = 0 ] || skip "chromium is not here, and only root can install it"
  command -v apt-get >/dev/null || skip "chromium is not here, and neither is apt-get"
  echo "installing chromium"
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } \
    >/dev/null 2>&1; then
    skip "chromium is not here, and apt-get cannot install it"
  fi
fi

# The server must not use the configuration of the caller.
for name in ${!GATEHOUSE_@}; do unset "$name"; done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cache=${XDG_CACHE_HOME:-${HOME:-$work}/.cache}/gatehouse-conformance
packages=$cache/pages-$(cat "$here/package.json" "$here/package-lock.json" | cksum | tr ' ' '-')
if [ ! -d "$packages" ]; then
  echo "installing the packages into $packages"
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/new.XXXXXX")
  cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$fresh/"
  if ! (cd "$fresh" && timeout -k 5 300 npm ci --loglevel=error); then
    rm -rf "$fresh"
    echo "pages: npm could not install the packages (see above)" >&2
    exit 1
  fi
  mv -T "$fresh" "$packages" 2>/dev/null || rm -rf "$fresh" # another run has installed them
fi

(cd "$root" && go build -o "$work/gatehouse" ./cmd/gatehouse)
cp "$here"/*.mjs "$here/../broker/idp.mjs" "$work/"
ln -s "$packages/node_modules" "$work/node_modules" # Node searches for packages in the directory of the program
CHROMIUM=$(command -v chromium) timeout -k 5 300 node "$work/pages.mjs" "$work" "$@"
