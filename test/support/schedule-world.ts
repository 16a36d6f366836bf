// Owns: several nodes' runners of schedules over one real store and one node that answers calls with keys, on a manual
// clock; each runner has a time of day of its own. Who leads is said by the test.
import { AetherError } from "../../src/base/errors.ts";
import { parseArtifactId, parseNodeId } from "../../src/base/ids.ts";
import { ClusterViews } from "../../src/cluster/cluster-views.ts";
import { storable } from "../../src/cluster/core/plain-value.ts";
import { LeadingVersions } from "../../src/cluster/rollouts/leading-versions.ts";
import { ScheduleRunner } from "../../src/cluster/schedules/schedule-runner.ts";
import type { Clock } from "../../src/env/clock.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, parseKey, type KeyText } from "../../src/kvstore/core/key.ts";
import type { Compare, Op } from "../../src/kvstore/core/schema.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import type { ResolvedBlueprint } from "../../src/slices/core/blueprint.ts";
import type { ResolvedSchedule } from "../../src/slices/core/schedule-row.ts";
import { withClass } from "../../src/slices/core/call-failure.ts";
import type { CallReply, OutgoingCalls } from "../../src/slices/host/outgoing-calls.ts";
import type { IncomingReply } from "../../src/slices/host/running-instances.ts";
import { blueprintOf, instanceOf, sliceOf } from "./cluster-rows.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { KeyedWorld, type KeyedNode } from "./keyed-world.ts";
import { SILENT_LOG } from "./local-kv.ts";
import type { ManualClock } from "./manual-clock.ts";

const SCHEDULE = formatKey({ kind: "schedule", slice: "shop", name: "tick" });

export class ScheduleWorld {
  answer: "ok" | "throws" | "refuses" = "ok";
  readonly fatal: unknown[] = [];
  private keyed: KeyedWorld;
  private callee: KeyedNode;
  private leaders: Leader[] = [];
  private revision = 0;
  private schedules: readonly ResolvedSchedule[] = [];
  private shop: ResolvedBlueprint = blueprintOf({});
  private served: KeyText | undefined;

  private constructor(keyed: KeyedWorld) {
    this.keyed = keyed;
    this.callee = this.startCallee();
  }

  static async open(): Promise<ScheduleWorld> {
    return new ScheduleWorld(await KeyedWorld.open());
  }

  get clock(): ManualClock {
    return this.keyed.clock;
  }

  get kv(): Kv {
    return this.keyed.local.kv;
  }

  /** The time of day at which a world begins. */
  get beginMs(): number {
    return 1_700_000_000_000;
  }

  /** Another world with the same schedules, in which nothing has happened. */
  async restart(): Promise<void> {
    await this.end();
    this.keyed = await KeyedWorld.open();
    this.callee = this.startCallee();
    this.leaders = [];
    await this.apply(...this.schedules);
  }

  /** The slice has these schedules now. */
  async apply(...schedules: readonly ResolvedSchedule[]): Promise<void> {
    await this.applyVersion("1.0.0", ...schedules);
  }

  /** The blueprint wants this version of the slice, which has these schedules. */
  async applyVersion(version: string, ...schedules: readonly ResolvedSchedule[]): Promise<void> {
    this.schedules = schedules;
    const revision = ++this.revision;
    const artifact = parseArtifactId(`demo:shop:${version}`);
    this.shop = blueprintOf({ shop: { ...sliceOf("shop", 1), artifact, schedules } }, revision);
    const { name } = this.shop;
    await this.put({
      [formatKey({ kind: "blueprint", name, revision })]: this.shop,
      [formatKey({ kind: "blueprint-current", name })]: { revision },
    });
  }

  /** An instance of what the blueprint wants now serves on this node, and none of another version does. */
  async serve(node: string): Promise<void> {
    const { artifact, row } = instanceOf(this.shop, "shop", { node, index: 0 }, { revision: this.revision });
    if (this.served !== undefined) await this.put({ [this.served]: undefined });
    this.served = formatKey({ kind: "slice", node: parseNodeId(node), artifact, instance: 0 });
    await this.put({ [this.served]: row });
  }

  private async put(rows: Readonly<Record<string, unknown>>): Promise<void> {
    const then = Object.entries(rows).map(([text, value]): Op => {
      const key = formatKey(parseKey(text));
      return value === undefined ? { kind: "delete", key } : { kind: "put", key, value: storable(value) };
    });
    await this.keyed.settled(this.kv.transact({ compare: [], then, else: [] }));
  }

  /** This node leads from now on; those before learn of it by their fence only. */
  async lead(name: string, clockOffsetMs = 0): Promise<Leader> {
    const put = { kind: "put", key: LEADER_KEY, value: { name, at: this.clock.nowMs() } } as const;
    const { revision } = await this.keyed.settled(this.kv.transact({ compare: [], then: [put], else: [] }));
    const leader = new Leader(this, unchanged(LEADER_KEY, revision), clockOffsetMs);
    this.leaders.push(leader);
    leader.start();
    await this.pass(10);
    return leader;
  }

  /** Nobody leads. */
  resign(): void {
    for (const leader of this.leaders) leader.isLeading = false;
  }

  pass(durationMs: number): Promise<void> {
    return this.clock.advance(durationMs);
  }

  /** The moments of the ticks whose handler has begun, in order. */
  ticks(): readonly number[] {
    return this.keyed.runs.map((key) => Date.parse(key.slice("schedule/tick/".length)));
  }

  async row(): Promise<unknown> {
    return (await this.keyed.settled(this.kv.get(SCHEDULE, { consistency: "local" }))).entry?.value;
  }

  async close(): Promise<void> {
    await this.end();
  }

  /** A call as the invoker makes it, of the one instance there is. */
  async call({ input, idempotencyKey = "" }: Parameters<OutgoingCalls["call"]>[0]): Promise<CallReply> {
    if (this.answer === "refuses") {
      const error = new AetherError("E_UNAVAILABLE", "no instance").toBody();
      return { kind: "error", error: withClass(error, "not-sent"), attempts: 1 };
    }
    const reply = await this.callee.place({ input, idempotencyKey });
    if (reply.kind === "ok") return { ...reply, attempts: 1 };
    const error = withClass(reply.error, reply.kind === "failed" ? "handler" : "not-started");
    return { kind: "error", error, attempts: 1 };
  }

  private startCallee(): KeyedNode {
    const { keyed } = this;
    return keyed.start("n9", async (call): Promise<IncomingReply> => {
      const reply = await keyed.answer(call);
      if (this.answer === "ok") return reply;
      return { kind: "failed", error: { code: "E_HANDLER", message: "no", outcome: "unknown" } };
    });
  }

  private async end(): Promise<void> {
    for (const leader of this.leaders) await this.keyed.settled(leader.close());
    this.fatal.push(...this.keyed.fatal);
    await this.keyed.close();
  }
}

export class Leader {
  isAlive = true;
  isLeading = true;
  /** It goes on although another one leads. */
  hasUsurped = false;
  /** Its n-th write is its last. */
  diesAt = Infinity;
  diesWhen: "before" | "after" = "before";
  private writes = 0;
  private readonly views: ClusterViews;
  private readonly runner: ScheduleRunner;

  constructor(world: ScheduleWorld, fence: Compare, clockOffsetMs: number) {
    const clock = shifted(world.clock, clockOffsetMs);
    const kv = this.mortal(world.kv);
    this.views = new ClusterViews({ clock, log: SILENT_LOG }, kv);
    this.runner = new ScheduleRunner({ clock, telemetry: SILENT_TELEMETRY }, {
      kv,
      views: this.views,
      leading: new LeadingVersions(this.views),
      leadership: { fence: () => (this.isLeading && this.isAlive ? fence : undefined) },
      calls: { call: (call) => (this.isAlive ? world.call(call) : new Promise(() => undefined)) },
      onFatal: (error) => world.fatal.push(error),
    });
  }

  start(): void {
    this.views.open();
    this.runner.start();
  }

  async close(): Promise<void> {
    this.isAlive = false;
    // What a killed process waits for never comes.
    if (this.writes < this.diesAt) await this.runner.close();
    await this.views.close();
  }

  private mortal(kv: Kv): Kv {
    return {
      get: (key, options) => kv.get(key, options),
      list: (query, options) => kv.list(query, options),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
      transact: async (txn, options) => {
        this.writes += 1;
        if (this.writes < this.diesAt) return await kv.transact(txn, options);
        const wasAlive = this.isAlive;
        this.isAlive = false;
        if (wasAlive && this.diesWhen === "after") await kv.transact(txn, options);
        return await new Promise(() => undefined);
      },
      get revision() {
        return kv.revision;
      },
      get oldestRevision() {
        return kv.oldestRevision;
      },
    };
  }
}

/** The same time, at another time of day. */
function shifted(clock: ManualClock, offsetMs: number): Clock {
  return {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs() + offsetMs,
    setTimer: (delayMs, fire) => clock.setTimer(delayMs, fire),
    defer: (fire) => clock.defer(fire),
    nextTurn: (fire) => clock.nextTurn(fire),
    sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
  };
}
