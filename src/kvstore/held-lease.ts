// Owns: keeping one granted lease alive, and noticing in time that it may be gone.
// Does not own: granting and revoking; what is done when it is lost.
import { toAetherError, AetherError } from "../base/errors.ts";
import type { Clock, Timer } from "../env/clock.ts";

/** Renewals per time to live: two may fail before the lease is in danger. */
const RENEWALS_PER_TTL = 3;
/** Tries again sooner than that after a failure. */
const RETRIES_PER_TTL = 10;

export interface HeldLeasePorts {
  readonly clock: Clock;
  /** Rejects with E_NOT_FOUND when the lease has ended. */
  renew(timeoutMs: number): Promise<void>;
  /** Once: it has ended, or nobody could renew it for as long as it lives. */
  onLost(reason: AetherError): void;
}

export interface HeldLeaseTimes {
  readonly ttlMs: number;
  /** When it was asked for, by the clock of this process: it lives at least from then on. */
  readonly askedMs: number;
}

export class HeldLease {
  private readonly ports: HeldLeasePorts;
  private readonly ttlMs: number;
  /** When the latest renewal that worked was asked for. */
  private renewedMs: number;
  private nextRenewal: Timer;
  private end: Timer;
  private isHeld = true;

  constructor(ports: HeldLeasePorts, { ttlMs, askedMs }: HeldLeaseTimes) {
    this.ports = ports;
    this.ttlMs = ttlMs;
    this.renewedMs = askedMs;
    this.nextRenewal = ports.clock.setTimer(ttlMs / RENEWALS_PER_TTL, () => this.renew());
    this.end = this.watchEnd();
  }

  /** Stops renewing. Nothing is heard of it any more. */
  drop(): void {
    this.isHeld = false;
    this.nextRenewal.cancel();
    this.end.cancel();
  }

  private renew(): void {
    const { clock } = this.ports;
    const askedMs = clock.nowMs();
    const again = (share: number): void => {
      if (this.isHeld) this.nextRenewal = clock.setTimer(this.ttlMs / share, () => this.renew());
    };
    this.ports.renew(this.ttlMs / RENEWALS_PER_TTL).then(
      () => {
        if (!this.isHeld) return;
        this.renewedMs = askedMs;
        this.end.cancel();
        this.end = this.watchEnd();
        again(RENEWALS_PER_TTL);
      },
      (thrown: unknown) => {
        const error = toAetherError(thrown);
        if (error.code === "E_NOT_FOUND") this.lose(error);
        else again(RETRIES_PER_TTL);
      },
    );
  }

  private watchEnd(): Timer {
    const { clock } = this.ports;
    const leftMs = this.renewedMs + this.ttlMs - clock.nowMs();
    return clock.setTimer(Math.max(0, leftMs), () => {
      const message = `the lease could not be renewed for ${this.ttlMs} ms: it may have ended; grant a new one`;
      this.lose(new AetherError("E_TIMEOUT", message));
    });
  }

  private lose(reason: AetherError): void {
    if (!this.isHeld) return;
    this.drop();
    this.ports.onLost(reason);
  }
}
