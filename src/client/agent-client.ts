// Owns: jobs as a client drives them: starting one once, its result, telling it something. Typed by agents and signals.
// Does not own: requests and their repeats (multiplexer.ts).
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { describeIssue, plainIssues } from "../base/schema-issues.ts";
import { SECOND_MS } from "../base/units.ts";
import { KV_TIMEOUT_MS } from "../api/limits.ts";
import { HOLD_MS_MAX, REPLAY_MS_MAX, RESULT_WAIT_MS_MAX } from "../jobs/limits.ts";
import type { Agent } from "../sdk/agent.ts";
import type { Budget } from "../sdk/budget.ts";
import type { Duration } from "../sdk/duration.ts";
import type { Signal } from "../sdk/signal.ts";
import { askApi, type ApiCall } from "./api-request.ts";
import type { Multiplexer } from "./multiplexer.ts";
import type { Clock } from "../env/clock.ts";
import type { Tracing } from "../env/tracing.ts";
import { newRequestKey } from "./random-adapter.ts";
import { traced } from "../invocation/traced.ts";

/** Of one question for a result; then it is asked again. */
const RESULT_TIMEOUT_MS = RESULT_WAIT_MS_MAX + 10 * SECOND_MS;
const START_TIMEOUT_MS = 15 * SECOND_MS;
const REPLAY_TIMEOUT_MS = REPLAY_MS_MAX + 10 * SECOND_MS;
/** It may be replayed twice, with a call that it has under way in between. */
const MOVE_TIMEOUT_MS = 2 * REPLAY_TIMEOUT_MS + HOLD_MS_MAX;

export interface JobCallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface JobStartOptions extends JobCallOptions {
  /** An id of the caller's; the same id with the same input is the same job. */
  readonly id?: string;
  /** The same key again is the same job. Default: a new one per call, so that the client may send it again. */
  readonly idempotencyKey?: string;
  /** What listings are asked for. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** From its start on, no longer than its agent says; then it is asked to end, and has failed with E_TIMEOUT. */
  readonly maxDuration?: Duration;
  /** What it may spend; of what is left out as much as its agent says. */
  readonly budget?: Budget;
}

export interface JobRaiseOptions extends JobCallOptions {
  /** The same key again is the same raise. Default: a new one per call. */
  readonly idempotencyKey?: string;
}

export interface JobSignalOptions extends JobCallOptions {
  /** The same key again is the same signal. Default: a new one per call. */
  readonly idempotencyKey?: string;
}

export interface JobDecisionOptions extends JobCallOptions {
  /** What the job's code is told with the decision. */
  readonly data?: unknown;
  /** Digest of what was decided about, as the list of approvals has it: another question is refused. */
  readonly shown?: string;
  /** The same key again is the same decision. Default: a new one per call. */
  readonly idempotencyKey?: string;
}

/** How a job ended. */
export type JobOutcome<O = unknown> =
  | { readonly kind: "completed"; readonly output: O }
  | { readonly kind: "failed"; readonly error: JobFailure }
  | { readonly kind: "cancelled" };

/** What came of running the log of a job against another version of its code. */
export type JobReplay =
  | { readonly kind: "same"; readonly seq: number; readonly next: string }
  | {
    readonly kind: "diverged";
    /** Number of the first event that the code does not do. */
    readonly seq: number;
    readonly expected: string;
    readonly found: string;
    readonly expectedDigest?: string | undefined;
    readonly foundDigest?: string | undefined;
  };

/** `isNew`: false when the job ran that version already. */
export type JobMove =
  | { readonly kind: "moved"; readonly isNew: boolean }
  | Extract<JobReplay, { readonly kind: "diverged" }>;

export interface JobFailure {
  readonly name: string;
  readonly message: string;
  readonly code?: string | undefined;
}

/** Where a job is, see `GET /v1/jobs/{job}`. */
export interface JobState {
  readonly job: string;
  readonly agent: string;
  readonly status: "pending" | "running" | "waiting" | "completed" | "failed" | "cancelled";
  readonly waiting?: {
    readonly reason: string;
    readonly on: readonly string[];
    readonly untilMs?: number | undefined;
    readonly why?: string | undefined;
  } | undefined;
  /** The node that runs it. */
  readonly owner?: string | undefined;
  readonly attributes: Readonly<Record<string, string>>;
  readonly createdMs: number;
  readonly sinceMs: number;
}

/** A job that was started, or that is known by its id. It need not live in the process that started it. */
export interface JobHandle<O = unknown> {
  readonly id: string;
  /**
   * Waits for the end of the job, over lost connections and nodes; for ever without `timeoutMs`.
   * @throws AetherError E_HANDLER when the job failed or was cancelled, `details.outcome` says which; E_TIMEOUT
   */
  result(options?: JobCallOptions): Promise<O>;
  /** As `result`, with a failure as a value. */
  outcome(options?: JobCallOptions): Promise<JobOutcome<O>>;
  state(options?: JobCallOptions): Promise<JobState>;
  /** Kept until the job waits for it. @throws AetherError E_INVALID for a payload that is none of this signal */
  signal<P extends z.ZodType>(
    signal: Signal<string, P>, payload: z.input<P>, options?: JobSignalOptions,
  ): Promise<void>;
  /** Decides what the job asks under this name, with data for its code; the first decision counts. */
  approve(approval: string, options?: JobDecisionOptions): Promise<void>;
  reject(approval: string, options?: JobDecisionOptions): Promise<void>;
  /**
   * Whether another version of its package, as `group:name@version`, does what the log of the job says. Calls and
   * changes nothing.
   */
  replay(artifact: string, options?: JobCallOptions): Promise<JobReplay>;
  /** Lets the job spend more; one that waits for its budget goes on. */
  raiseBudget(add: Budget, options?: JobRaiseOptions): Promise<void>;
  /**
   * Lets the job, which lives, run another version of its package from now on, if that does what its log says; nothing
   * changes when it does not.
   */
  move(artifact: string, options?: JobCallOptions): Promise<JobMove>;
  /** Asks the job to end; it may still tidy up. */
  cancel(options?: JobCallOptions): Promise<void>;
}

export interface AgentClient<A extends Agent> {
  /** Starts a job, once however often it has to be sent. */
  start(input: z.input<A["input"]>, options?: JobStartOptions): Promise<JobHandle<z.output<A["output"]>>>;
  /** A job of this agent that was started before. Nothing is asked yet. */
  job(id: string): JobHandle<z.output<A["output"]>>;
}

const startedSchema = z.object({ job: z.string() });
const resultSchema: z.ZodType<{ readonly result?: JobOutcome | undefined }> = z.object({
  result: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("completed"), output: z.unknown() }),
    z.object({
      kind: z.literal("failed"),
      error: z.object({ name: z.string(), message: z.string(), code: z.string().optional() }),
    }),
    z.object({ kind: z.literal("cancelled") }),
  ]).optional(),
});
export const stateSchema: z.ZodType<JobState> = z.object({
  job: z.string(),
  agent: z.string(),
  status: z.enum(["pending", "running", "waiting", "completed", "failed", "cancelled"]),
  waiting: z.object({
    reason: z.string(), on: z.array(z.string()), untilMs: z.number().optional(), why: z.string().optional(),
  }).optional(),
  owner: z.string().optional(),
  attributes: z.record(z.string(), z.string()),
  createdMs: z.number(),
  sinceMs: z.number(),
});
const divergedSchema = z.object({
  kind: z.literal("diverged"), seq: z.number(), expected: z.string(), found: z.string(),
  expectedDigest: z.string().optional(), foundDigest: z.string().optional(),
});
const replaySchema: z.ZodType<JobReplay> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("same"), seq: z.number(), next: z.string() }), divergedSchema,
]);
const moveSchema: z.ZodType<JobMove> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("moved"), isNew: z.boolean() }), divergedSchema,
]);
const anySchema = z.unknown();

export interface JobClientPorts {
  readonly requests: Multiplexer;
  readonly clock: Pick<Clock, "nowMs">;
  readonly tracing?: Tracing;
}

export function createAgentClient<A extends Agent>(ports: JobClientPorts, agent: A): AgentClient<A> {
  return {
    start: async (input, options = {}) => {
      const {
        id, attributes, maxDuration, budget, idempotencyKey = newRequestKey(), timeoutMs = START_TIMEOUT_MS, signal,
      } = options;
      await check(`the input of ${agent.name}`, agent.input, input);
      const told = { "aether.agent": agent.name };
      const request = { name: `start ${agent.name}`, kind: "client", attributes: told } as const;
      const { value } = await traced(ports.tracing, request, (traceparent) => askApi(ports.requests, startedSchema, {
        what: `start a job of ${agent.name}`,
        effect: "idempotent",
        method: "POST",
        path: "/v1/jobs",
        body: { agent: agent.name, input, id, attributes, maxDuration, budget },
        idempotencyKey,
        traceparent,
        timeoutMs,
        signal,
      }));
      return createJobHandle(ports, value.job);
    },
    job: (id) => createJobHandle(ports, id),
  };
}

/** `O` is what the agent answers, as the caller says. */
export function createJobHandle<O = unknown>(ports: JobClientPorts, id: string): JobHandle<O> {
  const { requests } = ports;
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const tell = async (call: Pick<ApiCall, "what" | "path" | "body" | "idempotencyKey">, options: JobCallOptions) => {
    const { timeoutMs = KV_TIMEOUT_MS, signal } = options;
    await askApi(requests, anySchema, { ...call, effect: "idempotent", method: "POST", timeoutMs, signal });
  };
  // The one place where the agent's type is put on what its job answered; the job's node has checked it.
  const outcome = async (options: JobCallOptions = {}): Promise<JobOutcome<O>> =>
    (await waitForEnd(ports, id, options)) as JobOutcome<O>;
  const decide = (approval: string, approved: boolean, options: JobDecisionOptions): Promise<void> => {
    const { data, shown, idempotencyKey = newRequestKey(), ...rest } = options;
    const what = `${approved ? "approve" : "reject"} ${approval} of job ${id}`;
    const body = { approved, data, shown };
    return tell({ what, path: `${path}/approvals/${encodeURIComponent(approval)}`, body, idempotencyKey }, rest);
  };
  return {
    id,
    outcome,
    result: async (options) => outputOf(id, await outcome(options)),
    state: async ({ timeoutMs = KV_TIMEOUT_MS, signal } = {}) => {
      const call = { what: `look at job ${id}`, effect: "read", method: "GET", path, timeoutMs, signal } as const;
      return (await askApi(requests, stateSchema, call)).value;
    },
    signal: async (signal, payload, { idempotencyKey = newRequestKey(), ...options } = {}) => {
      const what = `signal ${signal.name} to job ${id}`;
      await check(`the payload of ${signal.name}`, signal.payload, payload);
      const body: unknown = payload ?? null;
      await tell({ what, path: `${path}/signals/${signal.name}`, body, idempotencyKey }, options);
    },
    approve: (approval, options = {}) => decide(approval, true, options),
    reject: (approval, options = {}) => decide(approval, false, options),
    replay: async (artifact, { timeoutMs = REPLAY_TIMEOUT_MS, signal } = {}) => {
      const call = { what: `replay job ${id}`, effect: "read", method: "POST", path: `${path}/replay` } as const;
      return (await askApi(requests, replaySchema, { ...call, body: { artifact }, timeoutMs, signal })).value;
    },
    raiseBudget: (add, { idempotencyKey = newRequestKey(), ...options } = {}) =>
      tell({ what: `raise the budget of job ${id}`, path: `${path}/budget`, body: { add }, idempotencyKey }, options),
    move: async (artifact, { timeoutMs = MOVE_TIMEOUT_MS, signal } = {}) => {
      const call = { what: `move job ${id}`, effect: "idempotent", method: "POST", path: `${path}/move` } as const;
      return (await askApi(requests, moveSchema, { ...call, body: { artifact }, timeoutMs, signal })).value;
    },
    cancel: (options = {}) => tell({ what: `cancel job ${id}`, path: `${path}/cancel` }, options),
  };
}

async function waitForEnd(ports: JobClientPorts, id: string, options: JobCallOptions): Promise<JobOutcome> {
  const { timeoutMs, signal } = options;
  const { requests, clock } = ports;
  const what = `result of job ${id}`;
  const until = timeoutMs === undefined ? undefined : clock.nowMs() + timeoutMs;
  for (;;) {
    const leftMs = until === undefined ? Infinity : until - clock.nowMs();
    if (leftMs <= 0) throw new AetherError("E_TIMEOUT", `${what}: it has not ended in time`, { outcome: "none" });
    const waitMs = Math.floor(Math.min(RESULT_WAIT_MS_MAX, leftMs));
    const path = `/v1/jobs/${encodeURIComponent(id)}/result?waitMs=${waitMs}`;
    const call = { what, effect: "read", method: "GET", path, timeoutMs: RESULT_TIMEOUT_MS, signal } as const;
    const { result } = (await askApi(requests, resultSchema, call)).value;
    if (result !== undefined) return result;
  }
}

function outputOf<O>(id: string, outcome: JobOutcome<O>): O {
  if (outcome.kind === "completed") return outcome.output;
  const found = outcome.kind === "failed"
    ? `failed: ${outcome.error.code ?? outcome.error.name}: ${outcome.error.message}`
    : "was cancelled";
  throw new AetherError("E_HANDLER", `job ${id} ${found}`, { outcome: "none", details: { job: id, outcome } });
}

/** Fails early and without a journey. */
async function check(what: string, schema: z.ZodType, value: unknown): Promise<void> {
  const parsed = await schema.safeParseAsync(value);
  if (parsed.success) return;
  const issues = plainIssues(parsed.error.issues);
  const found = issues.map(describeIssue).join("; ");
  throw new AetherError("E_INVALID", `${what} does not match its schema: ${found}`, { details: { issues } });
}
