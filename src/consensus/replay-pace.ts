// Owns: the pace of a start that replays its journal: every few milliseconds the event loop gets its turn, so that the
// process answers probes and can be stopped meanwhile, and the log says how far it is.
// Does not own: reading (journal.ts), applying (recovery.ts).
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { GroupPorts } from "./group-ports.ts";

/** Work without a pause; a single record can take longer. */
const STEP_MS = 8;
const TOLD_EVERY_MS = 1 * SECOND_MS;

export class ReplayPace {
  private readonly ports: Pick<GroupPorts, "clock" | "log" | "starting">;
  private readonly records: number;
  private readonly sinceMs: number;
  private done = 0;
  private pausedMs: number;
  private toldMs: number;

  /** For a journal of so many records. */
  constructor(ports: Pick<GroupPorts, "clock" | "log" | "starting">, records: number) {
    this.ports = ports;
    this.records = records;
    this.sinceMs = ports.clock.nowMs();
    this.pausedMs = this.sinceMs;
    this.toldMs = this.sinceMs;
  }

  /** After each record. Rejects when the start was cancelled: E_UNAVAILABLE. */
  pause(): Promise<void> | undefined {
    this.done += 1;
    const nowMs = this.ports.clock.nowMs();
    if (nowMs - this.pausedMs < STEP_MS) return undefined;
    this.ports.starting?.onReplay(this.done, this.records);
    if (nowMs - this.toldMs >= TOLD_EVERY_MS) {
      this.toldMs = nowMs;
      this.ports.log.info({ event: "consensus.replaying", records: this.done, of: this.records });
    }
    return this.nextTurn();
  }

  end(applied: number): void {
    const ms = Math.round(this.ports.clock.nowMs() - this.sinceMs);
    this.ports.log.info({ event: "consensus.replayed", records: this.done, applied, ms });
  }

  private async nextTurn(): Promise<void> {
    const { clock, starting } = this.ports;
    await new Promise<void>((resolve) => clock.nextTurn(resolve));
    if (starting?.signal.aborted === true) throw startCancelled();
    this.pausedMs = clock.nowMs();
  }
}

/** The process was told to stop before it was there. */
export function startCancelled(): AetherError {
  return new AetherError("E_UNAVAILABLE", "the node was stopped while it was starting", { outcome: "none" });
}
