// Owns: nodes that run jobs over one store, with the code of agents in this thread: a test lets one of them fall silent
// at a chosen write, and another one go on. Everything between the store and the agents' code is the real thing.
import { sha256 } from "../../src/base/digest.ts";
import { parseArtifactId, parseJobId, type Digest, type JobId } from "../../src/base/ids.ts";
import { GiB } from "../../src/base/units.ts";
import { ChildStarts } from "../../src/jobs/running/child-starts.ts";
import { refOf, type ClusterUid } from "../../src/jobs/core/ids.ts";
import type { InboxEntry } from "../../src/jobs/core/flow/inbox-entry.ts";
import { decideClaim } from "../../src/jobs/core/life/decide.ts";
import { handBackTxn } from "../../src/jobs/core/life/hand-back.ts";
import { hasEnded } from "../../src/jobs/core/life/job-life.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { parseJobRow, parsePinRow } from "../../src/jobs/core/rows.ts";
import { OtherCode } from "../../src/jobs/doors/other-code.ts";
import { Replays } from "../../src/jobs/running/replays.ts";
import type { FromAgent, RunNumber } from "../../src/jobs/core/worker/messages.ts";
import { followInbox } from "../../src/jobs/inbox/inbox-feed.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JobRun } from "../../src/jobs/running/job-run.ts";
import type { NodePayloads } from "../../src/jobs/running/run-payloads.ts";
import { JobWatch } from "../../src/jobs/job-watch.ts";
import { PayloadRoom } from "../../src/jobs/payloads/payload-room.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import { Outbox } from "../../src/jobs/inbox/outbox.ts";
import type { AgentWorker, MovedJob } from "../../src/jobs/ports.ts";
import { AgentRuntime } from "../../src/jobs/worker/agent-runtime.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Kv, StoreUsage } from "../../src/kvstore/kv.ts";
import type { Agent } from "../../src/sdk/agent.ts";
import { agentSchema, describeAgents } from "../../src/slices/build/describe-agents.ts";
import { asNodeHears } from "./as-node-hears.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { jobStore, life, viewOf } from "./job-log.ts";
import type { ManualClock } from "./manual-clock.ts";

const CLUSTER = "c".repeat(32) as ClusterUid;
/** The pin of an agent that is in another package than its parent. */
export const OTHER_PIN = sha256("another package");

export interface JobNodeOptions {
  readonly name: string;
  readonly clock: ManualClock;
  readonly kv: Kv;
  readonly agents: readonly Agent[];
  /** What another pin than the first one runs. */
  readonly versions?: ReadonlyMap<Digest, readonly Agent[]>;
  readonly usage?: () => StoreUsage;
  readonly dies?: Death | undefined;
}

/** A node falls silent at the write of this number: it is lost, or applied and its answer lost. */
export interface Death {
  readonly at: number;
  readonly fate: "lost" | "applied";
}

export class JobNode {
  readonly name: string;
  readonly room = new PayloadRoom();
  isDead = false;
  writes = 0;
  private readonly clock: ManualClock;
  private readonly kv: Kv;
  private readonly agents: readonly Agent[];
  private readonly versions: ReadonlyMap<Digest, readonly Agent[]>;
  private readonly usage: () => StoreUsage;
  private readonly inbox: InboxWriter;
  private readonly outbox: Outbox;
  private readonly watch: JobWatch;
  private readonly children: ChildStarts;
  private readonly runs = new Map<JobId, JobRun>();
  private readonly claiming = new Set<JobId>();

  constructor({ name, clock, kv, agents, versions = new Map(), usage = () => EMPTY_STORE, dies }: JobNodeOptions) {
    this.usage = usage;
    this.name = name;
    this.clock = clock;
    this.kv = this.mortal(kv, dies);
    this.agents = agents;
    this.versions = versions;
    const onFatal = (error: unknown): void => {
      throw error;
    };
    const env = { clock, telemetry: SILENT_TELEMETRY };
    const leadership = { fence: () => (this.isDead ? undefined : unchanged(LEADER_KEY, 0)) };
    this.inbox = new InboxWriter({ clock }, { kv: this.kv, onFatal });
    this.outbox = new Outbox(env, { kv: this.kv, inbox: this.inbox, leadership, onFatal });
    this.watch = new JobWatch(env, this.kv);
    const manifest = describeAgents(agents.map((agent) => agentSchema.parse(agent)));
    this.children = new ChildStarts(env, {
      kv: this.kv,
      pins: {
        hasAgent: async (_pin, agent) => agents.some((one) => one.name === agent),
        resolve: async () => OTHER_PIN,
        needsOf: async () => ({}),
        definitionOf: async (_pin, agent) => manifest?.[agent],
      },
      checkRoom: () => undefined,
    });
    this.watch.open();
    this.outbox.start();
  }

  /** It runs no job. */
  get isIdle(): boolean {
    return this.runs.size === 0;
  }

  /** Cancels a job as a person does. */
  async cancel(job: JobId): Promise<void> {
    await this.tell(job, { kind: "cancel", principal: "ann" });
  }

  /** Signals a job as a program does. */
  async signal(job: JobId, signal: string, payload: unknown): Promise<void> {
    await this.tell(job, { kind: "signal", signal, payload, principal: "ann" });
  }

  async tell(job: JobId, entry: InboxEntry): Promise<void> {
    await this.inbox.put(refOf(job), { entry });
  }

  /** Moves a job to the code of this pin, as a person does. */
  async move(job: JobId, pin: Digest): Promise<MovedJob> {
    const { clock, kv } = this;
    const code = new OtherCode({ clock }, {
      kv, log: jobStore(clock, kv), inbox: this.inbox, watch: this.watch,
      pins: {
        otherVersion: async () => pin,
        read: async (digest) => parsePinRow((await kv.get(formatKey({ kind: "job-pin", digest }))).entry?.value),
      },
      replays: new Replays({ clock }, {
        workers: { open: async (digest) => this.openWorker(digest) }, payloads: this.payloads,
      }),
    });
    return await code.move(job, parseArtifactId("test:moving:1.1.0"), { principal: "ann", tenant: "default" });
  }

  /** Runs all jobs that wait for a node, until `isDone`, or until this node is dead. */
  async goOn(isDone: () => Promise<boolean>): Promise<void> {
    for (let round = 0; round < ROUNDS_MAX && !this.isDead; round++) {
      if (await isDone()) return;
      await this.claimAll();
      await this.clock.advance(ROUND_MS);
    }
    if (!this.isDead) throw new RangeError("the jobs do not come to their end");
  }

  /** What it owned waits for any node. */
  async close(store: Kv): Promise<void> {
    this.isDead = true;
    for (const run of [...this.runs.values()]) run.drop("fenced");
    this.watch.close();
    await Promise.all([this.outbox.close(), this.inbox.close()]);
    const { entries } = await store.list({ prefix: prefixOf({ kind: "jobs" }) });
    for (const { key, value, modRevision } of entries) {
      const parsed = parseKey(key);
      const row = parseJobRow(value);
      if (parsed.kind !== "job" || row.owner?.node !== this.name) continue;
      const job = { ref: refOf(parsed.job), row, rowRevision: modRevision };
      await store.transact(handBackTxn(row.owner.node, [job], undefined, 1));
    }
  }

  private get payloads(): NodePayloads {
    const store = new PayloadStore({ clock: this.clock, telemetry: SILENT_TELEMETRY }, this.kv);
    return { store, room: this.room, usage: this.usage };
  }

  private async claimAll(): Promise<void> {
    const { entries } = await this.kv.list({ prefix: prefixOf({ kind: "job-queue" }) });
    for (const { key } of entries) {
      const parsed = parseKey(key);
      if (parsed.kind === "job-queue") void this.claim(parsed.job);
    }
  }

  private async claim(job: JobId): Promise<void> {
    if (this.runs.has(job) || this.claiming.has(job)) return;
    this.claiming.add(job);
    try {
      const store = jobStore(this.clock, this.kv);
      const loaded = await store.load(refOf(job));
      const decision = decideClaim(loaded.view, { life: life(this.name), atMs: this.clock.wallMs() });
      if (decision.kind === "refused") return;
      const view = viewOf(await store.commit(decision));
      if (this.isDead) return;
      const run = new JobRun({ clock: this.clock, log: SILENT_TELEMETRY.log }, {
        log: store,
        workers: { open: async (pin) => this.openWorker(pin) },
        cluster: CLUSTER,
        secrets: {},
        ownership: { fence: { number: 1 }, whenValid: async () => undefined },
        followInbox: (ref, onArrival) => followInbox(
          { clock: this.clock, log: SILENT_TELEMETRY.log }, { kv: this.kv, watch: this.watch }, ref, onArrival,
        ),
        children: this.children,
        payloads: this.payloads,
        rates: { take: () => Promise.resolve(), giveBack: () => undefined },
        places: { take: () => Promise.resolve({ free: () => undefined }) },
        models: {},
        spending: { noteEvents: () => undefined, noteAccount: () => undefined },
        onOutbox: (ref) => this.outbox.tell(ref),
        onEmit: () => undefined,
        onVerdict: () => undefined,
        onEnd: () => this.runs.delete(job),
      }, { ...loaded, view });
      this.runs.set(job, run);
      run.begin();
    } finally {
      this.claiming.delete(job);
    }
  }

  private openWorker(pin: Digest): AgentWorker {
    const listeners = new Map<RunNumber, (message: FromAgent) => void>();
    const runtime = new AgentRuntime({
      clock: this.clock,
      mayAct: () => !this.isDead,
      post: (message) => {
        if (!this.isDead) listeners.get(message.run)?.(asNodeHears(message));
      },
    });
    runtime.load({ agents: this.versions.get(pin) ?? this.agents });
    return {
      slice: "agents",
      start: (start, onMessage) => {
        listeners.set(1, onMessage);
        runtime.receive({ kind: "start", run: 1, start: structuredClone(start) });
        return 1;
      },
      send: (message) => runtime.receive(structuredClone(message)),
      onLost: () => undefined,
      release: () => undefined,
    };
  }

  private mortal(kv: Kv, dies: Death | undefined): Kv {
    const silence = (signal: AbortSignal | undefined): Promise<never> => new Promise((_, reject) => {
      if (signal?.aborted === true) reject(new RangeError("the node is dead"));
      signal?.addEventListener("abort", () => reject(new RangeError("the node is dead")));
    });
    return {
      get: async (key, options) => (this.isDead ? await silence(options?.signal) : await kv.get(key, options)),
      list: async (query, options) => (this.isDead ? await silence(options?.signal) : await kv.list(query, options)),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
      transact: async (txn, options) => {
        if (this.isDead) return await silence(options?.signal);
        this.writes += 1;
        if (this.writes !== dies?.at) return await kv.transact(txn, options);
        this.isDead = true;
        if (dies.fate === "applied") await kv.transact(txn);
        return await silence(options?.signal);
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

const EMPTY_STORE: StoreUsage = { liveBytes: 0, quotaBytes: GiB };
const ROUNDS_MAX = 400;
const ROUND_MS = 100;

/** Whether each of these jobs has ended. */
export async function haveEnded(kv: Kv, jobs: readonly JobId[]): Promise<boolean> {
  const rows = await Promise.all(jobs.map((job) => kv.get(rowKey(refOf(job)))));
  return rows.every(({ entry }) => entry !== undefined && hasEnded(parseJobRow(entry.value).status));
}

/** The children of a job, in the order of their ids. */
export async function childrenOf(kv: Kv, job: JobId): Promise<readonly JobId[]> {
  const { entries } = await kv.list({ prefix: prefixOf({ kind: "job-children", ...refOf(job) }) });
  return entries.flatMap(({ key }) => {
    const parsed = parseKey(key);
    return parsed.kind === "job-child" ? [parseJobId(parsed.child)] : [];
  });
}

