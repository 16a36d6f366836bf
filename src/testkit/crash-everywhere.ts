// Owns: running one job again and again, with a crash before and after each transaction that it comes to, and comparing
// what happened outside with a run without any. Does not own: what an effect is (sim/outside.ts).
import { createDeferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import { readEvent } from "../jobs/core/log/upcast.ts";
import { parseJobPage } from "../jobs/core/rows.ts";
import { parseKey } from "../kvstore/core/key.ts";
import type { Op, Txn } from "../kvstore/core/schema.ts";
import type { z } from "zod";
import { isSameData } from "../slices/core/canonical.ts";
import { openTestCluster } from "./create-test-cluster.ts";
import { inlineSlice } from "./inline-slice.ts";
import { storeWith, type NodeSeams } from "./node-seams.ts";
import type { SimProcess } from "./sim/sim-process.ts";
import type { AnyAgent, TestJob, TestJobResult } from "./test-agents.ts";
import type { NamedBlueprint, TestCluster } from "./test-cluster.ts";
import type { TestSlice } from "./test-slice.ts";

export interface CrashEverywhereOptions<A extends AnyAgent> {
  readonly input: z.input<A["input"]>;
  /** What the agent needs to run. Default: nothing but the agent itself. */
  readonly slices?: readonly TestSlice[];
  readonly blueprint?: NamedBlueprint;
  /** Default 3. */
  readonly nodes?: number;
  /** Default 1. */
  readonly seed?: number;
  /** Who dies, each by itself. Default: its node, and all nodes. */
  readonly victims?: readonly CrashPlace["victims"][];
  /**
   * Called before each run: plays what is outside, anew, with `cluster.mockTool`. What happens there that no mock
   * knows of can be answered as a function, which is asked when the run is over: one text for each effect.
   */
  readonly outside?: (cluster: TestCluster) => void | (() => readonly string[]);
  /** What people and programs do meanwhile, in each run: signals, days that pass. */
  readonly script?: (run: { readonly cluster: TestCluster; readonly job: TestJob }) => Promise<void>;
}

/** Which crash. */
export interface CrashPlace {
  /** Number of the transaction, the first one after the start is 1. */
  readonly point: number;
  /** What it was about. */
  readonly what: string;
  readonly when: "before" | "after";
  readonly victims: "owner" | "all nodes";
}

/** An effect that came about more or less often than in a run without crashes. */
export interface WrongEffect extends CrashPlace {
  readonly effect: string;
  readonly times: number;
  readonly expected: number;
}

/** A job that did not end as it does without crashes. */
export interface OtherEnd extends CrashPlace {
  readonly found: string;
}

export interface CrashReport {
  /** Transactions of the job, as in a run without crashes. */
  readonly points: number;
  /** Runs with a crash. */
  readonly crashes: number;
  readonly repeated: readonly WrongEffect[];
  readonly lost: readonly WrongEffect[];
  readonly otherEnds: readonly OtherEnd[];
  /** All of it, for people. */
  readonly message: string;
}

interface Played {
  readonly points: readonly string[];
  readonly effects: readonly string[];
  readonly end: TestJobResult<unknown> | { readonly kind: "none"; readonly why: string };
}

/** Longest run of a job, in virtual time. */
const RUN_MS_MAX = 30 * MINUTE_MS;
/** A node that died is back after so long. */
const DOWN_MS = SECOND_MS;
/** What was sent late has arrived. */
const AFTERMATH_MS = 2 * SECOND_MS;
/** Of a message. */
const FINDINGS_SHOWN = 10;

/**
 * Runs one job of an agent without a crash and counts the transactions it takes from its start to its end; then once
 * more for each of them with a crash of its node, or of all nodes, right before or right after it. Equal seeds give
 * equal reports. What the agent asks of the outside must be the same in each run: no ids of its own, no clock.
 * @throws AetherError E_TIMEOUT when the job does not even end without a crash
 * @example
 * const report = await crashEverywhere(claims, {
 *   input: { order: "o-1" },
 *   outside: (cluster) => void cluster.mockTool(refund, () => ({ refund: "re-1" })),
 * });
 * expect(report.repeated, report.message).toEqual([]);
 */
export async function crashEverywhere<A extends AnyAgent>(
  agent: A, options: CrashEverywhereOptions<A>,
): Promise<CrashReport> {
  const calm = await play(agent, options, undefined);
  if (calm.end.kind === "none") throw new AetherError("E_TIMEOUT", `without a crash already, ${calm.end.why}`);
  const findings = { repeated: [] as WrongEffect[], lost: [] as WrongEffect[], otherEnds: [] as OtherEnd[] };
  let crashes = 0;
  for (const [index, what] of calm.points.entries()) {
    for (const victims of options.victims ?? ["owner", "all nodes"]) {
      for (const when of ["before", "after"] as const) {
        const place: CrashPlace = { point: index + 1, what, when, victims };
        compare(calm, await play(agent, options, place), place, findings);
        crashes += 1;
      }
    }
  }
  const points = calm.points.length;
  return { points, crashes, ...findings, message: messageOf(agent.name, options.seed ?? 1, points, crashes, findings) };
}

type Findings = Pick<CrashReport, "repeated" | "lost" | "otherEnds">;
type OpenFindings = { readonly [K in keyof Findings]: Findings[K][number][] };

function compare(calm: Played, crashed: Played, place: CrashPlace, { repeated, lost, otherEnds }: OpenFindings): void {
  for (const effect of new Set([...calm.effects, ...crashed.effects])) {
    const [times, expected] = [countOf(crashed, effect), countOf(calm, effect)];
    if (times > expected) repeated.push({ ...place, effect, times, expected });
    if (times < expected) lost.push({ ...place, effect, times, expected });
  }
  if (isSameData(calm.end, crashed.end)) return;
  const { end } = crashed;
  otherEnds.push({ ...place, found: end.kind === "none" ? end.why : `it is ${JSON.stringify(end)}` });
}

function countOf({ effects }: Played, effect: string): number {
  return effects.filter((one) => one === effect).length;
}

async function play<A extends AnyAgent>(
  agent: A, options: CrashEverywhereOptions<A>, place: CrashPlace | undefined,
): Promise<Played> {
  const { input, nodes = 3, seed = 1, outside, script } = options;
  const moments = new Moments(place);
  await using cluster = await openTestCluster({
    nodes, seed, time: "virtual", slices: slicesFor(agent, options), blueprint: blueprintFor(agent, options),
  }, moments.seams);
  const more = outside?.(cluster);
  const job = await cluster.agent(agent).start(input);
  moments.begin(job.id, cluster);
  const scripted = script?.({ cluster, job });
  const [end] = await Promise.all([endOf(job), restart(moments, cluster), scripted]);
  await cluster.advance(AFTERMATH_MS);
  return { points: moments.seen, effects: [...cluster.effects, ...(more?.() ?? [])], end };
}

/** As it is seen from outside; waiting for a person is no end. */
async function endOf(job: TestJob): Promise<Played["end"]> {
  try {
    return await job.result(RUN_MS_MAX);
  } catch (error) {
    return { kind: "none", why: toAetherError(error).message };
  }
}

/** Nodes that died come back; where only the owner died, another one has gone on before. */
async function restart(moments: Moments, cluster: TestCluster): Promise<void> {
  const dead = await moments.crashed;
  if (dead.length < cluster.nodes.length) return;
  await cluster.advance(DOWN_MS);
  await Promise.all(dead.map((node) => cluster.start(node)));
}

function slicesFor<A extends AnyAgent>(agent: A, { slices }: CrashEverywhereOptions<A>): readonly TestSlice[] {
  return slices ?? [inlineSlice({ artifact: `test:${agent.name}:1.0.0`, create: () => agent })];
}

function blueprintFor<A extends AnyAgent>(
  { name }: A, { slices, blueprint }: CrashEverywhereOptions<A>,
): NamedBlueprint {
  if (blueprint !== undefined) return blueprint;
  if (slices === undefined) return { name: "agent", slices: { [name]: { artifact: `test:${name}:1.0.0` } } };
  throw new AetherError("E_INVALID", "crashEverywhere was given slices and no blueprint: say what of them runs");
}

/** The transactions of one job and its children, from when it has started, and the crash at one of them. */
class Moments {
  readonly seen: string[] = [];
  readonly seams: NodeSeams = { kv: (kv, process) => storeWith(kv, (txn, go) => this.pass(process, txn, go)) };
  private readonly place: CrashPlace | undefined;
  private readonly dead = createDeferred<readonly string[]>();
  /** The job, and those that it has started. */
  private readonly jobs = new Set<JobId>();
  private cluster: TestCluster | undefined;

  constructor(place: CrashPlace | undefined) {
    this.place = place;
    if (place === undefined) this.dead.resolve([]);
  }

  /** The nodes that died, once they have. */
  get crashed(): Promise<readonly string[]> {
    return this.dead.promise;
  }

  begin(job: string, cluster: TestCluster): void {
    this.jobs.add(job as JobId);
    this.cluster = cluster;
  }

  private async pass<T>(process: SimProcess, txn: Txn, go: (txn: Txn) => Promise<T>): Promise<T> {
    if (!isAbout(txn, this.jobs)) return await go(txn);
    for (const child of childrenOf(txn)) this.jobs.add(child);
    this.seen.push(describe(txn));
    const place = this.seen.length === this.place?.point ? this.place : undefined;
    if (place?.when === "before") return await this.crash(process, place);
    const result = await go(txn);
    return place === undefined ? result : await this.crash(process, place);
  }

  private crash({ node }: SimProcess, { victims }: CrashPlace): Promise<never> {
    const nodes = victims === "owner" ? [node] : this.cluster?.nodes ?? [];
    for (const one of nodes) this.cluster?.kill(one);
    this.dead.resolve(nodes);
    return new Promise(() => undefined);
  }
}

function isAbout({ then }: Txn, jobs: ReadonlySet<JobId>): boolean {
  return jobs.size > 0 && then.some((op) => {
    const key = parseKey(op.key);
    return "job" in key && jobs.has(key.job);
  });
}

function childrenOf({ then }: Txn): readonly JobId[] {
  return then.flatMap(({ key: text }) => {
    const key = parseKey(text);
    return key.kind === "job-child" ? [key.child] : [];
  });
}

/** The events that it appends; else that the job is told something, or changes its place. */
function describe({ then }: Txn): string {
  const events = then.flatMap(eventsOf);
  if (events.length > 0) return events.join(", ");
  return then.some(({ key }) => parseKey(key).kind === "job-inbox") ? "something is told" : "the job changes hands";
}

function eventsOf(op: Op): readonly string[] {
  if (op.kind !== "put" || parseKey(op.key).kind !== "job-page") return [];
  return parseJobPage(op.value).events.map((bytes) => {
    const { event } = readEvent(bytes);
    return "call" in event ? `${event.type} ${event.call}` : event.type;
  });
}

function messageOf(
  agent: string, seed: number, points: number, crashes: number, { repeated, lost, otherEnds }: Findings,
): string {
  const effects = [...repeated, ...lost].map(({ effect, times, expected, ...place }) =>
    `${effect} happened ${times} times instead of ${expected} ${placeText(place)}`);
  const ends = otherEnds.map(({ found, ...place }) => `the job did not end as it does, ${placeText(place)}: ${found}`);
  const lines = [...effects, ...ends];
  const more = lines.length > FINDINGS_SHOWN ? [`and ${lines.length - FINDINGS_SHOWN} more`] : [];
  const first = `${agent} with ${crashes} crashes at ${points} points (seed ${seed}): ` +
    (lines.length === 0 ? "no effect is repeated, none is lost" : `${lines.length} findings`);
  return [first, ...lines.slice(0, FINDINGS_SHOWN), ...more].join("\n  ");
}

function placeText({ point, what, when, victims }: CrashPlace): string {
  return `when ${victims === "owner" ? "its node" : "every node"} died ${when} point ${point} (${what})`;
}
