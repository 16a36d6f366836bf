// Owns: what a slice may say about when its methods run by themselves.
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

/** Schedules of one slice. */
export const SCHEDULES_MAX = 20;
const CRON_CHARS_MAX = 100;
const TIME_ZONE_CHARS_MAX = 64;

export const scheduleSchema = z.object({
  cron: z.string().max(CRON_CHARS_MAX),
  method: nameSchema,
  timeZone: z.string().max(TIME_ZONE_CHARS_MAX).default("UTC"),
});
