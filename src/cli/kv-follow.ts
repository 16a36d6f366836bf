// Owns: following the changes below a prefix over HTTP for as long as somebody wants them, over failures of nodes.
// Does not own: how changes are shown.
import { followEvents } from "./follow.ts";
import type { Session } from "./options.ts";
import type { ReceivedEvent } from "./sse.ts";

export interface FollowOptions {
  readonly prefix: string;
  /** The first revision wanted; the next one when absent. */
  readonly from: number | undefined;
  readonly signal: AbortSignal;
}

/**
 * Calls back with the events of each revision, whole transactions, each once, until the signal ends it.
 * @throws AetherError what the first node says when it cannot begin; E_COMPACTED when what follows is not held any more
 */
export async function followChanges(
  session: Session,
  { prefix, from, signal }: FollowOptions,
  show: (events: readonly ReceivedEvent[]) => void,
): Promise<void> {
  /** The first revision not seen; undefined until a node has said where the watch begins. */
  let next = from;
  /** The events of one transaction: who is cut off inside one gets it as a whole later. */
  let waiting: ReceivedEvent[] = [];
  await followEvents(session, {
    what: "the watch",
    path: () => {
      waiting = [];
      const query = new URLSearchParams({ prefix, ...(next === undefined ? {} : { from: String(next) }) });
      return `/v1/kv/watch?${query.toString()}`;
    },
    take: (event) => {
      waiting.push(event);
      if (event.id === undefined) return "on";
      next = Number(event.id) + 1;
      show(waiting);
      waiting = [];
      return "on";
    },
  }, signal);
}
