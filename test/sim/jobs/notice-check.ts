// Owns: whether a webhook was told all that it is to hear of jobs, each under one id and in the same words.
import { E, Found, type Event, type JobBook } from "./job-book.ts";
import type { JobBooks } from "./job-books.ts";

interface Told {
  readonly id: string;
  readonly event: string;
  readonly job: string;
  readonly run: number;
  readonly seq: number;
}

export function checkNotices(jobs: ReadonlyMap<string, JobBook>, { notices }: JobBooks): void {
  const bodies = new Map<string, string>();
  const ids = new Map<string, string>();
  const taken = new Set<string>();
  for (const { id, body, isTaken } of notices) {
    const told = JSON.parse(body) as Told;
    const place = placeOf(told);
    if ((bodies.get(id) ?? body) !== body) throw new Found("notices", `${place}: it is told in other words again`);
    if ((ids.get(place) ?? id) !== id) throw new Found("notices", `${place}: it is told under two ids`);
    if (told.id !== id) throw new Found("notices", `${place}: it is told under another id than it says`);
    bodies.set(id, body);
    ids.set(place, id);
    if (isTaken) taken.add(place);
  }
  const wanted = new Set([...jobs.values()].flatMap(placesIn));
  const untold = [...wanted].find((place) => !taken.has(place));
  if (untold !== undefined) throw new Found("notices", `${untold}: nobody has heard of it`);
  const made = [...ids.keys()].find((place) => !wanted.has(place));
  if (made !== undefined) throw new Found("notices", `${made}: it was told, and no log says so`);
}

function placeOf({ job, run, seq, event }: Omit<Told, "id">): string {
  return `${job}: ${event} at ${run}/${seq}`;
}

function placesIn({ id: job, events, numbers, told }: JobBook): readonly string[] {
  return events.flatMap((event, at) => {
    const { run, seq } = numbers[at] ?? { run: 0, seq: 0 };
    const what = eventOf(event);
    return what === undefined || !told.has(at) ? [] : [placeOf({ job, run, seq, event: what })];
  });
}

function eventOf({ type, data: { reason } }: Event): string | undefined {
  if (type === E.approvalRequested) return "approval";
  if (type === E.completed || type === E.failed || type === E.cancelled) return "ended";
  return type === E.waiting && ["unknown", "stuck", "budget"].includes(String(reason)) ? String(reason) : undefined;
}
