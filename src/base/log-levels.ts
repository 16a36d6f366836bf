// Owns: which lines of a log are written: a least severe level for all, and one for each area that has its own. The
// area of a line is what its event begins with: `jobs` of `jobs.diverged`.
import { AetherError } from "./errors.ts";

/** From the most severe on. */
const SEVERITIES = ["error", "warn", "info", "debug"] as const;
export type Severity = (typeof SEVERITIES)[number];

export const LOG_LEVELS = ["silent", ...SEVERITIES] as const;
/** The least severe that is written; `silent`: nothing. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What events begin with. */
export const LOG_AREAS = [
  "alert", "api", "artifact", "blueprint", "call", "cluster", "consensus", "control", "events", "instance", "jobs",
  "kv", "leader", "metrics", "net", "node", "rollout", "rpc", "schedule", "slice", "snapshot", "topic",
] as const;

export interface LevelsView {
  /** Of every area that has none of its own. */
  readonly everywhere: LogLevel;
  readonly areas: Readonly<Record<string, LogLevel>>;
}

export class LogLevels {
  private everywhere: LogLevel;
  /** Never more than there are areas. */
  private readonly areas = new Map<string, LogLevel>();

  constructor(everywhere: LogLevel) {
    this.everywhere = everywhere;
  }

  allows(event: string, severity: Severity): boolean {
    const level = this.areas.size === 0 ? this.everywhere : this.areas.get(areaOf(event)) ?? this.everywhere;
    return level !== "silent" && SEVERITIES.indexOf(severity) <= SEVERITIES.indexOf(level);
  }

  view(): LevelsView {
    return { everywhere: this.everywhere, areas: Object.fromEntries([...this.areas].sort()) };
  }

  /** Without an area: of all that have none of their own. */
  set(level: LogLevel, area?: string): void {
    if (area === undefined) this.everywhere = level;
    else this.areas.set(checkedArea(area), level);
  }

  /** The area goes by the level of all again. @throws AetherError E_INVALID for an area that is none */
  reset(area: string): void {
    this.areas.delete(checkedArea(area));
  }
}

function areaOf(event: string): string {
  const dot = event.indexOf(".");
  return dot === -1 ? event : event.slice(0, dot);
}

function checkedArea(area: string): string {
  if (LOG_AREAS.some((known) => known === area)) return area;
  const known = LOG_AREAS.join(", ");
  throw new AetherError("E_INVALID", `"${area}" is no area of the log: use what an event begins with, one of ${known}`);
}
