// Owns: whether this node is the only one that writes. Then it proposes its own batches: nobody else does at the same
// time, and the way to the convener and the way of its decision back are spared.
// Does not own: proposing (proposer.ts). A hint for speed: two nodes that propose at once only cost each other time.
import type { NodeUid } from "../../base/ids.ts";
import { type Outcome, NULL_OUTCOME } from "./message.ts";

/** So many slots one after the other with batches of this node alone say that it writes alone. */
export const LONE_SLOTS_MIN = 4;

export class LoneWriter {
  private readonly self: NodeUid;
  private slots = 0;

  constructor(self: NodeUid) {
    this.self = self;
  }

  get isAlone(): boolean {
    return this.slots >= LONE_SLOTS_MIN;
  }

  /** A slot was applied. */
  noteApplied(outcome: Outcome): void {
    if (outcome !== NULL_OUTCOME && outcome.batches.length > 0 && outcome.batches.every((id) => this.isOwn(id))) {
      this.slots += 1;
    } else this.slots = 0;
  }

  /** A batch has come. */
  noteBatch(id: { readonly origin: NodeUid }): void {
    if (!this.isOwn(id)) this.slots = 0;
  }

  /** Another node has proposed for the same slot as this one. */
  interrupt(): void {
    this.slots = 0;
  }

  private isOwn({ origin }: { readonly origin: NodeUid }): boolean {
    return origin === this.self;
  }
}
