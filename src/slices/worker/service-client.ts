// Owns: requests of a slice to the services of its node, and the replies they wait for. Runs inside the worker.
// Does not own: what is asked (slice-kv.ts and the other files beside this one), what the services do.
import type { CancelSignal } from "../../base/cancellation.ts";
import { AetherError } from "../../base/errors.ts";
import { CALL_BYTES_MAX, plainRefusalError, toPlain } from "../core/plain-data.ts";
import type { ServiceReply, WorkerMessage } from "../core/worker-protocol.ts";
import type { TurnOutbox } from "../turn-outbox.ts";
import type { CallerScope } from "./worker-outgoing.ts";

export interface ServiceRequest {
  /** For messages: `put of orders/7`. */
  readonly what: string;
  readonly service: string;
  readonly op: string;
  readonly args: unknown;
  /** Whether nothing is left to know when nobody waits for the answer any more. */
  readonly effect: "read" | "write";
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Waits for a place when too many are under way: nothing else would end what it ends. */
  readonly isOwed?: true;
  /** Gets what is answered when nobody waits for it any more. */
  readonly onLate?: (value: unknown) => void;
}

interface WeighedRequest {
  readonly message: Extract<WorkerMessage, { readonly kind: "service" }>;
  readonly bytes: number;
}

/** Time for a request that says nothing else, as in the rest of the store. */
const TIMEOUT_MS_DEFAULT = 5_000;

export class ServiceClient {
  private readonly outbox: TurnOutbox<WorkerMessage>;
  private readonly requestsMax: number;
  private readonly waiting = new Map<number, (reply: ServiceReply) => void>();
  /** Not answered by the node yet; it answers those too that were cancelled. */
  private underWay = 0;
  /** Wake those that wait for a place. */
  private readonly owed: (() => void)[] = [];
  private nextId = 1;

  constructor(outbox: TurnOutbox<WorkerMessage>, limits: { readonly outgoingCallsMax: number }) {
    this.outbox = outbox;
    this.requestsMax = limits.outgoingCallsMax;
  }

  receiveAnswer(id: number, reply: ServiceReply): void {
    this.underWay -= 1;
    this.owed.shift()?.();
    this.waiting.get(id)?.(reply);
  }

  /** @throws AetherError what the service answered, or E_TIMEOUT when the handler has no time left or was aborted */
  async request(request: ServiceRequest, scope: CallerScope): Promise<unknown> {
    const { what, service, op, signal: own } = request;
    const timeoutMs = Math.min(checkedTimeout(request), scope.remainingMs());
    const signal = own === undefined ? scope.signal : AbortSignal.any([scope.signal.native, own]);
    if (timeoutMs <= 0) throw notDone(what, "the caller's own deadline has passed");
    if (signal.aborted) throw notDone(what, "the caller gave up before", signal.reason);
    const args = toPlain(request.args, CALL_BYTES_MAX);
    if (args.kind !== "plain") throw plainRefusalError(`did not do the ${what}`, args);
    const message = { kind: "service", id: this.nextId++, call: { service, op, args: args.value, timeoutMs } } as const;
    while (request.isOwed === true && this.underWay >= this.requestsMax) await this.nextAnswer();
    const reply = await this.send({ message, bytes: args.bytes }, signal, request);
    if (reply.kind === "error") throw AetherError.fromBody(reply.error);
    return reply.value;
  }

  private nextAnswer(): Promise<void> {
    return new Promise((resolve) => void this.owed.push(resolve));
  }

  private async send(
    { message, bytes }: WeighedRequest, signal: CancelSignal, request: ServiceRequest,
  ): Promise<ServiceReply> {
    // Here and not only at the node: requests in a loop would flood it.
    if (this.underWay >= this.requestsMax) throw overloaded(request.what, this.requestsMax);
    this.underWay += 1;
    const { id } = message;
    return await new Promise((resolve, reject) => {
      const cancel = (): void => {
        this.waiting.set(id, (reply) => {
          this.waiting.delete(id);
          if (reply.kind === "ok") request.onLate?.(reply.value);
        });
        this.outbox.add({ kind: "service-cancel", id });
        reject(gaveUp(request, signal.reason));
      };
      this.waiting.set(id, (reply) => {
        this.waiting.delete(id);
        signal.removeEventListener("abort", cancel);
        resolve(reply);
      });
      signal.addEventListener("abort", cancel, { once: true });
      this.outbox.add(message, bytes);
    });
  }
}

/** What is no number would not even be understood outside, and the request would wait for ever. */
function checkedTimeout({ what, timeoutMs = TIMEOUT_MS_DEFAULT }: ServiceRequest): number {
  if (typeof timeoutMs === "number" && !Number.isNaN(timeoutMs)) return timeoutMs;
  throw new AetherError("E_INVALID", `did not do the ${what}: timeoutMs is no number`);
}

function notDone(what: string, reason: string, cause?: unknown): AetherError {
  return new AetherError("E_TIMEOUT", `did not do the ${what}: ${reason}`, { outcome: "not-applied", cause });
}

function gaveUp({ what, effect }: ServiceRequest, cause: unknown): AetherError {
  const known = effect === "read" ? "" : ": it may or may not have happened";
  const outcome = effect === "read" ? "none" : "unknown";
  return new AetherError("E_TIMEOUT", `the caller gave up on the ${what}${known}`, { outcome, cause });
}

function overloaded(what: string, limit: number): AetherError {
  const message = `did not do the ${what}: this instance has ${limit} such requests under way; wait for some of them`;
  return new AetherError("E_OVERLOADED", message, { details: { limit } });
}
