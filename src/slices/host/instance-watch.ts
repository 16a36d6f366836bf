// Owns: noticing that ONE instance has come to a standstill: its thread does not turn any more, or handlers whose
// callers have left hold all of its places. Does not own: ending it (worker-host.ts).
//
// Looks are counted, not time: while the whole process stood still, its threads could not answer either.
import type { Clock, Timer } from "../../env/clock.ts";
import type { InstanceCalls } from "./instance-calls.ts";

export interface InstanceWatchPorts {
  readonly calls: Pick<InstanceCalls, "size" | "isClogged">;
  /** Asks the worker for a sign of life. */
  ping(): void;
  /** Once at most. */
  onStandstill(reason: string): void;
}

/** Looks without an answer after which a thread stands still; together they take `stallMsMax`. */
const SILENT_LOOKS_MAX = 4;
/** Handlers may work on after their callers have left, for a while: four times as long as a thread may stand still. */
const CLOGGED_LOOKS_MAX = 4 * SILENT_LOOKS_MAX;

export class InstanceWatch {
  private readonly clock: Pick<Clock, "setTimer">;
  private readonly ports: InstanceWatchPorts;
  private readonly stallMsMax: number;
  private timer: Timer | undefined;
  private isAsked = false;
  private isHeard = false;
  private silentLooks = 0;
  private cloggedLooks = 0;

  constructor(
    env: { readonly clock: Pick<Clock, "setTimer"> },
    ports: InstanceWatchPorts,
    config: { readonly stallMsMax: number },
  ) {
    this.clock = env.clock;
    this.ports = ports;
    this.stallMsMax = config.stallMsMax;
  }

  start(): void {
    this.stop();
    this.isAsked = false;
    this.silentLooks = 0;
    this.cloggedLooks = 0;
    this.lookLater();
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  /** The worker said something, whatever it was. */
  noteAlive(): void {
    this.isHeard = true;
  }

  private lookLater(): void {
    this.timer = this.clock.setTimer(this.stallMsMax / SILENT_LOOKS_MAX, () => this.look());
  }

  private look(): void {
    this.silentLooks = this.isAsked && !this.isHeard ? this.silentLooks + 1 : 0;
    this.cloggedLooks = this.ports.calls.isClogged ? this.cloggedLooks + 1 : 0;
    const standstill = this.describeStandstill();
    if (standstill !== undefined) return this.ports.onStandstill(standstill);
    this.isHeard = false;
    // Also without calls: one that loops in a timer takes a core of its node, and its next caller would find out.
    this.isAsked = true;
    this.ports.ping();
    this.lookLater();
  }

  private describeStandstill(): string | undefined {
    if (this.silentLooks >= SILENT_LOOKS_MAX) {
      return `its event loop stood still for ${this.stallMsMax} ms; look for a loop or a blocking call`;
    }
    if (this.cloggedLooks < CLOGGED_LOOKS_MAX) return undefined;
    return "all calls that it may run at once are held by handlers that never ended after their callers had left; " +
      "look for a wait without ctx.signal";
  }
}
