# production (default): the roles bridge, query and migrate. all-in-one: with the embedded ClickHouse engine and the simulator.
#   npm run image                      both, with their labels: budcluster:VERSION and budcluster:VERSION-all-in-one
#   docker build -t budcluster .       production alone
# They run as user 65532 with a read-only root and write only to /data. They need no shell.
# NODE_IMAGE names another base, for example one of your registry, or this one by digest (node:...@sha256:...). The default has the Node
# version that package.json locks.
ARG NODE_IMAGE=node:24.21.0-bookworm-slim
FROM ${NODE_IMAGE} AS manifest
WORKDIR /app
COPY package.json package-lock.json .npmrc ./

# Removes files that only compilers and people read (licences stay): half of the packages' size. The base image provides Node.
FROM manifest AS production-packages
RUN npm ci --omit=dev --omit=optional \
 && rm -rf node_modules/.bin node_modules/.package-lock.json \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -iname '*.md' ! -iname 'licen[cs]e*' ! -iname 'notice*' \) -delete

FROM manifest AS all-in-one-packages
RUN npm ci --omit=dev \
 && rm -rf node_modules/node-linux-* node_modules/.bin node_modules/.package-lock.json \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -iname '*.md' ! -iname 'licen[cs]e*' ! -iname 'notice*' \) -delete

FROM ${NODE_IMAGE} AS base
WORKDIR /app
# The embedded engine uses up to three of libuv's threads; compression needs the others.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=9081 DATA_DIR=/data UV_THREADPOOL_SIZE=8
RUN install -d -o 65532 -g 65532 /data
VOLUME /data
EXPOSE 9081
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "src/main.ts"]
COPY package.json LICENSE ./
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
ARG CREATED=""
LABEL org.opencontainers.image.title="budcluster" \
      org.opencontainers.image.description="Collects metrics from the Prometheus of many Kubernetes clusters and delivers them as OTLP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.created="$CREATED"

FROM base AS production
ENV ROLE=bridge
COPY --from=production-packages /app/node_modules node_modules
COPY src src

FROM base AS all-in-one
ENV ROLE=all-in-one
COPY --from=all-in-one-packages /app/node_modules node_modules
COPY src src
COPY simulator simulator

FROM production
