// Owns: one run of jobs in a simulated cluster: clients and people do their part, faults come, everything heals, all
// jobs have to end; then the checker has its say, and each job is verified and replayed elsewhere.
// Does not own: what is right (job-checker.ts), faults (job-nemesis.ts), people (job-person.ts).
import { AetherError } from "../../../src/base/errors.ts";
import { parseArtifactId, parseJobId, type JobId } from "../../../src/base/ids.ts";
import { notDone } from "../../../src/sdk/index.ts";
import { amountOf } from "../../../src/jobs/core/budget/amounts.ts";
import { tellMany } from "../../../src/jobs/doors/bulk.ts";
import type { JobListed, Jobs } from "../../../src/jobs/ports.ts";
import { JobCheck, type JobVerdict } from "../../../src/jobs/core/explain/job-check.ts";
import type { StorePort } from "../../../src/env/store.ts";
import { StateSeed } from "../../../src/kvstore/state-seed.ts";
import { RESTORE_RULES } from "../../../src/node/plant-state.ts";
import { askJobs, TESTER } from "../../../src/testkit/ask-jobs.ts";
import { openTestCluster } from "../../../src/testkit/create-test-cluster.ts";
import { inlineSlice } from "../../../src/testkit/inline-slice.ts";
import type { ClusterParts } from "../../../src/testkit/node-seams.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import type { TestSlice } from "../../../src/testkit/test-slice.ts";
import type { MockContext, ToolMock } from "../../../src/testkit/tool-mock.ts";
import { findMissing, takeBackup, type TakenBackup } from "./job-backup.ts";
import type { JobBooks, StreamTxn } from "./job-books.ts";
import { checkJobs, jobsIn, eventsOf, type JobViolation } from "./job-checker.ts";
import { JobNemesis } from "./job-nemesis.ts";
import { JobObserver } from "./job-observer.ts";
import { ONCE } from "./ledger-check.ts";
import { JobReceiver } from "./job-receiver.ts";
import { JobPerson, orConflict } from "./job-person.ts";
import { JobRepeats } from "./job-repeats.ts";
import type { JobPlan, PlannedJob, PlannedRestore, PlannedSignal } from "./job-plan.ts";
import { JobSchedule, otherSchedulesOf, schedulesOf, WITH_NONE, WITH_OTHER } from "./job-schedule.ts";
import { rulesWith, type JobFault } from "./planted-jobs.ts";
import {
  BALLAST, createPlayer, FAR_MS_MAX, PLAYER, TOOLS, told, type Mode, type Schedules, type ToolName,
} from "./player.ts";

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
const SKEW_MS = 200;
/** Faults at moments that did not come until now do not come any more. */
const FAULTS_END_MS = 7_000;
const ENDED: readonly string[] = ["completed", "failed", "cancelled"];
/** Nobody lets jobs go on for so long that have come from a backup. */
const HELD_MS = 5_000;
/** By which a planted fault is late. */
const BEHIND_MS = 500;
const REVISION_GAP = 1_000_000;
/** What is no fault of whoever tells many jobs something: they were not all told. */
const LATER = new Set(["E_TIMEOUT", "E_NO_QUORUM", "E_UNAVAILABLE"]);
/** A job that has ended by then is done again while faults may still come. */
const SOON_MS = 3_000;
/** What the jobs run at first, and what some are moved to: the same code under another name. */
const FIRST = "test:player:1.0.0";
const OTHER = "test:player:1.1.0";

export async function runJobs(plan: JobPlan, planted?: JobFault): Promise<JobRunResult> {
  const run = new JobsRun(plan, planted);
  return await run.play();
}

class JobsRun {
  private readonly plan: JobPlan;
  private readonly fault: JobFault | undefined;
  private readonly observer: JobObserver;
  private readonly receipts = new Map<string, string[]>();
  private readonly undone = new Set<string>();
  private readonly asked = new Map<string, number>();
  private readonly stepsBegun: JobBooks["stepsBegun"][number][] = [];
  private readonly signals = new Map<string, string[]>();
  private readonly started: string[] = [];
  private readonly receiver = new JobReceiver();
  private readonly mocks = new Map<ToolName, ToolMock>();
  private counter = 0;
  private isOver = false;
  private parts: ClusterParts | undefined;
  private cluster: TestCluster | undefined;
  private repeats: JobRepeats | undefined;
  private nemesis: JobNemesis | undefined;
  /** What nodes begin with: the chunks of a backup. */
  private planted: readonly Uint8Array[] | undefined;
  private stream: readonly StreamTxn[] = [];
  private found: JobViolation | undefined;

  constructor(plan: JobPlan, planted: JobFault | undefined) {
    this.plan = plan;
    this.fault = planted;
    this.observer = new JobObserver({
      planted,
      nowMs: () => this.cluster?.nowMs ?? 0,
      onParts: (parts) => (this.parts = parts),
      strike: (process, when, numbers) => this.nemesis?.strike(process, when, numbers),
    });
  }

  async play(): Promise<JobRunResult> {
    const cluster = await openTestCluster({
      nodes: NODES, seed: this.plan.seed, time: "virtual", wallSkewMs: SKEW_MS,
      slices: this.versions(),
      blueprint: { name: PLAYER, slices: { [PLAYER]: { artifact: FIRST } } },
    }, { ...this.observer.seams(), ...this.receiver.seams(), plant: (disk) => this.plant(disk) });
    this.cluster = cluster;
    try {
      this.playOutside(cluster);
      const violation = await this.playIn(cluster);
      return {
        violation, traceHash: cluster.traceHash, events: eventsOf(this.stream), moments: this.observer.moments,
        virtualMs: cluster.nowMs,
      };
    } finally {
      this.isOver = true;
      await cluster.close();
    }
  }

  private async plant(disk: StorePort): Promise<void> {
    if (this.planted === undefined) return;
    const seed = await StateSeed.open(disk, "test");
    for (const chunk of this.planted) await seed.take(chunk);
    await seed.finish(REVISION_GAP, rulesWith(this.fault, RESTORE_RULES));
    await seed.close();
  }

  private versions(): readonly TestSlice[] {
    const { schedule } = this.plan;
    if (schedule === undefined) return [this.version(FIRST), this.version(OTHER)];
    return [
      this.version(FIRST, schedulesOf(schedule)), this.version(OTHER),
      this.version(WITH_OTHER, otherSchedulesOf(schedule)), this.version(WITH_NONE),
    ];
  }

  private version(artifact: string, schedules: Schedules = {}): TestSlice {
    return inlineSlice({
      artifact,
      create: ({ sleep }) => createPlayer({
        onStep: (job, label) => this.beginStep(job, label),
        onModel: (effectId) => this.askModel(effectId),
        sleep,
      }, schedules),
    });
  }

  private async playIn(cluster: TestCluster): Promise<JobViolation | undefined> {
    const { restore } = this.plan;
    return restore === undefined ? await this.playOn(cluster) : await this.playRestored(cluster, restore);
  }

  /** The old cluster has done more than the new one knows of. */
  private async playRestored(
    cluster: TestCluster, { backupMs, lostMs, faults }: PlannedRestore,
  ): Promise<JobViolation | undefined> {
    const parts = this.partsOf();
    let isRestored = false;
    const old = new JobNemesis({ ...this.plan, faults }, cluster, parts);
    this.nemesis = old;
    const struck = old.run();
    const asking = this.createPerson();
    const before = asking.work(cluster, () => isRestored);
    // What they still say to the old cluster may be lost.
    const clients = this.plan.jobs.map((job) => this.beTheClient(cluster, job));
    await cluster.advance(backupMs);
    const backup = await this.takeBackup(cluster);
    await Promise.all([...clients, struck, cluster.advance(lostMs)]);
    await old.end();
    isRestored = true;
    await before;
    for (const one of cluster.nodes) cluster.kill(one);
    for (const machine of parts.machines) machine.restoreDisks(new Map());
    this.planted = backup.chunks;
    await Promise.all(cluster.nodes.map((one) => cluster.start(one)));
    this.planted = undefined;
    this.observer.countAnew();
    const nemesis = new JobNemesis(this.plan, cluster, this.partsOf());
    this.nemesis = nemesis;
    const striking = nemesis.run();
    // ignored: whoever waits for it hears of it; nobody does when a rule is broken before.
    striking.catch(() => undefined);
    const found = await this.checkHeld(cluster) ?? await findMissing(backup, this.partsOf().jobs());
    if (found !== undefined) return found;
    const after = this.createPerson().work(cluster, () => this.isOver);
    try {
      const held = new Set<string>((await this.listJobs()).map(({ job }) => job));
      const telling = this.plan.jobs.filter(({ id }) => held.has(id)).map(({ id, signals }) =>
        this.tell(cluster, id, signals));
      await Promise.all([striking, ...telling, cluster.advance(FAULTS_END_MS)]);
      await nemesis.end();
      await this.awaitEnds(cluster);
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      return { check: "liveness", message: `${error.code}: ${error.message}` };
    } finally {
      this.isOver = true;
      await after;
    }
    await nemesis.heal();
    await cluster.advance(FAR_MS_MAX);
    return this.findRepeated() ?? await this.lookAgain((await this.listJobs()).map(({ job }) => job));
  }

  private async takeBackup(cluster: TestCluster): Promise<TakenBackup> {
    const { ends } = this.observer;
    const backup = await takeBackup(cluster, this.partsOf(), ends);
    if (this.fault !== "backup-behind") return backup;
    await cluster.advance(BEHIND_MS);
    return { ...backup, ends: new Map(ends) };
  }

  /** Nobody has let them go on. JOB13 */
  private async checkHeld(cluster: TestCluster): Promise<JobViolation | undefined> {
    const begun = this.calls;
    await cluster.advance(HELD_MS);
    const wrong = (await this.listJobs()).find(({ row: { status, waiting } }) =>
      !ENDED.includes(status) && waiting?.reason !== "restored");
    if (wrong !== undefined) return { check: "held", message: `${wrong.job} is ${wrong.row.status} after a restore` };
    return this.calls === begun ? undefined : { check: "held", message: "something was called after a restore" };
  }

  private findRepeated(): JobViolation | undefined {
    for (const [tool, { requests }] of this.mocks) {
      const done = requests.flatMap(({ state, key = "" }) => (state === "done" && ONCE.has(tool) ? [key] : []));
      const again = done.find((key, at) => done.indexOf(key) !== at);
      if (again !== undefined) return { check: "effects", message: `${tool} ${again} happened again after a restore` };
    }
    return undefined;
  }

  private createPerson(): JobPerson {
    return new JobPerson({
      jobs: this.partsOf().jobs(),
      requests: () => this.mocks.get("blind")?.requests ?? [],
      receiptOf: (effectId) => this.receipts.get(effectId)?.[0],
    });
  }

  private async playOn(cluster: TestCluster): Promise<JobViolation | undefined> {
    const nemesis = new JobNemesis(this.plan, cluster, this.partsOf());
    this.nemesis = nemesis;
    const person = this.createPerson();
    const working = person.work(cluster, () => this.isOver);
    const repeats = new JobRepeats(this.partsOf().jobs(), (id, signals) => this.tell(cluster, id, signals));
    this.repeats = repeats;
    const schedule = this.createSchedule(cluster, nemesis);
    let late: string | undefined;
    try {
      const clients = this.plan.jobs.map((job) => this.beTheClient(cluster, job));
      const meanwhile = [...clients, this.tellGroup(cluster), schedule?.run(), cluster.advance(FAULTS_END_MS)];
      await Promise.all([nemesis.run(), ...meanwhile]);
      await nemesis.end();
      await this.awaitEnds(cluster);
      // Of jobs that took longer.
      for (const job of this.plan.jobs) await repeats.run(job, END_MS_MAX);
      await this.awaitEnds(cluster);
      if (schedule !== undefined) await this.endSchedule(cluster, schedule);
      await cluster.until(() => this.observer.isAllTold(), END_MS_MAX);
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      late = `${error.code}: ${error.message}`;
    }
    this.isOver = true;
    await working;
    await nemesis.heal();
    await cluster.advance(FAR_MS_MAX);
    this.stream = await this.observer.readStream(cluster);
    const found = checkJobs(this.books(person, nemesis)) ?? this.found;
    if (found !== undefined && (found.check !== "liveness" || late === undefined)) return found;
    return late === undefined ? await this.lookAgain(idsIn(this.stream)) : { check: "liveness", message: late };
  }

  private createSchedule(cluster: TestCluster, nemesis: JobNemesis): JobSchedule | undefined {
    const { schedule } = this.plan;
    if (schedule === undefined) return undefined;
    const jumpAll = (byMs: number): void => nemesis.jumpAll(byMs);
    return new JobSchedule(schedule, { cluster, jobs: this.partsOf().jobs(), jumpAll });
  }

  private async endSchedule(cluster: TestCluster, schedule: JobSchedule): Promise<void> {
    const silent = await schedule.findSilent();
    await schedule.end();
    await this.awaitEnds(cluster);
    this.found ??= silent ?? await schedule.findUnwanted();
  }

  /** Also of jobs that others have started. */
  private async awaitEnds(cluster: TestCluster): Promise<void> {
    await cluster.until(async () => (await this.listJobs()).every(({ row }) => ENDED.includes(row.status)), END_MS_MAX);
  }

  private async listJobs(): Promise<readonly JobListed[]> {
    const { jobs } = await askJobs(this.partsOf().jobs(), "looking at jobs", (doors) => doors.list({ limit: 1_000 }));
    return jobs;
  }

  private books(person: JobPerson, nemesis: JobNemesis): JobBooks {
    const requests = [...this.mocks].flatMap(([tool, mock]) => mock.requests.map((request) => ({
      tool, key: request.key ?? "", from: request.from, sentAtMs: request.sentAtMs, isDone: request.state === "done",
    }))).sort((a, b) => a.sentAtMs - b.sentAtMs);
    const { stream, receipts, undone, asked, stepsBegun, signals, started } = this;
    const { grantsAnswered, revisions, stepsStored, fired, refills } = this.observer;
    const { answers, decisions, raises } = person;
    return {
      stream, requests, receipts, undone, asked, stepsBegun, signals, started, grantsAnswered, revisions, stepsStored,
      fired, refills, answers, decisions, raises, agains: this.repeats?.agains ?? new Map(),
      schedule: this.plan.schedule,
      notices: this.receiver.notices,
      wallMsAt: (atMs) => nemesis.wallMsAt(atMs), timersSkewMs: 2 * SKEW_MS,
    };
  }

  /** Each job as it is exported is whole, and a node comes to the same, and calls nothing for it. */
  private async lookAgain(ids: readonly string[]): Promise<JobViolation | undefined> {
    for (const id of ids) {
      const job = parseJobId(id);
      const ports = this.partsOf().jobs(this.otherNode(id));
      const { problems } = await askJobs(ports, "verifying", async (doors) => verdictOf(await doors.export(job)));
      if (problems.length > 0) return { check: "verify", message: `${id}: ${JSON.stringify(problems[0])}` };
      const before = this.calls;
      const found = await this.replay(job, ports);
      if (found !== undefined) return found;
      if (this.calls === before) continue;
      return { check: "replay", message: `${id} was replayed elsewhere, and something was called` };
    }
    return undefined;
  }

  /** One that has not had it last. */
  private otherNode(id: string): string | undefined {
    const last = jobsIn(this.stream).find((job) => job.id === id)?.lastNode;
    return this.cluster?.nodes.find((node) => node !== last);
  }

  /** What its code, and the outside, were asked to do. */
  private get calls(): number {
    return this.stepsBegun.length + [...this.asked.values()].reduce((sum, one) => sum + one, 0) +
      [...this.mocks.values()].reduce((sum, { requests }) => sum + requests.length, 0);
  }

  private async replay(job: JobId, ports: ReturnType<ClusterParts["jobs"]>): Promise<JobViolation | undefined> {
    const verdict = await askJobs(ports, "replaying", (doors) => doors.replay(job, parseArtifactId(OTHER)))
      .catch((error: unknown) => ({ kind: "failed" as const, why: String(error) }));
    if (verdict.kind === "same") return undefined;
    return { check: "replay", message: `${job} was replayed elsewhere, and ${JSON.stringify(verdict)}` };
  }

  // What clients and the outside do.

  private async beTheClient(cluster: TestCluster, planned: PlannedJob): Promise<void> {
    const { id, programs, startMs, signals, cancelMs, moveMs, budget = {}, maxDurationMs } = planned;
    const { isLarge, group } = planned;
    await cluster.advance(startMs);
    const limit = amountOf(budget);
    const start = {
      agent: PLAYER, input: { programs, ...(isLarge === true && { ballast: BALLAST }) }, id: parseJobId(id),
      ...(group !== undefined && { attributes: { group } }),
      ...(limit !== undefined && { budget: limit }),
      ...(maxDurationMs !== undefined && { maxDurationMs }),
    };
    await askJobs(this.partsOf().jobs(), `starting ${id}`, (jobs) => jobs.start(start, TESTER));
    const job = cluster.agent(this.agent).job(id);
    this.started.push(id);
    await Promise.all([
      this.tell(cluster, id, signals),
      ...(cancelMs === undefined ? [] : [cluster.advance(cancelMs).then(() => orConflict(job.cancel()))]),
      ...(moveMs === undefined ? [] : [cluster.advance(moveMs).then(() => this.move(parseJobId(id)))]),
    ]);
    await this.repeats?.run(planned, SOON_MS);
  }

  private async tell(cluster: TestCluster, id: string, signals: readonly PlannedSignal[]): Promise<void> {
    const job = cluster.agent(this.agent).job(id);
    await Promise.all(signals.map(async ({ atMs, atWait, isTwice }, index) => {
      const timely = cluster.advance(atMs);
      await (atWait ? Promise.race([timely, this.observer.aboutToWait(id)]) : timely);
      const payload = `${id}/${index}`;
      this.signals.set(id, [...this.signals.get(id) ?? [], payload]);
      const send = (): Promise<void> => orConflict(job.signal(told, payload, { idempotencyKey: payload }));
      await Promise.all(isTwice ? [send(), send()] : [send()]);
      await timely;
    }));
  }

  /** As often as it takes until somebody answers. */
  private async tellGroup(cluster: TestCluster): Promise<void> {
    const { bulk, jobs, seed } = this.plan;
    if (bulk === undefined) return;
    const { kind, group, atMs } = bulk;
    await cluster.advance(atMs);
    const payload = `all of ${seed}`;
    for (const { id } of jobs.filter((job) => job.group === group)) {
      this.signals.set(id, [...this.signals.get(id) ?? [], payload]);
    }
    const action = kind === "cancel" ? { kind } : { kind, name: told.name, payload, idempotencyKey: payload };
    const request = { action, filter: { attributes: { group } }, isDryRun: false };
    const tell = (jobs: Jobs): ReturnType<typeof tellMany> => tellMany(jobs, request, TESTER);
    const { failed } = await askJobs(this.partsOf().jobs(), "telling a group", tell);
    const wrong = failed.find(({ code }) => !LATER.has(code));
    if (wrong !== undefined) this.found ??= { check: "inbox", message: `${wrong.job}: ${wrong.message}` };
  }

  /** The same code does the same. */
  private async move(job: JobId): Promise<void> {
    const moving = askJobs(this.partsOf().jobs(), "moving", (jobs) => jobs.move(job, parseArtifactId(OTHER), TESTER));
    const moved = await orConflict(moving).catch((error: unknown) => {
      // ignored: it may be moved another time.
      if (error instanceof AetherError && error.code === "E_TIMEOUT") return undefined;
      throw error;
    });
    if (moved?.kind === "diverged") {
      this.found ??= { check: "replay", message: `${job} was not moved: ${JSON.stringify(moved)}` };
    }
  }

  private playOutside(cluster: TestCluster): void {
    for (const [name, tool] of Object.entries(TOOLS)) {
      const behave = ({ label, mode }: { label: string; mode: Mode }, context: MockContext<string>): unknown =>
        this.serve(name as ToolName, label, mode, context);
      const mock = cluster.mockTool(tool, behave as never, {
        verify: (effectId) => !this.undone.has(effectId),
        ...(name === "far" && { travelMsMax: FAR_MS_MAX }),
      });
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
    if (how === "is undone") this.undone.add(effectId);
    return how === "loses the answer" ? await context.loseAnswer(receipt) : receipt;
  }

  private beginStep(job: string, label: string): string {
    this.counter += 1;
    this.stepsBegun.push({ job, label, atMs: this.cluster?.nowMs ?? 0 });
    return `${label} ${this.counter}`;
  }

  private askModel(effectId: string): void {
    this.asked.set(effectId, (this.asked.get(effectId) ?? 0) + 1);
  }

  private readonly agent = createPlayer({
    onStep: () => "", onModel: () => undefined, sleep: () => Promise.resolve(),
  });

  private partsOf(): ClusterParts {
    if (this.parts === undefined) throw new AetherError("E_UNAVAILABLE", "the cluster is not open");
    return this.parts;
  }
}

function idsIn(stream: readonly StreamTxn[]): readonly string[] {
  return jobsIn(stream).map(({ id }) => id);
}

async function verdictOf(lines: AsyncIterable<string>): Promise<JobVerdict> {
  const check = new JobCheck();
  for await (const line of lines) check.add(line.slice(0, -1));
  return check.finish();
}
