// Owns: what slices and agents may say about when methods run, and jobs start, by themselves.
// Does not own: what a cron expression means (slices/blueprints/cron-adapter.ts), running them (cluster/schedules).
import { z } from "zod";
import { nameSchema } from "./name.ts";

/** When a method runs by itself. */
export interface ScheduleDefinition<M extends string = string> {
  /** Five fields: minute, hour, day of the month, month, day of the week. `"0 3 * * MON-FRI"` */
  readonly cron: string;
  /** Called with `{}`. Its effect is `write` or `idempotent`. */
  readonly method: M;
  /** As in `Europe/Berlin`. Default `UTC`. */
  readonly timeZone?: string;
}

/** When a job starts by itself. */
export interface AgentSchedule<I = unknown> {
  /** Five fields: minute, hour, day of the month, month, day of the week. `"0 3 * * MON-FRI"` */
  readonly cron: string;
  /** What each of the jobs is started with. Default `{}`. */
  readonly input?: I;
  /** As in `Europe/Berlin`. Default `UTC`. */
  readonly timeZone?: string;
  /**
   * When the job that the schedule has started last has not ended: `skip` starts none for this tick, `allow` starts one
   * beside it. Default `skip`.
   */
  readonly overlap?: "skip" | "allow";
}

/** Schedules of one slice, and of one agent. */
export const SCHEDULES_MAX = 20;
const CRON_CHARS_MAX = 100;
const TIME_ZONE_CHARS_MAX = 64;

const tickPlanSchema = z.object({
  cron: z.string().max(CRON_CHARS_MAX),
  timeZone: z.string().max(TIME_ZONE_CHARS_MAX).default("UTC"),
});

export const scheduleSchema = tickPlanSchema.extend({ method: nameSchema });

export const agentScheduleSchema = tickPlanSchema.extend({
  input: z.unknown().default({}),
  overlap: z.enum(["skip", "allow"]).default("skip"),
});
