// Owns: the answer of `GET /v1/alerts` as the command line reads it.
import { z } from "zod";

const alertSchema = z.looseObject({
  alert: z.string(),
  severity: z.string(),
  state: z.string(),
  subject: z.string(),
  sinceMs: z.number(),
  text: z.string(),
  action: z.string(),
});
export type ShownAlert = z.output<typeof alertSchema>;

export const alertsSchema = z.object({
  alerts: z.array(alertSchema),
  judged: z.object({ by: z.string(), ageMs: z.number(), isStale: z.boolean() }).nullable(),
});
export type ShownAlerts = z.output<typeof alertsSchema>;
