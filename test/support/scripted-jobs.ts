// Owns: jobs without nodes that run them: what is asked is answered from memory, and what was told is kept. For tests
// of the doors; the test says how a job goes on.
import type { Amount } from "../../src/jobs/core/budget/account.ts";
import { RESULT_WAIT_MS_MAX } from "../../src/jobs/limits.ts";
import { sha256 } from "../../src/base/digest.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseJobId, parseNodeId, type JobId } from "../../src/base/ids.ts";
import type { CallName, JobUid } from "../../src/jobs/core/ids.ts";
import type { JobEvent, Resolution } from "../../src/jobs/core/log/event.ts";
import type { JobResult, JobRow } from "../../src/jobs/core/rows.ts";
import type { ToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import type { ApprovalListed, Caller, JobFollower, JobShown, Jobs, RepeatJob, StartJob } from "../../src/jobs/ports.ts";

/** What was told a job. */
export type Told =
  | {
    readonly kind: "signal";
    readonly job: JobId;
    readonly name: string;
    readonly payload: unknown;
    readonly key?: string;
  }
  | { readonly kind: "cancel"; readonly job: JobId }
  | { readonly kind: "release"; readonly job: JobId }
  | { readonly kind: "raise"; readonly job: JobId; readonly add: Amount; readonly key?: string }
  | { readonly kind: "move"; readonly job: JobId; readonly artifact: string }
  | { readonly kind: "repeat"; readonly job: JobId; readonly repeat: RepeatJob }
  | { readonly kind: "resolve"; readonly job: JobId; readonly effect: string; readonly resolution: Resolution }
  | {
    readonly kind: "decision";
    readonly job: JobId;
    readonly call: string;
    readonly approved: boolean;
    readonly data: unknown;
    readonly principal: string;
  };

export interface ScriptedJobs extends Jobs {
  readonly started: StartJob[];
  readonly callers: Caller[];
  readonly told: Told[];
  /** What an export of any job is. */
  readonly exported: string[];
  /** The jobs go on as the test says. */
  change(job: JobId, row: Partial<JobRow>): void;
  emit(job: JobId, item: unknown): void;
  /** How many follow the job now. */
  followed(job: JobId): number;
  addEvents(job: JobId, events: readonly JobEvent[]): void;
  addTool(job: JobId, row: ToolRow): void;
  addApproval(job: JobId, asked: ApprovalListed): void;
  end(job: JobId, result: JobResult): void;
}

interface ScriptedJob {
  shown: JobShown;
  readonly events: JobEvent[];
  readonly ended: { readonly promise: Promise<void>; resolve(): void };
}

const EPOCH_MS = 1_700_000_000_000;

export function scriptedJobs(): ScriptedJobs {
  const all = new Map<JobId, ScriptedJob>();
  const keys = new Map<string, JobId>();
  const started: StartJob[] = [];
  const callers: Caller[] = [];
  const told: Told[] = [];
  const followers = new Map<JobId, readonly JobFollower[]>();
  const followersOf = (job: JobId): readonly JobFollower[] => followers.get(job) ?? [];
  const exported: string[] = [];
  const find = (job: JobId): ScriptedJob => {
    const found = all.get(job);
    if (found !== undefined) return found;
    throw new AetherError("E_NOT_FOUND", `there is no job ${job}`, { outcome: "none" });
  };
  const live = (job: JobId): ScriptedJob => {
    const found = find(job);
    if (found.shown.result === undefined) return found;
    throw new AetherError("E_CONFLICT", `job ${job} has ended: it is ${found.shown.row.status}`);
  };
  const update = (job: JobId, change: (shown: JobShown) => JobShown): void => {
    const found = find(job);
    found.shown = change(found.shown);
  };
  return {
    started,
    callers,
    told,
    exported,
    export: async (job) => {
      find(job);
      async function* lines(): AsyncGenerator<string> {
        yield* exported;
      }
      return lines();
    },
    start: async (start, caller) => {
      if (start.agent === "nobody") throw new AetherError("E_NOT_FOUND", `no blueprint has an agent "${start.agent}"`);
      const before = keys.get(start.idempotencyKey ?? "") ?? start.id;
      const existing = before === undefined ? undefined : all.get(before);
      if (existing !== undefined) return againOf(existing, start);
      const job = start.id ?? parseJobId(`job-${all.size + 1}`);
      started.push(start);
      callers.push(caller);
      if (start.idempotencyKey !== undefined) keys.set(start.idempotencyKey, job);
      all.set(job, scriptedJob(job, start, caller));
      return { job, status: "pending", isNew: true };
    },
    repeat: async (job, repeat) => {
      if (find(job).shown.result === undefined) throw new AetherError("E_CONFLICT", `job ${job} has not ended`);
      told.push({ kind: "repeat", job, repeat });
      return { job: repeat.id ?? parseJobId("again-1"), status: "pending", isNew: true };
    },
    replay: async (job, artifact) => {
      const seq = find(job).events.length;
      return artifact.endsWith(":1.1.0")
        ? { kind: "same", seq, next: 'waits for "go#1"' }
        : { kind: "diverged", seq, expected: 'a step as "load#1"', found: 'waits for "fetch#1"' };
    },
    move: async (job, artifact) => {
      if (!artifact.endsWith(":1.1.0")) {
        return { kind: "diverged", seq: 2, expected: 'a step as "load#1"', found: 'waits for "fetch#1"' };
      }
      told.push({ kind: "move", job, artifact });
      return { kind: "moved", isNew: true };
    },
    show: async (job) => find(job).shown,
    list: async ({ agent, status, waiting, attributes = {}, limit = 100, after, order }) => {
      const isPast = (one: string, other: string): boolean => (order === "newest" ? one < other : one > other);
      const found = [...all.values()].map(({ shown }) => shown)
        .filter(({ job, row }) => (after === undefined || isPast(job, after)) && row.agent === (agent ?? row.agent) &&
          row.status === (status ?? row.status) && (waiting === undefined || row.waiting?.reason === waiting) &&
          Object.entries(attributes).every(([name, value]) => row.attributes[name] === value))
        .sort((a, b) => (isPast(b.job, a.job) ? -1 : 1));
      const jobs = found.slice(0, limit);
      const more = found.length > limit;
      const next = jobs.at(-1)?.job;
      return { jobs, more, revision: 7, ...(more && next !== undefined && { next }) };
    },
    events: async (job, { afterSeq = 0, limit = 100 }) => {
      const numbered = find(job).events.map((event, at) => ({
        event, seq: at + 1, run: 1, atMs: EPOCH_MS + 1_000 * at, epoch: 1, version: 1, link: sha256(`link ${at}`),
      }));
      const rest = numbered.slice(afterSeq);
      return { events: rest.slice(0, limit), more: rest.length > limit };
    },
    result: async (job, waitMs, options) => {
      const found = find(job);
      const aborted = new Promise<void>((resolve) => {
        // Only the longest wait that there is takes any time.
        if (waitMs < RESULT_WAIT_MS_MAX) resolve();
        options?.signal?.addEventListener("abort", () => resolve(), { once: true });
      });
      await Promise.race([found.ended.promise, aborted]);
      return found.shown.result;
    },
    payload: () => Promise.reject(new AetherError("E_NOT_FOUND", "nothing is stored apart here")),
    payloadText: () => Promise.reject(new AetherError("E_NOT_FOUND", "nothing is stored apart here")),
    follow: async (job, follower) => {
      const { shown } = find(job);
      followers.set(job, [...followers.get(job) ?? [], follower]);
      follower.onState(shown.row);
      if (shown.result !== undefined) follower.onEnd(shown.result);
      return { close: () => void followers.set(job, (followers.get(job) ?? []).filter((one) => one !== follower)) };
    },
    signal: async (job, { name, payload, idempotencyKey }) => {
      live(job);
      const key = idempotencyKey === undefined ? {} : { key: idempotencyKey };
      told.push({ kind: "signal", job, name, payload, ...key });
    },
    cancel: async (job) => {
      live(job);
      told.push({ kind: "cancel", job });
    },
    release: async (job) => {
      if (live(job).shown.row.waiting?.reason !== "restored") {
        throw new AetherError("E_CONFLICT", `job ${job} is not held`);
      }
      told.push({ kind: "release", job });
    },
    raise: async (job, { add, idempotencyKey }) => {
      if (live(job).shown.head.account === undefined) throw new AetherError("E_INVALID", `job ${job} has no budget`);
      told.push({ kind: "raise", job, add, ...(idempotencyKey !== undefined && { key: idempotencyKey }) });
    },
    resolve: async (job, effect, resolution) => {
      const tool = live(job).shown.tools.find(({ effectId }) => effectId === effect);
      if (tool === undefined) throw new AetherError("E_NOT_FOUND", `job ${job} has no call of the effect ${effect}`);
      if (tool.state !== "unknown") throw new AetherError("E_CONFLICT", `the call ${tool.call} is ${tool.state}`);
      told.push({ kind: "resolve", job, effect, resolution });
    },
    approvals: async ({ job, limit = 100 }) => {
      const asked = [...all.values()].flatMap(({ shown }) => shown.approvals)
        .filter((approval) => approval.job === (job ?? approval.job));
      return { approvals: asked.slice(0, limit), more: asked.length > limit };
    },
    decide: async (job, { approval, approved, data }, { principal }) => {
      const asked = live(job).shown.approvals.find(({ call, row }) => call === approval || row.name === approval);
      if (asked === undefined) throw new AetherError("E_NOT_FOUND", `job ${job} waits for no approval ${approval}`);
      told.push({ kind: "decision", job, call: asked.call, approved, data, principal });
      return { job, call: asked.call, approved };
    },
    change: (job, row) => {
      update(job, (shown) => ({ ...shown, row: { ...shown.row, ...row } }));
      for (const follower of followersOf(job)) follower.onState(find(job).shown.row);
    },
    emit: (job, item) => {
      for (const follower of followersOf(job)) follower.onProgress(item);
    },
    followed: (job) => followersOf(job).length,
    addEvents: (job, events) => void find(job).events.push(...events),
    addApproval: (job, asked) => update(job, (shown) => ({ ...shown, approvals: [...shown.approvals, asked] })),
    addTool: (job, row) => update(job, (shown) => ({ ...shown, tools: [...shown.tools, row] })),
    end: (job, result) => {
      update(job, (shown) => ({ ...shown, result, row: { ...withoutPhase(shown.row), status: result.kind } }));
      find(job).ended.resolve();
      for (const follower of followersOf(job)) {
        follower.onState(find(job).shown.row);
        follower.onEnd(result);
      }
    },
  };
}

function againOf({ shown }: ScriptedJob, start: StartJob): Awaited<ReturnType<Jobs["start"]>> {
  if (JSON.stringify(shown.spec.input) === JSON.stringify(start.input)) {
    return { job: shown.job, status: shown.row.status, isNew: false };
  }
  throw new AetherError("E_CONFLICT", `job ${shown.job} was started with another input`);
}

function scriptedJob(job: JobId, start: StartJob, { tenant }: Caller): ScriptedJob {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  const uid = "0".repeat(32) as JobUid;
  return {
    events: [],
    ended: { promise, resolve: () => resolve() },
    shown: {
      job,
      row: {
        agent: start.agent, tenant, pin: sha256("pin"), status: "pending", epoch: 0, run: 1,
        claims: { atSeq: 0, count: 0 }, queueClass: start.queueClass ?? "default", priority: start.priority ?? 0,
        attributes: start.attributes ?? {},
        sinceMs: EPOCH_MS, createdMs: EPOCH_MS,
      },
      head: { run: 1, seq: 1, link: new Uint8Array(32), bytes: 10, folded: 0, openEffects: 0, steps: 0 },
      spec: {
        uid, effectUid: uid, input: start.input, inputDigest: sha256(JSON.stringify(start.input)), createdMs: EPOCH_MS,
      },
      tools: [],
      children: [],
      approvals: [],
    },
  };
}

function withoutPhase({ owner: _owner, waiting: _waiting, ...row }: JobRow): JobRow {
  return row;
}

/** Something that a job asks people. */
export function askedBy(job: JobId, tool?: string): ApprovalListed {
  const call = (tool === undefined ? "manager#1" : `${tool}#1/approval#1`) as CallName;
  const row = {
    agent: "claims", name: tool ?? "manager", summary: "Refund?", data: { cents: 5 }, shown: sha256("shown"),
    requestedMs: EPOCH_MS, ...(tool === undefined ? {} : { tool }),
  };
  return { job, call, row };
}

/** What a running job's row has besides its status. */
export function ownedBy(node: string): Pick<JobRow, "status" | "owner" | "epoch"> {
  const life = { node: parseNodeId(node), uid: "a".repeat(16), incarnation: 1 };
  return { status: "running", owner: life as NonNullable<JobRow["owner"]>, epoch: 1 };
}
