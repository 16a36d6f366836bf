// Owns: how long, as people write it: `"2 days"`, `"30 s"`, or a number of milliseconds.
import { AetherError } from "../base/errors.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../base/units.ts";

/** `"250 ms"`, `"30 s"`, `"5 minutes"`, `"2 days"`, `"1 week"`, or milliseconds. */
export type Duration = string | number;

const DAY_MS = 24 * HOUR_MS;
/** Ten years: beyond it a typing mistake is more likely than a plan. */
export const DURATION_MS_MAX = 3_650 * DAY_MS;

const TEXT = /^\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+)\s*$/;
const UNITS: Readonly<Record<string, number>> = {
  ms: 1, millisecond: 1, milliseconds: 1,
  s: SECOND_MS, second: SECOND_MS, seconds: SECOND_MS,
  min: MINUTE_MS, minute: MINUTE_MS, minutes: MINUTE_MS,
  h: HOUR_MS, hour: HOUR_MS, hours: HOUR_MS,
  d: DAY_MS, day: DAY_MS, days: DAY_MS,
  week: 7 * DAY_MS, weeks: 7 * DAY_MS,
};

const SHOWN: readonly (readonly [string, number])[] =
  [["day", DAY_MS], ["hour", HOUR_MS], ["minute", MINUTE_MS], ["second", SECOND_MS]];

/** Whole milliseconds. @throws AetherError E_INVALID */
export function parseDuration(duration: Duration): number {
  const ms = typeof duration === "number" ? duration : msOf(duration);
  if (ms >= 0 && ms <= DURATION_MS_MAX) return Math.round(ms);
  const shown = String(duration).slice(0, 40);
  throw new AetherError("E_INVALID", `"${shown}" is no duration: write milliseconds, or a number and a unit, as ` +
    '"30 s", "5 minutes" or "2 days"; ten years at most');
}

/** As people write it, in the largest unit that it is a whole number of. */
export function durationText(ms: number): string {
  const [unit, unitMs] = SHOWN.find(([, each]) => ms >= each && ms % each === 0) ?? ["ms", 1];
  const count = ms / unitMs;
  return `${count} ${unit}${unit === "ms" || count === 1 ? "" : "s"}`;
}

function msOf(text: string): number {
  const [, amount = "", unit = ""] = TEXT.exec(text) ?? [];
  return Object.hasOwn(UNITS, unit) ? Number(amount) * (UNITS[unit] ?? Number.NaN) : Number.NaN;
}
