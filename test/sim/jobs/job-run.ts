// Owns: one run of jobs in a simulated cluster: clients and a person do their part, faults come, everything heals, all
// jobs have to end; then the checker has its say. Does not own: what is right (job-checker.ts).
import { AetherError } from "../../../src/base/errors.ts";
import { createDeferred, type Deferred } from "../../../src/base/deferred.ts";
import { notDone } from "../../../src/sdk/index.ts";
import type { Txn, TxnResult } from "../../../src/kvstore/core/schema.ts";
import type { KvStore } from "../../../src/kvstore/kv-store.ts";
import { openTestCluster } from "../../../src/testkit/create-test-cluster.ts";
import { inlineSlice } from "../../../src/testkit/inline-slice.ts";
import { storeWith, type NodeSeams } from "../../../src/testkit/node-seams.ts";
import type { SimProcess } from "../../../src/testkit/sim/sim-process.ts";
import type { TestJob } from "../../../src/testkit/test-agents.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import type { MockContext, ToolMock } from "../../../src/testkit/tool-mock.ts";
import { decode } from "../../../src/base/codec.ts";
import {
  checkJobs, eventsOf, type JobBooks, type JobViolation, type StreamTxn,
} from "./job-checker.ts";
import type { JobFaultPlan, JobPlan, PlannedJob } from "./job-plan.ts";
import { tamperWith, tamperWithWorkers, type JobFault } from "./planted-jobs.ts";
import { createPlayer, FAR_MS_MAX, TOOLS, told, type Mode, type ToolName } from "./player.ts";

export interface JobRunResult {
  readonly violation: JobViolation | undefined;
  readonly traceHash: string;
  /** Events of each number in all logs. */
  readonly events: ReadonlyMap<number, number>;
  /** Transactions that owners made for jobs. */
  readonly moments: number;
  readonly virtualMs: number;
}

const NODES = 3;
/** Everything has healed; whoever waits for a person has one. */
const END_MS_MAX = 120_000;
const PERSON_EVERY_MS = 700;
const SKEW_MS = 200;
const STREAM_MS_MAX = 20_000;
/** Faults at moments that did not come until now do not come any more. */
const FAULTS_END_MS = 7_000;
const STEP_COMPLETED = 16;

export async function runJobs(plan: JobPlan, planted?: JobFault): Promise<JobRunResult> {
  const run = new JobsRun(plan, planted);
  return await run.play();
}

class JobsRun {
  private readonly plan: JobPlan;
  private readonly planted: JobFault | undefined;
  private readonly stores = new Map<SimProcess, KvStore>();
  private readonly receipts = new Map<string, string[]>();
  private readonly grantsAnswered: JobBooks["grantsAnswered"][number][] = [];
  private readonly revisions: JobBooks["revisions"][number][] = [];
  private readonly stepsBegun: JobBooks["stepsBegun"][number][] = [];
  private readonly stepsStored = new Map<string, number>();
  private readonly answers = new Map<string, number>();
  private readonly signals = new Map<string, string[]>();
  private readonly started: string[] = [];
  private readonly mocks = new Map<ToolName, ToolMock>();
  private readonly down = new Set<string>();
  private readonly restarts: Promise<void>[] = [];
  private readonly waits = new Map<string, Deferred<void>>();
  private moments = 0;
  private grants = 0;
  private counter = 0;
  private isOver = false;
  private areFaultsOver = false;
  private opened: TestCluster | undefined;

  constructor(plan: JobPlan, planted: JobFault | undefined) {
    this.plan = plan;
    this.planted = planted;
  }

  async play(): Promise<JobRunResult> {
    const player = createPlayer((job, label) => this.beginStep(job, label));
    const cluster = await openTestCluster({
      nodes: NODES, seed: this.plan.seed, time: "virtual", wallSkewMs: SKEW_MS,
      slices: [inlineSlice({ artifact: "test:player:1.0.0", create: () => player })],
      blueprint: { name: "player", slices: { player: { artifact: "test:player:1.0.0" } } },
    }, this.seams());
    this.opened = cluster;
    try {
      this.playOutside(cluster);
      const violation = await this.playIn(cluster, player);
      return {
        violation, traceHash: cluster.traceHash, events: eventsOf(this.stream), moments: this.moments,
        virtualMs: cluster.nowMs,
      };
    } finally {
      this.isOver = true;
      await cluster.close();
    }
  }

  private stream: readonly StreamTxn[] = [];

  private async playIn(
    cluster: TestCluster, player: ReturnType<typeof createPlayer>,
  ): Promise<JobViolation | undefined> {
    const agent = cluster.agent(player);
    const person = this.beThePerson(cluster, player);
    const clients = this.plan.jobs.map((job) => this.beTheClient(cluster, job, agent));
    const faults = this.plan.faults.map((fault) => this.bringFault(cluster, fault));
    let late: string | undefined;
    try {
      await Promise.all([...faults, ...clients, cluster.advance(FAULTS_END_MS)]);
      this.areFaultsOver = true;
      await Promise.all(this.restarts);
      await this.healAll(cluster);
      for (const { id } of this.plan.jobs) await agent.job(id).result(END_MS_MAX);
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      late = `${error.code}: ${error.message}`;
    }
    this.isOver = true;
    await person;
    await this.healAll(cluster);
    await cluster.advance(FAR_MS_MAX);
    this.stream = await this.readStream(cluster);
    const found = checkJobs(this.books());
    if (found !== undefined && (found.check !== "liveness" || late === undefined)) return found;
    return late === undefined ? undefined : { check: "liveness", message: late };
  }

  private books(): JobBooks {
    const requests = [...this.mocks].flatMap(([tool, mock]) => mock.requests.map((request) => ({
      tool, key: request.key ?? "", from: request.from, sentAtMs: request.sentAtMs, isDone: request.state === "done",
    }))).sort((a, b) => a.sentAtMs - b.sentAtMs);
    const { stream, receipts, grantsAnswered, revisions, stepsBegun, stepsStored, answers, signals, started } = this;
    return {
      stream, requests, receipts, grantsAnswered, revisions, stepsBegun, stepsStored, answers, signals, started,
      timersSkewMs: 2 * SKEW_MS,
    };
  }

  // What clients, a person and the outside do.

  private async beTheClient(
    cluster: TestCluster, { id, program, startMs, signals, cancelMs }: PlannedJob,
    agent: ReturnType<TestCluster["agent"]>,
  ): Promise<void> {
    await cluster.advance(startMs);
    const job = await agent.start({ program }, { id });
    this.started.push(id);
    await Promise.all([
      ...signals.map(async ({ atMs, atWait, isTwice }, index) => {
        const timely = cluster.advance(atMs);
        await (atWait ? Promise.race([timely, this.aboutToWait(id)]) : timely);
        const payload = `${id}/${index}`;
        this.signals.set(id, [...this.signals.get(id) ?? [], payload]);
        const send = (): Promise<void> => orEnded(job.signal(told, payload, { idempotencyKey: payload }));
        await Promise.all(isTwice ? [send(), send()] : [send()]);
        await timely;
      }),
      ...(cancelMs === undefined ? [] : [cluster.advance(cancelMs).then(() => orEnded(job.cancel()))]),
    ]);
  }

  /** Resolves when an owner proposes that the job waits. */
  private aboutToWait(id: string): Promise<void> {
    const known = this.waits.get(id) ?? createDeferred<void>();
    this.waits.set(id, known);
    return known.promise;
  }

  /** Looks at the other side before it answers: what is on its way there is waited for. */
  private async beThePerson(cluster: TestCluster, player: ReturnType<typeof createPlayer>): Promise<void> {
    const agent = cluster.agent(player);
    while (!this.isOver) {
      // ignored: the person looks again.
      for (const id of this.started) await this.settleCalls(agent.job(id)).catch(() => undefined);
      await cluster.advance(PERSON_EVERY_MS);
    }
  }

  private async settleCalls(job: TestJob): Promise<void> {
    const { waiting, calls } = await job.status();
    if (waiting?.reason !== "unknown") return;
    for (const { call, tool, effectId, state } of calls) {
      if (state !== "unknown" || tool !== "blind") continue;
      const sent = this.mocks.get("blind")?.requests.filter(({ key }) => key === effectId) ?? [];
      if (sent.some(({ state: request }) => request === "travelling" || request === "working")) continue;
      const [result] = this.receipts.get(effectId) ?? [];
      this.answers.set(effectId, (this.answers.get(effectId) ?? 0) + 1);
      await job.resolve(call, result === undefined ? { kind: "not-done" } : { kind: "done", result });
    }
  }

  private playOutside(cluster: TestCluster): void {
    for (const [name, tool] of Object.entries(TOOLS)) {
      const behave = ({ label, mode }: { label: string; mode: Mode }, context: MockContext<string>): unknown =>
        this.serve(name as ToolName, label, mode, context);
      const mock = cluster.mockTool(tool, behave as never, name === "far" ? { travelMsMax: FAR_MS_MAX } : {});
      this.mocks.set(name as ToolName, mock);
    }
  }

  private async serve(tool: ToolName, label: string, mode: Mode, context: MockContext<string>): Promise<string> {
    const { arrivals, effectId } = context;
    const how = arrivals > 1 ? "well" : mode;
    if (how === "slowly") await context.sleep(600);
    if (how === "throws") throw new Error("the other side is broken");
    if (how === "refuses") throw notDone("the other side refuses");
    const receipt = `${label} ${tool} ${arrivals}`;
    this.receipts.set(effectId, [...this.receipts.get(effectId) ?? [], receipt]);
    return how === "loses the answer" ? await context.loseAnswer(receipt) : receipt;
  }

  private beginStep(job: string, label: string): string {
    this.counter += 1;
    this.stepsBegun.push({ job, label, atMs: this.opened?.nowMs ?? 0 });
    return `${label} ${this.counter}`;
  }

  // Faults.

  private async bringFault(cluster: TestCluster, plan: JobFaultPlan): Promise<void> {
    if (plan.at !== "time") return;
    const { atMs, fault, forMs, node: index } = plan;
    await cluster.advance(atMs);
    const node = cluster.nodes[index] ?? "n1";
    if (fault === "cut off") {
      cluster.partition([node]);
      await cluster.advance(forMs);
      cluster.heal();
    } else if (fault === "stop") {
      if (this.down.has(node)) return;
      this.down.add(node);
      // A node that cannot end in order, because the others are away, is killed.
      await cluster.stop(node).catch(() => cluster.kill(node));
      await this.restartLater(cluster, node, forMs);
    } else {
      this.strike(cluster, node, fault, forMs);
    }
  }

  private strike(cluster: TestCluster, node: string, fault: "crash" | "crash all" | "pause", forMs: number): void {
    if (fault === "pause") return cluster.pause(node, forMs);
    for (const one of fault === "crash" ? [node] : cluster.nodes) {
      if (this.down.has(one)) continue;
      this.down.add(one);
      cluster.kill(one);
      this.restarts.push(this.restartLater(cluster, one, forMs));
    }
  }

  private async restartLater(cluster: TestCluster, node: string, afterMs: number): Promise<void> {
    await cluster.advance(afterMs);
    this.down.delete(node);
    // ignored: the others may not let it in while they are away; it is up all the same.
    await cluster.start(node).catch(() => undefined);
  }

  private async healAll(cluster: TestCluster): Promise<void> {
    cluster.heal();
    for (const node of [...this.down]) {
      this.down.delete(node);
      // ignored: that it never comes back shows in the jobs that do not end.
      await cluster.start(node).catch(() => undefined);
    }
  }

  // What is between the parts of a node.

  private seams(): NodeSeams {
    const tamper = tamperWith(this.planted);
    return {
      workers: (workers) => tamperWithWorkers(this.planted, workers),
      kv: (kv, process) => {
        this.stores.set(process, kv);
        return storeWith(kv, (txn, go) => this.pass(process, txn, (given) =>
          tamper(given, (changed) => this.propose(process, changed, go))));
      },
    };
  }

  /** Where an owner writes for a job is a moment at which something may happen. */
  private async pass(process: SimProcess, txn: Txn, go: (txn: Txn) => Promise<TxnResult>): Promise<TxnResult> {
    if (!txn.then.some(({ key }) => key.endsWith("/head"))) return await go(txn);
    for (const id of waitingIn(txn)) this.waits.get(id)?.resolve();
    this.moments += 1;
    const isGrant = grantsIn(txn).length > 0;
    if (isGrant) this.grants += 1;
    const numbers = { all: this.moments, grants: isGrant ? this.grants : 0 };
    this.strikeAt(process, "before", numbers);
    if (!process.isAlive) return await never();
    const result = await go(txn);
    this.strikeAt(process, "after", numbers);
    return process.isAlive ? result : await never();
  }

  private strikeAt(
    process: SimProcess, when: "before" | "after", numbers: { readonly all: number; readonly grants: number },
  ): void {
    for (const plan of this.plan.faults) {
      if (plan.at !== when || plan.moment !== numbers[plan.of] || this.areFaultsOver || !process.isAlive) continue;
      if (this.opened !== undefined) this.strike(this.opened, process.node, plan.fault, plan.forMs);
    }
  }

  private async propose(
    { node }: SimProcess, txn: Txn, go: (txn: Txn) => Promise<TxnResult>,
  ): Promise<TxnResult> {
    const result = await go(txn);
    const atMs = this.opened?.nowMs ?? 0;
    this.revisions.push({ atMs, revision: result.revision });
    for (const effectId of grantsIn(txn)) this.grantsAnswered.push({ node, effectId, atMs });
    for (const op of result.succeeded ? txn.then : []) {
      const [, , job = "", ...rest] = op.key.split("/");
      if (op.kind === "put" && rest[0] === "log") this.noteSteps(job, op.value, atMs);
    }
    return result;
  }

  private noteSteps(job: string, page: unknown, atMs: number): void {
    const [, , events] = page as readonly [number, Uint8Array, readonly Uint8Array[]];
    for (const bytes of events) {
      const [, type, , , data] = decode(bytes, bytes.byteLength) as
        readonly [number, number, number, number, { readonly call?: string }];
      const label = /([^/#]+)#\d+$/.exec(data.call ?? "")?.[1];
      if (type === STEP_COMPLETED && label !== undefined) this.stepsStored.set(`${job} ${label}`, atMs);
    }
  }

  /** All that the store has ever applied of jobs, as one living node has it. */
  private async readStream(cluster: TestCluster): Promise<readonly StreamTxn[]> {
    await cluster.until(() => [...this.stores.keys()].some(({ isAlive }) => isAlive), STREAM_MS_MAX);
    const [, kv] = [...this.stores].findLast(([{ isAlive }]) => isAlive) ?? [];
    if (kv === undefined) throw new AetherError("E_UNAVAILABLE", "no node lives");
    const stream: StreamTxn[] = [];
    const done = createDeferred<void>();
    const last = kv.revision;
    const watch = kv.watch("job", {
      onChanges: ({ revision, changes }) => void stream.push({
        revision,
        changes: changes.map((change) => (change.kind === "put"
          ? { key: change.entry.key, value: change.entry.value }
          : { key: change.key, value: undefined })),
      }),
      onProgress: (revision) => {
        if (revision >= last) done.resolve();
      },
      onEnd: (reason) => done.reject(reason),
    }, { fromRevision: 1 });
    let isDone = false;
    void done.promise.then(() => (isDone = true), () => (isDone = true));
    await cluster.until(() => {
      watch.requestProgress();
      return isDone;
    }, STREAM_MS_MAX);
    await done.promise;
    watch.cancel();
    return stream;
  }
}

/** Effect ids of the calls that it grants. */
function grantsIn({ then }: Txn): readonly string[] {
  return then.flatMap((op) => {
    if (op.kind !== "put" || !op.key.includes("/tools/")) return [];
    const { state, effectId } = op.value as { readonly state: string; readonly effectId: string };
    return state === "granted" ? [effectId] : [];
  });
}

/** Jobs that it lets wait. */
function waitingIn({ then }: Txn): readonly string[] {
  return then.flatMap((op) => {
    const isWaiting = op.kind === "put" && op.key.startsWith("jobs/") &&
      (op.value as { readonly status: string }).status === "waiting";
    return isWaiting ? [op.key.split("/")[2] ?? ""] : [];
  });
}

/** A job that has ended takes nothing any more. */
async function orEnded(telling: Promise<void>): Promise<void> {
  try {
    await telling;
  } catch (error) {
    if (!(error instanceof AetherError) || error.code !== "E_CONFLICT") throw error;
  }
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
