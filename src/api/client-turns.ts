// Owns: how much work of clients one turn of the event loop begins, and who goes on in the next one. However many
// clients ask at once, votes and timers wait for one turn's share of it; clients take turns among themselves.
// Does not own: what waits, and how much of it (client-session.ts), nor what the work causes once it has begun.
import type { Clock } from "../env/clock.ts";
import {
  SHARE_BYTES_MAX, SHARE_REQUESTS_MAX, TURN_BYTES_MAX, TURN_MS_MAX, TURN_REQUESTS_MAX,
} from "./limits.ts";

/** The time is looked at once in so many requests. */
const LOOK_EVERY_REQUESTS = 8;

/** How much one client may begin before the next one has its go. */
export interface Share {
  readonly requests: number;
  readonly bytes: number;
}

const WHOLE_TURN: Share = { requests: TURN_REQUESTS_MAX, bytes: TURN_BYTES_MAX };
const SHARE: Share = { requests: SHARE_REQUESTS_MAX, bytes: SHARE_BYTES_MAX };

/** The requests of one client that wait. */
export interface ClientWork {
  /** Begins as many of them as the share allows, one at least, each once `take` has said yes. */
  workOff(share: Share): "waits" | "done";
}

export class ClientTurns {
  private readonly clock: Pick<Clock, "nowMs" | "defer" | "nextTurn">;
  private readonly waiting = new Set<ClientWork>();
  private isGoingOn = false;
  private isTurnOpen = false;
  private isSpent = false;
  private begun = 0;
  private begunBytes = 0;
  private sinceMs = 0;

  constructor(clock: Pick<Clock, "nowMs" | "defer" | "nextTurn">) {
    this.clock = clock;
  }

  /** Clients whose requests wait for a later turn. */
  get size(): number {
    return this.waiting.size;
  }

  /** Works off what it can now, unless others came before; the rest in later turns. True when nothing waits. */
  enter(work: ClientWork): boolean {
    if (this.waiting.size === 0 && work.workOff(WHOLE_TURN) === "done") return true;
    this.waiting.add(work);
    this.goOnLater();
    return false;
  }

  /** What waits is not wanted any more. */
  leave(work: ClientWork): void {
    this.waiting.delete(work);
  }

  /** Whether one more request, of so many bytes, may begin in this turn. */
  take(bytes: number): boolean {
    if (!this.isTurnOpen) this.openTurn();
    if (this.isSpent) return false;
    this.begun += 1;
    this.begunBytes += bytes;
    if (this.begun >= TURN_REQUESTS_MAX || this.begunBytes >= TURN_BYTES_MAX) this.isSpent = true;
    else if (this.begun % LOOK_EVERY_REQUESTS === 0) this.isSpent = this.clock.nowMs() - this.sinceMs >= TURN_MS_MAX;
    return true;
  }

  private openTurn(): void {
    this.isTurnOpen = true;
    this.isSpent = false;
    this.begun = 0;
    this.begunBytes = 0;
    this.sinceMs = this.clock.nowMs();
    this.clock.defer(() => (this.isTurnOpen = false));
  }

  private goOnLater(): void {
    if (this.isGoingOn || this.waiting.size === 0) return;
    this.isGoingOn = true;
    this.clock.nextTurn(() => this.goOn());
  }

  private goOn(): void {
    this.isGoingOn = false;
    // Who has more goes to the end of the line, which is where this loop gets to in the end.
    for (const work of this.waiting) {
      if (this.isTurnOpen && this.isSpent) break;
      this.waiting.delete(work);
      if (work.workOff(SHARE) === "waits") this.waiting.add(work);
    }
    this.goOnLater();
  }
}
