// Owns: what the parts of a replica share during one step: the time of its event, the effects it has so far, and the
// writes whose sequel waits for their fsync.
import { Effects, type JournalEntry } from "./effects.ts";

/** Runs in the step that hears of the fsync, with the number of the write. */
export type WriteSequel = (writeNumber: number) => void;

export class Turn {
  nowMs = 0;
  effects = new Effects();
  /** Entries asked for since the start. */
  private ticket = 0;
  private readonly pending: { readonly ticket: number; readonly sequel: WriteSequel }[] = [];

  begin(nowMs: number): void {
    this.nowMs = nowMs;
  }

  /** The effects of this step; the next one starts without any. */
  end(): Effects {
    const { effects } = this;
    this.effects = new Effects();
    return effects;
  }

  /** Asks for a durable write. One with a sequel is urgent; one without may wait for the next that is. */
  persist(entry: JournalEntry, sequel?: WriteSequel): void {
    this.ticket += 1;
    this.effects.persist.push(entry);
    if (sequel === undefined) return;
    this.effects.isPersistUrgent = true;
    this.pending.push({ ticket: this.ticket, sequel });
  }

  /** Entries up to `ticket` are fsynced. */
  written(ticket: number, writeNumber: number): void {
    for (let next = this.pending[0]; next !== undefined && next.ticket <= ticket; next = this.pending[0]) {
      this.pending.shift();
      next.sequel(writeNumber);
    }
  }
}
