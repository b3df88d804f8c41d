# docker build -t loudhailer .
# docker run --rm -p 6001:6001 -v "$PWD/loudhailer.toml:/etc/loudhailer.toml:ro" loudhailer --config /etc/loudhailer.toml
#
# README.md ("In a container") says what the file needs.

ARG RUST=1.95
ARG DEBIAN=trixie

FROM rust:${RUST}-slim-${DEBIAN} AS build
WORKDIR /build

# The dependencies in a layer of their own, which lasts until Cargo.lock changes: download and compile them with
# nothing of ours but empty files where Cargo.toml expects the sources.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/fanout \
 && echo 'fn main() {}' | tee src/main.rs benches/fanout/main.rs \
 && touch src/lib.rs \
 && cargo build --locked --release --features sql

# COPY keeps the files' times, which may be older than the empty build; touch makes cargo look again.
COPY src src
RUN touch src/lib.rs src/main.rs \
 && cargo build --locked --release --features sql


FROM debian:${DEBIAN}-slim

COPY --from=build /build/target/release/loudhailer /usr/local/bin/
# Whom https webhooks and rediss:// trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY LICENSE-* /usr/share/doc/loudhailer/

# A number, so that an orchestrator can see that it is not root. Nothing is ever written.
USER 10001:10001

# Stronger than a configuration file, so that the port mapping, EXPOSE and the health check always agree. On 0.0.0.0
# the demo app is refused: the container needs an app of its own.
ENV LOUDHAILER_SERVER__HOST=0.0.0.0 \
    LOUDHAILER_SERVER__PORT=6001
EXPOSE 6001

# There is no curl here; bash can speak HTTP well enough to ask.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$LOUDHAILER_SERVER__PORT && printf 'GET /up HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '\"ok\":true' <&3"]

# Stops on SIGTERM within `drain_window_s` and a few seconds: with a longer window, give `docker stop -t` more.
ENTRYPOINT ["loudhailer"]
