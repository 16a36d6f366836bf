// Owns: the schedules of a resolved slice and of its agents, and how far one of them has come: the values of
// `schedules/{slice}/{name}` and `agent-schedules/{slice}/{agent}/{name}`.
// Does not own: when they are due, and writing the rows (cluster/schedules, jobs/schedules).
import { z } from "zod";
import { parseJobId, type JobId } from "../../base/ids.ts";
import { parseStored } from "../../base/stored-row.ts";
import { nameSchema } from "../../sdk/name.ts";
import { agentScheduleSchema, scheduleSchema } from "../../sdk/schedule.ts";
import type { Manifest, ManifestAgentSchedule, ManifestSchedule } from "./manifest.ts";

export interface ResolvedSchedule extends ManifestSchedule {
  readonly name: string;
}

export interface ResolvedAgentSchedule extends ManifestAgentSchedule {
  readonly agent: string;
  readonly name: string;
}

/** When the ticks are. */
export type TickPlan = Pick<ManifestSchedule, "cron" | "timeZone">;

/**
 * `waiting`: none of its ticks has come yet. `sent`: what the tick is for was begun, or will be in a moment. `skipped`:
 * no job was started, because the one before has not ended.
 */
export const SCHEDULE_STATES = ["waiting", "sent", "done", "failed", "skipped"] as const;

/** What the rows of all schedules have. */
export interface TickRow extends TickPlan {
  readonly state: (typeof SCHEDULE_STATES)[number];
  /** The last tick, or since when it waits for the first, in milliseconds since the Unix epoch. */
  readonly tickMs: number;
  /** When the call of the last tick ended, or its job was started. */
  readonly endedMs?: number;
  readonly error?: { readonly code: string; readonly message: string };
  /** It comes from a backup: nobody knows which ticks have come since. */
  readonly isRestored?: true;
}

/** The value of `schedules/…`. */
export interface ScheduleRow extends TickRow {
  readonly method: string;
}

/** The value of `agent-schedules/…`. */
export interface AgentScheduleRow extends TickRow {
  /** The job that a tick has started last. */
  readonly job?: JobId;
}

export const resolvedScheduleSchema = scheduleSchema.extend({ name: nameSchema });
export const resolvedAgentScheduleSchema = agentScheduleSchema.extend({ agent: nameSchema, name: nameSchema });

const tickRowSchema = scheduleSchema.omit({ method: true }).extend({
  state: z.enum(SCHEDULE_STATES),
  tickMs: z.number(),
  endedMs: z.number().exactOptional(),
  error: z.object({ code: z.string(), message: z.string() }).exactOptional(),
  isRestored: z.literal(true).exactOptional(),
});
const scheduleRowSchema = tickRowSchema.extend({ method: nameSchema });
const agentScheduleRowSchema = tickRowSchema.extend({
  job: z.string().transform((text): JobId => parseJobId(text)).exactOptional(),
});

/** Parses the value of `schedules/…`. @throws AetherError E_DATA_CORRUPT */
export function parseScheduleRow(value: unknown): ScheduleRow {
  return parseStored(scheduleRowSchema, value, "a stored schedule");
}

/** Parses the value of `agent-schedules/…`. @throws AetherError E_DATA_CORRUPT */
export function parseAgentScheduleRow(value: unknown): AgentScheduleRow {
  return parseStored(agentScheduleRowSchema, value, "a stored schedule of an agent");
}

/** The schedules of a manifest in one order. */
export function resolveSchedules({ schedules = {} }: Manifest): readonly ResolvedSchedule[] {
  return inOrder(schedules).map(([name, one]) => ({ ...one, name }));
}

/** Those of its agents in one order. */
export function resolveAgentSchedules({ agents = {} }: Manifest): readonly ResolvedAgentSchedule[] {
  return inOrder(agents).flatMap(([agent, { schedules = {} }]) =>
    inOrder(schedules).map(([name, one]) => ({ ...one, agent, name })));
}

function inOrder<T>(byName: Readonly<Record<string, T>>): readonly (readonly [string, T])[] {
  return Object.entries(byName).sort(([a], [b]) => (a < b ? -1 : 1));
}
