#!/usr/bin/env bash
# Puts MCP servers from elsewhere behind gatehouse as it is shipped: server-everything, server-filesystem and
# server-memory from npm, and a server with the habits of those in Python. The tests in the folder upstreams sign in
# with clients of both eras, and call their tools.
#
# It needs Go, npm and timeout(1) of Linux; see common.sh. Without python3, one step is skipped. With --update it writes
# the results into README.md.
set -euo pipefail
lock=$(cd "$(dirname "$0")" && pwd)/upstreams
. "$(dirname "$0")/common.sh"

(cd "$root" && go test -c -o "$work/upstreams.test" ./cmd/conformance/upstreams)
cp "$lock/habits.py" .

# count FILE: read the output of the tests.
count() {
  awk '/^ *--- PASS/ { passed++ } END { if (passed) printf ": %d tests passed", passed }' "$1"
}

tests=(./upstreams.test -test.v -gatehouse "$work/gatehouse" -modules "$work/node_modules")
check 90 "gatehouse run, with npx and with a URL" "${tests[@]}" -test.run '^TestRun$'
check 90 "several upstreams, on stdio and HTTP" "${tests[@]}" -test.run '^TestServe$'
check 90 "one upstream is killed" "${tests[@]}" -test.run '^TestServe_OneIsKilled$'
check 90 "gatehouse is killed" "${tests[@]}" -test.run '^TestServe_Killed$'
check 90 "pins" "${tests[@]}" -test.run '^TestPins$'
if python=$(command -v python3); then
  check 90 "the habits of Python servers" "${tests[@]}" -test.run '^TestPython$' -python "$python"
else
  skip "the habits of Python servers" "python3 is not here"
fi

finish upstreams
