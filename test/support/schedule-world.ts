// Owns: several nodes' runners of schedules over one real store and one node that answers calls with keys, on a manual
// clock; each runner has a time of day of its own. Jobs are started for real and run by nobody: the test ends them. Who
// leads is said by the test.
import { AetherError } from "../../src/base/errors.ts";
import { parseArtifactId, parseNodeId, type JobId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { ClusterViews } from "../../src/cluster/cluster-views.ts";
import { storable } from "../../src/cluster/core/plain-value.ts";
import { LeadingVersions } from "../../src/cluster/rollouts/leading-versions.ts";
import { methodTicks } from "../../src/cluster/schedules/method-ticks.ts";
import { TickRunner } from "../../src/cluster/schedules/tick-runner.ts";
import type { Clock } from "../../src/env/clock.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { hasEnded } from "../../src/jobs/core/life/job-life.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { parseJobRow } from "../../src/jobs/core/rows.ts";
import { StartJobs } from "../../src/jobs/doors/start-jobs.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { jobTicks } from "../../src/jobs/schedules/job-ticks.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, parseKey, prefixOf, type KeyText } from "../../src/kvstore/core/key.ts";
import type { Compare, Op } from "../../src/kvstore/core/schema.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import type { ResolvedBlueprint } from "../../src/slices/core/blueprint.ts";
import type { ResolvedAgentSchedule, ResolvedSchedule } from "../../src/slices/core/schedule-row.ts";
import { withClass } from "../../src/slices/core/call-failure.ts";
import type { CallReply, OutgoingCalls } from "../../src/slices/host/outgoing-calls.ts";
import type { IncomingReply } from "../../src/slices/host/running-instances.ts";
import { blueprintOf, instanceOf, sliceOf } from "./cluster-rows.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { PIN } from "./job-log.ts";
import { KeyedWorld, type KeyedNode } from "./keyed-world.ts";
import { SILENT_LOG } from "./local-kv.ts";
import { payloadsIn } from "./kept-payloads.ts";
import type { ManualClock } from "./manual-clock.ts";

const SCHEDULE = formatKey({ kind: "schedule", slice: "shop", name: "tick" });
const AGENT_SCHEDULE = formatKey({ kind: "agent-schedule", slice: "shop", agent: "audit", name: "tick" });

export class ScheduleWorld {
  answer: "ok" | "throws" | "refuses" = "ok";
  /** What happens while a handler runs. */
  meanwhile: () => Promise<unknown> = () => Promise.resolve();
  readonly fatal: unknown[] = [];
  private keyed: KeyedWorld;
  private callee: KeyedNode;
  private leaders: Leader[] = [];
  private revision = 0;
  private schedules: readonly ResolvedSchedule[] = [];
  private agentSchedules: readonly ResolvedAgentSchedule[] = [];
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
    await this.applyVersion("1.0.0");
  }

  /** The slice has these schedules now. */
  async apply(...schedules: readonly ResolvedSchedule[]): Promise<void> {
    this.schedules = schedules;
    await this.applyVersion("1.0.0");
  }

  /** The slice's agents have these schedules now. */
  async applyAgents(...schedules: readonly ResolvedAgentSchedule[]): Promise<void> {
    this.agentSchedules = schedules;
    await this.applyVersion("1.0.0");
  }

  /** The blueprint wants this version of the slice, which has these schedules. */
  async applyVersion(version: string, ...changed: readonly ResolvedSchedule[]): Promise<void> {
    if (changed.length > 0) this.schedules = changed;
    const { schedules, agentSchedules } = this;
    const revision = ++this.revision;
    const artifact = parseArtifactId(`demo:shop:${version}`);
    this.shop = blueprintOf({ shop: { ...sliceOf("shop", 1), artifact, schedules, agentSchedules } }, revision);
    const { name } = this.shop;
    await this.put({
      [formatKey({ kind: "blueprint", name, revision })]: this.shop,
      [formatKey({ kind: "blueprint-current", name })]: { revision },
      [formatKey({ kind: "job-pin", digest: PIN })]: {},
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

  /** Jobs that were started by ticks, in the order of their ticks. */
  async jobs(): Promise<readonly ScheduledJob[]> {
    const { entries } = await this.keyed.settled(
      this.kv.list({ prefix: prefixOf({ kind: "jobs" }) }, { consistency: "local" }),
    );
    const jobs = entries.flatMap(({ key, value }): readonly ScheduledJob[] => {
      const parsed = parseKey(key);
      if (parsed.kind !== "job") return [];
      const { status, attributes: { tick = "" } } = parseJobRow(value);
      return [{ job: parsed.job, tickMs: Date.parse(tick), isAlive: !hasEnded(status) }];
    });
    return jobs.sort((a, b) => a.tickMs - b.tickMs);
  }

  async endJob(job: JobId): Promise<void> {
    const key = rowKey(refOf(job));
    const { entry } = await this.keyed.settled(this.kv.get(key, { consistency: "local" }));
    await this.put({ [key]: { ...parseJobRow(entry?.value), status: "completed" } });
  }

  async agentRow(): Promise<unknown> {
    return (await this.keyed.settled(this.kv.get(AGENT_SCHEDULE, { consistency: "local" }))).entry?.value;
  }

  async close(): Promise<void> {
    await this.end();
  }

  /** What it answers, while time stands still. */
  settled<T>(work: Promise<T>): Promise<T> {
    return this.keyed.settled(work);
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
      await this.meanwhile();
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

/** A job of a schedule that starts one. */
export interface ScheduledJob {
  readonly job: JobId;
  readonly tickMs: number;
  readonly isAlive: boolean;
}

export class Leader {
  isAlive = true;
  isLeading = true;
  /** It goes on although another one leads. */
  hasUsurped = false;
  /** Its n-th question to the store is its last. `late`: it is asked when the test says so. */
  diesAt = Infinity;
  diesWhen: "before" | "after" | "late" = "before";
  private asked = 0;
  private late: (() => Promise<unknown>) | undefined;
  private readonly world: ScheduleWorld;
  private readonly views: ClusterViews;
  private readonly runners: readonly { start(): void; close(): Promise<void> }[];

  constructor(world: ScheduleWorld, fence: Compare, clockOffsetMs: number) {
    this.world = world;
    const clock = shifted(world.clock, clockOffsetMs);
    const kv = this.mortal(world.kv);
    this.views = new ClusterViews({ clock, log: SILENT_LOG }, kv);
    const { views } = this;
    const env = { clock, telemetry: SILENT_TELEMETRY };
    const ports = {
      kv,
      views,
      leadership: { fence: () => (this.isLeading && this.isAlive ? fence : undefined) },
      onFatal: (error: unknown) => world.fatal.push(error),
    };
    const methods = methodTicks({
      leading: new LeadingVersions(views),
      calls: { call: (call) => (this.isAlive ? world.call(call) : new Promise(() => undefined)) },
    });
    const starts = new StartJobs({ clock, random: new SeededRandom(fence.key.length + clockOffsetMs) }, {
      kv: { get: kv.get, transact: kv.transact, usage: () => ({ liveBytes: 0, quotaBytes: 1 }) },
      pins: {
        resolve: () => Promise.resolve(PIN),
        needsOf: () => Promise.resolve({}),
        definitionOf: () => Promise.resolve(undefined),
      },
      payloads: payloadsIn(kv),
      queued: () => 0,
      metrics: createJobsMetrics(SILENT_TELEMETRY),
    }, { pendingMax: 10 });
    this.runners = [
      new TickRunner(env, ports, methods), new TickRunner(env, ports, jobTicks({ kv, views, starts })),
    ];
  }

  start(): void {
    this.views.open();
    for (const runner of this.runners) runner.start();
  }

  async close(): Promise<void> {
    this.isAlive = false;
    // What a killed process waits for never comes.
    if (this.asked < this.diesAt) await Promise.all(this.runners.map((runner) => runner.close()));
    await this.views.close();
  }

  /** What it asked last, before it was stopped for so long, reaches the store now. */
  async wake(): Promise<void> {
    if (this.late !== undefined) await this.world.settled(this.late());
  }

  private mortal(kv: Kv): Kv {
    const ask = async <T>(question: () => Promise<T>): Promise<T> => {
      this.asked += 1;
      if (this.asked < this.diesAt) return await question();
      const wasAlive = this.isAlive;
      this.isAlive = false;
      if (wasAlive && this.diesWhen === "after") await question();
      if (wasAlive && this.diesWhen === "late") this.late = question;
      return await new Promise(() => undefined);
    };
    return {
      get: (key, options) => ask(() => kv.get(key, options)),
      list: (query, options) => kv.list(query, options),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
      transact: (txn, options) => ask(() => kv.transact(txn, options)),
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
