// Owns: several nodes that answer calls with idempotency keys over ONE real store, on a manual clock. What runs their
// handlers is the node's own bookkeeping of calls; only the worker behind it is scripted. A killed node does nothing
// more, and no promise of it ever settles.
import { AetherError } from "../../src/base/errors.ts";
import { parseNodeId, parseNodeUid, type NodeId } from "../../src/base/ids.ts";
import type { NodeLife } from "../../src/cluster/core/rows.ts";
import {
  IdempotentInstances, type IdempotentInstancesPorts,
} from "../../src/invocation/idempotency/idempotent-instances.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { HandlerCall, HostMessage } from "../../src/slices/core/worker-protocol.ts";
import { InstanceCalls } from "../../src/slices/host/instance-calls.ts";
import type {
  HostedInstances, HostedMethod, IncomingCall, IncomingReply,
} from "../../src/slices/host/running-instances.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { createLocalKv, type LocalKv } from "./local-kv.ts";
import { ManualClock } from "./manual-clock.ts";

export type Script = (call: HandlerCall) => Promise<IncomingReply>;

/** What becomes of a node's call of its store. */
export type Fate =
  | "done"
  /** The node dies before it, or just after the store has got it. */
  | "killed-before" | "killed-after"
  /** The store has got it, and says that it does not know. */
  | "unanswered";

const METHOD = { method: "place", timeoutMs: 15_000 } as const;

export class KeyedWorld {
  readonly clock: ManualClock;
  readonly local: LocalKv;
  readonly effect: HostedMethod["effect"];
  /** Handlers that have begun: the key of each. */
  readonly runs: string[] = [];
  readonly fatal: unknown[] = [];
  private readonly ended = new Set<number>();
  private readonly suspectedSinceMs = new Map<NodeId, number>();
  private readonly listeners: (() => void)[] = [];
  private incarnation = 0;

  private constructor(local: LocalKv, effect: HostedMethod["effect"], clock: ManualClock) {
    this.local = local;
    this.effect = effect;
    this.clock = clock;
  }

  static async open(effect: HostedMethod["effect"] = "write"): Promise<KeyedWorld> {
    const clock = new ManualClock();
    const opening = createLocalKv({ clock });
    await clock.settle();
    return new KeyedWorld(await opening, effect, clock);
  }

  start(name: string, script: Script = (call) => this.answer(call)): KeyedNode {
    return new KeyedNode(this, name, { incarnation: ++this.incarnation, script });
  }

  /** A number that no other run has got, after a while. */
  async answer({ idempotencyKey = "" }: HandlerCall): Promise<IncomingReply> {
    const run = this.runs.push(idempotencyKey);
    await this.clock.sleep(20);
    return { kind: "ok", output: { run } };
  }

  /** Everybody knows that this life of a node is over. */
  declareEnded({ incarnation }: NodeLife): void {
    this.ended.add(incarnation);
    for (const listener of this.listeners) listener();
  }

  /** From now on a majority suspects the node. */
  suspect({ node }: NodeLife): void {
    this.suspectedSinceMs.set(node, this.clock.nowMs());
  }

  lives(): IdempotentInstancesPorts["lives"] {
    return {
      hasEnded: ({ incarnation }) => this.ended.has(incarnation),
      suspectedForMs: (node) => {
        const sinceMs = this.suspectedSinceMs.get(node);
        return sinceMs === undefined ? undefined : this.clock.nowMs() - sinceMs;
      },
      onChange: (listener) => void this.listeners.push(listener),
    };
  }

  /** The row of a key as it is stored. */
  async record(key = "k"): Promise<unknown> {
    const text = formatKey({ kind: "call", slice: "shop", method: "place", key });
    return (await this.settled(this.local.kv.get(text, { consistency: "local" }))).entry;
  }

  async settled<T>(work: Promise<T>, limitMs = 60_000): Promise<T> {
    return await this.clock.settled(work, limitMs);
  }

  async close(): Promise<void> {
    await this.settled(this.local.close());
  }
}

export class KeyedNode implements HostedInstances {
  readonly life: NodeLife;
  readonly instances: IdempotentInstances;
  isAlive = true;
  /** Calls of the store so far. */
  uses = 0;
  /** What becomes of the n-th call of the store, counted from 1. */
  fateOf: (use: number) => Fate = () => "done";
  private readonly world: KeyedWorld;
  private readonly script: Script;
  private readonly calls: InstanceCalls;

  constructor(
    world: KeyedWorld, name: string, { incarnation, script }: { readonly incarnation: number; readonly script: Script },
  ) {
    this.world = world;
    this.script = script;
    this.life = { node: parseNodeId(name), uid: parseNodeUid(name.padEnd(16, "0")), incarnation };
    this.calls = new InstanceCalls(
      { clock: world.clock },
      { post: (message) => this.take(message) },
      { name: `${name}/0`, concurrency: 20, callsQueuedMax: 20 },
    );
    this.calls.open([{ ...METHOD, effect: world.effect }]);
    this.instances = new IdempotentInstances(
      { clock: world.clock, telemetry: SILENT_TELEMETRY },
      { local: this, kv: this.kv(), lives: world.lives(), onFatal: (error) => world.fatal.push(error) },
      this.life,
    );
  }

  /** One call as it comes from a caller. */
  place(more: Partial<IncomingCall> = {}, signal?: AbortSignal): Promise<IncomingReply> {
    const call = { instance: "demo:shop:1.0.0/0", method: "place", input: { sku: "tea" }, timeoutMs: 10_000 };
    return this.instances.invoke({ ...call, idempotencyKey: "k", ...more }, signal);
  }

  kill(): void {
    this.isAlive = false;
  }

  /** The worker ends under its calls. */
  crashWorker(): void {
    this.calls.failAll("its worker was ended");
    this.calls.open([{ ...METHOD, effect: this.world.effect }]);
  }

  stopTaking(): void {
    this.calls.close("it is stopping");
  }

  invoke(call: IncomingCall, signal?: AbortSignal, onEnd?: (end: IncomingReply) => void): Promise<IncomingReply> {
    return this.calls.invoke(call, signal, onEnd);
  }

  inFlight(): number {
    return this.calls.size;
  }

  methodOf(_instance: string, method: string): HostedMethod | undefined {
    const spec = this.calls.methodOf(method);
    return spec === undefined ? undefined : { slice: "shop", effect: spec.effect };
  }

  private take(message: HostMessage): void {
    if (message.kind !== "call" || !this.isAlive) return;
    void this.script(message).then((reply) => {
      if (this.isAlive) this.calls.receiveReply(message.id, reply);
    });
  }

  private kv(): IdempotentInstancesPorts["kv"] {
    const { kv } = this.world.local;
    return {
      get: (key, options) => this.use(() => kv.get(key, options)),
      transact: (txn, options) => this.use(() => kv.transact(txn, options)),
      grantLease: (grant, options) => this.use(() => kv.grantLease(grant, options)),
      leaseCount: () => kv.leaseCount(),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
    };
  }

  private async use<T>(call: () => Promise<T>): Promise<T> {
    const fate = this.isAlive ? this.fateOf(++this.uses) : "killed-before";
    if (fate === "killed-before" || fate === "killed-after") this.kill();
    if (fate === "killed-before") return never();
    const result = await call();
    if (fate === "unanswered") throw new AetherError("E_TIMEOUT", "no answer in time");
    return this.isAlive ? result : await never();
  }
}

function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}
