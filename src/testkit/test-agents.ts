// Owns: jobs as a test sees them: starting agents, what can be asked and told of a job, from outside of the cluster.
// Does not own: what the nodes do with it (jobs), one attempt at asking a node (ask-jobs.ts).
import type { z } from "zod";
import { AetherError, toAetherError } from "../base/errors.ts";
import { parseJobId, type JobId } from "../base/ids.ts";
import { MINUTE_MS } from "../base/units.ts";
import { amountOf, budgetOf } from "../jobs/core/budget/amounts.ts";
import type { Resolution } from "../jobs/core/log/event.ts";
import type { JobError, JobResult, JobStatus, Waiting } from "../jobs/core/rows.ts";
import type { ToolState } from "../jobs/core/tools/tool-row.ts";
import type { DecideApproval, Jobs, NumberedEvent } from "../jobs/ports.ts";
import type { Agent } from "../sdk/agent.ts";
import type { Budget } from "../sdk/budget.ts";
import type { Signal } from "../sdk/signal.ts";
import { askJobs, pass, TESTER, type JobsPorts } from "./ask-jobs.ts";

/** An agent of whatever input, output and tools. */
export type AnyAgent = Pick<Agent, "kind" | "name" | "input" | "output">;

/** How a job ended. */
export type TestJobResult<O> =
  | { readonly kind: "completed"; readonly output: O }
  | { readonly kind: "failed"; readonly error: JobError }
  | { readonly kind: "cancelled" };

export interface TestJobStatus {
  readonly status: JobStatus;
  /** What it waits for, in `waiting`. */
  readonly waiting: Waiting | undefined;
  /** The node that runs it, in `running`. */
  readonly node: string | undefined;
  /** How often a node has taken it. */
  readonly epoch: number;
  /** 1, and one more each time it has continued as a new one. */
  readonly run: number;
  /** Calls of its tools in this run, in the order of their latest change. */
  readonly calls: readonly TestToolCall[];
  /** Of a job that has one. */
  readonly budget: TestBudget | undefined;
}

/** In US dollars, tokens and steps. */
export interface TestBudget {
  readonly limit: Budget;
  readonly reserved: Budget;
  readonly spent: Budget;
}

export interface TestToolCall {
  /** As `refund#1`. */
  readonly call: string;
  readonly tool: string;
  readonly effectId: string;
  readonly state: ToolState;
  readonly attempt: number;
}

export interface StartOptions {
  /** Default: one that no job has yet. The same id again with the same input is the same job. */
  readonly id?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  /** What it may spend; of what is left out as much as its agent says. */
  readonly budget?: Budget;
}

export interface TestAgent<A extends AnyAgent> {
  /** Resolves once the start is stored. Asked again through other nodes for as long as that may help. */
  start(input: z.input<A["input"]>, options?: StartOptions): Promise<TestJob<z.output<A["output"]>>>;
  /** A job that was started before. */
  job(id: string): TestJob<z.output<A["output"]>>;
}

export interface TestJob<O = unknown> {
  readonly id: string;
  /** Lets time pass until the job has ended. @throws AetherError E_TIMEOUT after `limitMs` of virtual time */
  result(limitMs?: number): Promise<TestJobResult<O>>;
  status(): Promise<TestJobStatus>;
  /** Its log; of its latest run. */
  events(): Promise<readonly NumberedEvent[]>;
  /** Told once, however often it has to be sent, and however often the test sends it under one `idempotencyKey`. */
  signal<P extends z.ZodType>(
    signal: Signal<string, P>, payload: z.input<P>, options?: { readonly idempotencyKey?: string },
  ): Promise<void>;
  cancel(): Promise<void>;
  /** Lets it spend more, once, however often it has to be sent or the test sends it under one `idempotencyKey`. */
  raiseBudget(add: Budget, options?: { readonly idempotencyKey?: string }): Promise<void>;
  /**
   * Lets time pass until it asks for the approval of this name, or before a call as `refund#1`, and says yes.
   * @throws AetherError E_CONFLICT when somebody has decided before, E_NOT_FOUND when it has not asked by then
   */
  approve(name: string, options?: ApproveOptions): Promise<void>;
  /** The same, and says no. */
  reject(name: string, options?: ApproveOptions): Promise<void>;
  /** What a person found out about a call of which nobody knows whether it happened, by its name as `refund#1`. */
  resolve(call: string, resolution: Resolution): Promise<void>;
}

export interface ApproveOptions {
  /** What the job is told with it. */
  readonly data?: unknown;
  /** Of virtual time. */
  readonly limitMs?: number;
}

/** Longest wait for the end of a job if the test says nothing else. */
const RESULT_MS_MAX = 10 * MINUTE_MS;
/** A node is asked again after so long. */
const RESULT_ASK_MS = 500;

export function testAgent<A extends AnyAgent>({ name }: A, ports: JobsPorts): TestAgent<A> {
  const job = (id: string): TestJob<z.output<A["output"]>> => testJob(parseJobId(id), ports);
  return {
    start: async (input, { id = ports.drawId(), attributes = {}, budget = {} } = {}) => {
      const limit = amountOf(budget);
      const start = {
        agent: name, input, id: parseJobId(id), attributes, ...(limit !== undefined && { budget: limit }),
      };
      await askJobs(ports, `starting ${name}`, (jobs) => jobs.start(start, TESTER));
      return job(id);
    },
    job,
  };
}

function testJob<O>(id: JobId, ports: JobsPorts): TestJob<O> {
  const ask = <T>(what: string, act: (jobs: Jobs) => Promise<T>): Promise<T> =>
    askJobs(ports, `${what} job ${id}`, act);
  return {
    id,
    result: (limitMs = RESULT_MS_MAX) => resultOf(id, ports, limitMs),
    status: () => ask("asking for", (jobs) => statusOf(jobs, id)),
    events: () => ask("reading the log of", (jobs) => allEvents(jobs, id)),
    signal: ({ name }, payload, { idempotencyKey = ports.drawId() } = {}) => {
      return ask("telling", (jobs) => jobs.signal(id, { name, payload, idempotencyKey }, TESTER));
    },
    raiseBudget: (budget, { idempotencyKey = ports.drawId() } = {}) => {
      const add = amountOf(budget) ?? {};
      return ask("raising the budget of", (jobs) => jobs.raise(id, { add, idempotencyKey }, TESTER));
    },
    cancel: () => ask("cancelling", (jobs) => jobs.cancel(id, TESTER)),
    approve: (name, options) => decide(id, ports, { approval: name, approved: true }, options),
    reject: (name, options) => decide(id, ports, { approval: name, approved: false }, options),
    resolve: (call, resolution) => ask("resolving a call of", async (jobs) => {
      const { tools } = await jobs.show(id);
      const found = tools.find((row) => row.call === call);
      if (found === undefined) throw noCall(id, call, tools.map((row) => row.call));
      return await jobs.resolve(id, found.effectId, resolution, TESTER);
    }),
  };
}

async function decide(
  job: JobId,
  ports: JobsPorts,
  { approval, approved }: Pick<DecideApproval, "approval" | "approved">,
  { data = null, limitMs = RESULT_MS_MAX }: ApproveOptions = {},
): Promise<void> {
  const decision: DecideApproval = { approval, approved, data, idempotencyKey: ports.drawId() };
  const endMs = ports.world.nowMs + limitMs;
  const act = async (jobs: Jobs): Promise<boolean> => {
    try {
      await jobs.decide(job, decision, TESTER);
      return true;
    } catch (error) {
      if (toAetherError(error).code !== "E_NOT_FOUND" || ports.world.nowMs >= endMs) throw error;
      // It has not asked yet.
      await pass(ports.world, RESULT_ASK_MS);
      return false;
    }
  };
  while (!await askJobs(ports, `deciding ${approval} of job ${job}`, act, limitMs));
}

async function resultOf<O>(id: JobId, ports: JobsPorts, limitMs: number): Promise<TestJobResult<O>> {
  const endMs = ports.world.nowMs + limitMs;
  for (;;) {
    const ask = (jobs: Jobs): ReturnType<Jobs["result"]> => jobs.result(id, RESULT_ASK_MS);
    const result = await askJobs(ports, `waiting for job ${id}`, ask, limitMs);
    // The one place where the agent's type is put on what was stored.
    if (result !== undefined) return (await whole(result, ports)) as TestJobResult<O>;
    if (ports.world.nowMs >= endMs) throw await notEnded(id, ports, limitMs);
  }
}

/** With an output that is stored apart in its place. */
async function whole(result: JobResult, ports: JobsPorts): Promise<JobResult> {
  if (result.kind !== "completed" || result.blob === undefined) return result;
  const { blob } = result;
  return { kind: "completed", output: await askJobs(ports, "reading an output", (jobs) => jobs.payload(blob)) };
}

async function notEnded(id: JobId, ports: JobsPorts, limitMs: number): Promise<AetherError> {
  const { status, waiting, calls } = await askJobs(ports, `asking for job ${id}`, (jobs) => statusOf(jobs, id));
  const why = waiting === undefined ? "" : `: ${waiting.reason} ${waiting.why ?? waiting.on.join(", ")}`;
  const open = calls.filter(({ state }) => state !== "succeeded" && state !== "failed");
  const shown = open.map(({ call, state }) => `; ${call} is ${state}`).join("");
  const message = `job ${id} has not ended within ${limitMs} ms of virtual time: it is ${status}${why}${shown}`;
  return new AetherError("E_TIMEOUT", message, { outcome: "none", details: { status } });
}

async function statusOf(jobs: Jobs, id: JobId): Promise<TestJobStatus> {
  const { row, tools, head: { account } } = await jobs.show(id);
  const { status, waiting, owner, epoch, run } = row;
  const calls = tools.map(({ call, tool, effectId, state, attempt }) => ({ call, tool, effectId, state, attempt }));
  const budget = account && {
    limit: budgetOf(account.limit), reserved: budgetOf(account.reserved), spent: budgetOf(account.spent),
  };
  return { status, waiting, node: owner?.node, epoch, run, calls, budget };
}

async function allEvents(jobs: Jobs, id: JobId): Promise<readonly NumberedEvent[]> {
  const all: NumberedEvent[] = [];
  for (;;) {
    // It may continue as a new one meanwhile.
    const run = all[0] === undefined ? {} : { run: all[0].run };
    const { events, more } = await jobs.events(id, { afterSeq: all.at(-1)?.seq ?? 0, ...run });
    all.push(...events);
    if (!more) return all;
  }
}

function noCall(id: JobId, call: string, known: readonly string[]): AetherError {
  const text = known.length === 0 ? "none" : known.join(", ");
  return new AetherError("E_NOT_FOUND", `job ${id} has no call ${call} of a tool: it has ${text}`);
}
