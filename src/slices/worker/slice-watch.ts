// Owns: `ctx.kv.watch` inside the worker: pieces of changes, asked for one after the other, as one sequence.
// Does not own: what a piece is (services/kv-changes.ts).
import type { SliceChanges, SliceWatchQuery } from "../../sdk/slice-state.ts";
import type { CallerScope } from "./worker-outgoing.ts";
import type { ServiceClient } from "./service-client.ts";

interface Piece {
  readonly sets: readonly SliceChanges[];
  readonly next: number;
}

/** Longer than a node lets a piece without changes wait. */
const PIECE_MS_MAX = 20_000;

export async function* watchChanges(
  client: ServiceClient, { prefix, fromRevision, signal }: SliceWatchQuery, scope: CallerScope,
): AsyncGenerator<SliceChanges, void, undefined> {
  let from = fromRevision;
  const isOver = (): boolean => signal?.aborted === true || scope.signal.aborted;
  while (!isOver()) {
    const args = { prefix, from };
    const patience = { timeoutMs: PIECE_MS_MAX, ...(signal === undefined ? {} : { signal }) };
    const request = { what: "watch", service: "kv", op: "changes", args, effect: "read", ...patience } as const;
    let piece: Piece;
    try {
      // Our own node answers what we have asked.
      piece = await client.request(request, scope) as Piece;
    } catch (error) {
      // Who ends the watch is not told that it has ended.
      if (isOver()) return;
      throw error;
    }
    yield* piece.sets;
    from = piece.next;
  }
}
