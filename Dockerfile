# One node, or any command of the command line: docker run aether cluster status --api …
FROM node:20.20-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# Scripts of packages are not run: what they build has prebuilt files.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json esbuild.config.js ./
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:20.20-bookworm-slim
ENV NODE_ENV=production \
    AETHER_DATA_DIR=/data \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=262144
WORKDIR /app
COPY --from=build /src/package.json ./
COPY --from=build /src/node_modules node_modules
COPY --from=build /src/dist dist
COPY deploy/probe.mjs ./
RUN ln -s /app/dist/bundle/cli.js /usr/local/bin/aether \
    && mkdir /data && chown node:node /data
USER node
VOLUME /data
STOPSIGNAL SIGTERM
# Of the node in this container: it asks where AETHER_API says.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["node", "/app/probe.mjs", "/livez"]
ENTRYPOINT ["aether"]
CMD ["node", "start"]
