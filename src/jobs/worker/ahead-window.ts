// Owns: how far steps that only read may be ahead of what is in the store: operations, and bytes of their payloads.
import { KiB } from "../../base/units.ts";

/** Operations that steps with effect `read` may be ahead of what is committed. */
export const AHEAD_MAX = 64;
/** What those operations weigh; one that is larger by itself is waited for. */
export const AHEAD_BYTES_MAX = 256 * KiB;

export class AheadWindow {
  private uncommitted: { readonly n: number; readonly bytes: number }[] = [];

  add(n: number, bytes: number): void {
    this.uncommitted.push({ n, bytes });
  }

  /** All operations up to `n` are in the store. */
  commit(n: number): void {
    const first = this.uncommitted.findIndex((one) => one.n > n);
    this.uncommitted = first === -1 ? [] : this.uncommitted.slice(first);
  }

  /** The operation that has to be committed before one that comes after `last` may begin. */
  needed(last: number): number {
    let bytes = 0;
    for (let at = this.uncommitted.length - 1; at >= 0; at--) {
      const one = this.uncommitted[at];
      if (one === undefined) break;
      if (one.n > last) continue;
      bytes += one.bytes;
      if (bytes > AHEAD_BYTES_MAX) return Math.max(one.n, last - AHEAD_MAX + 1);
    }
    return last - AHEAD_MAX + 1;
  }
}
