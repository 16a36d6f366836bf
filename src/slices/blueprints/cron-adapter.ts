// Owns: what a cron expression means in a time zone, by the library `croner`, of which only the arithmetic is used: no
// timer is ever started. Moments are milliseconds since the Unix epoch.
import { Cron } from "croner";
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";

/** The moments of one schedule. */
export interface CronTimes {
  /** The first one after `afterMs`; undefined when there is none any more. */
  next(afterMs: number): number | undefined;
  /** The last one until `untilMs`, that moment included. */
  latest(untilMs: number): number | undefined;
}

/** @throws AetherError E_INVALID for what is no expression of five fields, no time zone, or never comes */
export function parseCron(cron: string, timeZone: string): CronTimes {
  const times = openCron(cron, timeZone);
  if (times.next(0) === undefined) throw invalid(cron, timeZone, "there is no such moment");
  return times;
}

function openCron(cron: string, timezone: string): CronTimes {
  // Nicknames as `@daily` would be a second way to say the same.
  if (cron.trim().split(/\s+/).length !== 5) throw invalid(cron, timezone, "it does not have five fields");
  try {
    const parsed = new Cron(cron, { timezone, mode: "5-part" });
    // Only now it looks at the time zone.
    parsed.nextRun(new Date(0));
    return {
      next: (afterMs) => parsed.nextRun(new Date(afterMs))?.getTime(),
      // It answers with what was before a moment.
      latest: (untilMs) => {
        const second = Math.floor(untilMs / SECOND_MS) * SECOND_MS;
        return parsed.previousRuns(1, new Date(second + SECOND_MS))[0]?.getTime();
      },
    };
  } catch (error) {
    throw invalid(cron, timezone, error instanceof Error ? error.message : String(error));
  }
}

function invalid(cron: string, timeZone: string, reason: string): AetherError {
  return new AetherError("E_INVALID", `"${cron}" in "${timeZone}" is no schedule: ${reason}`);
}
