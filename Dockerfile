# Sluice: one image for every role. Builds with plain "docker build -t sluice ."
#
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp \
#     -v sluice:/var/lib/sluice -v ./sluice.yaml:/etc/sluice/sluice.yaml:ro sluice run filter
#
# It runs as 10001:10001 and writes to /var/lib/sluice and /var/spool/sluice only. docs/deploy.md tells the rest.

# What builds it (Node 24 and npm), and what it stands on (glibc and libstdc++): Node itself comes from npm, see stage.ts.
ARG NODE=node:24-bookworm-slim
ARG BASE=debian:bookworm-slim

FROM ${NODE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
# A registry of your own: docker build --secret id=npmrc,src=$HOME/.npmrc .
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --include=dev --include=optional --ignore-scripts --no-audit --no-fund --loglevel=error
COPY . .
RUN node packaging/stage.ts /opt/sluice

FROM ${BASE}
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid sluice --no-create-home --home-dir /var/lib/sluice --shell /usr/sbin/nologin sluice \
    && install -d /etc/sluice \
    && install -d -o sluice -g sluice -m 0700 /var/lib/sluice /var/spool/sluice
COPY --from=build /opt/sluice /opt/sluice
COPY packaging/image/healthcheck.js /opt/sluice/healthcheck.js
RUN ln -s /opt/sluice/node /usr/local/bin/node && ln -s /opt/sluice/bin/sluice.js /usr/local/bin/sluice

# A small young generation, as `sluice run` gives its parts: less memory, shorter stalls.
ENV NODE_ENV=production NODE_OPTIONS=--max-semi-space-size=1 MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072
USER 10001:10001
WORKDIR /var/lib/sluice
VOLUME ["/var/lib/sluice"]
# LMTP, SMTP, the review screen, health and metrics of filter, worker and review. Nothing listens beyond loopback unless
# sluice.yaml says so. A port for redis.fetch is what sluice.yaml makes it.
EXPOSE 10023 10024 8025 9025 9026 9027
# Stops taking mail, finishes what is in flight: give it as long as limits.deadlineSeconds (docker stop --time 310).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["node", "/opt/sluice/healthcheck.js"]
ENTRYPOINT ["sluice"]
CMD ["run", "all"]
