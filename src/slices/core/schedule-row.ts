// Owns: the schedules of a resolved slice, and the value of `schedules/{slice}/{name}`: how far one of them has come.
// Does not own: when they are due, and writing the row (cluster/schedules).
import { z } from "zod";
import { parseStored } from "../../base/stored-row.ts";
import { nameSchema } from "../../sdk/name.ts";
import { scheduleSchema } from "../../sdk/schedule.ts";
import type { Manifest, ManifestSchedule } from "./manifest.ts";

export interface ResolvedSchedule extends ManifestSchedule {
  readonly name: string;
}

/** `waiting`: none of its ticks has come yet. `sent`: the method was called, or will be in a moment. */
export const SCHEDULE_STATES = ["waiting", "sent", "done", "failed"] as const;

export interface ScheduleRow extends ManifestSchedule {
  readonly state: (typeof SCHEDULE_STATES)[number];
  /** The last tick, or since when it waits for the first, in milliseconds since the Unix epoch. */
  readonly tickMs: number;
  /** When the call of the last tick ended. */
  readonly endedMs?: number;
  readonly error?: { readonly code: string; readonly message: string };
}

export const resolvedScheduleSchema = scheduleSchema.extend({ name: nameSchema });

const scheduleRowSchema = scheduleSchema.extend({
  state: z.enum(SCHEDULE_STATES),
  tickMs: z.number(),
  endedMs: z.number().exactOptional(),
  error: z.object({ code: z.string(), message: z.string() }).exactOptional(),
});

/** Parses the value of `schedules/…`. @throws AetherError E_DATA_CORRUPT */
export function parseScheduleRow(value: unknown): ScheduleRow {
  return parseStored(scheduleRowSchema, value, "a stored schedule");
}

/** The schedules of a manifest in one order. */
export function resolveSchedules({ schedules = {} }: Manifest): readonly ResolvedSchedule[] {
  return Object.entries(schedules).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, one]) => ({ ...one, name }));
}
