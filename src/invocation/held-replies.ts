// Owns: answers to peers that the queue of their connection has no room for yet: many large ones may be ready in one
// turn, and what a handler has done should not be in doubt because of that. They leave in their order, as soon as there
// is room. Does not own: how many may wait (dispatcher.ts).
import type { NodeId } from "../base/ids.ts";
import type { Clock, Timer } from "../env/clock.ts";

/** How soon a full queue is tried again. */
const RETRY_MS = 5;

type Send = (to: NodeId, bytes: Uint8Array) => boolean;

export class HeldReplies {
  private readonly clock: Clock;
  private readonly send: Send;
  /** By peer, then by the peer's id of the call, the oldest first. */
  private readonly held = new Map<NodeId, Map<number, Uint8Array>>();
  private timer: Timer | undefined;
  private heldBytes = 0;

  constructor(clock: Clock, send: Send) {
    this.clock = clock;
    this.send = send;
  }

  get bytes(): number {
    return this.heldBytes;
  }

  /** Whether an answer to this peer would have to wait behind others. */
  isHolding(to: NodeId): boolean {
    return this.held.has(to);
  }

  hold(to: NodeId, id: number, bytes: Uint8Array): void {
    const replies = this.held.get(to) ?? new Map<number, Uint8Array>();
    this.held.set(to, replies.set(id, bytes));
    this.heldBytes += bytes.byteLength;
    this.timer ??= this.clock.setTimer(RETRY_MS, () => this.retry());
  }

  /** Nobody waits for it any more. */
  drop(to: NodeId, id: number): void {
    const replies = this.held.get(to);
    const bytes = replies?.get(id);
    if (replies === undefined || bytes === undefined) return;
    replies.delete(id);
    this.heldBytes -= bytes.byteLength;
    if (replies.size > 0) return;
    this.held.delete(to);
    if (this.held.size > 0) return;
    this.timer?.cancel();
    this.timer = undefined;
  }

  dropPeer(to: NodeId): void {
    for (const id of [...(this.held.get(to)?.keys() ?? [])]) this.drop(to, id);
  }

  private retry(): void {
    this.timer = undefined;
    for (const to of [...this.held.keys()]) this.sendTo(to);
    if (this.held.size > 0) this.timer = this.clock.setTimer(RETRY_MS, () => this.retry());
  }

  private sendTo(to: NodeId): void {
    for (const [id, bytes] of [...(this.held.get(to) ?? [])]) {
      if (!this.send(to, bytes)) return;
      this.drop(to, id);
    }
  }
}
