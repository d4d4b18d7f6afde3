#!/usr/bin/env bash
# Builds docker-compose.yml with a real container engine and runs it: the default services, the profiles smoke, tls, broker and
# observability, a killed replica, an issuer with new keys, and the stop (the tests TestStack... in this folder). It takes a few
# minutes, the first time longer. Everything is removed afterwards.
#
# The engine is that of `docker`, if it has or can pull the pinned images. Without an image registry, it is
# ../shared/engine/engine.sh next to the checkout, with substitutes: the base images from engine.sh, Caddy built from
# source at the pinned version, and Debian's Prometheus and Redis (in the place of Valkey). Without either, the script prints "skipped" and the reason.
#
# Profile oidc is not run: Keycloak has no substitute. `docker compose config` and TestKeycloakRealmFitsTheServerAndTheStack check it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
engine=$root/../shared/engine/engine.sh
cd "$root"

skip() { echo "skipped: $*"; exit 0; }
step() { printf 'stack %4ds  %s\n' "$SECONDS" "$*"; }

command -v docker >/dev/null || [ -e "$engine" ] ||
  skip "docker is not installed, and there is no ../shared/engine/engine.sh next to the checkout"

# The stack must not use the configuration of the caller.
if [ -e .env ]; then
  echo "stack: move .env away; the stack is tested with its defaults" >&2
  exit 1
fi
for name in ${!GATEHOUSE_@} DEMO_ISSUER CLIENT_SECRET_FILE SECRETS_DIR MCP_REPLICAS VERSION REVISION; do unset "$name"; done

work=$(mktemp -d)
up=false started=false
cleanup() {
  status=$?
  trap '' INT TERM
  if $up; then
    step "removing everything"
    docker compose --profile '*' down --volumes --remove-orphans --timeout 5 >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
  fi
  if $started; then bash "$engine" down; fi
  rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- an engine, and the pinned images

pinned() {
  sed -nE 's/^FROM (--platform=[^ ]+ )?([^ ]+@sha256:[0-9a-f]+) .*/\2/p' Dockerfile
  sed -nE 's/^ +image: ((caddy|prom\/prometheus|valkey\/valkey):.*)/\1/p' docker-compose.yml
}

answers() { docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

has_images() {
  local image
  for image in $(pinned); do
    docker image inspect "$image" >/dev/null 2>&1 || timeout -k 5 300 docker pull --quiet "$image" >/dev/null 2>&1 || return 1
  done
}

export COMPOSE_FILE=$root/docker-compose.yml COMPOSE_PROJECT_NAME=gatehouse-test
if answers && has_images; then
  step "engine: docker $(docker version --format '{{.Server.Version}}'), $(docker compose version)"
elif [ ! -e "$engine" ]; then
  if answers; then skip "docker can neither find nor pull the pinned images"; fi
  skip "docker does not respond, and there is no ../shared/engine/engine.sh next to the checkout"
elif [ "$(id -u)" != 0 ]; then
  skip "docker does not respond, and ../shared/engine/engine.sh needs root"
else
  eval "$(bash "$engine" env)"
  answers || started=true
  step "engine: ../shared/engine/engine.sh"
  bash "$engine" up >/dev/null
  bash "$engine" standins Dockerfile
  caddy=$(sed -nE 's/^ +image: (caddy:[^@]+)@.*/\1/p' docker-compose.yml)
  version=$(sed -nE 's/^caddy:([0-9.]+)-.*/\1/p' <<<"$caddy")
  if ! docker image inspect "$caddy" >/dev/null 2>&1; then
    step "a substitute for $caddy, from source"
    # wget is for the health check; the real image has busybox's. Its caddy has this capability, too.
    bash "$engine" image standin/caddy-base wget libcap2-bin -- true
    mkdir "$work/caddy"
    GOBIN=$work/caddy CGO_ENABLED=0 GOFLAGS= GOWORK=off go install "github.com/caddyserver/caddy/v2/cmd/caddy@v$version"
    cat >"$work/caddy/Dockerfile" <<'EOF'
FROM standin/caddy-base
COPY caddy /usr/bin/
RUN setcap cap_net_bind_service=+ep /usr/bin/caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
EOF
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$caddy" "$work/caddy" >"$work/caddy.log" 2>&1 || { cat "$work/caddy.log" >&2; exit 1; }
  fi
  prometheus=$(sed -nE 's/^ +image: (prom\/prometheus:.*)/\1/p' docker-compose.yml)
  if ! docker image inspect "$prometheus" >/dev/null 2>&1; then
    step "a substitute for $prometheus, from Debian"
    bash "$engine" image standin/prometheus-base prometheus wget -- true
    mkdir "$work/prometheus"
    # The real image has this user, folder and entry point, too.
    cat >"$work/prometheus/Dockerfile" <<'EOF'
FROM standin/prometheus-base
RUN mkdir /prometheus && chown nobody:nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
EOF
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$prometheus" "$work/prometheus" >"$work/prometheus.log" 2>&1 || { cat "$work/prometheus.log" >&2; exit 1; }
  fi
  valkey=$(sed -nE 's/^ +image: (valkey\/valkey:.*)/\1/p' docker-compose.yml)
  if ! docker image inspect "$valkey" >/dev/null 2>&1; then
    step "a substitute for $valkey, from Debian's Redis"
    bash "$engine" image standin/valkey-base redis-server redis-tools -- true
    mkdir "$work/valkey"
    # The real image has these names, this user and this folder, too.
    cat >"$work/valkey/Dockerfile" <<'EOF'
FROM standin/valkey-base
RUN ln -s /usr/bin/redis-server /usr/bin/valkey-server && ln -s /usr/bin/redis-cli /usr/bin/valkey-cli && \
    mkdir /data && chown 999:999 /data
WORKDIR /data
VOLUME /data
EOF
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$valkey" "$work/valkey" >"$work/valkey.log" 2>&1 || { cat "$work/valkey.log" >&2; exit 1; }
  fi
  # An image that was not pulled has no digest.
  printf 'services:\n  edge:\n    image: %s\n' "$caddy" >"$work/standins.yml"
  COMPOSE_FILE=$COMPOSE_FILE:$work/standins.yml
fi

# --- the stack

for port in "${MCP_PORT:-3002}" "${ISSUER_PORT:-9000}" "${EDGE_PORT:-8443}" "${OPERATOR_PORT:-9464}" \
  "${PROMETHEUS_PORT:-9090}" "${BROKER_PORT:-8444}" "${COMPANY_PORT:-9001}"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "stack: port $port is in use; free it, or set the variable ..._PORT of docker-compose.yml that has it" >&2
    exit 1
  fi
done

step "docker compose config, every profile, and with Keycloak as the provider"
docker compose --profile '*' config --quiet
GATEHOUSE_CONFIG=configs/compose/keycloak.yaml docker compose --profile oidc config --quiet

quietly() { "$@" >"$work/step.log" 2>&1 || { cat "$work/step.log" >&2; return 1; }; }

step "docker compose up --build --wait"
up=true
quietly docker compose up --build --wait
quietly docker compose --profile smoke build

step "the secrets of the broker, as configs/compose/README.md creates them"
export SECRETS_DIR=$work/secrets
mkdir -m 0700 "$SECRETS_DIR"
quietly docker compose run --rm --no-TTY --no-deps --user "$(id -u)" --volume "$SECRETS_DIR:/new" server secret /new/broker
openssl rand -hex 32 >"$SECRETS_DIR/company"
openssl rand -hex 32 >"$SECRETS_DIR/store"
chmod 0444 "$SECRETS_DIR"/*

step "tests"
go test ./cmd/smoke -run '^TestStack' -stack -count=1 -timeout 15m -v >"$work/tests.log" 2>&1 || status=$?
if [ "${status:-0}" -ne 0 ]; then
  cat "$work/tests.log" >&2
  docker compose --profile '*' logs --tail 20 >&2
  exit 1
fi
grep -E '^ *(--- |[a-z]+_test\.go:)' "$work/tests.log"
step "done"
