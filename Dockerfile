# production (default): the roles bridge and migrate. all-in-one: with the embedded ClickHouse engine and the simulator.
#   docker build -t budcluster-metrics-bridge .
#   docker build -t budcluster-metrics-bridge:all-in-one --target all-in-one .
FROM node:24-bookworm-slim AS manifest
WORKDIR /app
COPY package.json package-lock.json .npmrc ./

FROM manifest AS production-packages
RUN npm ci --omit=dev --omit=optional --ignore-scripts && rm -rf node_modules/node node_modules/.bin/node

FROM manifest AS all-in-one-packages
RUN npm ci --omit=dev --ignore-scripts && rm -rf node_modules/node node_modules/.bin/node

FROM node:24-bookworm-slim AS base
WORKDIR /app
# The embedded engine holds up to three of libuv's threads; compression needs the others.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=9081 DATA_DIR=/data UV_THREADPOOL_SIZE=8
RUN install -d -o 65532 -g 65532 /data
VOLUME /data
EXPOSE 9081
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "src/main.ts"]

FROM base AS all-in-one
ENV ROLE=all-in-one
COPY --from=all-in-one-packages /app/node_modules node_modules
COPY package.json LICENSE ./
COPY src src

FROM base AS production
ENV ROLE=bridge
COPY --from=production-packages /app/node_modules node_modules
COPY package.json LICENSE ./
COPY src src
