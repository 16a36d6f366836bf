// Owns: doing a job again that has ended: reading the old one, and making the new one in one transaction.
// Does not own: what the new one has of the old one (core/life/repeat.ts), its rows (core/life/decide-repeat.ts).
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { Digest, JobId } from "../../base/ids.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import type { Tracing } from "../../env/tracing.ts";
import { traced } from "../../invocation/traced.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { inputRefusal, throwRefusal } from "../core/door-check.ts";
import { drawJobId, drawUid, refOf, type JobUid } from "../core/ids.ts";
import { decideRepeat, judgeRepeat, type Repeat, type RepeatEnd } from "../core/life/decide-repeat.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { planFork, planRetry, type RepeatPlan } from "../core/life/repeat.ts";
import { readEvent } from "../core/log/upcast.ts";
import type { JobRow, JobSpec } from "../core/rows.ts";
import { toldValue, type ToldValue } from "../core/payloads/told-value.ts";
import { collectedJob } from "../job-store.ts";
import type { Pins } from "../running/pins.ts";
import type { Caller, Jobs, JobLog, LoadedJob, RepeatJob, StartedJob } from "../ports.ts";
import type { JobPayloads } from "./job-payloads.ts";
import { plainInput, proposeStart } from "./start-jobs.ts";

export interface RepeatJobsPorts {
  readonly kv: Pick<Kv, "transact">;
  readonly log: Pick<JobLog, "load">;
  readonly pins: Pick<Pins, "resolve" | "renew" | "definitionOf">;
  readonly payloads: Pick<JobPayloads, "keep">;
  /** @throws AetherError E_QUOTA, E_OVERLOADED */
  readonly checkRoom: () => void;
  /** Absent where nobody records traces. */
  readonly tracing?: Tracing;
}

type RepeatInput = Pick<Repeat, "input" | "inputBlob" | "inputDigest">;

export class RepeatJobs implements Pick<Jobs, "repeat"> {
  private readonly env: Pick<Env, "clock" | "random">;
  private readonly ports: RepeatJobsPorts;

  constructor(env: Pick<Env, "clock" | "random">, ports: RepeatJobsPorts) {
    this.env = env;
    this.ports = ports;
  }

  async repeat(job: JobId, repeat: RepeatJob, _caller: Caller, options: CallOptions = {}): Promise<StartedJob> {
    this.ports.checkRoom();
    const loaded = await this.ports.log.load(refOf(job), options);
    const { what, traceparent } = repeat;
    const { agent } = loaded.view.row;
    const told = ({ job: made, isNew }: StartedJob) => ({ "aether.job": made, "aether.new": isNew });
    const attributes = { "aether.agent": agent, "aether.of": job };
    const work = { name: `${what.kind} ${agent}`, kind: "internal", traceparent, attributes, told } as const;
    return await traced(this.ports.tracing, work, (within) =>
      this.repeatOnce(loaded, within === undefined ? repeat : { ...repeat, traceparent: within }, options));
  }

  private async repeatOnce(loaded: LoadedJob, repeat: RepeatJob, options: CallOptions): Promise<StartedJob> {
    const { ref: { job }, row, spec } = loaded.view;
    const plan = planned(job, loaded, repeat);
    const { what, traceparent } = repeat;
    const atMs = this.env.clock.wallMs();
    const given = what.kind === "fork" && "input" in what ? plainInput({ ...row, input: what.input }) : undefined;
    const pin = await this.pinOf(job, row, repeat, options);
    // What is stored apart is checked where it runs.
    const isChecked = given !== undefined || (spec.inputBlob === undefined && pin !== row.pin);
    const { value } = given ?? { value: spec.input };
    if (isChecked) await this.checkInput(job, { pin, agent: row.agent, input: value }, options);
    const input = given === undefined ? ofOld(spec) : await this.kept(job, toldValue(given), options);
    const decision = decideRepeat({
      kind: what.kind,
      old: loaded.view,
      oldTools: loaded.tools,
      plan,
      job: repeat.id ?? drawJobId(atMs, this.env.random),
      uid: drawUid(this.env.random) as JobUid,
      pin,
      ...input,
      ...(traceparent !== undefined && this.ports.tracing?.isOn === true && { traceparent }),
      atMs,
    });
    if (decision.kind === "refused") {
      throw new AetherError(decision.code, `job ${job} is not done again: ${decision.reason}`, {
        ...(decision.details !== undefined && { details: decision.details }),
      });
    }
    const end = judgeRepeat(decision, await proposeStart(this.ports.kv, decision.txn, options));
    return answerOf(job, decision.job, end);
  }

  private async kept(job: JobId, told: ToldValue, options: CallOptions): Promise<RepeatInput> {
    const { blob } = await this.ports.payloads.keep(`job ${job} is not done again`, told, options);
    return { input: told.value, inputDigest: told.digest, ...(blob !== undefined && { inputBlob: blob }) };
  }

  /** @throws AetherError E_INVALID */
  private async checkInput(
    job: JobId,
    { pin, agent, input }: { readonly pin: Digest; readonly agent: string; readonly input: unknown },
    options: CallOptions,
  ): Promise<void> {
    const definition = await this.ports.pins.definitionOf(pin, agent, options);
    const refusal = definition && inputRefusal(definition, input);
    if (refusal !== undefined) throwRefusal(`job ${job} is not done again`, refusal);
  }

  private async pinOf(job: JobId, { agent, pin }: JobRow, { code }: RepeatJob, options: CallOptions): Promise<Digest> {
    const { pins } = this.ports;
    if (code === "current") return await pins.resolve(agent, options);
    try {
      // Nobody needs it since the old job has ended.
      await pins.renew(pin, options);
    } catch (error) {
      throw toAetherError(error).code === "E_NOT_FOUND" ? pinGone(job) : error;
    }
    return pin;
  }
}

function ofOld({ input, inputBlob, inputDigest }: JobSpec): RepeatInput {
  return { input, inputDigest, ...(inputBlob !== undefined && { inputBlob }) };
}

function planned(job: JobId, { view: { row }, log }: LoadedJob, { what, again = [] }: RepeatJob): RepeatPlan {
  if (!hasEnded(row.status)) {
    const message = `job ${job} is ${row.status}: only a job that has ended can be done again`;
    throw new AetherError("E_CONFLICT", message, { details: { status: row.status } });
  }
  if (row.collectedMs !== undefined) throw collectedJob(job, row.collectedMs);
  const events = log.map((bytes) => ({ ...readEvent(bytes), bytes }));
  const verdict = what.kind === "retry" ? planRetry(events) : planFork(events, what.at);
  if (verdict.kind === "refused") {
    throw new AetherError(verdict.code, `job ${job} is not done again: ${verdict.reason}`);
  }
  const { plan } = verdict;
  const calls = plan.again.filter((call) => !again.includes(call));
  if (calls.length === 0) return plan;
  const names = calls.join(", ");
  throw new AetherError("E_CONFLICT", `job ${job} is not done again: it would make ${names} once more, which may ` +
    "have happened; say --again for each of them, or begin at a later call", { details: { calls } });
}

function answerOf(job: JobId, made: JobId, end: RepeatEnd): StartedJob {
  switch (end.kind) {
    case "started":
      return { job: made, status: "pending", isNew: end.isNew };
    case "repeated":
      throw new AetherError("E_CONFLICT", `job ${job} was done again already, as ${end.job}: do that one again`, {
        details: { job: end.job },
      });
    case "id-taken":
      throw new AetherError("E_CONFLICT", `there is another job "${made}": use another id`, { details: { job: made } });
    case "pin-gone":
      throw pinGone(job);
  }
}

function pinGone(job: JobId): AetherError {
  return new AetherError("E_CONFLICT", `job ${job} is not done again, because what it ran is not kept any more: say ` +
    "--current to run what its agent is now");
}
