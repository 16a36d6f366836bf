// Owns: when ONE run gives up calls under way that nobody has said anything of.
import { SECOND_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { EffectId } from "../core/ids.ts";

/** After its own time is over a call is given up as lost: its worker should have said so before. */
const CALL_GRACE_MS = 5 * SECOND_MS;

export class CallTimers {
  private readonly clock: Clock;
  private readonly onLost: (effectId: EffectId) => void;
  private readonly timers = new Map<EffectId, Timer>();

  constructor(clock: Clock, onLost: (effectId: EffectId) => void) {
    this.clock = clock;
    this.onLost = onLost;
  }

  /** Of a call that was granted, or handed out once more: it has all of its time from now on. */
  start(effectId: EffectId, timeoutMs: number): void {
    this.stop(effectId);
    this.timers.set(effectId, this.clock.setTimer(timeoutMs + CALL_GRACE_MS, () => {
      this.timers.delete(effectId);
      this.onLost(effectId);
    }));
  }

  stop(effectId: EffectId): void {
    this.timers.get(effectId)?.cancel();
    this.timers.delete(effectId);
  }

  close(): void {
    for (const effectId of [...this.timers.keys()]) this.stop(effectId);
  }
}
