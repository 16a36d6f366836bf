// Owns: when to dial ONE peer or address: never twice at once, and not too often.
import type { Random } from "../base/random.ts";
import type { Clock, Timer } from "../env/clock.ts";
import { redialDelayMs } from "./core/backoff.ts";

/** A connection that was up this long was a healthy one: the next dial is the first of a new series. */
const HEALTHY_AFTER_MS = 1_000;

type DialerState =
  | { readonly kind: "idle" }
  /** A dial or its connection is under way. */
  | { readonly kind: "busy" }
  | { readonly kind: "waiting"; readonly timer: Timer }
  | { readonly kind: "closed" };

export interface DialerPorts {
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Starts one dial; `ended` must be called when it, or the connection it led to, is over. Or "needless": then nothing
   * happens until `start` is called again.
   */
  dial(): "dialed" | "needless";
}

export class PeerDialer {
  private readonly ports: DialerPorts;
  private state: DialerState = { kind: "idle" };
  private failures = 0;

  constructor(ports: DialerPorts) {
    this.ports = ports;
  }

  /** Dials now, unless a dial is under way or due. */
  start(): void {
    if (this.state.kind === "idle") this.dialNow();
  }

  /** The peer is known to be there: whoever waits for the next attempt makes it now. */
  hurry(): void {
    if (this.state.kind !== "waiting") return;
    this.state.timer.cancel();
    this.dialNow();
  }

  /** The dialed connection is over after it was up for `upForMs` (0: it never was). */
  ended(upForMs: number): void {
    if (this.state.kind !== "busy") return;
    if (upForMs >= HEALTHY_AFTER_MS) this.failures = 0;
    const delayMs = redialDelayMs(this.failures, this.ports.random);
    this.failures += 1;
    this.state = { kind: "waiting", timer: this.ports.clock.setTimer(delayMs, () => this.dialNow()) };
  }

  close(): void {
    if (this.state.kind === "waiting") this.state.timer.cancel();
    this.state = { kind: "closed" };
  }

  private dialNow(): void {
    this.state = { kind: "busy" };
    if (this.ports.dial() === "needless") this.state = { kind: "idle" };
  }
}
