# docker build -t gatewatch .            (BuildKit, as every Docker since 23 has it)
#
# docker run -d --init --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 20 \
#     -v gatewatch:/var/lib/gatewatch -v ./gatewatch.toml:/etc/gatewatch/gatewatch.toml:ro -p 8765:8765 gatewatch

# The stage or image that has the binary at /src/target/release/gatewatch: another one spares the compiler.
ARG BINARY=build
# What it runs on. The tests have no registry and make one of Debian's packages.
ARG BASE=debian:bookworm-slim

FROM node:22-bookworm-slim AS page
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --ignore-scripts
COPY web .
RUN npm run build

FROM rust:1-slim-bookworm AS build
WORKDIR /src
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
COPY . .
COPY --from=page /web/dist web/dist
# The release build keeps line tables, for profiles; here they would be four fifths of the image.
RUN cargo build --release --locked --bin gatewatch && strip target/release/gatewatch

FROM ${BINARY} AS binary

FROM ${BASE}
# ssh refuses to run as a user without a name.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates openssh-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt \
    && groupadd --gid 10001 gatewatch \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/gatewatch --shell /usr/sbin/nologin gatewatch \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/gatewatch
COPY --from=binary /src/target/release/gatewatch /usr/local/bin/gatewatch
# Control sockets of ssh go to the container's own memory: they are worth nothing after it.
ENV GATEWATCH__DATA__DIR=/var/lib/gatewatch XDG_RUNTIME_DIR=/dev/shm HOME=/var/lib/gatewatch
WORKDIR /var/lib/gatewatch
VOLUME /var/lib/gatewatch
EXPOSE 8765
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
    CMD ["gatewatch", "healthcheck", "--config", "/etc/gatewatch/gatewatch.toml"]
ENTRYPOINT ["gatewatch"]
CMD ["serve", "--config", "/etc/gatewatch/gatewatch.toml"]
