# The server alone, without a shell or a package manager. `docker build --target smoke .` builds the client that tests a stack.
#
# Base images are pinned by digest; .github/renovate.json updates tag and digest together.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH

FROM source AS build
# The history of the repository is not in the build context, so the version is an argument.
ARG VERSION=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags "-s -w -X gatehouse/cmd/gatehouse/app.version=$VERSION" -o /out/gatehouse ./cmd/gatehouse

FROM source AS build-smoke
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags "-s -w" -o /out/smoke ./cmd/smoke

FROM gcr.io/distroless/static-debian12:nonroot@sha256:afa5c872c891853ca7fcf1f12c3edb23f7eeef36189728842dd51042ff57f7ab AS base
USER 65532:65532
WORKDIR /gatehouse

FROM base AS smoke
COPY --from=build-smoke /out/smoke /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/smoke"]

FROM base AS gatehouse
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Gatehouse" \
      org.opencontainers.image.description="An MCP server behind OAuth 2.1 that can be handed to any identity provider" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/gatehouse /usr/local/bin/
# Profiles have the same path as in the repository: GATEHOUSE_CONFIG=configs/oidc.yaml.
COPY configs/*.yaml configs/
# On loopback, only the container itself would reach the server. The local issuer is refused at this address by default.
ENV GATEHOUSE_SERVER__LISTEN=:3002
EXPOSE 3002
HEALTHCHECK --interval=5s --timeout=4s --start-period=5s --retries=3 CMD ["/usr/local/bin/gatehouse", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/gatehouse"]
