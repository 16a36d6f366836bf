// Owns: which events somebody wants to see.
import type { ClusterEvent } from "./event.ts";
import { SEVERITIES, type EventArea, type EventKind, type Severity } from "./event-kinds.ts";

/** What is left out leaves nothing out. */
export interface EventFilter {
  readonly kinds?: ReadonlySet<EventKind>;
  readonly areas?: ReadonlySet<EventArea>;
  /** This one, and worse. */
  readonly severity?: Severity;
  /** Like `node/n1`, or only `n1`. */
  readonly subject?: string;
  /** Wall time: not before it. */
  readonly sinceMs?: number;
}

export function isWanted(event: ClusterEvent, { kinds, areas, severity, subject, sinceMs }: EventFilter): boolean {
  if (kinds !== undefined && !kinds.has(event.kind)) return false;
  if (areas !== undefined && !areas.has(event.area)) return false;
  if (severity !== undefined && SEVERITIES.indexOf(event.severity) < SEVERITIES.indexOf(severity)) return false;
  if (subject !== undefined && event.subject !== subject && nameIn(event.subject) !== subject) return false;
  return sinceMs === undefined || event.atMs >= sinceMs;
}

function nameIn(subject: string): string {
  return subject.slice(subject.indexOf("/") + 1);
}
