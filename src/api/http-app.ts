// Owns: from the table of routes to a request handler: dispatch, 404 and 405, errors, one log line per refused request.
import { Hono } from "hono";
import { AssertionError, unreachable } from "../base/assert.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import { allowedOf } from "../cluster/endpoints/core/match-route.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import type { Span, Tracing } from "../env/tracing.ts";
import { ApiRequest, sentPath, sentTraceparent, type HttpBindings, type HttpContext } from "./api-request.ts";
import { checkOrigin } from "./core/origin.ts";
import { jsonResponse } from "./json.ts";
import type { ApiMetrics } from "./metrics.ts";
import type { ReceivingRoom } from "./receiving-room.ts";
import type { Route } from "./route.ts";

export type HttpApp = Hono<{ Bindings: HttpBindings }>;

/** What answers a path that no route of the API has. */
export type Elsewhere =
  | { readonly kind: "route"; readonly route: AnsweringRoute }
  | { readonly kind: "wrong-method"; readonly allowed: readonly string[] }
  | { readonly kind: "none" };

type AnsweringRoute = Pick<Route, "path" | "expectsMisses" | "isProbe" | "handle">;

export interface HttpAppPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ApiMetrics;
  readonly tracing: Tracing;
  /** For the bodies of requests. */
  readonly room: ReceivingRoom;
  onBroken(failure: AssertionError): void;
  /** Asked for paths that are not the API's. @throws AetherError when nobody can tell now */
  elsewhere(method: string, path: string): Elsewhere;
}

/** Fixed paths must come before the patterns that would match them as well. */
export function createHttpApp(routes: readonly Route[], ports: HttpAppPorts): HttpApp {
  const app: HttpApp = new Hono();
  const responder = new Responder(ports);
  for (const path of new Set(routes.map((route) => route.path))) {
    const ofPath = routes.filter((route) => route.path === path);
    for (const route of ofPath) app.on(route.method, path, (context) => responder.answer(context, route));
    const allowed = allowedOf(ofPath.map(({ method }) => method));
    app.all(path, (context) => responder.refuse(context, wrongMethod(context, allowed)));
  }
  app.notFound((context) => responder.answerElsewhere(context));
  return app;
}

class Responder {
  private readonly ports: HttpAppPorts;

  constructor(ports: HttpAppPorts) {
    this.ports = ports;
  }

  answerElsewhere(context: HttpContext): Promise<Response> | Response {
    let found: Elsewhere;
    try {
      found = this.ports.elsewhere(context.req.method, sentPath(context));
    } catch (error) {
      return this.refuse(context, { error: toAetherError(error) });
    }
    switch (found.kind) {
      case "route":
        return this.answer(context, found.route);
      case "wrong-method":
        return this.refuse(context, wrongMethod(context, found.allowed));
      case "none":
        return this.refuse(context, unknownPath(context));
      default:
        return unreachable(found);
    }
  }

  async answer(context: HttpContext, route: AnsweringRoute): Promise<Response> {
    const { clock, metrics } = this.ports;
    const startMs = clock.nowMs();
    const span = this.beginSpan(context, route);
    const response = await this.run(context, route, span);
    if (span !== undefined) endSpan(span, response);
    metrics.requests.add(1, { route: route.path, status: String(response.status) });
    metrics.requestSeconds.observe((clock.nowMs() - startMs) / SECOND_MS, { route: route.path });
    return response;
  }

  private beginSpan(context: HttpContext, { path, isProbe }: AnsweringRoute): Span | undefined {
    const { tracing } = this.ports;
    if (!tracing.isOn || isProbe === true) return undefined;
    const { method } = context.req;
    return tracing.begin({
      name: `${method} ${path}`,
      kind: "server",
      parent: sentTraceparent(context),
      attributes: { "http.request.method": method, "http.route": path },
    });
  }

  private async run(context: HttpContext, route: AnsweringRoute, span: Span | undefined): Promise<Response> {
    const place = this.ports.room.open();
    try {
      checkOrigin({ host: context.req.header("host"), origin: context.req.header("origin") });
      const request = new ApiRequest({ context, routePath: route.path, place, span });
      return withoutBodyOfHead(context, await route.handle(request));
    } catch (error) {
      if (error instanceof AssertionError) this.ports.onBroken(error);
      return this.refuse(context, { error: toAetherError(error), expectsMisses: route.expectsMisses === true });
    } finally {
      place.empty();
    }
  }

  refuse(context: HttpContext, refusal: Refusal): Response {
    const { error, headers = {} } = refusal;
    this.logRefusal(context, refusal);
    return jsonResponse(error.httpStatus, { error: error.toBody() }, {
      ...headers,
      ...(error.code === "E_OVERLOADED" ? { "retry-after": String(retryAfterSeconds(error)) } : {}),
    });
  }

  private logRefusal(context: HttpContext, refusal: Refusal): void {
    const { error } = refusal;
    const { log } = this.ports;
    const fields = {
      event: "api.request_refused",
      method: context.req.method,
      path: context.req.path,
      status: error.httpStatus,
      code: error.code,
      reason: error.message,
      ...traceField(context),
    };
    if (error.code === "E_INTERNAL") log.error({ ...fields, stack: stackOf(error) });
    else if (isMiss(refusal)) log.debug(fields);
    else log.info(fields);
  }
}

/** Of a stream, when it begins. */
function endSpan(span: Span, { status }: Response): void {
  const attributes = { "http.response.status_code": status };
  span.end(status >= 500 ? { error: String(status), attributes } : { attributes });
}

/** Nobody reads the body of an answer to HEAD, so a stream would never end. */
function withoutBodyOfHead(context: HttpContext, response: Response): Response {
  if (context.req.method !== "HEAD" || response.body === null) return response;
  // ignored: a stream that cannot be cancelled has ended already
  response.body.cancel().catch(() => undefined);
  return new Response(null, { status: response.status, headers: response.headers });
}

/** Id of the trace that the caller says the request belongs to. */
function traceField(context: HttpContext): { readonly trace?: string } {
  const [, trace] = sentTraceparent(context)?.split("-") ?? [];
  return trace === undefined ? {} : { trace };
}

interface Refusal {
  readonly error: AetherError;
  readonly headers?: Readonly<Record<string, string>>;
  readonly expectsMisses?: boolean;
}

function isMiss(refusal: Refusal): boolean {
  const { code } = refusal.error;
  return refusal.expectsMisses === true && (code === "E_NOT_FOUND" || code === "E_CONFLICT");
}

function stackOf(error: AetherError): string | undefined {
  return error.cause instanceof Error ? error.cause.stack : error.stack;
}

function wrongMethod(context: HttpContext, methods: readonly string[]): Refusal {
  const allowed = methods.join(", ");
  const message = `${context.req.method} is not possible on ${context.req.path}: use ${allowed}`;
  return { error: new AetherError("E_METHOD_NOT_ALLOWED", message), headers: { allow: allowed } };
}

/** What the refusal says, or a second. */
function retryAfterSeconds({ details }: AetherError): number {
  const retryAfterMs = details["retryAfterMs"];
  return typeof retryAfterMs === "number" ? Math.max(1, Math.ceil(retryAfterMs / 1_000)) : 1;
}

function unknownPath(context: HttpContext): Refusal {
  const message = `nothing is at ${context.req.path}; GET /v1/openapi.json lists what is`;
  return { error: new AetherError("E_NOT_FOUND", message) };
}
