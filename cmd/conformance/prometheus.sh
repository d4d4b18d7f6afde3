#!/usr/bin/env bash
# Checks configs/prometheus with Prometheus: promtool checks the configurations and the rules and runs the tests
# of the rules, and TestPrometheus_Live has Prometheus scrape the server.
#
# It uses the programs prometheus and promtool if they are installed, and otherwise those of Debian's package,
# which it unpacks without installing it: an installed package would start a Prometheus on the machine. Without
# the programs it prints "skipped" and the reason.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)

skip() { echo "skipped: $*"; exit 0; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  bin=$(dirname "$(command -v promtool)")
  [ -x "$bin/prometheus" ] || skip "prometheus and promtool are in different folders"
else
  for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null || skip "Prometheus is not installed, and neither is $program"
  done
  cd "$work"
  if ! apt-get download prometheus >apt.log 2>&1; then
    # Without the lists of packages, which only root can fetch.
    [ "$(id -u)" = 0 ] || skip "Prometheus is not installed, and apt-get cannot download it"
    { apt-get update && apt-get download prometheus; } >apt.log 2>&1 ||
      skip "Prometheus is not installed, and apt-get cannot download it"
  fi
  dpkg-deb -x prometheus_*.deb package
  bin=$work/package/usr/bin
fi
"$bin/promtool" --version | head -n 1

# The server must not use the configuration of the caller.
for name in ${!GATEHOUSE_@}; do unset "$name"; done

cd "$root/configs/prometheus"
"$bin/promtool" check config prometheus.yml # and the rules, which it names
# Debian's Prometheus has no discovery of Kubernetes. With another one, the rest of the file is checked.
cp rules.yml "$work/"
sed 's/kubernetes_sd_configs:/dns_sd_configs:/; s/role: pod/names: [gatehouse]/' kubernetes.yml >"$work/kubernetes.yml"
"$bin/promtool" check config "$work/kubernetes.yml"
"$bin/promtool" test rules rules_test.yml
cd "$root"
timeout -k 5 300 go test -count=1 ./cmd/gatehouse -run '^TestPrometheus_Live$' -prometheus "$bin" -v
