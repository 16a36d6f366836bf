// Owns: all schedules that blueprints want now, of slices and of their agents, with how far each has come.
// Does not own: running them (cluster/schedules, jobs/schedules).
import type { JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import { formatKey, prefixOf } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { ResolvedBlueprint } from "../core/blueprint.ts";
import { lastTickOf, type LastTick } from "../core/blueprint-status.ts";
import { readUndamaged } from "../core/damaged-row.ts";
import { parseAgentScheduleRow, parseScheduleRow } from "../core/schedule-row.ts";
import { listRows } from "../list-rows.ts";

export interface ScheduleListed {
  readonly blueprint: string;
  readonly slice: string;
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  /** What a tick calls; absent when it starts a job. */
  readonly method?: string;
  /** Whose jobs its ticks start. */
  readonly agent?: string;
  readonly overlap?: "skip" | "allow";
  /** Absent before the first tick. */
  readonly last?: LastTick;
  /** The job that a tick has started last. */
  readonly job?: JobId;
}

/** By blueprint, slice, agent and name. A row that is damaged is none. */
export async function listSchedules(
  kv: Kv, blueprints: readonly ResolvedBlueprint[], options: CallOptions,
): Promise<readonly ScheduleListed[]> {
  const ofMethods = await readRows(kv, { kind: "schedules" }, parseScheduleRow, options);
  const ofAgents = await readRows(kv, { kind: "agent-schedules" }, parseAgentScheduleRow, options);
  return blueprints.flatMap(({ name: blueprint, slices }) =>
    Object.entries(slices).flatMap(([slice, { schedules = [], agentSchedules = [] }]): ScheduleListed[] => [
      ...schedules.map((schedule): ScheduleListed => {
        const row = ofMethods.get(formatKey({ kind: "schedule", slice, name: schedule.name }));
        return { blueprint, slice, ...schedule, ...lastTickOf(row) };
      }),
      ...agentSchedules.map(({ input: _, ...schedule }): ScheduleListed => {
        const { agent, name } = schedule;
        const row = ofAgents.get(formatKey({ kind: "agent-schedule", slice, agent, name }));
        const job = row?.job === undefined ? {} : { job: row.job };
        return { blueprint, slice, ...schedule, ...lastTickOf(row), ...job };
      }),
    ]));
}

async function readRows<R>(
  kv: Kv,
  prefix: Extract<Parameters<typeof prefixOf>[0], { readonly kind: "schedules" | "agent-schedules" }>,
  parse: (value: unknown) => R,
  options: CallOptions,
): Promise<ReadonlyMap<string, R>> {
  const entries = await listRows(kv, prefixOf(prefix), options);
  return new Map(entries.flatMap(({ key, value }) => {
    const row = readUndamaged(() => parse(value));
    return row === undefined ? [] : [[key, row] as const];
  }));
}
