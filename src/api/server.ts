// Owns: the API's one listening port: HTTP requests and WebSocket sessions, their bounds, an orderly end.
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { getRequestListener, RequestError } from "@hono/node-server";
import { WebSocketServer } from "ws";
import { createDeferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { AsyncCloseable } from "../base/resource-stack.ts";
import { SECOND_MS } from "../base/units.ts";
import { jsonText } from "../base/json-text.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { ClientSession, type SessionPorts } from "./client-session.ts";
import { ClientTurns } from "./client-turns.ts";
import type { ApiConfig } from "./config.ts";
import { IdleConnections } from "./connections-adapter.ts";
import { checkOrigin } from "./core/origin.ts";
import { createHttpApp } from "./http-app.ts";
import { jsonResponse } from "./json.ts";
import { CLIENT_FRAME_BYTES_MAX } from "./limits.ts";
import { declareApiMetrics, type ApiMetrics } from "./metrics.ts";
import { SESSION_PATH } from "./protocol.ts";
import { ReceivingRoom } from "./receiving-room.ts";
import type { Route } from "./route.ts";
import { artifactRoutes } from "./routes/artifacts.ts";
import { blueprintRoutes } from "./routes/blueprints.ts";
import { scheduleRoutes } from "./routes/schedules.ts";
import { callRoutes } from "./routes/call.ts";
import { backupRoutes } from "./routes/backup.ts";
import { clusterRoutes } from "./routes/cluster.ts";
import { eventsRoute } from "./routes/events.ts";
import { doctorRoutes } from "./routes/doctor.ts";
import { healthRoutes } from "./routes/health.ts";
import { jobBulkRoutes } from "./routes/job-bulk.ts";
import { jobCodeRoutes } from "./routes/job-code.ts";
import { jobRoutes } from "./routes/jobs.ts";
import { jobStreamRoute } from "./routes/job-stream.ts";
import { approvalRoutes } from "./routes/approvals.ts";
import { kvWatchRoutes } from "./routes/kv-watch.ts";
import { kvRoutes } from "./routes/kv.ts";
import { leaseRoutes } from "./routes/leases.ts";
import { logRoutes } from "./routes/logs.ts";
import { alertsRoute } from "./routes/alerts.ts";
import { controlRoutes } from "./routes/control.ts";
import { metricsRoutes } from "./routes/metrics.ts";
import { nodeRoutes } from "./routes/nodes.ts";
import { openApiRoute } from "./routes/openapi.ts";
import { quotaRoutes } from "./routes/quota.ts";
import { sliceRoutes } from "./routes/slices.ts";
import { topicRoutes } from "./routes/topics.ts";
import type { ApiEnv, ApiServices } from "./services.ts";
import { SessionRequests } from "./session-requests.ts";
import { findSliceRoute } from "./slice-routes.ts";
import { SocketConnection } from "./socket-adapter.ts";
import { findStatic, NO_FILES, staticRoutes, type StaticFiles } from "./static-files.ts";

/** A client that dribbles its headers holds a connection no longer than this. */
const HEADERS_TIMEOUT_MS = 10 * SECOND_MS;
/** Enough for the largest artifact over a slow line. */
const REQUEST_TIMEOUT_MS = 120 * SECOND_MS;
const IDLE_TIMEOUT_MS = 30 * SECOND_MS;
/** So much later than said a connection is closed at most. */
const TIMEOUTS_CHECKED_MS = 2 * SECOND_MS;

/** A flood of connections must not become one of log lines. */
const DROPS_TOLD_EVERY_MS = 10 * SECOND_MS;

const STOPPING = "this node is stopping";

type Answer = Parameters<typeof getRequestListener>[0];

export class ApiServer implements AsyncCloseable {
  private readonly config: ApiConfig;
  private readonly log: Log;
  private readonly metrics: ApiMetrics;
  private readonly env: ApiEnv;
  private readonly files: StaticFiles;
  private readonly turns: ClientTurns;
  private readonly load = { requests: 0, unsentBytes: 0 };
  private readonly room = new ReceivingRoom();
  private stage = "it is opening its data";
  private answer: Answer = (request) => this.answerStarting(request);
  private sessionPorts: SessionPorts | undefined;
  private readonly http: Server;
  private readonly connections: IdleConnections;
  private readonly upgrades = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: CLIENT_FRAME_BYTES_MAX,
    clientTracking: false,
  });
  private readonly sessions = new Set<ClientSession>();
  private readonly closing = new AbortController();
  private isLeaving = false;
  /** When the log may say again that connections are refused. */
  private dropsTellableMs = 0;
  private closed: Promise<void> | undefined;

  /**
   * Listens on `config.api`. Until `serve` it says that the process runs, and to everything else that it is starting.
   * @throws AetherError E_PORT_IN_USE, E_CONFIG for an address that this machine does not have.
   */
  static async open(env: ApiEnv, config: ApiConfig, files: StaticFiles = NO_FILES): Promise<ApiServer> {
    const server = new ApiServer(env, config, files);
    await server.listen();
    return server;
  }

  private constructor(env: ApiEnv, config: ApiConfig, files: StaticFiles) {
    this.env = env;
    this.files = files;
    this.config = config;
    this.log = env.telemetry.log.child({ area: "api" });
    this.metrics = declareApiMetrics(env.telemetry);
    this.turns = new ClientTurns(env.clock);
    this.http = this.createHttp();
    this.connections = new IdleConnections(this.http);
  }

  /** Said to who asks meanwhile: how far the start is. */
  tellStarting(stage: string): void {
    this.stage = stage;
  }

  /** From now on requests are answered by these services. */
  serve(services: ApiServices): void {
    const { clock } = this.env;
    const { log, metrics, turns, load, room } = this;
    const addresses = (): readonly string[] => services.cluster().nodes.flatMap(({ address }) => address ?? []);
    const ownRoutes = staticRoutes(this.files, addresses);
    const app = createHttpApp([...ownRoutes, ...apiRoutes(services, clock, this.closing.signal)], {
      clock,
      tracing: this.env.telemetry.tracing,
      log,
      metrics,
      room,
      onBroken: (failure) => services.onBroken(failure),
      elsewhere: (method, path) => findSliceRoute(services, method, path),
    });
    const requests = new SessionRequests(app.fetch);
    this.sessionPorts = { services, clock, requests, turns, load, log, metrics, node: services.cluster().node };
    this.answer = app.fetch;
  }

  /** The address clients use, with the port that was really taken. */
  get url(): string {
    const { hostname } = new URL(this.config.api);
    return `http://${hostname}:${this.address().port}`;
  }

  /** This node is about to stop: clients that understand it go elsewhere, and nothing of theirs is cut off. */
  sendClientsAway(): void {
    this.isLeaving = true;
    for (const session of this.sessions) session.sendAway();
  }

  /** Stops accepting, ends sessions and streams, waits for requests under way for a bounded time. */
  close(): Promise<void> {
    this.closed ??= this.shutDown();
    return this.closed;
  }

  private createHttp(): Server {
    const listener = getRequestListener((request, bindings) => this.answer(request, bindings), {
      overrideGlobalObjects: false,
      // HTTP/1.0, which probes still speak, names no host.
      hostname: "localhost",
      errorHandler: (error) => this.refuseRequest(error),
    });
    const http = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        connectionsCheckingInterval: TIMEOUTS_CHECKED_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: IDLE_TIMEOUT_MS,
        noDelay: true,
        keepAlive: true,
      },
      (incoming, outgoing) => {
        // A connection that its client uses again just when it is closed loses a request.
        if (this.isLeaving) outgoing.shouldKeepAlive = false;
        this.beginInTurn(() => void listener(incoming, outgoing));
      },
    );
    http.maxConnections = this.config.apiConnectionsMax;
    http.on("drop", () => this.noteDropped());
    http.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => this.upgrade(request, socket, head));
    http.on("clientError", (error: Error, socket: Duplex) => {
      // A connection that was reset is nobody's fault and needs no answer. Browsers open some ahead of need: where
      // nothing was asked, whatever is said is taken for the answer to what is asked just then.
      const isUnused = "bytesRead" in socket && socket.bytesRead === 0;
      if (!socket.writable || isUnused || ("code" in error && error.code === "ECONNRESET")) {
        socket.destroy();
        return;
      }
      this.refuseSocket(socket, new AetherError("E_INVALID", `this is not HTTP: ${error.message}`));
    });
    return http;
  }

  /** There was no way to say more to it than the end of its connection. */
  private noteDropped(): void {
    this.metrics.refused.add(1, { reason: "too-many" });
    const nowMs = this.env.clock.nowMs();
    if (nowMs < this.dropsTellableMs) return;
    this.dropsTellableMs = nowMs + DROPS_TOLD_EVERY_MS;
    this.log.warn({ event: "api.too_many_connections", connectionsMax: this.config.apiConnectionsMax });
  }

  private beginInTurn(begin: () => void): void {
    const workOff = (): "waits" | "done" => {
      if (!this.turns.take(0)) return "waits";
      begin();
      return "done";
    };
    this.turns.enter({ workOff });
  }

  private async listen(): Promise<void> {
    const { hostname, port } = new URL(this.config.api);
    const listening = createDeferred<void>();
    const onError = (error: Error): void => listening.reject(listenError(this.config.api, error));
    this.http.once("error", onError);
    this.http.listen({ host: hostname.replace(/^\[|\]$/g, ""), port: Number(port === "" ? 80 : port) }, () => {
      this.http.off("error", onError);
      this.http.on("error", (error) => this.log.error({ event: "api.server_error", reason: error.message }));
      listening.resolve();
    });
    await listening.promise;
    this.log.info({ event: "api.listening", url: this.url, connectionsMax: this.config.apiConnectionsMax });
  }

  private answerStarting(request: Request): Response {
    const { pathname } = new URL(request.url);
    if (pathname === "/livez") return jsonResponse(200, { live: true });
    const found = request.method === "GET" ? findStatic(this.files, pathname) : undefined;
    if (found !== undefined) return found;
    const reason = `the node is starting: ${this.stage}`;
    if (pathname === "/readyz") return jsonResponse(503, { ready: false, reason });
    const error = new AetherError("E_UNAVAILABLE", `${reason}; ask again, or ask another node`, { outcome: "none" });
    return jsonResponse(error.httpStatus, { error: error.toBody() });
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    let ports: SessionPorts;
    try {
      ports = this.checkUpgrade(request);
    } catch (error) {
      this.refuseSocket(socket, toAetherError(error));
      return;
    }
    this.upgrades.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = new SocketConnection(webSocket, {
        stream: socket,
        place: this.room.open(),
        onBadFrames: (reason) => {
          this.metrics.refused.add(1, { reason: "bad-frame" });
          this.log.warn({ event: "api.session_garbage", code: "E_INVALID", reason });
        },
        onNoRoom: (reason) => {
          this.metrics.refused.add(1, { reason: "no-room" });
          this.log.warn({ event: "api.session_refused", code: "E_OVERLOADED", reason });
        },
      });
      const session = new ClientSession(connection, ports, (ended) => {
        this.sessions.delete(ended);
        this.metrics.sessions.set(this.sessions.size);
      });
      this.sessions.add(session);
      this.metrics.sessions.set(this.sessions.size);
    });
  }

  private checkUpgrade(request: IncomingMessage): SessionPorts {
    checkOrigin({ host: request.headers.host, origin: request.headers.origin });
    const path = request.url?.split("?")[0];
    if (path !== SESSION_PATH) {
      throw new AetherError("E_NOT_FOUND", `no WebSocket is at ${path ?? "/"}: clients connect to ${SESSION_PATH}`);
    }
    if (this.closing.signal.aborted) throw new AetherError("E_UNAVAILABLE", STOPPING);
    if (this.sessionPorts === undefined) {
      throw new AetherError("E_UNAVAILABLE", `this node is starting: ${this.stage}`, { outcome: "none" });
    }
    return this.sessionPorts;
  }

  /** Answers a request that never reached a route, because its address or its Host cannot be read. */
  private refuseRequest(cause: unknown): Response {
    const error = cause instanceof RequestError
      ? new AetherError("E_INVALID", `this request cannot be read: ${cause.message}`, { cause })
      : toAetherError(cause);
    this.log.info({ event: "api.request_refused", code: error.code, reason: error.message });
    return jsonResponse(error.httpStatus, { error: error.toBody() });
  }

  /** Answers on a socket that never became a request. */
  private refuseSocket(socket: Duplex, error: AetherError): void {
    this.metrics.refused.add(1, { reason: "not-a-request" });
    this.log.info({ event: "api.connection_refused", code: error.code, reason: error.message });
    const body = jsonText({ error: error.toBody() });
    const head = [
      `HTTP/1.1 ${error.httpStatus} Refused`,
      "content-type: application/json; charset=utf-8",
      `content-length: ${Buffer.byteLength(body)}`,
      "connection: close",
    ].join("\r\n");
    // ignored: the peer may be gone already, which is what we want of it
    socket.on("error", () => undefined);
    socket.end(`${head}\r\n\r\n${body}`);
  }

  private async shutDown(): Promise<void> {
    this.closing.abort();
    this.sendClientsAway();
    for (const session of this.sessions) session.finish(STOPPING);
    const ended = createDeferred<void>();
    this.http.close(() => ended.resolve());
    this.connections.close();
    const limit = this.env.clock.setTimer(this.config.apiCloseTimeoutMs, () => {
      for (const session of this.sessions) session.close(STOPPING);
      this.http.closeAllConnections();
    });
    await ended.promise;
    limit.cancel();
    this.upgrades.close();
  }

  private address(): AddressInfo {
    const address = this.http.address();
    if (address === null || typeof address === "string") throw new AetherError("E_UNAVAILABLE", "the API is closed");
    return address;
  }
}

// Fixed paths come before the patterns that would match them too.
function apiRoutes(services: ApiServices, clock: Clock, closing: AbortSignal): readonly Route[] {
  const routes = [
    ...healthRoutes(services),
    ...clusterRoutes(services),
    ...nodeRoutes(services),
    eventsRoute({ events: services.events, clock }, closing),
    ...backupRoutes(services),
    ...quotaRoutes(services),
    ...logRoutes(services),
    ...doctorRoutes(services),
    ...kvWatchRoutes(services, closing),
    ...kvRoutes(services),
    ...leaseRoutes(services),
    ...artifactRoutes(services),
    ...blueprintRoutes(services),
    ...scheduleRoutes(services),
    ...sliceRoutes(services),
    ...topicRoutes(services),
    ...callRoutes(services),
    ...jobBulkRoutes(services.jobs),
    ...jobCodeRoutes(services.jobs),
    ...jobRoutes(services.jobs),
    jobStreamRoute({ jobs: services.jobs, clock }, closing),
    ...approvalRoutes(services.jobs),
    ...metricsRoutes({ metrics: services.metrics, alerts: services.alerts, clock }, closing),
    alertsRoute(services.alerts),
    ...controlRoutes(services.control),
  ];
  return [...routes, openApiRoute(routes)];
}

function listenError(url: string, error: Error): AetherError {
  const code = "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") {
    return new AetherError("E_PORT_IN_USE", `another process listens on ${url}: stop it or choose another "api"`, {
      cause: error,
    });
  }
  return new AetherError("E_CONFIG", `cannot listen on "api" ${url}: ${error.message}`, { cause: error });
}
