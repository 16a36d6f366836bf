// Owns: schedules of agents: a tick starts one job, under a key that names the tick, unless the one before still lives
// and the schedule says that two do not run beside each other.
// Does not own: when and by whom (cluster/schedules/tick-runner.ts), the start (doors/start-jobs.ts).
//
// The start compares that this tick is still the latest and not over: who led before may be late, and would start the
// job of a tick that another leader has skipped.
import { sha256 } from "../../base/digest.ts";
import { ERRORS } from "../../base/error-catalog.ts";
import { toAetherError, type AetherError } from "../../base/errors.ts";
import { parseJobId, type JobId } from "../../base/ids.ts";
import type { ClusterViews } from "../../cluster/cluster-views.ts";
import type { Tick, TickEnd, TickKind, WantedTicks } from "../../cluster/schedules/tick-runner.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import {
  parseAgentScheduleRow, type AgentScheduleRow, type ResolvedAgentSchedule,
} from "../../slices/core/schedule-row.ts";
import { refOf } from "../core/ids.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { rowKey } from "../core/life/job-keys.ts";
import { parseJobRow, parseStartRow } from "../core/rows.ts";
import type { StartJobs } from "../doors/start-jobs.ts";
import type { Caller } from "../ports.ts";

interface WantedJobs extends WantedTicks {
  readonly plan: ResolvedAgentSchedule;
}

export interface JobTicksPorts {
  readonly kv: Pick<Kv, "get">;
  /** Jobs begin with what a blueprint says now, and so do their schedules. */
  readonly views: Pick<ClusterViews, "currentBlueprints" | "blueprints">;
  readonly starts: Pick<StartJobs, "start">;
}

/** The job of this tick is there already, started with the input that its schedule had then. */
const STARTED_BEFORE = "E_CONFLICT";

export function jobTicks({ kv, views, starts }: JobTicksPorts): TickKind<WantedJobs, AgentScheduleRow> {
  return {
    prefix: { kind: "agent-schedules" },
    parse: (key, value) => (key.kind === "agent-schedule" ? parseAgentScheduleRow(value) : undefined),
    wanted: () => wantedOf(views),
    rowOf: (_wanted, ticked, before) => ({ ...ticked, ...(before?.job !== undefined && { job: before.job }) }),
    isOther: () => false,
    tracesOf: async ({ slice, plan }, tickMs, signal) => {
      const { tenant } = callerOf(slice);
      const digest = sha256(startKeyOf(slice, plan, tickMs));
      const key = formatKey({ kind: "job-start", tenant, agent: plan.agent, digest });
      const { entry } = await kv.get(key, { signal });
      return {
        also: entry === undefined ? {} : { job: parseStartRow(entry.value).job },
        guards: [unchanged(key, entry?.modRevision ?? 0)],
      };
    },
    run: async (tick, signal) => {
      try {
        if (tick.wanted.plan.overlap === "skip" && await isAlive(kv, tick.row.job, { signal })) {
          return { state: "skipped" };
        }
        return await startJob(starts, tick, signal);
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toAetherError(thrown);
        return { state: "failed", error: error.toBody(), isWorthAnother: ERRORS[error.code].retry !== "never" };
      }
    },
  };
}

function wantedOf(views: JobTicksPorts["views"]): ReadonlyMap<KeyText, WantedJobs> {
  const found = new Map<KeyText, WantedJobs>();
  for (const blueprint of views.currentBlueprints()) {
    const current = formatKey({ kind: "blueprint-current", name: blueprint.name });
    const guards = [unchanged(current, views.blueprints.get(current)?.modRevision ?? 0)];
    for (const [slice, { agentSchedules = [] }] of Object.entries(blueprint.slices)) {
      for (const plan of agentSchedules) {
        const { agent, name } = plan;
        const key = formatKey({ kind: "agent-schedule", slice, agent, name });
        found.set(key, { slice, label: `${agent}/${name}`, plan, guards });
      }
    }
  }
  return found;
}

async function startJob(
  starts: JobTicksPorts["starts"],
  { wanted: { slice, plan }, tickMs, guards }: Tick<WantedJobs, AgentScheduleRow>,
  signal: AbortSignal,
): Promise<TickEnd<AgentScheduleRow>> {
  const { agent, name, input } = plan;
  const attributes = { schedule: name, tick: new Date(tickMs).toISOString() };
  const start = { agent, input, idempotencyKey: startKeyOf(slice, plan, tickMs), attributes };
  try {
    const { job } = await starts.start(start, callerOf(slice), { signal, guards });
    return { state: "done", also: { job } };
  } catch (thrown) {
    const job = startedBefore(toAetherError(thrown));
    if (job === undefined) throw thrown;
    return { state: "done", also: { job } };
  }
}

/** By this key there is one job for each tick. */
function startKeyOf(slice: string, { agent, name }: ResolvedAgentSchedule, tickMs: number): string {
  return sha256(`aether-schedule-tick\n${slice}\n${agent}\n${name}\n${new Date(tickMs).toISOString()}`);
}

function startedBefore({ code, details }: AetherError): JobId | undefined {
  const job = details?.["job"];
  return code === STARTED_BEFORE && typeof job === "string" ? parseJobId(job) : undefined;
}

function callerOf(slice: string): Caller {
  return { principal: `slice ${slice}`, tenant: "default" };
}

async function isAlive(kv: JobTicksPorts["kv"], job: JobId | undefined, options: CallOptions): Promise<boolean> {
  if (job === undefined) return false;
  const { entry } = await kv.get(rowKey(refOf(job)), options);
  return entry !== undefined && !hasEnded(parseJobRow(entry.value).status);
}
