// Owns: starting jobs: once for each key and id, whatever becomes of the answers, and here at once when there is room.
// Does not own: the transaction (core/life/decide-start.ts), which pin an agent has (pins.ts), running it (runner.ts).
import { sha256 } from "../../base/digest.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { Digest, JobId } from "../../base/ids.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import type { Tracing } from "../../env/tracing.ts";
import { traced } from "../../invocation/traced.ts";
import type { Compare, Txn, TxnResult } from "../../kvstore/core/schema.ts";
import type { Kv, StoreQuota } from "../../kvstore/kv.ts";
import { labelsSchema } from "../../sdk/blueprint.ts";
import { durationText } from "../../sdk/duration.ts";
import { plainRefusalError, toPlain } from "../../slices/core/plain-data.ts";
import { inputRefusal, throwRefusal, type DoorRefusal } from "../core/door-check.ts";
import { drawJobId, drawUid, refOf, type JobUid } from "../core/ids.ts";
import { joinedLabels } from "../core/flow/labels.ts";
import { rowKey } from "../core/life/job-keys.ts";
import { decideStart, judgeStart, type JobNeeds, type Start, type StartVerdict } from "../core/life/decide-start.ts";
import type { Apart } from "../core/payloads/blob.ts";
import { toldValue, type ToldValue } from "../core/payloads/told-value.ts";
import { parseJobRow, type QueueRow } from "../core/rows.ts";
import type { JobsConfig } from "../config.ts";
import { JOB_ATTRIBUTE_CHARACTERS_MAX, JOB_ATTRIBUTES_MAX, JOB_LABELS_MAX, JOB_TOLD_BYTES_MAX } from "../limits.ts";
import { unknownJob } from "../job-store.ts";
import type { JobsMetrics } from "../metrics.ts";
import type { JobPayloads } from "./job-payloads.ts";
import type { Pins } from "../running/pins.ts";
import type { Caller, LoadedJob, StartedJob, StartJob } from "../ports.ts";

/** This node, which may run a job at once that is started through it. */
export interface StartsHere {
  /** Keeps a place for the job; undefined when there is none, others are before it, or it is not to run here. */
  reserve(job: JobId, queued: Pick<QueueRow, "agent" | "tenant"> & JobNeeds): NodeLife | undefined;
  /** The job is this node's. */
  run(job: LoadedJob): void;
  /** It is not, or not known to be. */
  giveUp(job: JobId): void;
}

export interface StartJobsPorts {
  readonly kv: Pick<Kv, "get" | "transact"> & Pick<StoreQuota, "usage">;
  readonly pins: Pick<Pins, "resolve" | "needsOf" | "definitionOf">;
  readonly payloads: Pick<JobPayloads, "keep">;
  /** Jobs in the queue, as this node sees it. */
  readonly queued: () => number;
  readonly here?: StartsHere;
  readonly metrics: Pick<JobsMetrics, "started">;
  /** Absent where nobody records traces. */
  readonly tracing?: Tracing;
}

export interface StartOptions extends CallOptions {
  /** What else must hold in the store for the job to begin; else the start is refused with E_FENCED. */
  readonly guards?: readonly Compare[];
}

/** With its input as the job's rows are to have it. */
interface ToldStart extends StartJob {
  readonly told: ToldValue;
}

/** Of one start whose outcome is not known; then its caller is told so. */
const PROPOSALS_MAX = 3;
/** Pins that were collected just before the job began. */
const PINS_MAX = 3;

export class StartJobs {
  private readonly env: Pick<Env, "clock" | "random">;
  private readonly ports: StartJobsPorts;
  private readonly config: Pick<JobsConfig, "pendingMax">;

  constructor(
    env: Pick<Env, "clock" | "random">,
    ports: StartJobsPorts,
    config: Pick<JobsConfig, "pendingMax">,
  ) {
    this.env = env;
    this.ports = ports;
    this.config = config;
  }

  async start(start: StartJob, caller: Caller, options: StartOptions = {}): Promise<StartedJob> {
    const { agent, traceparent } = start;
    const told = ({ job, isNew }: StartedJob) => ({ "aether.job": job, "aether.new": isNew });
    const attributes = { "aether.agent": agent };
    const work = { name: `start ${agent}`, kind: "internal", traceparent, attributes, told } as const;
    return await traced(this.ports.tracing, work, (within) =>
      this.startOnce(within === undefined ? start : { ...start, traceparent: within }, caller, options));
  }

  private async startOnce(start: StartJob, caller: Caller, options: StartOptions): Promise<StartedJob> {
    const input = plainInput(start);
    const told = toldValue(input);
    checkAttributes(start.attributes ?? {});
    checkLabels(start.labels ?? {});
    this.checkRoom();
    let isGone: Digest | undefined;
    for (let attempt = 1; attempt <= PINS_MAX; attempt++) {
      const pin = await this.ports.pins.resolve(start.agent, { ...options, ...(isGone !== undefined && { isGone }) });
      const started = await this.startPinned({ ...start, input: input.value, told }, caller, pin, options);
      if (started !== undefined) return started;
      isGone = pin;
    }
    throw new AetherError("E_UNAVAILABLE", `the job of agent "${start.agent}" was not started, because what it runs ` +
      "was removed again and again: start it again");
  }

  /** Undefined when the pin is not there any more. */
  private async startPinned(
    start: ToldStart,
    { tenant }: Caller,
    pin: Digest,
    options: StartOptions,
  ): Promise<StartedJob | undefined> {
    const { clock, random } = this.env;
    const { pins, tracing } = this.ports;
    const { traceparent } = start;
    const needs = joinedNeeds(start, await pins.needsOf(pin, start.agent, options));
    const definition = await pins.definitionOf(pin, start.agent, options);
    const refusal = definition && inputRefusal(definition, start.input);
    const atMs = clock.wallMs();
    const job = start.id ?? drawJobId(atMs, random);
    const decide = (claim?: NodeLife, { blob }: Apart = {}): Start => startOf(decideStart({
      job,
      uid: drawUid(random) as JobUid,
      agent: start.agent,
      tenant,
      pin,
      input: start.told.value,
      ...(blob !== undefined && { inputBlob: blob }),
      inputDigest: start.told.digest,
      ...(start.idempotencyKey !== undefined && { startKey: sha256(start.idempotencyKey) }),
      queueClass: start.queueClass ?? "default",
      priority: start.priority ?? 0,
      attributes: start.attributes ?? {},
      needs,
      // Where nobody records, what a caller sent would lead nowhere.
      ...(traceparent !== undefined && tracing?.isOn === true && { traceparent }),
      atMs,
      ...(options.guards !== undefined && { guards: options.guards }),
      ...(claim !== undefined && { claim }),
    }));
    if (refusal !== undefined) return await this.answerRefused(start, decide(), refusal, options);
    const tried = `the job of agent "${start.agent}" was not started`;
    const kept = await this.ports.payloads.keep(tried, start.told, options);
    const claim = this.ports.here?.reserve(job, { agent: start.agent, tenant, ...needs });
    let isRun = false;
    try {
      const decision = decide(claim, kept);
      const verdict = judgeStart(decision, await proposeStart(this.ports.kv, decision.txn, options));
      if (verdict.kind === "pin-gone") return undefined;
      if (verdict.kind === "guarded") throw fencedStart(start);
      if (verdict.kind === "taken") return await this.answerTaken(start, verdict, options);
      this.ports.metrics.started.add(1);
      const { view } = verdict;
      if (claim !== undefined && view.row.status === "running" && view.row.epoch === 1) {
        isRun = true;
        this.ports.here?.run({ view, log: decision.log, chunkedTo: 0, tools: [] });
      }
      return { job, status: view.row.status, isNew: true };
    } finally {
      if (claim !== undefined && !isRun) this.ports.here?.giveUp(job);
    }
  }

  /** The same start may have been taken when its agent was another version: then it is that job, as ever. */
  private async answerRefused(
    start: StartJob, decision: Start, refusal: DoorRefusal, options: CallOptions,
  ): Promise<StartedJob> {
    if (start.id !== undefined || start.idempotencyKey !== undefined) {
      const found = await this.ports.kv.transact({ compare: [], then: decision.txn.else, else: [] }, options);
      const verdict = judgeStart(decision, { ...found, succeeded: false });
      if (verdict.kind === "taken" && verdict.isSame) return await this.answerTaken(start, verdict, options);
    }
    return throwRefusal(`the job of agent "${start.agent}" was not started`, refusal);
  }

  private async answerTaken(
    { agent }: StartJob,
    { by, job, isSame }: Extract<StartVerdict, { readonly kind: "taken" }>,
    options: CallOptions,
  ): Promise<StartedJob> {
    if (!isSame) {
      const what = by === "key" ? "its idempotency key was used" : `there is a job "${job}"`;
      const message = `the job of agent "${agent}" was not started: ${what} for another input; use another ${by}`;
      throw new AetherError("E_CONFLICT", message, { details: { job } });
    }
    const { entry } = await this.ports.kv.get(rowKey(refOf(job)), options);
    if (entry === undefined) throw unknownJob(job);
    return { job, status: parseJobRow(entry.value).status, isNew: false };
  }

  /**
   * New work is refused before the store is full, so that what is under way can end.
   * @throws AetherError E_QUOTA, E_OVERLOADED
   */
  checkRoom(): void {
    const { liveBytes, quotaBytes } = this.ports.kv.usage();
    if (liveBytes >= quotaBytes) {
      throw new AetherError("E_QUOTA", "the job was not started: the store is full; raise its quota, or delete data", {
        details: { limit: quotaBytes, actual: liveBytes },
      });
    }
    const queued = this.ports.queued();
    const limit = this.config.pendingMax;
    if (queued < limit) return;
    const message = `the job was not started: ${queued} jobs wait for a node; start it later, or add nodes`;
    throw new AetherError("E_OVERLOADED", message, { details: { limit, actual: queued } });
  }
}

/** The same again while its outcome is unknown: it happens once or not at all. @throws AetherError as the store does */
export async function proposeStart(kv: Pick<Kv, "transact">, txn: Txn, options: CallOptions): Promise<TxnResult> {
  for (let proposal = 1; ; proposal++) {
    try {
      return await kv.transact(txn, options);
    } catch (thrown) {
      const error = toAetherError(thrown);
      // Once one of them is unknown, so is what becomes of all.
      const mayRepeat = error.outcome === "unknown" && proposal < PROPOSALS_MAX && options.signal?.aborted !== true;
      if (!mayRepeat) throw proposal === 1 ? error : unknownStart(error);
    }
  }
}

function startOf(decision: ReturnType<typeof decideStart>): Start {
  if (decision.kind !== "refused") return decision;
  throw new AetherError(decision.code, `the job was not started: ${decision.reason}`);
}

/** As whoever runs the job will have it. @throws AetherError E_INVALID, E_TOO_LARGE */
export function plainInput(
  { input, agent }: Pick<StartJob, "input" | "agent">,
): { readonly value: unknown; readonly bytes: number } {
  const plain = toPlain(input, JOB_TOLD_BYTES_MAX);
  if (plain.kind !== "plain") throw plainRefusalError(`the job of agent "${agent}" was not started`, plain);
  return { value: plain.value ?? null, bytes: plain.bytes };
}

function joinedNeeds(start: StartJob, { budget: ofAgentBudget, ...needs }: JobNeeds): JobNeeds {
  const budget = { ...ofAgentBudget, ...start.budget };
  return { ...withDuration(start, needs), ...(Object.keys(budget).length > 0 && { budget }) };
}

function withDuration(start: StartJob, ofAgent: JobNeeds): JobNeeds {
  const { agent, maxDurationMs = ofAgent.maxDurationMs } = start;
  if (maxDurationMs === undefined) return withLabels(start, ofAgent);
  const limit = ofAgent.maxDurationMs ?? maxDurationMs;
  if (maxDurationMs > limit) {
    const message = `the job of agent "${agent}" was not started: it may take ${durationText(maxDurationMs)}, and ` +
      `its agent says ${durationText(limit)} at most`;
    throw new AetherError("E_INVALID", message, { details: { limit, actual: maxDurationMs } });
  }
  return { ...withLabels(start, ofAgent), maxDurationMs };
}

function withLabels({ agent, labels = {} }: StartJob, { labels: own = {}, ...needs }: JobNeeds): JobNeeds {
  const joined = joinedLabels(own, labels);
  if (joined === undefined) {
    const asked = JSON.stringify(own);
    const message = `the job of agent "${agent}" was not started: its agent asks for nodes with the labels ${asked}, ` +
      "and the start for another value of one of them; leave that out";
    throw new AetherError("E_INVALID", message, { details: { labels: own } });
  }
  return { ...needs, ...(Object.keys(joined).length > 0 && { labels: joined }) };
}

function checkLabels(labels: Readonly<Record<string, string>>): void {
  const actual = Object.keys(labels).length;
  const limit = JOB_LABELS_MAX;
  if (actual > limit) {
    const message = `the job was not started: it asks for ${actual} labels, ${limit} is the limit`;
    throw new AetherError("E_TOO_LARGE", message, { details: { limit, actual } });
  }
  if (labelsSchema.safeParse(labels).success) return;
  throw new AetherError("E_INVALID", "the job was not started: one of its labels cannot be that of a node");
}

function checkAttributes(attributes: Readonly<Record<string, string>>): void {
  const entries = Object.entries(attributes);
  const limit = JOB_ATTRIBUTES_MAX;
  const charactersMax = JOB_ATTRIBUTE_CHARACTERS_MAX;
  const isFine = entries.length <= limit &&
    entries.every(([name, value]) => name.length <= charactersMax && value.length <= charactersMax);
  if (isFine) return;
  throw new AetherError("E_TOO_LARGE", `the job was not started: it may have ${limit} attributes, with names and ` +
    `values of ${charactersMax} characters`, { details: { limit, actual: entries.length, charactersMax } });
}

function fencedStart({ agent }: Pick<StartJob, "agent">): AetherError {
  return new AetherError("E_FENCED", `the job of agent "${agent}" was not started: another node decides about it now`);
}

function unknownStart(cause: AetherError): AetherError {
  const message = "it is not known whether the job was started: start it again with the same idempotency key";
  return new AetherError("E_TIMEOUT", message, { cause });
}
