// Owns: what the wall clocks of most nodes show, as one node knows it. What is planned by the time of day goes by this:
// one clock that is an hour off would fire timers before they are due, or let them wait.
// Does not own: hearing what the others' clocks show (membership-service.ts).
import { SECOND_MS } from "../../../base/units.ts";
import type { NodeId } from "../../../base/ids.ts";

/** Clocks that are so close show the same time: the way of a message takes some of it. */
const CLOCKS_AGREE_MS = SECOND_MS;

/** What a peer's wall clock showed at a moment of the own monotonic one. */
interface Heard {
  readonly wallMs: number;
  readonly atMs: number;
}

export class ClusterTime {
  private readonly heard = new Map<NodeId, Heard>();

  hear(node: NodeId, wallMs: number, nowMs: number): void {
    this.heard.set(node, { wallMs, atMs: nowMs });
  }

  /** Of others nobody wants to know any more. One that is away is remembered: clocks go on as they went. */
  keep(members: ReadonlySet<NodeId>): void {
    for (const node of this.heard.keys()) if (!members.has(node)) this.heard.delete(node);
  }

  /**
   * The own wall clock's time while most agree with it, and otherwise the median, in whole ms. Of two in the middle it
   * is the earlier one: what is planned may come late then, and never early.
   */
  wallMs(ownWallMs: number, nowMs: number): number {
    // Of clocks that went on since: a jump of the own one shows at once.
    const others = [...this.heard.values()].map(({ wallMs, atMs }) => wallMs + nowMs - atMs);
    const agreeing = others.filter((wallMs) => Math.abs(wallMs - ownWallMs) <= CLOCKS_AGREE_MS).length;
    if ((agreeing + 1) * 2 > others.length + 1) return ownWallMs;
    const sorted = [ownWallMs, ...others].sort((a, b) => a - b);
    const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? ownWallMs;
    return Math.abs(median - ownWallMs) <= CLOCKS_AGREE_MS ? ownWallMs : Math.floor(median);
  }

  /** By how much the own wall clock is ahead of that; 0 while it counts as right. Both of one and the same look. */
  offMs(ownWallMs: number, nowMs: number): number {
    return Math.round(ownWallMs - this.wallMs(ownWallMs, nowMs));
  }
}
