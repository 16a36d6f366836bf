// Owns: which calls of tools a log has as done when a job was taken over from an owner that was lost.
import type { CallName, EffectId } from "../ids.ts";
import { blobOf, type JobEvent, type JobEventType } from "../log/event.ts";

export interface DoneCall {
  readonly call: CallName;
  readonly tool: string;
  readonly effectId: EffectId;
  readonly input: unknown;
  readonly result: unknown;
  /** Its input or its result is stored apart from the log, and not here. */
  readonly isApart?: true;
}

/** What a log ends with when nobody has to be taken over from. */
const ORDERLY: ReadonlySet<JobEventType | undefined> = new Set<JobEventType | undefined>([
  undefined, "job.created", "job.waiting", "job.released", "job.continued",
]);

/**
 * In the order in which they were done; none where the job was left in order. `events` is the log up to the claim of
 * the owner that goes on.
 */
export function doneBeforeTakeOver(events: readonly JobEvent[]): readonly DoneCall[] {
  // Who moves a job is no owner of it.
  if (ORDERLY.has(events.findLast(({ type }) => type !== "job.moved")?.type)) return [];
  const begun = new Map<EffectId, Omit<DoneCall, "result">>();
  const done: DoneCall[] = [];
  for (const event of events) {
    if (event.type === "tool.granted" || event.type === "tool.doubted") {
      const { call, tool, effectId, input } = event;
      begun.set(effectId, { call, tool, effectId, input, ...apartIn(event) });
    }
    const result = resultIn(event);
    const call = result === undefined ? undefined : begun.get(result.effectId);
    if (call === undefined || result === undefined) continue;
    done.push({ ...call, result: result.value, ...apartIn(event) });
  }
  return done;
}

function apartIn(event: JobEvent): Pick<DoneCall, "isApart"> {
  return blobOf(event) === undefined ? {} : { isApart: true };
}

/** One that is not what its schema says nobody can verify. */
function resultIn(event: JobEvent): { readonly effectId: EffectId; readonly value: unknown } | undefined {
  if (event.type === "tool.succeeded" && event.problem === undefined) {
    return { effectId: event.effectId, value: event.result };
  }
  if (event.type === "tool.resolved" && event.problem === undefined && event.resolution.kind === "done") {
    return { effectId: event.effectId, value: event.resolution.result };
  }
  return undefined;
}
