// Owns: how numbers, times and names are written.

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const KIB = 1_024;

/** `1 234 567` with thin spaces. */
export function countText(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

/** A number for an axis or a tile: three digits that count. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trimmed(value / 1e9)} G`;
  if (size >= 1e6) return `${trimmed(value / 1e6)} M`;
  if (size >= 1e4) return `${trimmed(value / 1e3)} k`;
  return trimmed(value);
}

function trimmed(value: number): string {
  const size = Math.abs(value);
  const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

export function bytesText(bytes: number): string {
  if (bytes < KIB) return `${bytes} B`;
  if (bytes < KIB * KIB) return `${trimmed(bytes / KIB)} KiB`;
  if (bytes < KIB ** 3) return `${trimmed(bytes / KIB ** 2)} MiB`;
  return `${trimmed(bytes / KIB ** 3)} GiB`;
}

/** `340 ms`, `4.2 s`, `3 min 20 s`, `5 h 2 min`, `3 d 4 h`. */
export function durationText(ms: number): string {
  if (ms < SECOND_MS) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < MINUTE_MS) return `${trimmed(Math.floor(ms / 100) / 10)} s`;
  if (ms < HOUR_MS) return twoParts(ms, [MINUTE_MS, "min"], [SECOND_MS, "s"]);
  if (ms < DAY_MS) return twoParts(ms, [HOUR_MS, "h"], [MINUTE_MS, "min"]);
  return twoParts(ms, [DAY_MS, "d"], [HOUR_MS, "h"]);
}

type Unit = readonly [ms: number, name: string];

function twoParts(ms: number, [large, largeName]: Unit, [small, smallName]: Unit): string {
  const rest = Math.floor((ms % large) / small);
  const first = `${Math.floor(ms / large)} ${largeName}`;
  return rest === 0 ? first : `${first} ${rest} ${smallName}`;
}

/** How long something has gone on, in whole seconds: it is drawn again each second, and not more often. */
export function lastingText(ms: number): string {
  return ms < SECOND_MS ? "under 1 s" : durationText(Math.floor(ms / SECOND_MS) * SECOND_MS);
}

/** How long ago, in one unit: it changes seldom. Clocks of nodes differ, so there is no time to come. */
export function agoText(ms: number): string {
  if (ms < SECOND_MS) return "now";
  if (ms < MINUTE_MS) return `${Math.floor(ms / SECOND_MS)} s ago`;
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min ago`;
  if (ms < DAY_MS) return `${Math.floor(ms / HOUR_MS)} h ago`;
  return `${Math.floor(ms / DAY_MS)} d ago`;
}

/** The start of an id or digest. */
export function shortId(id: string, characters = 10): string {
  return id.length <= characters + 2 ? id : `${id.slice(0, characters)}…`;
}

/** A value on one line. */
export function preview(value: unknown, characters = 120): string {
  const text = JSON.stringify(value) ?? "—";
  return text.length <= characters ? text : `${text.slice(0, characters)}…`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${countText(count)} ${count === 1 ? one : many}`;
}
