// Owns: how much of what ONE run was answered its node has been told and has not stored yet. Each of these is kept in
// the node's memory until then, which the jobs of a node share.
import { KiB, MiB } from "../../base/units.ts";

/** So much is two appends: one is under way, and the next one is there when it ends. */
export const UNSTORED_RESULT_BYTES_MAX = 1 * MiB;
/** Of an answer beside its value. */
const OVERHEAD_BYTES = 1 * KiB;

export class UnstoredResults {
  private readonly told = new Map<number, number>();
  private bytes = 0;

  /** Whether the next one has to wait. */
  get isFull(): boolean {
    return this.bytes >= UNSTORED_RESULT_BYTES_MAX;
  }

  /** The node is told of one by operation `n`. */
  add(n: number, valueBytes: number): void {
    const bytes = valueBytes + OVERHEAD_BYTES;
    this.told.set(n, bytes);
    this.bytes += bytes;
  }

  /** All operations up to `upTo` are in the store, and these beyond. */
  store(upTo: number, ahead: readonly number[]): void {
    // In their order.
    for (const n of this.told.keys()) {
      if (n > upTo) break;
      this.forget(n);
    }
    for (const n of ahead) this.forget(n);
  }

  private forget(n: number): void {
    this.bytes -= this.told.get(n) ?? 0;
    this.told.delete(n);
  }
}
