// Owns: one life of a simulated node, from its start to its crash. What belongs to a dead process never happens:
// its timers, callbacks and deliveries are dropped when their time comes.
import type { NodeId } from "../../base/ids.ts";

export class SimProcess {
  readonly node: NodeId;
  /** 1 for the first process of a node, plus one with each restart. */
  readonly life: number;
  isAlive = true;
  /** It has found that it must stop: what it says of itself in the rest of this turn means nothing. */
  isStopping = false;
  /** Events of a paused process wait until this time. */
  pausedUntilMs = 0;

  constructor(node: NodeId, life: number) {
    this.node = node;
    this.life = life;
  }
}
