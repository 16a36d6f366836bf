// Owns: what is told to jobs from outside: signals, cancels, and what became of calls that nobody knows about. All of
// it goes through their inboxes; the owners do the rest. Does not own: starting jobs and looking at them
// (jobs-service.ts).
import { z } from "zod";
import { encode } from "../../base/codec.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { Digest, JobId } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { CallOptions } from "../../env/env.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import { isSameData } from "../../slices/core/canonical.ts";
import { plainRefusalError, toPlain } from "../../slices/core/plain-data.ts";
import { signalRefusal, throwRefusal, type DoorRefusal } from "../core/door-check.ts";
import type { InboxEntry } from "../core/flow/inbox-entry.ts";
import { cancelSeen, seenOf } from "../core/flow/seen.ts";
import type { Amount } from "../core/budget/account.ts";
import { unitName, unlimitedIn } from "../core/budget/amounts.ts";
import { refOf, type EffectId } from "../core/ids.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { headKey, rowKey, toolKey } from "../core/life/job-keys.ts";
import type { Resolution } from "../core/log/event.ts";
import { naming } from "../core/payloads/blob.ts";
import { toldValue } from "../core/payloads/told-value.ts";
import { parseJobHead, parseJobRow, type JobRow } from "../core/rows.ts";
import { parseToolRow, type ToolRow } from "../core/tools/tool-row.ts";
import { unknownJob } from "../job-store.ts";
import type { InboxWriter } from "../inbox/inbox-writer.ts";
import { JOB_TOLD_BYTES_MAX } from "../limits.ts";
import type { Pins } from "../running/pins.ts";
import type { Caller, Jobs } from "../ports.ts";
import type { JobPayloads } from "./job-payloads.ts";

export interface JobsDrivePorts {
  readonly kv: Pick<Kv, "get">;
  readonly inbox: Pick<InboxWriter, "put">;
  readonly pins: Pick<Pins, "definitionOf">;
  readonly payloads: Pick<JobPayloads, "keep">;
  readonly clock: Pick<Clock, "wallMs">;
}

/** What goes with a decision, and what a person says that a tool has answered; encoded. */
export const TOLD_BYTES_MAX = 64 * KiB;

export class JobsDrive implements Pick<Jobs, "signal" | "cancel" | "release" | "raise" | "resolve"> {
  private readonly ports: JobsDrivePorts;

  constructor(ports: JobsDrivePorts) {
    this.ports = ports;
  }

  async signal(
    job: JobId,
    { name, payload, idempotencyKey }: Parameters<Jobs["signal"]>[1],
    { principal, tenant }: Caller,
    options?: CallOptions,
  ): Promise<void> {
    const tried = `job ${job} was not told "${name}"`;
    const plain = toPlain(payload, JOB_TOLD_BYTES_MAX);
    if (plain.kind !== "plain") throw plainRefusalError(tried, plain, "its payload");
    const given = { value: plain.value ?? null, bytes: plain.bytes };
    const refusal = await this.refusalOf(job, { name, payload: given.value }, options);
    if (refusal !== undefined) throwRefusal(tried, refusal);
    const told = toldValue(given);
    const kept = await this.ports.payloads.keep(tried, told, options);
    const entry: InboxEntry = { kind: "signal", signal: name, payload: told.value, principal, ...kept };
    const ref = refOf(job);
    const arrival = { entry, ...naming(ref, kept.blob === undefined ? [] : [kept.blob], this.ports.clock.wallMs()) };
    if (idempotencyKey === undefined) return void await this.ports.inbox.put(ref, arrival, options);
    const value: SignalSeen = { payload: told.digest };
    const seen = { digest: seenOf("signal", tenant, name, idempotencyKey), value };
    const put = await this.ports.inbox.put(ref, { ...arrival, seen }, options);
    if (put.kind === "stored" || isSameSignal(put.value, value)) return;
    throw new AetherError("E_CONFLICT", `the idempotency key was used for a signal "${name}" of job ${job} with ` +
      "another payload: use another key");
  }

  /** Asked for again it is the same cancel. */
  async cancel(job: JobId, { principal }: Caller, options?: CallOptions): Promise<void> {
    await this.put(job, { kind: "cancel", principal }, cancelSeen(), options);
  }

  async release(job: JobId, { principal }: Caller, options: CallOptions = {}): Promise<void> {
    const { entry } = await this.ports.kv.get(rowKey(refOf(job)), options);
    if (entry === undefined) throw unknownJob(job);
    const { status, waiting } = parseJobRow(entry.value);
    if (waiting?.reason !== "restored" && waiting?.reason !== "stuck") {
      const message = `job ${job} is ${status} and neither held nor stuck: there is nothing to be released`;
      throw new AetherError("E_CONFLICT", message, { details: { status } });
    }
    await this.put(job, { kind: "release", principal }, undefined, options);
  }

  async raise(
    job: JobId,
    { add, idempotencyKey }: Parameters<Jobs["raise"]>[1],
    { principal, tenant }: Caller,
    options?: CallOptions,
  ): Promise<void> {
    await this.checkRaise(job, add, options);
    const seen = idempotencyKey === undefined
      ? {}
      : { seen: { digest: seenOf("raise", tenant, idempotencyKey), value: add } };
    const put = await this.ports.inbox.put(refOf(job), { entry: { kind: "raise", add, principal }, ...seen }, options);
    if (put.kind === "stored" || isSameData(put.value, add)) return;
    throw new AetherError("E_CONFLICT", `the idempotency key was used to raise the budget of job ${job} by something ` +
      "else: use another key");
  }

  /** @throws AetherError E_NOT_FOUND, E_INVALID */
  private async checkRaise(job: JobId, add: Amount, options?: CallOptions): Promise<void> {
    const { entry } = await this.ports.kv.get(headKey(refOf(job)), options);
    if (entry === undefined) throw unknownJob(job);
    const { account } = parseJobHead(entry.value);
    if (account === undefined) throw new AetherError("E_INVALID", `job ${job} has no budget that could be raised`);
    if (Object.keys(add).length === 0) throw new AetherError("E_INVALID", "say by how much the budget is raised");
    const [unit] = unlimitedIn(account.limit, add);
    if (unit === undefined) return;
    throw new AetherError("E_INVALID", `job ${job} may spend as much as it likes of ${unitName(unit)}: leave it out`);
  }

  async resolve(
    job: JobId,
    effect: EffectId,
    resolution: Resolution,
    { principal }: Caller,
    options?: CallOptions,
  ): Promise<void> {
    if (resolution.kind === "done") checkSize("the result of the call", resolution.result);
    const row = await this.callInDoubt(job, effect, options);
    // One answer for each doubt: whoever comes second hears that.
    const seen = seenOf("resolve", effect, String(row.attempt));
    const put = await this.put(job, { kind: "resolve", effect, resolution, principal }, seen, options);
    if (put.kind === "stored") return;
    throw new AetherError("E_CONFLICT", `job ${job} was told already what became of the call ${row.call}`);
  }

  /** By the version of its agent that the job runs; what is not known here passes, and the inbox says why not. */
  private async refusalOf(
    job: JobId, told: { readonly name: string; readonly payload: unknown }, options: CallOptions = {},
  ): Promise<DoorRefusal | undefined> {
    const near = await this.rowOf(job, { ...options, consistency: "local" });
    const refusal = near && await this.refusalBy(near, told, options);
    if (near !== undefined && refusal === undefined) return undefined;
    // It was started just now elsewhere, or moved to another version.
    const row = await this.rowOf(job, options);
    return row?.pin === near?.pin ? refusal : row && await this.refusalBy(row, told, options);
  }

  private async refusalBy(
    row: JobRow, told: { readonly name: string; readonly payload: unknown }, options: CallOptions,
  ): Promise<DoorRefusal | undefined> {
    if (hasEnded(row.status)) return undefined;
    try {
      const definition = await this.ports.pins.definitionOf(row.pin, row.agent, options);
      return definition && signalRefusal(definition, told);
    } catch (thrown) {
      // ignored: the job has ended meanwhile, and what it ran was collected.
      if (toAetherError(thrown).code === "E_NOT_FOUND") return undefined;
      throw thrown;
    }
  }

  private async rowOf(job: JobId, options: KvReadOptions): Promise<JobRow | undefined> {
    const { entry } = await this.ports.kv.get(rowKey(refOf(job)), options);
    return entry && parseJobRow(entry.value);
  }

  /** @throws AetherError E_NOT_FOUND, E_CONFLICT */
  private async callInDoubt(job: JobId, effect: EffectId, options: CallOptions = {}): Promise<ToolRow> {
    const { kv } = this.ports;
    const ref = refOf(job);
    const { entry } = await kv.get(rowKey(ref), options);
    if (entry === undefined) throw unknownJob(job);
    const { run } = parseJobRow(entry.value);
    const tool = await kv.get(toolKey(ref, run, effect), { ...options, consistency: "local" });
    if (tool.entry === undefined) {
      throw new AetherError("E_NOT_FOUND", `job ${job} has no call with the effect id ${effect}; its tools list them`);
    }
    const row = parseToolRow(tool.entry.value);
    if (row.state === "unknown") return row;
    throw new AetherError("E_CONFLICT", `the call ${row.call} of job ${job} is ${row.state}, not unknown`, {
      details: { state: row.state },
    });
  }

  private put(
    job: JobId, entry: InboxEntry, seen: Digest | undefined, options?: CallOptions,
  ): ReturnType<InboxWriter["put"]> {
    const mark = seen === undefined ? {} : { seen: { digest: seen, value: null } };
    return this.ports.inbox.put(refOf(job), { entry, ...mark }, options);
  }
}

/** The value of the `job-seen` row of a signal. */
interface SignalSeen {
  readonly payload: Digest;
}

/** What an earlier version has stored says nothing of the payload. */
function isSameSignal(stored: unknown, { payload }: SignalSeen): boolean {
  const known = z.object({ payload: z.string() }).safeParse(stored);
  return !known.success || known.data.payload === payload;
}

/** @throws AetherError E_TOO_LARGE */
export function checkSize(what: string, value: unknown): void {
  const actual = encode(value).byteLength;
  if (actual <= TOLD_BYTES_MAX) return;
  throw new AetherError("E_TOO_LARGE", `${what} has ${actual} bytes, ${TOLD_BYTES_MAX} is the limit`, {
    details: { limit: TOLD_BYTES_MAX, actual },
  });
}
