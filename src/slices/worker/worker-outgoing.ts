// Owns: calls that a slice makes: the clients in `ctx.uses`, and the replies they wait for. Runs inside the worker.
// Does not own: choosing an endpoint, retries (invocation/).
import type { Cancellation, CancelSignal } from "../../base/cancellation.ts";
import { AetherError } from "../../base/errors.ts";
import { withClass, type CallFailureClass } from "../core/call-failure.ts";
import { CALL_BYTES_MAX, plainRefusalError, toPlain, type PlainData } from "../core/plain-data.ts";
import { CALL_TEXT_LENGTH_MAX } from "../core/worker-limits.ts";
import type { WorkerMessage } from "../core/worker-protocol.ts";
import type { ResolvedUse } from "../host/instance-host.ts";
import type { CallReply, OutgoingCall } from "../host/outgoing-calls.ts";
import { checkValue } from "../schema-check.ts";
import type { ContractModule, MethodModule } from "./slice-module.ts";
import type { TurnOutbox } from "../turn-outbox.ts";

/** What a call made inside a handler or a hook inherits from it. */
export interface CallerScope {
  readonly signal: Cancellation;
  /** Infinity in hooks: only a handler has a deadline to hand down. */
  remainingMs(): number;
  readonly traceparent?: string | undefined;
}

/** A slice that may be called from here. */
export interface Callee {
  readonly contract: ContractModule;
  readonly use: ResolvedUse;
}

interface ClientOptions {
  readonly timeoutMs?: number;
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

type ClientMethod = (input: unknown, options?: ClientOptions) => Promise<unknown>;
/** `ctx.uses`. */
export type Clients = Readonly<Record<string, Readonly<Record<string, ClientMethod>>>>;

/** Details of what is refused here. */
const NOT_SENT = { class: "not-sent" } as const satisfies { readonly class: CallFailureClass };

export class WorkerOutgoing {
  private readonly outbox: TurnOutbox<WorkerMessage>;
  private readonly bindClients: BoundTo<Clients>;
  private readonly waiting = new Map<number, (reply: CallReply) => void>();
  private readonly outgoingCallsMax: number;
  /** Not answered by the node yet; it answers those too that were cancelled. */
  private underWay = 0;
  private nextId = 1;

  constructor(
    outbox: TurnOutbox<WorkerMessage>,
    callees: ReadonlyMap<string, Callee>,
    limits: { readonly outgoingCallsMax: number },
  ) {
    this.outbox = outbox;
    this.bindClients = bindAll([...callees].map(([alias, callee]) => [alias, this.bindClient(callee)]));
    this.outgoingCallsMax = limits.outgoingCallsMax;
  }

  /** The clients of one handler or hook, bound to its deadline, signal and trace. */
  createClients(scope: CallerScope): Clients {
    return this.bindClients(scope);
  }

  receiveAnswer(id: number, reply: CallReply): void {
    this.underWay -= 1;
    this.waiting.get(id)?.(reply);
  }

  private bindClient({ contract, use }: Callee): BoundTo<Readonly<Record<string, ClientMethod>>> {
    const bound = [...contract.methods].map(([name, method]): Member<ClientMethod> => [
      name, (scope) => (input, options = {}) => this.call(use, method, { input, options, scope }),
    ]);
    return bindAll(bound);
  }

  private async call(use: ResolvedUse, method: MethodModule, request: ClientRequest): Promise<unknown> {
    const { options, scope } = request;
    const name = `${use.slice}.${method.spec.method}`;
    checkOptions(name, options);
    const input = await checkInput(name, method, request.input);
    const timeoutMs = Math.min(options.timeoutMs ?? method.spec.timeoutMs, scope.remainingMs());
    if (timeoutMs <= 0) {
      throw new AetherError("E_TIMEOUT", `did not call ${name}: the caller's own deadline has passed`, {
        outcome: "not-applied",
        details: NOT_SENT,
      });
    }
    const { signal: own } = options;
    const signal = own === undefined ? scope.signal : AbortSignal.any([scope.signal.native, own]);
    const call = outgoingCall(use, method, { input: input.value, timeoutMs, request });
    const reply = await this.send(call, input.bytes, signal);
    if (reply.kind === "error") throw AetherError.fromBody(reply.error);
    return await parseOutput(name, method, reply.output);
  }

  private async send(call: OutgoingCall, bytes: number, signal: CancelSignal): Promise<CallReply> {
    if (signal.aborted) throw signal.reason;
    // Here and not only at the node: calls in a loop would flood it.
    if (this.underWay >= this.outgoingCallsMax) throw overloaded(call, this.outgoingCallsMax);
    this.underWay += 1;
    const id = this.nextId++;
    return await new Promise((resolve, reject) => {
      const cancel = (): void => {
        this.waiting.delete(id);
        this.outbox.add({ kind: "outgoing-cancel", id });
        reject(signal.reason);
      };
      this.waiting.set(id, (reply) => {
        this.waiting.delete(id);
        signal.removeEventListener("abort", cancel);
        resolve(reply);
      });
      signal.addEventListener("abort", cancel, { once: true });
      this.outbox.add({ kind: "outgoing", id, call }, bytes);
    });
  }
}

type BoundTo<T> = (scope: CallerScope) => T;
type Member<T> = readonly [name: string, bound: BoundTo<T>];

const SCOPE = Symbol("scope");

/** Objects of which each member is made when it is asked for: a handler calls few of all methods that it could. */
function bindAll<T>(members: readonly Member<T>[]): BoundTo<Readonly<Record<string, T>>> {
  class Bound {
    readonly [SCOPE]: CallerScope;

    constructor(scope: CallerScope) {
      this[SCOPE] = scope;
    }
  }
  for (const [name, bound] of members) {
    const get = function (this: Bound): T {
      return bound(this[SCOPE]);
    };
    Object.defineProperty(Bound.prototype, name, { get, enumerable: true });
  }
  return (scope) => new Bound(scope) as unknown as Readonly<Record<string, T>>;
}

interface ClientRequest {
  readonly input: unknown;
  readonly options: ClientOptions;
  readonly scope: CallerScope;
}

interface PreparedRequest {
  readonly input: unknown;
  readonly timeoutMs: number;
  readonly request: ClientRequest;
}

function outgoingCall(use: ResolvedUse, method: MethodModule, prepared: PreparedRequest): OutgoingCall {
  const { idempotencyKey } = prepared.request.options;
  const { traceparent } = prepared.request.scope;
  return {
    slice: use.slice,
    method: method.spec.method,
    input: prepared.input,
    timeoutMs: prepared.timeoutMs,
    artifact: use.artifact,
    range: use.range,
    idempotencyKey,
    traceparent,
  };
}

/** What is no text or number would not even be understood outside, and the call would wait for its deadline. */
function checkOptions(name: string, { timeoutMs, idempotencyKey }: ClientOptions): void {
  const wrong =
    timeoutMs !== undefined && (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) ? "timeoutMs is no number" :
    idempotencyKey === undefined ? undefined :
    typeof idempotencyKey !== "string" ? "idempotencyKey is no text" :
    idempotencyKey.length > CALL_TEXT_LENGTH_MAX ? `idempotencyKey is above ${CALL_TEXT_LENGTH_MAX} characters` :
    undefined;
  if (wrong !== undefined) throw new AetherError("E_INVALID", `did not call ${name}: ${wrong}`, { details: NOT_SENT });
}

function overloaded(call: OutgoingCall, limit: number): AetherError {
  const message =
    `did not call ${call.slice}.${call.method}: this instance has ${limit} calls to others under way; ` +
    "wait for some of them";
  return AetherError.fromBody(withClass(new AetherError("E_OVERLOADED", message).toBody(), "overloaded"));
}

/** Checked here too, so that a wrong call fails at its author, with his stack, and costs no round trip. */
async function checkInput(name: string, method: MethodModule, input: unknown): Promise<PlainData> {
  const checked = await checkValue(method.input, input);
  if (checked.kind === "invalid") {
    throw new AetherError("E_INVALID", `did not call ${name}: its input is invalid: ${checked.text}`, {
      details: { ...checked.details, ...NOT_SENT },
    });
  }
  // The unparsed input travels: the callee parses it, and may be newer than the contract known here.
  const plain = toPlain(input, CALL_BYTES_MAX);
  if (plain.kind === "plain") return plain;
  throw AetherError.fromBody(withClass(plainRefusalError(`did not call ${name}`, plain).toBody(), "not-sent"));
}

async function parseOutput(name: string, method: MethodModule, output: unknown): Promise<unknown> {
  const checked = await checkValue(method.output, output);
  if (checked.kind === "valid") return checked.data;
  throw new AetherError(
    "E_HANDLER",
    `${name} answered what the contract built into this caller does not accept: ${checked.text}; ` +
      "build both with the same contract",
    {
      outcome: method.spec.effect === "read" ? "none" : "unknown",
      details: { name: "OutputMismatch", ...checked.details, class: "handler" satisfies CallFailureClass },
    },
  );
}
