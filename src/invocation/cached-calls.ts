// Owns: reads whose contract lets their answers be kept: answered from memory, and asked once for all who want the same
// thing at the same time.
// Does not own: the calls themselves (invoker.ts), how answers are kept (core/response-cache.ts).
import type { CancelSignal } from "../base/cancellation.ts";
import { createDeferred } from "../base/deferred.ts";
import { AetherError } from "../base/errors.ts";
import type { EndpointLookup } from "../cluster/endpoints/endpoint-lookup.ts";
import type { Clock } from "../env/clock.ts";
import type { Counter, Telemetry } from "../env/telemetry.ts";
import type { MethodPolicy } from "../sdk/method-policy.ts";
import { withClass } from "../slices/core/call-failure.ts";
import { CALL_BYTES_MAX, toPlain } from "../slices/core/plain-data.ts";
import type { CallReply, OutgoingCall, OutgoingCalls } from "../slices/host/outgoing-calls.ts";
import { digestOfInput } from "./core/call-record.ts";
import { isUsableTimeout } from "./core/deadline.ts";
import { ResponseCache, type CachePlace } from "./core/response-cache.ts";
import { createCachedCounter } from "./metrics.ts";

export interface CachedCallsPorts {
  readonly calls: OutgoingCalls;
  readonly lookup: Pick<EndpointLookup, "find">;
}

interface CachedRead {
  readonly call: OutgoingCall;
  readonly signal: CancelSignal | undefined;
  readonly timeoutMs: number;
  readonly untilMs: number;
  readonly place: CachePlace;
  readonly rule: NonNullable<MethodPolicy["cache"]>;
}

export class CachedCalls implements OutgoingCalls {
  private readonly clock: Clock;
  private readonly ports: CachedCallsPorts;
  private readonly cache: ResponseCache;
  private readonly hits: Counter;
  /** Calls under way whose answers others wait for too. */
  private readonly flights = new Map<string, Promise<CallReply>>();

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: CachedCallsPorts,
    config: { readonly cacheBytesMax: number },
  ) {
    this.clock = env.clock;
    this.ports = ports;
    this.cache = new ResponseCache(config.cacheBytesMax);
    this.hits = createCachedCounter(env.telemetry);
  }

  call(call: OutgoingCall, signal?: CancelSignal): Promise<CallReply> {
    const read = this.readOf(call, signal);
    return read === undefined ? this.ports.calls.call(call, signal) : this.answer(read);
  }

  /** Undefined for what is not kept, and while two versions run: they may answer differently. */
  private readOf(call: OutgoingCall, signal: CancelSignal | undefined): CachedRead | undefined {
    const { slice, method, artifact } = call;
    const { all, versions } = this.ports.lookup.find(slice, method);
    const [endpoint] = all.endpoints;
    const rule = endpoint?.policy?.cache;
    if (endpoint === undefined || rule === undefined || versions.size !== 1) return undefined;
    if (endpoint.effect !== "read" || (artifact !== undefined && artifact !== endpoint.artifact)) return undefined;
    const timeoutMs = call.timeoutMs ?? endpoint.timeoutMs;
    const input = toPlain(call.input, CALL_BYTES_MAX);
    if (input.kind !== "plain" || timeoutMs <= 0 || !isUsableTimeout(timeoutMs) || signal?.aborted === true) {
      return undefined;
    }
    const place = { method: `${slice}.${method}`, version: endpoint.artifact, input: digestOfInput(input.value) };
    return { call, signal, timeoutMs, untilMs: this.clock.nowMs() + timeoutMs, place, rule };
  }

  private async answer(read: CachedRead): Promise<CallReply> {
    const found = this.cache.get(read.place, this.clock.nowMs());
    if (found !== undefined) {
      this.hits.add(1);
      return { kind: "ok", output: found.output, attempts: 0 };
    }
    const name = `${read.place.method} ${read.place.version} ${read.place.input}`;
    const joined = this.flights.get(name);
    const reply = await this.untilLeft(read, joined ?? this.fly(name, read));
    if (joined === undefined || reply.kind === "ok" || this.hasLeft(read)) return reply;
    // What failed may have been the other's patience.
    return this.ports.calls.call({ ...read.call, timeoutMs: read.untilMs - this.clock.nowMs() }, read.signal);
  }

  /** Goes on when its caller leaves: others may have joined it, and it changes nothing. */
  private fly(name: string, { call, timeoutMs, place, rule }: CachedRead): Promise<CallReply> {
    const flight = this.ports.calls.call({ ...call, timeoutMs }).then((reply) => {
      if (reply.kind === "ok") this.keep(place, rule, reply.output);
      return reply;
    }).finally(() => this.flights.delete(name));
    this.flights.set(name, flight);
    return flight;
  }

  private keep(place: CachePlace, { ttlMs, entriesMax }: CachedRead["rule"], output: unknown): void {
    const plain = toPlain(output, CALL_BYTES_MAX);
    if (plain.kind !== "plain") return;
    const nowMs = this.clock.nowMs();
    const answer = { output: plain.value, bytes: plain.bytes, untilMs: nowMs + ttlMs };
    this.cache.put(place, answer, { entriesMax, nowMs });
  }

  private async untilLeft(read: CachedRead, flight: Promise<CallReply>): Promise<CallReply> {
    const left = createDeferred<CallReply>();
    const leave = (): void => left.resolve(gaveUp(read.place));
    const timer = this.clock.setTimer(read.timeoutMs, leave);
    read.signal?.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([flight, left.promise]);
    } finally {
      timer.cancel();
      read.signal?.removeEventListener("abort", leave);
    }
  }

  private hasLeft({ signal, untilMs }: CachedRead): boolean {
    return signal?.aborted === true || this.clock.nowMs() >= untilMs;
  }
}

function gaveUp({ method }: CachePlace): CallReply {
  const message = `no answer to ${method} before the caller's deadline`;
  const error = withClass(new AetherError("E_TIMEOUT", message, { outcome: "none" }).toBody(), "no-answer");
  return { kind: "error", error, attempts: 1 };
}
