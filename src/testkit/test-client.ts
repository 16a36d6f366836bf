// Owns: one call from outside of a simulated cluster, as a client makes it: through some node, until its deadline.
// Does not own: what the node does with it (invocation).
import { createDeferred } from "../base/deferred.ts";
import { AetherError } from "../base/errors.ts";
import type { CallOptions, Client, Contract, Method } from "../sdk/contract.ts";
import type { CallFailureClass } from "../slices/core/call-failure.ts";
import type { CallReply, OutgoingCalls } from "../slices/host/outgoing-calls.ts";
import type { JobsEntry } from "./ask-jobs.ts";
import type { World } from "./sim/world.ts";
import type { WorldPump } from "./world-pump.ts";

/** A node that clients can reach. */
export interface EntryNode extends OutgoingCalls, JobsEntry {}

export interface TestClientPorts {
  readonly world: World;
  readonly pump: WorldPump;
  /** Undefined when none runs. */
  findEntry(): EntryNode | undefined;
}

interface ClientCall {
  /** `orders.place`, for messages. */
  readonly name: string;
  readonly slice: string;
  readonly methodName: string;
  readonly method: Method;
  readonly input: unknown;
  readonly options: CallOptions;
}

/** The node answers at the deadline; its answer travels. */
const ANSWER_MS = 100;
/** A client looks for another node after so long. */
const RETRY_MS = 50;

/** The methods of a contract as functions. */
export function createTestClient<C extends Contract>(contract: C, ports: TestClientPorts): Client<C> {
  const methods: Record<string, (input: unknown, options?: CallOptions) => Promise<unknown>> = {};
  for (const [methodName, method] of Object.entries(contract.methods)) {
    const name = `${contract.name}.${methodName}`;
    methods[methodName] = (input, options = {}) => {
      const call = { name, slice: contract.name, methodName, method, input, options };
      const timeoutMs = options.timeoutMs ?? method.timeoutMs;
      const endMs = ports.world.nowMs + timeoutMs;
      return ports.pump.drive(() => run(ports, call, endMs), timeoutMs + 2 * ANSWER_MS, name);
    };
  }
  // The one place where the contract's types are put on its untyped functions.
  return methods as Client<C>;
}

/** Through another node when the connection is lost, if the method may happen twice. */
async function run(ports: TestClientPorts, call: ClientCall, endMs: number): Promise<unknown> {
  for (;;) {
    const reply = await attempt(ports, call, endMs);
    const mayRepeat = call.method.effect !== "write" || call.options.idempotencyKey !== undefined;
    if (reply === "lost" && !mayRepeat) throw connectionLost(call);
    if (reply === "lost" || reply === "none") await pass(ports.world, RETRY_MS);
    else if (reply.kind === "error") throw AetherError.fromBody(reply.error);
    else return reply.output;
    if (ports.world.nowMs >= endMs) throw noNode(call);
  }
}

async function attempt(ports: TestClientPorts, call: ClientCall, endMs: number): Promise<CallReply | "lost" | "none"> {
  const { world } = ports;
  const entry = ports.findEntry();
  if (entry === undefined) return "none";
  const { slice, methodName: method, input, options } = call;
  const { idempotencyKey, signal } = options;
  const timeoutMs = Math.max(0, endMs - world.nowMs);
  const key = idempotencyKey === undefined ? {} : { idempotencyKey };
  const late = createDeferred<never>();
  const limit = world.schedule({ delayMs: timeoutMs + ANSWER_MS, kind: "client" }, () => late.reject(noAnswer(call)));
  try {
    const reply = entry.call({ slice, method, input, timeoutMs, ...key }, signal);
    return await Promise.race([reply, entry.ended.then((): "lost" => "lost"), late.promise]);
  } finally {
    limit.isCancelled = true;
  }
}

function pass(world: World, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    world.schedule({ delayMs, kind: "client" }, resolve);
  });
}

function connectionLost({ name }: ClientCall): AetherError {
  const message = `the connection was lost while ${name} was under way: it may have run`;
  return new AetherError("E_TIMEOUT", message, { details: NO_ANSWER });
}

function noAnswer({ name, method }: ClientCall): AetherError {
  const outcome = method.effect === "read" ? "none" : "unknown";
  return new AetherError("E_TIMEOUT", `no answer to ${name} before its deadline`, { outcome, details: NO_ANSWER });
}

function noNode({ name }: ClientCall): AetherError {
  const message = `no node took the call of ${name} before its deadline: start one`;
  return new AetherError("E_UNAVAILABLE", message, { details: { class: "not-sent" satisfies CallFailureClass } });
}

const NO_ANSWER = { class: "no-answer" satisfies CallFailureClass };
