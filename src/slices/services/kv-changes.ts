// Owns: `ctx.kv.watch` on the side of the node: what has changed since a revision, a piece at a time.
// A worker asks for the next piece when it has dealt with the last: nothing is kept for one that is slow, and where it
// goes on is a revision, so it loses nothing while the store holds its past.
// Does not own: keys (kv-service.ts), the loop (worker/slice-watch.ts).
import { encode } from "../../base/codec.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { KiB, SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { KvChange, KvChangeSet } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { ServiceScope } from "./slice-services.ts";

export interface ChangesPorts {
  readonly kv: Pick<Kv, "watch" | "revision">;
  readonly clock: Clock;
}

export interface ChangesWanted {
  readonly prefix: string;
  /** The first revision wanted; undefined: what comes after now. */
  readonly from: number | undefined;
}

export interface ChangesPiece {
  /** Whole transactions, in order. */
  readonly sets: readonly KvChangeSet[];
  /** The first revision of the next piece. */
  readonly next: number;
}

/** Of one piece; a single transaction may be larger. */
export const PIECE_CHANGES_MAX = 256;
export const PIECE_BYTES_MAX = 512 * KiB;
/** A piece without changes is answered after this, so that who watches a quiet prefix does not fall behind. */
const WAIT_MS_MAX = 10 * SECOND_MS;

/** At least one change, or none after a while. @throws AetherError E_COMPACTED, E_UNAVAILABLE */
export function nextChanges(
  { kv, clock }: ChangesPorts, { prefix, from = kv.revision + 1 }: ChangesWanted, scope: Pick<ServiceScope, "signal">,
): Promise<ChangesPiece> {
  const { signal } = scope;
  return new Promise((resolve, reject) => {
    const sets: KvChangeSet[] = [];
    const room = { changes: PIECE_CHANGES_MAX, bytes: PIECE_BYTES_MAX };
    let seen = from - 1;
    let isEnding = false;
    const finish = (settle: () => void): void => {
      watch.cancel();
      timer.cancel();
      signal.removeEventListener("abort", giveUp);
      settle();
    };
    const answer = (): void => finish(() => resolve({ sets, next: seen + 1 }));
    const giveUp = (): void => finish(() => reject(toAetherError(signal.reason)));
    const watch = kv.watch(prefix, {
      isFull: () => room.changes <= 0 || room.bytes <= 0,
      onChanges: (set) => {
        sets.push(set);
        seen = set.revision;
        room.changes -= set.changes.length;
        room.bytes -= set.changes.reduce((sum, change) => sum + bytesOf(change), 0);
        // What was delivered in this turn goes together.
        if (sets.length === 1) clock.defer(answer);
      },
      onProgress: (revision) => {
        seen = Math.max(seen, revision);
        if (isEnding && sets.length === 0) answer();
      },
      onEnd: (reason) => finish(() => reject(resumable(toAetherError(reason), from))),
    }, { fromRevision: from });
    const timer = clock.setTimer(WAIT_MS_MAX, () => {
      isEnding = true;
      watch.requestProgress();
    });
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
  });
}

function bytesOf(change: KvChange): number {
  return change.kind === "put" ? encode(change.entry.value).byteLength : 0;
}

function resumable(reason: AetherError, from: number): AetherError {
  return new AetherError(reason.code, `the watch from revision ${from} ended: ${reason.message}`, {
    details: { ...reason.details, fromRevision: from }, cause: reason,
  });
}
